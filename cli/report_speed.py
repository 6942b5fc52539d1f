"""Results of `bench` as a document for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lstm_oracle.benchmarks.speed import summary
from lstm_oracle.benchmarks.speed.compare import Change, Comparison
from lstm_oracle.benchmarks.speed.contenders import Row
from lstm_oracle.benchmarks.speed.properties import Property
from lstm_oracle.benchmarks.speed.workload import Workload
from lstm_oracle.cli.document import Column, Document, Heading, Paragraph, Style, Table

_WIDE = 96  # characters, from which on compilation and memory have columns too
_MODES = {"forward": "forward", "training": "forward and backward"}
_WORDS = {"wrong": "WRONG", "error": "ERROR", "crash": "CRASHED", "timeout": "NO ANSWER"}
_LEGEND = (
    "ms: median over the rounds, [quartiles]; ~ marks a spread that stayed above 10 %. floor: "
    "multiples of the least time that this machine's own rates allow. compile: what the first call "
    "took longer than the second. memory: what a call takes beyond its inputs."
)


def result_document(result: dict[str, Any], *, width: int = 100) -> Document:
    """Every case as a table, fastest first; what was wrong; who did not take part."""
    document: Document = [Paragraph(_machine(result), "dim")]
    for case in result["cases"]:
        document += _case(case, width)
    if result["cases"]:
        document.append(Paragraph(_LEGEND, "dim"))
    document += _absent(result)
    document += _goals(result)
    if not result["finished"]:
        document.append(Paragraph("This run was interrupted: cases are missing.", "bad"))
    return document


def _machine(result: dict[str, Any]) -> str:
    devices = "; ".join(f"{kind}: {name}" for kind, name in result["devices"].items())
    return (
        f"{devices}. {result['threads']} threads for everyone, "
        f"{result['precision']['float32']}, commit {result['commit'][:9]}, {result['date'][:10]}."
    )


def _case(case: dict[str, Any], width: int) -> Document:
    name = f"{Workload.from_json(case['workload']).name}: {_MODES[case['mode']]}"
    if case["device"] != "cpu":
        name += f", {case['device']}"
    timed = sorted(summary.right(case), key=lambda row: row["median_ms"])
    failed = [row for row in case["rows"] if row["status"] in _WORDS]
    columns = [Column("contender"), Column("ms", number=True), Column("", number=True),
               Column("floor", number=True)]  # fmt: skip
    if width >= _WIDE:
        columns += [Column("compile", number=True), Column("memory", number=True)]
    rows = [_timed(row, case)[: len(columns)] for row in timed]
    rows += [[row["contender"], _WORDS[row["status"]], "", "", "", ""][: len(columns)]
             for row in failed]  # fmt: skip
    styles: list[Style] = ["good" if n == 0 else "" for n in range(len(timed))]
    styles += ["bad"] * len(failed)
    document: Document = [Heading(name), Table(columns, rows, styles)]
    document += [
        Paragraph(f"{row['contender']}: {_WORDS[row['status']]}: {row['message']}", "bad", 2, True)
        for row in failed
    ]
    reasons: dict[str, list[str]] = {}
    for row in case["rows"]:
        if row["status"] == "unsupported":
            reasons.setdefault(row["message"], []).append(row["contender"])
    document += [
        Paragraph(f"not here: {', '.join(names)}: {reason}", "dim", 2, True)
        for reason, names in reasons.items()
    ]
    return document


def _timed(row: dict[str, Any], case: dict[str, Any]) -> list[str]:
    low, high = row["quartiles_ms"]
    floor = case["floor"]["ms"]
    return [
        row["contender"],
        f"{'~' if row['noisy'] else ''}{milliseconds(row['median_ms'])}",
        f"[{milliseconds(low)}, {milliseconds(high)}]",
        f"{row['median_ms'] / floor:.3g}x" if floor else "",
        f"{row['compile_ms'] / 1e3:.2f} s",
        "" if row["memory_mb"] is None else f"{row['memory_mb']:.0f} MB",
    ]


def milliseconds(value: float) -> str:
    """Three digits.

    Examples
    --------
    >>> milliseconds(0.0123), milliseconds(1234.5)
    ('0.0123', '1234')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _absent(result: dict[str, Any]) -> Document:
    absent = [entry for entry in result["contenders"] if entry["unavailable"]]
    if not absent:
        return []
    return [
        Heading("Not available"),
        *(
            Paragraph(f"{e['name']} ({e['device']}): {e['unavailable']}", "dim", 2, True)
            for e in absent
        ),
    ]


def _goals(result: dict[str, Any]) -> Document:
    """What the project promises, for the devices that were measured."""
    document: Document = []
    for device in result["devices"]:
        for goal in summary.goals(result, device):
            document.append(
                Paragraph(
                    f"{device}: {goal.text}: {goal.mean:.2f}x faster (geometric mean of "
                    f"{goal.shapes} shapes), at the worst {goal.least:.2f}x",
                    "good" if goal.reached else "", 2, True,
                )
            )  # fmt: skip
    document += [
        Paragraph(
            f"{c.contender}, {_MODES[c.mode]}: the GPU is faster "
            + (f"from {c.axis} {c.size} on" if c.size else f"at no {c.axis} that was measured"),
            "", 2, True,
        )
        for c in summary.crossovers(result)
    ]  # fmt: skip
    if document:
        document.insert(0, Heading("In short"))
    return document


# --- the others -----------------------------------------------------------------------------------


def contenders_document(rows: Sequence[Row]) -> Document:
    """Who can take part here."""
    cells = [[row.name, row.side, ", ".join(row.devices), row.missing() or "yes"] for row in rows]
    columns = [Column("contender"), Column("side"), Column("devices"), Column("installed")]
    styles: list[Style] = ["dim" if row.missing() else "" for row in rows]
    return [Table(columns, cells, styles)]


def properties_document(found: Sequence[Property]) -> Document:
    """Gradient flow and gates under every initialization, by every implementation of ours."""
    columns = [Column("contender"), Column("case"), Column("flow first/last", number=True),
               Column("saturated i f o", number=True), Column("agrees")]  # fmt: skip
    rows = [
        [
            f"{p.contender} ({p.device})",
            f"{p.workload.name}: {p.regime}",
            "" if p.flow_ratio is None else f"{p.flow_ratio:.2g}",
            " ".join(f"{share:.0%}" for share in p.saturated.values()),
            "-" if p.agrees and p.message else "yes" if p.agrees else "NO",
        ]
        for p in found
    ]
    styles: list[Style] = ["" if p.agrees else "bad" for p in found]
    document: Document = [Table(columns, rows, styles)]
    document += [
        Paragraph(f"{p.contender}, {p.workload.name}, {p.regime}: {p.message}", "", 2, True)
        for p in found
        if p.message
    ]
    wrong = sum(not p.agrees for p in found)
    document.append(
        Paragraph(
            f"{wrong} of {len(found)} disagree" if wrong else f"All {len(found)} agree",
            "bad" if wrong else "good",
        )
    )
    return document


_VERDICTS: dict[str, Style] = {
    "slower": "bad", "broken": "bad", "faster": "good", "mended": "good", "same": "",
}  # fmt: skip


def comparison_document(found: Comparison) -> Document:
    """Every change, those that matter first."""
    order = ["broken", "slower", "mended", "faster", "same"]
    changes = sorted(found.changes, key=lambda change: order.index(change.verdict))
    columns = [Column("contender"), Column("case"), Column("old ms", number=True),
               Column("new ms", number=True), Column("new/old", number=True),
               Column("verdict")]  # fmt: skip
    document: Document = [
        Table(columns, [_change(c) for c in changes], [_VERDICTS[c.verdict] for c in changes])
    ]
    if found.differences:
        document.append(Paragraph("Beside the code these differ:", "bad"))
        document += [Paragraph(text, "", 2, True) for text in found.differences]
    count = len(found.regressed)
    verdict = f"{count} of {len(changes)} are slower beyond noise" if count else "Nothing is slower"
    document.append(
        Paragraph(
            f"{verdict} (slower: more than 5 %, and the quartiles do not overlap).",
            "bad" if count else "good",
        )
    )
    return document


def _change(change: Change) -> list[str]:
    def shown(value: float | None) -> str:
        return "-" if value is None else milliseconds(value)

    where = f"{change.workload.name}: {_MODES[change.mode]}"
    where += "" if change.device == "cpu" else f", {change.device}"
    ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
    return [change.contender, where, shown(change.old_ms), shown(change.new_ms), ratio,
            change.verdict]  # fmt: skip
