"""The report as one HTML page: no network, no script, light and dark, a table beside each figure.

A Content-Security-Policy in the page forbids whatever it does not need: even a string that found
its way past the escaping could load and run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lstm_oracle.diagnosis import catalog
from lstm_oracle.diagnosis.findings import Diagnosis, Evidence, Figure, Finding, Remedy
from lstm_oracle.diagnosis.report import figures, series, wording
from lstm_oracle.diagnosis.report.markdown import to_html
from lstm_oracle.diagnosis.report.style import PAGE
from lstm_oracle.diagnosis.report.wording import as_float, clean, line

_WORDS = {"error": "Error", "warning": "Warning", "info": "Note"}
_SIGNS = {"error": "✕", "warning": "!", "info": "i"}  # a shape, for those who see no colour
_ALL_POINTS = 16_000  # drawn in one page: keeps it under 2 MB
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html(diagnosis: Diagnosis) -> str:
    """The diagnosis as one self-contained HTML page, under 2 MB whatever its series hold.

    Returns
    -------
    str
        A page that loads nothing and runs nothing; every string of the diagnosis is escaped.
    """
    points = _points(diagnosis)
    cards = [_card(n, finding, points) for n, finding in enumerate(diagnosis.findings, 1)]
    body = "".join(
        [
            _banner(diagnosis),
            _ranking(diagnosis.findings),
            *cards,
            _section("Not a bug", _list(diagnosis.not_a_bug)),
            _section("What else was measured", _figures(diagnosis.figures, points)),
            _section("Ruled out", _ruled_out(diagnosis)),
            _section("Not tested", _not_tested(diagnosis)),
            _section("The set-up as it was found", _pairs(wording.flat(diagnosis.facts))),
            _section("What this cost", _costs(diagnosis)),
            _footer(diagnosis),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>LSTM diagnosis: {_text(line(diagnosis.verdict, 80))}</title>"
        f"<style>{PAGE}{figures.STYLE}</style></head><body><main>{body}</main></body></html>\n"
    )


def _points(diagnosis: Diagnosis) -> int:
    """Points per series, so that all figures together stay within what a page can hold."""
    every = [*diagnosis.figures, *(f for finding in diagnosis.findings for f in finding.figures)]
    drawn = sum(min(len(figure.series), series.MOST_SERIES) for figure in every)
    return int(min(max(_ALL_POINTS // max(drawn, 1), 30), figures.POINTS))


def _text(value: object, limit: int = wording.LONGEST) -> str:
    return escape(clean(value, limit), quote=True)


def _line(value: object, limit: int = wording.LONGEST) -> str:
    return escape(line(value, limit), quote=True)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_line(item)}</li>' for item in items)}</ul>" if items else ""


# --- head -----------------------------------------------------------------------------------------


def _banner(diagnosis: Diagnosis) -> str:
    worst = min(
        (finding.severity for finding in diagnosis.findings),
        key=["error", "warning", "info"].index,
        default="info",
    )
    kind = "good" if diagnosis.healthy else worst
    tiles = [
        _tile("Findings", wording.counts(diagnosis)),
        _skill_tile(diagnosis),
        _tile("Ruled out", str(len(diagnosis.ruled_out)) if diagnosis.ruled_out else ""),
        _tile("Cost", _total(diagnosis)),
    ]
    return (
        f'<header class="banner {kind}"><p class="over">LSTM diagnosis</p>'
        f"<h1>{_line(diagnosis.verdict)}</h1><dl class=tiles>{''.join(tiles)}</dl></header>"
    )


def _tile(name: str, value: str, note: str = "") -> str:
    small = f"<small>{note}</small>" if note else ""
    return f"<div><dt>{name}</dt><dd>{_line(value)}{small}</dd></div>" if value else ""


def _skill_tile(diagnosis: Diagnosis) -> str:
    skill = wording.headline(diagnosis)
    if skill is None:
        return ""
    return _tile(skill[0], skill[1].replace("->", "→"), wording.SKILL)


def _total(diagnosis: Diagnosis) -> str:
    return wording.seconds(wording.total_seconds(diagnosis.seconds)) if diagnosis.seconds else ""


def _ranking(findings: Sequence[Finding]) -> str:
    """The findings at a glance; nothing where there is only one."""
    if len(findings) < 2:
        return ""
    rows = "".join(
        f'<tr><td class=num>{n}</td><td>{_chip(item)}</td><td><a href="#f{n}">{_line(item.id, 40)}'
        f"</a></td><td>{_line(item.cause)}</td><td class=num>{wording.percent(item.confidence)}"
        f"</td><td>{_gain(item)}</td></tr>"
        for n, item in enumerate(findings, 1)
    )
    head = _head(("", "", "Finding", "Cause", "Confidence", "Skill with its remedy"), (4,))
    return f"<nav aria-label=Findings>{_scroll(head, rows)}</nav>"


def _gain(finding: Finding) -> str:
    remedy = finding.remedy
    if remedy is None or not remedy.tried:
        return "<span class=muted>not tried</span>"
    return f"{wording.show(remedy.before)} → <b>{wording.show(remedy.after)}</b>"


def _chip(finding: Finding) -> str:
    word = _WORDS.get(finding.severity, line(finding.severity))
    sign = _SIGNS.get(finding.severity, "?")
    kind = finding.severity if finding.severity in _WORDS else "info"
    return f'<span class="chip {kind}"><i aria-hidden=true>{sign}</i>{_line(word)}</span>'


# --- a finding ------------------------------------------------------------------------------------


def _card(rank: int, finding: Finding, points: int) -> str:
    entry = catalog.ENTRIES.get(finding.id)
    names = dict.fromkeys([entry.name if entry else finding.cause, finding.cause])
    where = f" · layer <code>{_line(finding.layer, 200)}</code>" if finding.layer else ""
    follows = (
        f"<p class=follows>A consequence of {_line(finding.consequence_of, 200)}: repair that one "
        "first.</p>"
        if finding.consequence_of
        else ""
    )
    refuted = (
        f"<h3>What would refute this</h3><p>{_line(finding.refuted_by)}</p>"
        if finding.refuted_by
        else ""
    )
    kind = finding.severity if finding.severity in _WORDS else "info"
    return (
        f'<article class="card {kind}" id="f{rank}"><p class=meta>{_chip(finding)} '
        f"<b>{_line(finding.id, 40)}</b> {_line(' · '.join(names))} · "
        f"{wording.percent(finding.confidence)} confident{where}</p>"
        f"<h2>{_line(finding.summary)}</h2>{follows}"
        f"{_remedy(finding.remedy) if finding.remedy else ''}{_evidence(finding.evidence)}"
        f"{_figures(finding.figures, points)}{refuted}{_about(finding)}</article>"
    )


def _remedy(remedy: Remedy) -> str:
    tried = (
        _dumbbell(remedy)
        if remedy.tried
        else "<p class=muted>Advice: this remedy was not tried.</p>"
    )
    code = (
        f"<pre tabindex=0><code>{_text(clean(remedy.code, 8_000).strip())}</code></pre>"
        if remedy.code
        else ""
    )
    return (
        f"<div class=remedy><h3>Remedy</h3><p>{_line(remedy.text)} "
        f"<code class=muted>{_line(remedy.key, 80)}</code></p>{tried}{code}</div>"
    )


def _dumbbell(remedy: Remedy) -> str:
    """Skill before and after on one scale, with the interval of the gain around the second."""
    before, after = as_float(remedy.before), as_float(remedy.after)
    words = (
        f"Skill {wording.show(remedy.before)} → <b>{wording.show(remedy.after)}</b>"
        + (f", gain {wording.signed(after - before)}" if None not in (before, after) else "")  # type: ignore[operator]
        + (
            f" <span class=muted>over seeds {wording.interval(remedy.gain_interval, sign=True)}, "
            "95 %, paired</span>"
            if remedy.gain_interval
            else ""
        )
    )
    if before is None or after is None:
        return f"<p class=effect>{words}</p>"
    ends = [as_float(end) for end in remedy.gain_interval or ()]
    band = [before + end for end in ends if end is not None]
    low, high = min(0.0, before, after, *band), max(1.0, before, after, *band)

    def place(value: float) -> str:
        return f"{10 + 300 * (value - low) / (high - low):.1f}"

    reach = (
        f'<path class=band d="M{place(band[0])} 12H{place(band[1])}"/>' if len(band) == 2 else ""
    )
    circles = (
        f'<circle class=from cx="{place(before)}" cy=12 r=5></circle>'
        f'<circle class=to cx="{place(after)}" cy=12 r=6></circle>'
    )
    drawing = (
        '<svg class=bell viewBox="0 0 320 36" aria-hidden=true><path class=rail d="M10 12H310"/>'
        f'<path class=rail d="M{place(0)} 6v12M{place(1)} 6v12"/>{reach}'
        f'<path class=move d="M{place(before)} 12H{place(after)}"/>{circles}'
        f'<text x="{place(0)}" y=32>0</text><text x="{place(1)}" y=32>1</text></svg>'
    )
    return f"<div class=effect><p>{words}</p>{drawing}</div>"


def _evidence(evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return ""
    rows = []
    for item in evidence:
        spread = _spread(item)
        limit = "" if item.limit is None else wording.with_unit(item.limit, item.unit)
        rows.append(
            f"<tr><td>{_line(item.name)}</td><td class=num>"
            f"{_line(wording.with_unit(item.value, item.unit))}"
            f"{spread}</td>"
            f"<td class=num>{_line(limit)}</td><td class=muted>{_line(item.source)}</td></tr>"
        )
    head = _head(("Measured", "Value", "Held against", "Where that comes from"), numbers=(1, 2))
    return f"<h3>Evidence</h3>{_scroll(head, ''.join(rows))}"


def _spread(item: Evidence) -> str:
    spread = wording.interval(item.interval)
    return f' <span class="muted span">{spread}</span>' if spread else ""


def _about(finding: Finding) -> str:
    """The finding's page, folded, so that the report stands alone."""
    if finding.id not in catalog.ENTRIES:
        return ""
    entry = catalog.entry(finding.id)
    return (
        f"<details><summary>About {entry.id} {entry.name}</summary>"
        f"<div class=about>{to_html(entry.page)}</div></details>"
    )


# --- figures and tables ---------------------------------------------------------------------------


def _figures(shown: Iterable[Figure], points: int) -> str:
    return "".join(_figure(figure, points) for figure in shown)


def _figure(figure: Figure, points: int) -> str:
    """A drawing over its numbers; data that cannot be drawn is said to be so, with the reason."""
    try:
        drawing = figures.draw(figure, points=points)
        tables = series.tabulate(figure, rows=max(points // 4, 12))
    except ValueError as error:
        return f"<figure><figcaption>Not drawn: {_line(error)}</figcaption></figure>"
    body = "".join(_table(table) for table in tables)
    return (
        f"<figure><div class=scroll tabindex=0>{drawing}</div>"
        f"<details><summary>The numbers of this figure</summary>{body}</details></figure>"
    )


def _head(titles: Sequence[str], numbers: Sequence[int] = ()) -> str:
    cells = "".join(
        f"<th scope=col{' class=num' if n in numbers else ''}>{_line(title, 120)}</th>"
        for n, title in enumerate(titles)
    )
    return f"<thead><tr>{cells}</tr></thead>"


def _scroll(head: str, rows: str, classes: str = "scroll") -> str:
    """A table that scrolls by itself where the screen is narrower."""
    return f'<div class="{classes}"><table>{head}<tbody>{rows}</tbody></table></div>'


def _table(table: series.Table) -> str:
    head = _head(table.titles, range(1, len(table.titles)))
    rows = "".join(
        f"<tr><th scope=row>{_line(first, 120)}</th>"
        + "".join(f"<td>{_line(cell, 120)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in table.rows
    )
    note = f"<p class=muted>{_line(table.note)}</p>" if table.note else ""
    return note + _scroll(head, rows, "scroll data")


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join(
        "<tr>" + "".join(f"<td>{_line(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return _scroll(_head(head), body) if body else ""


def _ruled_out(diagnosis: Diagnosis) -> str:
    rows = [(item.cause, item.test, item.result) for item in diagnosis.ruled_out]
    return _rows(("Cause", "By which test", "Result"), rows)


def _not_tested(diagnosis: Diagnosis) -> str:
    return _rows(
        ("Cause", "What it would need"), [(item.cause, item.needs) for item in diagnosis.not_tested]
    )


def _pairs(table: dict[str, str]) -> str:
    body = "".join(f"<div><dt>{_line(k)}</dt><dd>{_line(v)}</dd></div>" for k, v in table.items())
    return f"<dl class=pairs>{body}</dl>" if body else ""


def _costs(diagnosis: Diagnosis) -> str:
    """Seconds per stage with a bar each."""
    if not diagnosis.seconds:
        return ""
    stages = {
        name: as_float(cost) or 0.0 for name, cost in wording.stages(diagnosis.seconds).items()
    }
    longest = max([*stages.values(), 1e-9])
    rows = "".join(
        f"<tr><td>{_line(name, 120)}</td><td class=num>{wording.seconds(cost)}</td>"
        f"<td class=wide><span class=bar style='width:{100 * cost / longest:.1f}%'></span></td>"
        "</tr>"
        for name, cost in stages.items()
    )
    total = (
        f"<tr><th scope=row>Total</th><td class=num><b>{_total(diagnosis)}</b></td><td></td></tr>"
    )
    return f"<table class=costs><tbody>{rows}{total}</tbody></table>"


def _footer(diagnosis: Diagnosis) -> str:
    versions = " · ".join(f"{k} {v}" for k, v in wording.flat(diagnosis.versions).items())
    made = f" with {_line(versions)}" if versions else ""
    return f"<footer>Made by lstm-oracle diagnose{made}</footer>"
