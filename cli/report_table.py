"""Reports as a document for people: one table, and below it what a reader should know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from lstm_oracle.cli.document import Column, Document, Heading, Paragraph, Style, Table
from lstm_oracle.conformance.report import (
    BlockError,
    CaseReport,
    ImplementationReport,
    LayerReport,
    ModelReport,
)

_WIDE = 110  # characters, from which on everything has a column of its own
_SHOWN = 5  # disagreements of one kind that are listed one by one
_LEGEND = (
    "error: distance to the oracle, relative. ratio: that error over its tolerance, which is "
    "measured, not typed: a small multiple of what the oracle itself suffers when it computes in "
    "the same precision with random rounding. A ratio above 1 disagrees."
)


# --- implementations ------------------------------------------------------------------------------


def implementations_document(
    reports: Sequence[ImplementationReport], *, width: int = 120
) -> Document:
    """The table of implementations, every disagreement explained, and what could not be run."""
    ran = [report for report in reports if not report.unavailable]
    document: Document = []
    if ran:
        document.append(_implementations_table(ran, width >= _WIDE))
        document.append(Paragraph(_LEGEND, "dim"))
    for report in ran:
        document += _disagreements(report)
    document += _not_covered(ran)
    reasons: dict[str, list[str]] = {}
    for report in reports:
        if report.unavailable:
            reasons.setdefault(report.unavailable, []).append(report.implementation)
    if reasons:
        document.append(Heading("Not run"))
        document += [
            Paragraph(f"{', '.join(names)}: {reason}", "dim", 2, tight=True)
            for reason, names in reasons.items()
        ]
    document.append(_verdict(ran))
    return document


def _implementations_table(reports: Sequence[ImplementationReport], wide: bool) -> Table:
    """In a narrow terminal the worst case stands under the implementation's name."""
    columns = [
        Column("implementation"),
        Column("agree", number=True),
        Column("differ", number=True),
        Column("n/a", number=True),
        Column("error", number=True),
        Column("ratio", number=True),
        Column("s", number=True),
    ]
    rows = []
    for report in reports:
        case, block = _worst(report.cases)
        worst = f"{case.name}: {block.block}" if case and block else "-"
        name = report.implementation if wide else f"{report.implementation}\n  {worst}"
        rows.append(
            [
                name,
                str(report.count("agree")),
                str(report.count("disagree") + report.count("error")),
                str(report.count("unsupported")),
                _number(block.error) if block else "-",
                _ratio(block.ratio) if block else "-",
                f"{report.seconds:.1f}",
                *([worst] if wide else []),
            ]
        )
    if wide:
        columns.append(Column("on (case: block)"))
    return Table(columns, rows, [_style(report.agrees) for report in reports])


def _worst(cases: Iterable[CaseReport]) -> tuple[CaseReport | None, BlockError | None]:
    """The case that lies furthest from the oracle, and the block of it that does."""
    compared = [(case, case.worst) for case in cases if case.worst is not None]
    return max(compared, key=lambda pair: _sortable(pair[1]), default=(None, None))


def _sortable(block: BlockError | None) -> float:
    """NaN is further away than anything."""
    ratio = block.ratio if block else 0.0
    return math.inf if math.isnan(ratio) else ratio


def _disagreements(report: ImplementationReport) -> Document:
    """What disagrees or broke: a known defect in one paragraph, anything else case by case."""
    known: dict[str, list[CaseReport]] = {}
    for case in report.cases:
        if case.status in ("disagree", "error"):
            known.setdefault(case.explanation, []).append(case)
    if not known:
        return []
    new = known.pop("", [])
    document: Document = [Heading(f"{report.implementation} disagrees", "bad")]
    document += [Paragraph(f"- {told(case)}", "", 2, tight=True) for case in new[:_SHOWN]]
    if len(new) > _SHOWN:
        rest = f"- and {len(new) - _SHOWN} more, all in --format json"
        document.append(Paragraph(rest, "dim", 2, tight=True))
    for explanation, cases in known.items():
        text = f"- Known defect, {_many(len(cases), 'case')}: {explanation}"
        document.append(Paragraph(text, "", 2, tight=True))
        names = "; ".join(case.name for case in cases)
        document.append(Paragraph(f"  Seen in: {names}.", "dim", 2, tight=True))
    return document


def _not_covered(reports: Sequence[ImplementationReport]) -> Document:
    """What implementations do not support, with how many cases each reason took out."""
    document: Document = []
    for report in reports:
        reasons = Counter(c.message for c in report.cases if c.status == "unsupported")
        if reasons:
            listed = ", ".join(f"{reason} ({n})" for reason, n in reasons.most_common())
            text = f"{report.implementation}: {listed}"
            document.append(Paragraph(text, "dim", 2, tight=True))
    return [Heading("Not supported (n/a)"), *document] if document else []


def told(case: CaseReport) -> str:
    """One disagreement in a sentence or two."""
    worst = case.worst
    text = case.name if case.dtype in case.name else f"{case.name} ({case.dtype})"
    if case.message:
        text += f": {case.message}"
    elif worst is not None:
        text += f": {worst.block} is off by {_number(worst.error)}, "
        text += f"{_ratio(worst.ratio)} times what is allowed"
    if case.nearest_bug:
        text += f"; looks most like the seeded bug '{case.nearest_bug}'"
    return text


def _verdict(reports: Sequence[ImplementationReport]) -> Paragraph:
    if not reports:
        return Paragraph("Nothing could be run.", "bad")
    wrong = [report for report in reports if not report.agrees]
    if not wrong:
        return Paragraph(f"All {len(reports)} agree with the oracle.", "good")
    names = ", ".join(report.implementation for report in wrong)
    text = f"{len(wrong)} of {len(reports)} disagree: {names}"
    if all(_only_known(report) for report in wrong):
        text += "; only in known defects"
    return Paragraph(f"{text}.", "bad")


def _only_known(report: ImplementationReport) -> bool:
    broken = [case for case in report.cases if case.status in ("disagree", "error")]
    return all(case.explanation for case in broken)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


# --- a user's model -------------------------------------------------------------------------------


def model_document(report: ModelReport, *, width: int = 120) -> Document:
    """The table of layers, every disagreement explained, and what could not be looked into."""
    document: Document = [
        Heading(f"{report.model} on {report.backend}, {_many(report.samples, 'sample')}"),
        Paragraph(f"Gradients start from {report.cotangent}.", tight=True),
    ]
    held = [layer for layer in report.layers if layer.case.status in ("agree", "disagree")]
    if held:
        document.append(_layers_table(held, width >= _WIDE))
        document.append(Paragraph(_LEGEND, "dim"))
    for layer in report.layers:
        if layer.case.status == "disagree":
            document.append(_layer_disagreement(layer))
    skipped = [layer for layer in report.layers if layer.case.status in ("unsupported", "error")]
    if skipped:
        document.append(Heading("Not checked"))
        document += [
            Paragraph(f"{_layer_name(layer)} ({layer.kind}): {layer.case.message}", "", 2, True)
            for layer in skipped
        ]
    document += [
        Paragraph(f"Note: {note}", "dim", 2, tight=n > 0) for n, note in enumerate(report.notes)
    ]
    document.append(_model_verdict(report))
    return document


def _layers_table(layers: Sequence[LayerReport], wide: bool) -> Table:
    """In a narrow terminal a layer's kind, direction and dtype stand under its path."""
    columns = [
        Column("layer"),
        Column("B,T,I,H", number=True),
        Column("error", number=True),
        Column("ratio", number=True),
        Column("block", number=True),
        Column("verdict", number=True),
    ]
    if wide:
        columns[1:1] = [Column("kind"), Column("reads"), Column("dtype", number=True)]
    rows = []
    for layer in layers:
        block = layer.case.worst
        about = [layer.kind, _direction(layer), layer.case.dtype]
        name = _layer_name(layer)
        rows.append(
            [
                *([name, *about] if wide else [f"{name}\n  {', '.join(about)}"]),
                ",".join(map(str, layer.sizes or ())),
                _number(block.error) if block else "-",
                _ratio(block.ratio) if block else "-",
                block.block if block else "-",
                layer.case.status,
            ]
        )
    return Table(columns, rows, [_style(layer.case.status == "agree") for layer in layers])


def _direction(layer: LayerReport) -> str:
    return layer.direction + (", masked" if layer.masked_steps else "")


def _layer_name(layer: LayerReport) -> str:
    return layer.case.name + (f" (call {layer.call + 1})" if layer.call else "")


def _layer_disagreement(layer: LayerReport) -> Paragraph:
    text = f"- {'call ' + str(layer.call + 1) + ' of ' if layer.call else ''}{told(layer.case)}."
    if layer.case.explanation:
        text += f" Known defect: {layer.case.explanation}"
    return Paragraph(text, "", 2)


def _model_verdict(report: ModelReport) -> Paragraph:
    if report.agrees:
        many = f"{report.checked} layer" + ("s agree" if report.checked > 1 else " agrees")
        return Paragraph(f"{many} with the oracle, in {report.seconds:.1f} s.", "good")
    if not report.checked:
        return Paragraph("No layer could be checked.", "bad")
    wrong = report.count("disagree") + report.count("error")
    return Paragraph(f"{wrong} of {len(report.layers)} layers disagree or broke.", "bad")


# --- numbers --------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return f"{value:.1e}"


def _ratio(value: float) -> str:
    """Three digits where they say something; a power of ten where it is far off."""
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0e}"


def _style(agrees: bool) -> Style:
    return "" if agrees else "bad"
