"""A report as headings, tables and paragraphs, and the two ways to draw it: rich and plain text."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Style: TypeAlias = Literal["", "good", "bad", "dim"]
_RICH_STYLES = {"": "", "good": "green", "bad": "bold red", "dim": "dim"}
_MIN_WIDTH = 60


@dataclass(frozen=True)
class Heading:
    """A line of its own, underlined in plain text."""

    text: str
    style: Style = ""


@dataclass(frozen=True)
class Paragraph:
    """Wrapped text; later lines of it hang by `indent` characters more than the first."""

    text: str
    style: Style = ""
    indent: int = 0


@dataclass(frozen=True)
class Column:
    """A column's title; numbers stand right, and only text may be wrapped."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text, each with a style."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    styles: Sequence[Style]


Document: TypeAlias = "list[Heading | Paragraph | Table]"


def render(
    document: Document, *, width: int, colour: bool = False, ascii_only: bool = False
) -> str:
    """The document as text: by rich where it is installed, else plainly."""
    try:
        import rich  # noqa: F401
    except ImportError:
        return render_plain(document, width=width)
    return render_rich(document, width=width, colour=colour, ascii_only=ascii_only)


# --- plain ----------------------------------------------------------------------------------------


def render_plain(document: Document, *, width: int) -> str:
    """The document in ASCII-drawn tables, as wide as asked for."""
    width = max(width, _MIN_WIDTH)
    return "\n\n".join(_plain(element, width) for element in document) + "\n"


def _plain(element: Heading | Paragraph | Table, width: int) -> str:
    if isinstance(element, Table):
        return _plain_table(element, width)
    if isinstance(element, Heading):
        return f"{element.text}\n{'-' * len(element.text)}"
    return _wrap(element, width)


def _wrap(paragraph: Paragraph, width: int) -> str:
    return textwrap.fill(
        paragraph.text,
        width,
        subsequent_indent=" " * paragraph.indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _plain_table(table: Table, width: int) -> str:
    widths = _column_widths(table, width)
    lines = _plain_row([column.title for column in table.columns], table.columns, widths)
    lines.append("  ".join("-" * n for n in widths))
    for row in table.rows:
        lines += _plain_row(row, table.columns, widths)
    return "\n".join(line.rstrip() for line in lines)


def _plain_row(cells: Sequence[str], columns: Sequence[Column], widths: list[int]) -> list[str]:
    """One row, as many lines as its longest cell needs."""
    wrapped = [textwrap.wrap(cell, n) or [""] for cell, n in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    lines = []
    for n in range(height):
        parts = [
            cell[n].rjust(wide) if column.number else cell[n].ljust(wide)
            for cell, column, wide in zip(
                (part + [""] * height for part in wrapped), columns, widths, strict=True
            )
        ]
        lines.append("  ".join(parts))
    return lines


def _column_widths(table: Table, width: int) -> list[int]:
    """Every column as wide as its content; then the widest texts give way until the row fits."""
    content = [
        max(len(cell) for cell in (column.title, *(row[n] for row in table.rows)))
        for n, column in enumerate(table.columns)
    ]
    text = [n for n, column in enumerate(table.columns) if not column.number]
    while sum(content) + 2 * (len(content) - 1) > width:
        widest = max(text, key=lambda n: content[n])
        if content[widest] <= 8:
            break
        content[widest] -= 1
    return content


# --- rich -----------------------------------------------------------------------------------------


def render_rich(
    document: Document, *, width: int, colour: bool = False, ascii_only: bool = False
) -> str:
    """The document drawn by rich."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(),
        width=max(width, _MIN_WIDTH),
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    for element in document:
        if isinstance(element, Table):
            console.print(_rich_table(element, ascii_only))
        elif isinstance(element, Heading):
            console.print(Text(element.text, style=_RICH_STYLES[element.style] or "bold"))
        else:
            wrapped = _wrap(element, console.width)
            console.print(Text(wrapped, style=_RICH_STYLES[element.style]), soft_wrap=True)
        console.print()
    text = console.file.getvalue()
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


def _rich_table(table: Table, ascii_only: bool) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.ASCII2 if ascii_only else box.ROUNDED, header_style="bold")
    for column in table.columns:
        drawn.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=column.number,
            overflow="fold",
        )
    for row, style in zip(table.rows, table.styles, strict=True):
        drawn.add_row(*map(Text, row), style=_RICH_STYLES[style])
    return drawn
