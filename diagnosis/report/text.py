"""The report for a terminal: the verdict first, ASCII structure, 80 columns or what there is."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from lstm_oracle.diagnosis.findings import Diagnosis, Evidence, Finding, Remedy
from lstm_oracle.diagnosis.report import wording
from lstm_oracle.diagnosis.report.wording import clean, line

_NARROWEST, _WIDEST = 40, 100
_WORDS = {"error": "ERROR", "warning": "WARNING", "info": "NOTE"}
_COLOURS = {
    "error": "1;31",
    "warning": "1;33",
    "info": "1;36",
    "good": "1;32",
    "bold": "1",
    "dim": "2",
}


def text(diagnosis: Diagnosis, width: int | None = None, colour: bool | None = None) -> str:
    """The diagnosis as text: verdict, findings ranked, what was ruled out, what it cost.

    Parameters
    ----------
    diagnosis : Diagnosis
    width : int, optional
        Columns to fill, 40 at least. Default: the terminal's, at most 100.
    colour : bool, optional
        Whether to set terminal colours. Default: no, for the text may go to a file.

    Returns
    -------
    str
        Lines, each at most `width` columns wide unless it is code or one unbroken word.

    Examples
    --------
    >>> from lstm_oracle.diagnosis.findings import Diagnosis
    >>> print(text(Diagnosis((), "No fault was found."), width=40))
    LSTM diagnosis               no findings
    ========================================
    No fault was found.
    <BLANKLINE>
    """
    columns = width or min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
    page = _Page(max(columns, _NARROWEST), bool(colour))
    _head(page, diagnosis)
    for rank, finding in enumerate(diagnosis.findings, 1):
        _finding(page, rank, finding)
    _rest(page, diagnosis)
    return "\n".join(line.rstrip() for line in page.lines) + "\n"


class _Page:
    """Lines under way, the width to keep to, and whether to colour."""

    def __init__(self, width: int, colour: bool) -> None:
        self.width = width
        self.colour = colour
        self.lines: list[str] = []

    def paint(self, string: str, style: str) -> str:
        return f"\x1b[{_COLOURS[style]}m{string}\x1b[0m" if self.colour and style else string

    def blank(self) -> None:
        if self.lines and self.lines[-1]:
            self.lines.append("")

    def sides(self, left: str, right: str, style: str = "") -> None:
        """Two strings at the two margins, or one under the other where they do not fit."""
        gap = self.width - wording.columns(left) - wording.columns(right)
        if gap >= 2:
            self.lines.append(self.paint(left, style) + " " * gap + right)
            return
        self.wrap(left, style=style)
        self.wrap(right, indent=3)

    def wrap(self, string: Any, *, indent: int = 0, first: str = "", style: str = "") -> None:
        """A paragraph; `first` stands before its first line, in the indentation."""
        for n, part in enumerate(_fold(clean(string), self.width - indent)):
            margin = first.ljust(indent) if n == 0 else " " * indent
            self.lines.append(margin + self.paint(part, style))

    def code(self, string: str, indent: int) -> None:
        for part in clean(string).rstrip("\n").split("\n"):
            self.lines.append(" " * indent + self.paint(part, "bold"))

    def heading(self, string: str) -> None:
        self.blank()
        self.lines.append(self.paint(string, "bold"))
        self.lines.append("-" * wording.columns(string))


def _fold(string: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces, and inside a word too long for one."""
    lines: list[str] = []
    for paragraph in string.split("\n"):
        current = ""
        for word in paragraph.split():
            joined = f"{current} {word}" if current else word
            if wording.columns(joined) <= width:
                current = joined
                continue
            lines += [current] if current else []
            *full, current = _split(word, width)
            lines += full
        lines.append(current)
    return lines


def _split(word: str, width: int) -> list[str]:
    """A word in pieces of at most `width` columns."""
    pieces, used = [""], 0
    for character in word:
        size = wording.columns(character)
        if used + size > width:
            pieces.append("")
            used = 0
        pieces[-1] += character
        used += size
    return pieces


def _head(page: _Page, diagnosis: Diagnosis) -> None:
    page.sides("LSTM diagnosis", wording.counts(diagnosis), "bold")
    page.lines.append("=" * page.width)
    page.wrap(diagnosis.verdict, style="good" if diagnosis.healthy else "bold")
    skill = wording.headline(diagnosis)
    if skill is not None:
        page.blank()
        page.wrap(f"{skill[0]}: {skill[1]} ({wording.SKILL})", indent=2)


def _finding(page: _Page, rank: int, finding: Finding) -> None:
    page.blank()
    page.lines.append("-" * page.width)
    severity = _WORDS.get(finding.severity, line(finding.severity))
    page.sides(
        f"{rank}. {severity}  {line(finding.id)}  {finding.cause}",
        f"confidence {wording.percent(finding.confidence)}",
        finding.severity if finding.severity in _COLOURS else "",
    )
    page.wrap(finding.summary, indent=3)
    for first, value in (("layer", finding.layer), ("follows", finding.consequence_of)):
        if value:
            page.wrap(line(value), indent=12, first=f"   {first}")
    _evidence(page, finding.evidence)
    if finding.remedy is not None:
        _remedy(page, finding, finding.remedy)
    if finding.refuted_by:
        page.blank()
        page.wrap(finding.refuted_by, indent=12, first="   refuted")
    page.blank()
    page.wrap(f"lstm-oracle explain {line(finding.id)}", indent=12, first="   more")


def _remedy(page: _Page, finding: Finding, remedy: Remedy) -> None:
    page.blank()
    page.wrap(remedy.text, indent=12, first="   remedy")
    if remedy.tried:
        page.wrap(wording.effect(finding), indent=12, first="   tried", style="good")
    else:
        page.wrap("not tried: advice only", indent=12, style="dim")
    if remedy.code:
        page.blank()
        page.code(remedy.code, 12)


def _evidence(page: _Page, evidence: Sequence[Evidence]) -> None:
    if not evidence:
        return
    rows = [
        (
            line(item.name),
            f"{wording.with_unit(item.value, item.unit)} {wording.interval(item.interval)}".strip(),
            _held_against(item),
        )
        for item in evidence
    ]
    page.blank()
    _table(page, ("measured", "value", "held against"), rows, indent=3)


def _held_against(item: Evidence) -> str:
    limit = "" if item.limit is None else wording.with_unit(item.limit, item.unit)
    source = f"({line(item.source)})" if item.source else ""
    return f"{limit} {source}".strip()


def _table(
    page: _Page, titles: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 0
) -> None:
    """Columns as wide as their content; the widest gives way until the row fits."""
    rows = [tuple(map(str, row)) for row in rows]
    widths = [max(map(wording.columns, cells)) for cells in zip(titles, *rows, strict=True)]
    room = page.width - indent - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    for n, row in enumerate([tuple(titles), *rows]):
        cells = [_fold(cell, wide) for cell, wide in zip(row, widths, strict=True)]
        for parts in _lines_of(cells):
            padded = [
                part + " " * (wide - wording.columns(part))
                for part, wide in zip(parts, widths, strict=True)
            ]
            string = "  ".join(padded).rstrip()
            page.lines.append(" " * indent + page.paint(string, "" if n else "dim"))


def _lines_of(cells: list[list[str]]) -> Iterable[tuple[str, ...]]:
    height = max(map(len, cells))
    return zip(*(cell + [""] * (height - len(cell)) for cell in cells), strict=True)


def _rest(page: _Page, diagnosis: Diagnosis) -> None:
    if diagnosis.not_a_bug:
        page.heading("Not a bug")
        for note in diagnosis.not_a_bug:
            page.wrap(line(note), indent=2, first="*")
    if diagnosis.ruled_out:
        page.heading("Ruled out")
        _table(
            page,
            ("cause", "by", "result"),
            [
                (line(item.cause), line(item.test), line(item.result))
                for item in diagnosis.ruled_out
            ],
        )
    if diagnosis.not_tested:
        page.heading("Not tested")
        _table(
            page,
            ("cause", "would need"),
            [(line(item.cause), line(item.needs)) for item in diagnosis.not_tested],
        )
    _facts(page, diagnosis)
    _costs(page, diagnosis)


def _facts(page: _Page, diagnosis: Diagnosis) -> None:
    headline = ("skill", "skill_remedied")
    left_out = {*headline, "layers"}  # what the microscope saw is for the page, with its pictures
    rest = {name: fact for name, fact in diagnosis.facts.items() if name not in left_out}
    facts = {"facts": wording.flat(rest), "made with": wording.flat(diagnosis.versions)}
    for name, table in facts.items():
        if table:
            page.blank()
            page.wrap("; ".join(f"{k} {v}" for k, v in table.items()), indent=11, first=name)


def _costs(page: _Page, diagnosis: Diagnosis) -> None:
    if not diagnosis.seconds:
        return
    parts = [
        f"{line(name)} {wording.seconds(cost)}"
        for name, cost in wording.stages(diagnosis.seconds).items()
    ]
    total = wording.seconds(wording.total_seconds(diagnosis.seconds))
    page.blank()
    page.wrap(f"{total}{': ' if parts else ''}{', '.join(parts)}", indent=11, first="cost")
