"""The part of Markdown that the findings' pages use, as HTML."""

from __future__ import annotations

import re
from html import escape


def to_html(markdown: str) -> str:
    r"""Headings, paragraphs, lists, fenced code, inline code and bold as HTML; all else as text.

    Examples
    --------
    >>> to_html("# Title\n\nUse `adam`.\n\n- one\n- two <b>")
    '<h1>Title</h1><p>Use <code>adam</code>.</p><ul><li>one</li><li>two &lt;b&gt;</li></ul>'
    """
    parts = []
    for n, piece in enumerate(re.split(r"^```\w*\n(.*?)^```$", markdown, flags=re.M | re.S)):
        if n % 2:
            parts.append(f"<pre tabindex=0><code>{escape(piece.rstrip())}</code></pre>")
        else:
            parts += [_block(block) for block in re.split(r"\n\s*\n", piece) if block.strip()]
    return "".join(parts)


def _block(block: str) -> str:
    block = block.strip("\n")
    heading = re.fullmatch(r"(#{1,3}) (.+)", block)
    if heading:
        level = len(heading[1])
        return f"<h{level}>{_inline(heading[2])}</h{level}>"
    if block.startswith("- "):
        items = re.split(r"^- ", block, flags=re.M)[1:]
        return f"<ul>{''.join(f'<li>{_inline(item)}</li>' for item in items)}</ul>"
    return f"<p>{_inline(block)}</p>"


def _inline(text: str) -> str:
    text = escape(" ".join(text.split()))
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
