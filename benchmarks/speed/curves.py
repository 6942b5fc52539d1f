"""A result as figures: scaling curves, the roofline, and a bar for everyone at every case."""

from __future__ import annotations

from typing import Any

from lstm_oracle.benchmarks.speed import summary
from lstm_oracle.benchmarks.speed.floor import flops, traffic
from lstm_oracle.benchmarks.speed.workload import MODES, Workload
from lstm_oracle.diagnosis.findings import Figure

MOST = 7  # contenders in one figure: colours and marks repeat after eight, and the floor is one
WORDS = {"forward": "forward", "training": "forward and backward"}
_AXES = {"T": "steps T", "B": "batch size B", "H": "width H"}
_FLOOR = "floor"


def bars(case: dict[str, Any]) -> Figure | None:
    """Everyone's time at one case, fastest first, whiskers at the quartiles."""
    rows = sorted(summary.right(case), key=lambda row: row["median_ms"])
    if not rows:
        return None
    series = {
        "x": [row["contender"] for row in rows],
        "y": [row["median_ms"] for row in rows],
        "low": [row["quartiles_ms"][0] for row in rows],
        "high": [row["quartiles_ms"][1] for row in rows],
    }
    title = f"{WORDS[case['mode']].capitalize()}, ms"
    return Figure("bars", title, "", "ms", {"median, quartiles": series})


def scaling(result: dict[str, Any]) -> list[Figure]:
    """Time against every size that was swept, and memory against T."""
    figures = []
    for device in result["devices"]:
        for axis, workloads in summary.sweeps(result):
            for mode in MODES:
                cases = _by_workload(result, device, mode)
                swept = [cases[w] for w in workloads if w in cases]
                figures += _curves(swept, axis, f"{_fixed(workloads[0], axis)}: {WORDS[mode]}, "
                                                f"{device}")  # fmt: skip
    return figures


def _by_workload(result: dict[str, Any], device: str, mode: str) -> dict[Workload, dict[str, Any]]:
    cases = summary.cases_of(result, device, mode)
    return {Workload.from_json(case["workload"]): case for case in cases}


def _fixed(workload: Workload, axis: str) -> str:
    """The sizes that stay."""
    parts = [part for part in workload.name.split(", ") if not part.startswith(f"{axis} ")]
    return ", ".join(parts)


def _curves(cases: list[dict[str, Any]], axis: str, title: str) -> list[Figure]:
    if len(cases) < 3:
        return []
    kinds = [("median_ms", f"Time against {_AXES[axis]}", "ms")]
    if axis == "T":
        kinds.append(("memory_mb", "Memory of a call against steps T", "MB"))
    figures = []
    for key, head, unit in kinds:
        series = {name: _line(cases, axis, name, key) for name in _fastest(cases)}
        if key == "median_ms":
            places = [(case["workload"][axis], case["floor"]["ms"]) for case in cases]
            known = [(x, y) for x, y in places if y is not None]
            series[_FLOOR] = {"x": [x for x, _ in known], "y": [y for _, y in known]}
        series = {name: line for name, line in series.items() if line["y"]}
        if series:
            figures.append(Figure("curves", f"{head} ({title})", _AXES[axis], unit, series,
                                  log_y=True, log_x=True))  # fmt: skip
    return figures


def _line(cases: list[dict[str, Any]], axis: str, name: str, key: str) -> dict[str, list[float]]:
    found = [
        (case["workload"][axis], row)
        for case in cases
        for row in summary.right(case)
        if row["contender"] == name and row[key]
    ]
    line = {"x": [x for x, _ in found], "y": [row[key] for _, row in found]}
    if key == "median_ms":
        line |= {"low": [row["quartiles_ms"][0] for _, row in found],
                 "high": [row["quartiles_ms"][1] for _, row in found]}  # fmt: skip
    return line


def _fastest(cases: list[dict[str, Any]]) -> list[str]:
    """The contenders with the smallest geometric mean of their multiples of the best."""
    multiples: dict[str, list[float]] = {}
    for case in cases:
        rows = summary.right(case)
        best = min((row["median_ms"] for row in rows), default=1.0)
        for row in rows:
            multiples.setdefault(row["contender"], []).append(row["median_ms"] / best)
    order = sorted(multiples, key=lambda n: summary.geometric_mean(multiples[n]))
    return order[:MOST]


def roofline(result: dict[str, Any], device: str, dtype: str) -> Figure | None:
    """FLOPs per second that everyone reached, against FLOPs per byte that has to be moved."""
    rates = result["rates"].get(device, {})
    peak = (rates.get("gemm_flops", {}).get(dtype) or {}).get("rate")
    bandwidth = rates.get("bandwidth_bytes")
    cases = [
        case
        for mode in MODES
        for case in summary.cases_of(result, device, mode)
        if case["workload"]["dtype"] == dtype and summary.right(case)
    ]
    if not peak or not bandwidth or not cases:
        return None
    points: dict[str, Any] = {}
    for name in _fastest(cases):
        places = sorted(
            _place(case, row)
            for case in cases
            for row in summary.right(case)
            if row["contender"] == name
        )
        points[name] = {"x": [x for x, _ in places], "y": [y for _, y in places]}
    ridge = peak / bandwidth
    every = [x for line in points.values() for x in line["x"]]
    ends = sorted({min([*every, ridge]) / 2, ridge, max([*every, ridge]) * 2})
    roof = {"x": ends, "y": [min(peak, bandwidth * x) / 1e9 for x in ends], "line": True}
    title = f"Roofline of this {device}, {dtype}"
    return Figure("scatter", title, "FLOP per byte that must be moved", "GFLOP/s",
                  {"roof": roof, **points}, log_y=True, log_x=True)  # fmt: skip


def _place(case: dict[str, Any], row: dict[str, Any]) -> tuple[float, float]:
    workload = Workload.from_json(case["workload"])
    work = flops(workload, case["mode"])
    return work / traffic(workload, case["mode"]), work / row["median_ms"] / 1e6


def side_by_side(result: dict[str, Any]) -> list[Figure]:
    """The fastest on each device against every size that was swept, where there are two devices."""
    if len(result["devices"]) < 2:
        return []
    figures = []
    for axis, workloads in summary.sweeps(result):
        for mode in MODES:
            series = {
                f"fastest on the {device}": _best(
                    _by_workload(result, device, mode), workloads, axis
                )
                for device in result["devices"]
            }
            if all(line["y"] for line in series.values()):
                title = f"CPU and GPU against {_AXES[axis]} ({_fixed(workloads[0], axis)}: "
                figures.append(Figure("curves", f"{title}{WORDS[mode]})", _AXES[axis], "ms", series,
                                      log_y=True, log_x=True))  # fmt: skip
    return figures


def _best(
    cases: dict[Workload, dict[str, Any]], workloads: list[Workload], axis: str
) -> dict[str, list[float]]:
    places = [
        (getattr(w, axis), min(row["median_ms"] for row in summary.right(cases[w])))
        for w in workloads
        if w in cases and summary.right(cases[w])
    ]
    return {"x": [x for x, _ in places], "y": [y for _, y in places]}
