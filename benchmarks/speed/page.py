"""A result as one HTML page: no network, no script, light and dark, a table under each figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from lstm_oracle.benchmarks.speed import curves, summary
from lstm_oracle.benchmarks.speed.workload import MODES, Workload
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import figures, series
from lstm_oracle.diagnosis.report.style import PAGE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_FAILED = {"wrong": "WRONG", "error": "ERROR", "crash": "CRASHED", "timeout": "NO ANSWER"}
_STYLE = (
    ".bad{color:var(--error);font-weight:600}.best td,.best th{font-weight:600}"
    ".sizes thead th{white-space:normal;vertical-align:bottom}"
    ".sizes td:first-child{min-width:11rem}"
)


def page(result: dict[str, Any]) -> str:
    """The page; every string of the result is escaped, and it loads and runs nothing."""
    devices = list(result["devices"])
    dtypes = sorted({case["workload"]["dtype"] for case in result["cases"]})
    body = "".join(
        [
            _banner(result),
            _section("In short", _short(result)),
            _section("Who was how fast", "".join(
                _multiples(result, device, mode) for device in devices for mode in MODES
            )),
            _section("CPU and GPU", "".join(map(_figure, curves.side_by_side(result)))),
            _section("Scaling", "".join(map(_figure, curves.scaling(result)))),
            _section("Roofline", "".join(
                _figure(curves.roofline(result, device, dtype))
                for device in devices for dtype in dtypes
            )),
            _section("Every case", "".join(map(_case, result["cases"]))),
            _section("Not available", _absent(result)),
            _section("How it was measured", _method(result)),
            f"<footer>Made by lstm-oracle bench at commit {_text(result['commit'][:12])}</footer>",
        ]
    )  # fmt: skip
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>LSTM speed on {_text(', '.join(result['devices'].values()))}</title>"
        f"<style>{PAGE}{figures.STYLE}{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _text(value: object) -> str:
    return escape(str(value), quote=True)


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _banner(result: dict[str, Any]) -> str:
    wrong = sum(row["status"] in _FAILED for case in result["cases"] for row in case["rows"])
    tiles = {
        **{device.upper(): name for device, name in result["devices"].items()},
        "Threads": result["threads"],
        "Cases": len(result["cases"]),
        "Wrong or broken": wrong,
        "Date": result["date"][:10],
    }
    cells = "".join(f"<div><dt>{k}</dt><dd>{_text(v)}</dd></div>" for k, v in tiles.items())
    unfinished = "" if result["finished"] else "<p class=bad>Interrupted: cases are missing.</p>"
    return (
        f'<header class="banner {"error" if wrong else "good"}"><p class="over">LSTM speed</p>'
        "<h1>Every LSTM at hand, held against the oracle, then timed</h1>"
        f"{unfinished}<dl class=tiles>{cells}</dl></header>"
    )


def _short(result: dict[str, Any]) -> str:
    rows = [
        [device, goal.text, f"{goal.mean:.2f}", f"{goal.least:.2f}", str(goal.shapes)]
        for device in result["devices"]
        for goal in summary.goals(result, device)
    ]
    goals = _table(["Device", "Who against whom", "Times faster, geometric mean", "at the worst",
                    "shapes"], rows, numbers=(2, 3, 4))  # fmt: skip
    crossing = [
        [c.contender, curves.WORDS[c.mode], f"{c.axis} {c.size}" if c.size else "not measured"]
        for c in summary.crossovers(result)
    ]
    return goals + _table(["Contender", "", "The GPU is faster from"], crossing)


def _multiples(result: dict[str, Any], device: str, mode: str) -> str:
    """How many times the best time everyone takes: contenders down, cases across."""
    cases = [case for case in summary.cases_of(result, device, mode) if summary.right(case)]
    if len(cases) < 2:
        return ""
    times = [{row["contender"]: row["median_ms"] for row in summary.right(c)} for c in cases]
    names = dict.fromkeys(name for found in times for name in found)
    rows = {
        name: [t[name] / min(t.values()) if name in t else None for t in times] for name in names
    }
    order = sorted(rows, key=lambda n: summary.geometric_mean([v for v in rows[n] if v]))
    head = [
        "Times the best (T, B, I, H)",
        *(_sizes(Workload.from_json(c["workload"])) for c in cases),
    ]
    cells = [[name, *("" if v is None else f"{v:.2f}" for v in rows[name])] for name in order]
    table = f"<div class=sizes>{_table(head, cells, numbers=range(1, len(head)))}</div>"
    return f"<h3>{curves.WORDS[mode]}, {_text(device)}</h3>{table}"


def _sizes(workload: Workload) -> str:
    """T, B, I, H and what is unusual, short."""
    sizes = ", ".join(str(getattr(workload, k)) for k in "TBIH")
    return " ".join([sizes, *workload.name.split(", ")[4:]])


def _case(case: dict[str, Any]) -> str:
    name = f"{Workload.from_json(case['workload']).name}: {curves.WORDS[case['mode']]}"
    timed = sorted(summary.right(case), key=lambda row: row["median_ms"])
    failed = [row for row in case["rows"] if row["status"] in _FAILED]
    other = [row for row in case["rows"] if row["status"] == "unsupported"]
    cells = [_timed(row, case) for row in timed]
    cells += [[row["contender"], _FAILED[row["status"]], row["message"], "", "", ""]
              for row in failed]  # fmt: skip
    cells += [[row["contender"], "", f"not here: {row['message']}", "", "", ""] for row in other]
    head = ["Contender", "ms", "Quartiles", "× floor", "Compile, s", "Memory, MB"]
    floor = case["floor"]
    parts = ", ".join(
        f"{part} {floor[f'{part}_ms']:.3g} ms"
        for part in ("products", "traffic", "steps")
        if floor[f"{part}_ms"] is not None
    )
    rounds = case["rounds"]
    note = (
        f"<p class=muted>Floor: {parts}. {rounds['counted']} rounds, "
        f"{rounds['thrown_away']} disturbed ones thrown away.</p>"
    )
    return (
        f"<details open><summary>{_text(name)}, {_text(case['device'])}</summary>"
        f"{_figure(curves.bars(case), table=False)}{_table(head, cells, numbers=(1, 3, 4, 5))}"
        f"{note}</details>"
    )


def _timed(row: dict[str, Any], case: dict[str, Any]) -> list[str]:
    low, high = row["quartiles_ms"]
    floor = case["floor"]["ms"]
    return [
        row["contender"],
        f"{'~' if row['noisy'] else ''}{row['median_ms']:.3g}",
        f"{low:.3g} to {high:.3g}",
        f"{row['median_ms'] / floor:.3g}" if floor else "",
        f"{row['compile_ms'] / 1e3:.2f}",
        "" if row["memory_mb"] is None else f"{row['memory_mb']:.1f}",
    ]


def _absent(result: dict[str, Any]) -> str:
    absent = [entry for entry in result["contenders"] if entry["unavailable"]]
    rows = [[entry["name"], entry["device"], entry["unavailable"]] for entry in absent]
    return _table(["Contender", "Device", "Why"], rows)


def _method(result: dict[str, Any]) -> str:
    facts = {
        "Machine": ", ".join(
            f"{k} {' '.join(v) if isinstance(v, list) else v}" for k, v in result["machine"].items()
        ),
        "Threads": f"{result['threads']} for everyone, on the same processors",
        "Precision": "; ".join(result["precision"].values()),
        "Effort": ", ".join(f"{k} {v}" for k, v in result["effort"].items()),
        "Load average before": result["load_average"],
        **{f"Rates of the {device}": _rates(rates) for device, rates in result["rates"].items()},
        "Versions": ", ".join(
            f"{k} {v}"
            for k, v in sorted(
                {k: v for e in result["contenders"] for k, v in e["versions"].items()}.items()
            )
        ),
    }
    body = "".join(f"<div><dt>{_text(k)}</dt><dd>{_text(v)}</dd></div>" for k, v in facts.items())
    return (
        "<p>Every contender runs in a process of its own. It computes the case with random "
        "weights, states and cotangents and is compared with the oracle, block by block; only "
        "then is it timed. Contenders take turns, in an order that alternates; a time is the "
        "median over the rounds of each round's median. A round in which others used the "
        "processors is thrown away and repeated; ~ marks what spread by more than 10 % all the "
        "same. The floor is the largest of three: FLOPs of the products over the best measured "
        "rate of products, bytes over the measured bandwidth, dependent steps times the measured "
        f"latency of one.</p><dl class=pairs>{body}</dl>"
    )


def _rates(rates: dict[str, Any]) -> str:
    if "unavailable" in rates:
        return f"not measured: {rates['unavailable']}"
    parts = [
        f"{one['rate'] / 1e9:.0f} GFLOP/s {dtype} ({one['library']})"
        for dtype, one in rates["gemm_flops"].items()
        if one["rate"]
    ]
    if rates["bandwidth_bytes"]:
        parts.append(f"{rates['bandwidth_bytes'] / 1e9:.1f} GB/s")
    if rates["step_seconds"]:
        parts.append(f"{rates['step_seconds'] * 1e9:.0f} ns per dependent step")
    return ", ".join(parts)


# --- figures and tables ---------------------------------------------------------------------------


def _figure(figure: Figure | None, *, table: bool = True) -> str:
    if figure is None:
        return ""
    numbers = "".join(_numbers(one) for one in series.tabulate(figure)) if table else ""
    folded = f"<details><summary>The numbers of this figure</summary>{numbers}</details>"
    return (
        f"<figure><div class=scroll tabindex=0>{figures.draw(figure)}</div>"
        f"{folded if table else ''}</figure>"
    )


def _numbers(table: series.Table) -> str:
    head = "".join(f"<th scope=col>{_text(title)}</th>" for title in table.titles)
    rows = "".join(
        f"<tr><th scope=row>{_text(first)}</th>"
        + "".join(f"<td>{_text(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in table.rows
    )
    return (
        f'<div class="scroll data"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table, or nothing where it has no rows."""
    kinds = [" class=num" if n in numbers else "" for n in range(len(head))]
    body = "".join(_tr(cells, kinds) for cells in rows)
    if not body:
        return ""
    titles = "".join(
        f"<th scope=col{kind}>{_text(title)}</th>" for title, kind in zip(head, kinds, strict=True)
    )
    inner = f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody>"
    return f"<div class=scroll><table>{inner}</table></div>"


def _tr(cells: Sequence[str], kinds: Sequence[str]) -> str:
    inner = "".join(
        f"<td class=bad>{cell}</td>"
        if cell in _FAILED.values()
        else f"<td{kind}>{_text(cell)}</td>"
        for cell, kind in zip(cells, kinds, strict=True)
    )
    return f"<tr>{inner}</tr>"
