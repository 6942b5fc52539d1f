"""Build the pages to learn from, and their notebooks, by running their sources.

    python docs/build.py                    # all, into out/docs
    python docs/build.py bptt --to out/docs # one

A source is a Python script in `docs/learn/` in percent format: cells begin with `# %%`, those of
text with `# %% [markdown]`. Every cell is executed here, and what its last expression gives is
shown: a `Figure` as SVG over its numbers, a `Table` as a table, all else as text. A page is one
HTML file without scripts that loads nothing; the notebook beside it holds the same outputs. As
both come from running the source, no figure can be older than the code.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import re
import sys
import time
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from lstm_oracle.benchmarks.study.report import Table, html_figure, html_table, page
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import figures
from lstm_oracle.diagnosis.report.markdown import to_html

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "learn"
OUT = HERE.parent / "out" / "docs"
ORDER = ("bptt", "walk", "vanishing", "initialization", "verification", "findings")


@dataclass
class Cell:
    """A cell of text or code, and what running it gave."""

    kind: str  # "markdown" or "code"
    source: str
    printed: str = ""
    shown: list[Any] = field(default_factory=list)


def cells(source: str) -> list[Cell]:
    """The cells of a percent script, in order."""
    found = []
    for piece in re.split(r"^# %%", source, flags=re.M)[1:]:
        head, _, body = piece.partition("\n")
        if "[markdown]" in head:
            lines = [re.sub(r"^# ?", "", line) for line in body.strip("\n").split("\n")]
            found.append(Cell("markdown", "\n".join(lines).strip()))
        elif body.strip():
            found.append(Cell("code", body.strip("\n")))
    return found


def execute(found: list[Cell], name: str) -> None:
    """Run every cell of code in one namespace; an error ends the build."""
    namespace: dict[str, Any] = {"__name__": f"learn_{name}"}
    for number, cell in enumerate(found):
        if cell.kind == "code":
            _run(cell, namespace, f"{name}, cell {number + 1}")


def _run(cell: Cell, namespace: dict[str, Any], where: str) -> None:
    tree, value = ast.parse(cell.source), None
    last = tree.body[-1] if isinstance(tree.body[-1], ast.Expr) else None
    if last is not None:
        tree.body.pop()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, where, "exec"), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), where, "eval"), namespace)
    cell.printed = printed.getvalue()
    if value is not None:
        cell.shown = list(value) if isinstance(value, (list, tuple)) else [value]


def html_of(cell: Cell) -> str:
    """A cell on the page: text, or code with what it printed and showed."""
    if cell.kind == "markdown":
        return to_html(cell.source)
    parts = [f"<pre tabindex=0><code>{escape(cell.source)}</code></pre>"]
    if cell.printed:
        parts.append(
            f"<pre class=out tabindex=0><samp>{escape(cell.printed.rstrip())}</samp></pre>"
        )
    return "".join(parts + [_html_output(value) for value in cell.shown])


def _html_output(value: Any) -> str:
    if isinstance(value, Figure):
        return html_figure(value)
    if isinstance(value, Table):
        return html_table(value)
    return f"<pre class=out tabindex=0><samp>{escape(str(value))}</samp></pre>"


def notebook(found: list[Cell]) -> dict[str, Any]:
    """The cells as a Jupyter notebook, nbformat 4.5, with their outputs."""
    made, count = [], 0
    for number, cell in enumerate(found):
        entry: dict[str, Any] = {
            "id": f"cell-{number}",
            "cell_type": cell.kind,
            "metadata": {},
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.kind == "code":
            count += 1
            entry |= {"execution_count": count, "outputs": _outputs(cell, count)}
        made.append(entry)
    return {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "cells": made,
    }


def _outputs(cell: Cell, count: int) -> list[dict[str, Any]]:
    outputs: list[dict[str, Any]] = []
    if cell.printed:
        text = cell.printed.splitlines(keepends=True)
        outputs.append({"output_type": "stream", "name": "stdout", "text": text})
    for value in cell.shown:
        data = {"text/plain": [str(getattr(value, "title", value))]}
        if isinstance(value, Figure):
            data["image/svg+xml"] = [figures.draw(value, standalone=True)]
        elif isinstance(value, Table):
            data["text/html"] = [html_table(value)]
        outputs.append(
            {"output_type": "display_data", "metadata": {}, "data": data}
            if value is not cell.shown[-1]
            else {
                "output_type": "execute_result",
                "execution_count": count,
                "metadata": {},
                "data": data,
            }
        )
    return outputs


def build(name: str, to: Path) -> float:
    """One page and its notebook; the seconds that it took."""
    started = time.perf_counter()
    found = cells((SOURCES / f"{name}.py").read_text(encoding="utf-8"))
    execute(found, name)
    title = found[0].source.splitlines()[0].lstrip("# ")
    body = _links(name) + "".join(map(html_of, found)) + _links(name)
    to.mkdir(parents=True, exist_ok=True)
    (to / f"{name}.html").write_text(page(title, body), encoding="utf-8")
    text = json.dumps(notebook(found), indent=1, ensure_ascii=False) + "\n"
    (to / f"{name}.ipynb").write_text(text, encoding="utf-8")
    return time.perf_counter() - started


def _links(current: str) -> str:
    links = [
        f"<b>{name}</b>" if name == current else f'<a href="{name}.html">{name}</a>'
        for name in ORDER
    ]
    return f"<nav><p class=muted>{' · '.join(links)}</p></nav>"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(ORDER)} (default all)")
    parser.add_argument("--to", type=Path, default=OUT, help="the folder (default out/docs)")
    arguments = parser.parse_args()
    for name in arguments.names or ORDER:
        seconds = build(name, arguments.to)
        size = (arguments.to / f"{name}.html").stat().st_size
        print(f"{arguments.to / name}.html, .ipynb: {size / 1e3:.0f} kB, {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
