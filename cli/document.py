"""A report as headings, tables and paragraphs, and the two ways to draw it: rich and plain text."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from lstm_oracle.cli.text import printable

Style: TypeAlias = Literal["", "good", "bad", "dim"]
_RICH_STYLES = {"": "", "good": "green", "bad": "bold red", "dim": "dim"}
_MIN_WIDTH = 60
_NARROWEST = 8  # column of text
_GAP = 2  # between two columns in plain text
_RULES = 3  # between two columns where rich draws lines


@dataclass(frozen=True)
class Heading:
    """A line of its own, underlined in plain text."""

    text: str
    style: Style = ""


@dataclass(frozen=True)
class Paragraph:
    """Wrapped text; later lines of it hang by `indent` characters; no gap above if `tight`."""

    text: str
    style: Style = ""
    indent: int = 0
    tight: bool = False


@dataclass(frozen=True)
class Column:
    """A column's title; numbers stand right, and only text is wrapped where space is short."""

    title: str
    number: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text, each with a style; a cell may have several lines."""

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


def _printable(element: Heading | Paragraph | Table) -> Heading | Paragraph | Table:
    """The same with nothing in it that a terminal would act on."""
    if isinstance(element, Table):
        rows = [[printable(cell) for cell in row] for row in element.rows]
        return replace(element, rows=rows)
    return replace(element, text=printable(element.text))


# --- plain ----------------------------------------------------------------------------------------


def render_plain(document: Document, *, width: int) -> str:
    """The document in ASCII-drawn tables, no wider than asked for."""
    width = max(width, _MIN_WIDTH)
    parts = []
    for n, element in enumerate(map(_printable, document)):
        parts.append(_gap(element) if n else "")
        parts.append(_plain(element, width))
    return "".join(parts) + "\n"


def _gap(element: Heading | Paragraph | Table) -> str:
    return "\n" if isinstance(element, Paragraph) and element.tight else "\n\n"


def _plain(element: Heading | Paragraph | Table, width: int) -> str:
    if isinstance(element, Table):
        return _plain_table(element, width)
    if isinstance(element, Heading):
        return f"{element.text}\n{'-' * min(len(element.text), width)}"
    return _wrap(element, width)


def _wrap(paragraph: Paragraph, width: int) -> str:
    return textwrap.fill(
        paragraph.text, width, subsequent_indent=" " * paragraph.indent, break_on_hyphens=False
    )


def _plain_table(table: Table, width: int) -> str:
    widths = _column_widths(table, width - _GAP * (len(table.columns) - 1))
    gap = " " * _GAP
    lines = _plain_row([column.title for column in table.columns], table.columns, widths)
    lines.append(gap.join("-" * n for n in widths))
    for row in table.rows:
        lines += _plain_row(row, table.columns, widths)
    return "\n".join(line.rstrip() for line in lines)


def _plain_row(cells: Sequence[str], columns: Sequence[Column], widths: list[int]) -> list[str]:
    """One row, as many lines as its longest cell needs."""
    wrapped = [_wrap_cell(cell, n) for cell, n in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    padded = [lines + [""] * (height - len(lines)) for lines in wrapped]
    return [
        (" " * _GAP).join(
            lines[n].rjust(wide) if column.number else lines[n].ljust(wide)
            for lines, column, wide in zip(padded, columns, widths, strict=True)
        )
        for n in range(height)
    ]


def _wrap_cell(cell: str, width: int) -> list[str]:
    """The lines of a cell; a path is broken behind a slash, and only then inside a word."""
    return [part for line in cell.split("\n") for part in _wrap_line(line, width)]


def _wrap_line(line: str, width: int) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    lines = _wrap_words(line.lstrip(), width - len(indent))
    return [indent + part for part in lines]


def _wrap_words(line: str, width: int) -> list[str]:
    lines = [""]
    for piece in re.findall(r"[^\s/]*/|[^\s/]+|\s+", line):
        if len(lines[-1]) + len(piece) > width and lines[-1].strip():
            lines.append("")
        piece = piece if lines[-1] else piece.lstrip()
        while len(piece) > width:
            lines[-1], piece = piece[:width], piece[width:]
            lines.append("")
        lines[-1] += piece
    return [part.rstrip() for part in lines]


def _column_widths(table: Table, width: int) -> list[int]:
    """Every column as wide as its content; then the widest texts give way until the row fits."""
    content = [
        max(len(line) for cell in (column.title, *cells) for line in cell.split("\n"))
        for column, cells in _by_column(table)
    ]
    least = [max(_NARROWEST, len(column.title)) for column in table.columns]
    text = [n for n, column in enumerate(table.columns) if not column.number]
    while sum(content) > width:
        wide = [n for n in text if content[n] > least[n]]
        if not wide:
            break
        content[max(wide, key=lambda n: content[n])] -= 1
    return content


def _by_column(table: Table) -> list[tuple[Column, list[str]]]:
    return [(column, [row[n] for row in table.rows]) for n, column in enumerate(table.columns)]


# --- rich -----------------------------------------------------------------------------------------


def render_rich(
    document: Document, *, width: int, colour: bool = False, ascii_only: bool = False
) -> str:
    """The document drawn by rich: with lines around the cells where there is room for them."""
    from rich.console import Console
    from rich.text import Text

    width = max(width, _MIN_WIDTH)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    for n, element in enumerate(map(_printable, document)):
        # A table ends its last line by itself.
        done = 1 if n and isinstance(document[n - 1], Table) else 0
        console.print(end=_gap(element)[done:] if n else "")
        if isinstance(element, Table):
            console.print(_rich_table(element, width, ascii_only), end="")
        elif isinstance(element, Heading):
            console.print(Text(element.text, style=_RICH_STYLES[element.style] or "bold"), end="")
        else:
            wrapped = Text(_wrap(element, width), style=_RICH_STYLES[element.style])
            console.print(wrapped, soft_wrap=True, end="")
    text = console.file.getvalue()
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip() + "\n"


def _rich_table(table: Table, width: int, ascii_only: bool) -> Any:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    lines = box.ASCII2 if ascii_only else box.ROUNDED
    widths = _column_widths(table, width - _RULES * len(table.columns) - 1)
    drawn = RichTable(box=lines, header_style="bold")
    for column, wide in zip(table.columns, widths, strict=True):
        drawn.add_column(
            column.title, justify="right" if column.number else "left", width=wide, no_wrap=True
        )
    for row, style in zip(table.rows, table.styles, strict=True):
        cells = ("\n".join(_wrap_cell(cell, n)) for cell, n in zip(row, widths, strict=True))
        drawn.add_row(*map(Text, cells), style=_RICH_STYLES[style])
    return drawn
