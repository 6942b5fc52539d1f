"""What a result says in a few numbers: ratios of contenders, round by round, and their means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lstm_oracle.benchmarks.speed.workload import Workload

Row = dict[str, Any]
# The issue holds "fused" against what is written in XLA or a Keras backend.
FUSED_RIVALS = ("jax_impl scan", "Flax", "Equinox", "keras.layers.LSTM")
FRONTIER = Workload(100, 128, 512, 512)  # where the floor of the products rules


class Versus(NamedTuple):
    """A contender against the best of others at one case."""

    workload: Workload
    ours: str
    rival: str
    ratio: float  # median over the rounds of rival's time over ours: above 1 ours is faster


def right(case: dict[str, Any]) -> list[Row]:
    """Rows of a case that have a time."""
    return [row for row in case["rows"] if row["median_ms"] is not None]


def ratio(rival: Row, ours: Row) -> float:
    """How many times as long the rival takes: the median over rounds that both were in."""
    pairs = list(zip(rival["rounds_ms"], ours["rounds_ms"], strict=False))
    if len(rival["rounds_ms"]) != len(ours["rounds_ms"]):
        return rival["median_ms"] / ours["median_ms"]
    return statistics.median(a / b for a, b in pairs)


def versus(
    cases: Sequence[dict[str, Any]], ours: Sequence[str], is_rival: Callable[[str], bool]
) -> list[Versus]:
    """The fastest of `ours` against the fastest rival, at every case that has both."""
    found = []
    for case in cases:
        rows = right(case)
        mine = min((r for r in rows if r["contender"] in ours), key=_time, default=None)
        rival = min((r for r in rows if is_rival(r["contender"])), key=_time, default=None)
        if mine is not None and rival is not None:
            workload = Workload.from_json(case["workload"])
            found.append(
                Versus(workload, mine["contender"], rival["contender"], ratio(rival, mine))
            )
    return found


def _time(row: Row) -> float:
    return float(row["median_ms"])


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers.

    Examples
    --------
    >>> geometric_mean([1.0, 4.0])
    2.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))


def cases_of(result: dict[str, Any], device: str, mode: str) -> list[dict[str, Any]]:
    """The cases of one device and mode, in the order in which they were measured."""
    return [c for c in result["cases"] if c["device"] == device and c["mode"] == mode]


def is_peer(result: dict[str, Any]) -> Callable[[str], bool]:
    """Whether a name is that of a peer, as the result has it."""
    peers = {entry["name"] for entry in result["contenders"] if entry["side"] == "peer"}
    return peers.__contains__


def is_fused_rival(name: str) -> bool:
    """Whether "fused" has to beat it.

    Examples
    --------
    >>> is_fused_rival("keras.layers.LSTM tensorflow XLA"), is_fused_rival("torch.nn.LSTM")
    (True, False)
    """
    return name.startswith(FUSED_RIVALS)


class Goal(NamedTuple):
    """A promise about speed, and what was measured."""

    text: str
    reached: bool
    mean: float
    least: float
    shapes: int


def goals(result: dict[str, Any], device: str = "cpu") -> list[Goal]:
    """What the project promises of its speed, held against a result; what was not run is left out.

    The shapes are those of the result: the promises are about the seven of the issue.
    """
    training = cases_of(result, device, "training")
    forward = cases_of(result, device, "forward")
    judged = [
        ("fused, forward and backward, against the best of scan, Flax, Equinox, Keras",
         versus(training, ["jax_impl fused"], is_fused_rival), 1.6, 1.0),
        ("auto, forward and backward, against the best of all peers",
         versus(training, ["jax_impl auto"], is_peer(result)), 1.3, 0.95),
        ("auto, forward, against onnxruntime",
         versus(forward, ["jax_impl auto"], "onnxruntime".__eq__), 1.0, 0.0),
    ]  # fmt: skip
    return [_judged(*one) for one in judged if one[1]]


def _judged(text: str, found: list[Versus], mean: float, least: float) -> Goal:
    ratios = [v.ratio for v in found]
    reached = geometric_mean(ratios) >= mean and min(ratios) >= least
    return Goal(text, reached, geometric_mean(ratios), min(ratios), len(ratios))


def over_products(result: dict[str, Any], name: str, device: str = "cpu") -> float | None:
    """How many times the floor of its products a contender takes, training at the largest shape."""
    for case in cases_of(result, device, "training"):
        floor = case["floor"]["products_ms"]
        if Workload.from_json(case["workload"]) == FRONTIER and floor:
            return next((r["median_ms"] / floor for r in right(case) if r["contender"] == name),
                        None)  # fmt: skip
    return None


class Crossover(NamedTuple):
    """Where a GPU overtakes a CPU, along one size."""

    axis: str
    mode: str
    contender: str
    size: int | None  # the smallest at which the GPU is faster; None: at none that was measured


def crossovers(result: dict[str, Any]) -> list[Crossover]:
    """For every swept size and every contender that ran on both devices."""
    found = []
    for mode in ("forward", "training"):
        cpu, gpu = (_times(cases_of(result, device, mode)) for device in ("cpu", "gpu"))
        for axis, workloads in sweeps(result):
            for name in sorted({n for _, n in cpu} & {n for _, n in gpu}):
                both = [w for w in workloads if (w, name) in cpu and (w, name) in gpu]
                faster = [w for w in both if gpu[w, name] < cpu[w, name]]
                if both:
                    size = min((getattr(w, axis) for w in faster), default=None)
                    found.append(Crossover(axis, mode, name, size))
    return found


def _times(cases: Sequence[dict[str, Any]]) -> dict[tuple[Workload, str], float]:
    return {
        (Workload.from_json(case["workload"]), row["contender"]): row["median_ms"]
        for case in cases
        for row in right(case)
    }


def sweeps(result: dict[str, Any]) -> list[tuple[str, list[Workload]]]:
    """Every size of which three values or more were measured with all else equal."""
    workloads = list(dict.fromkeys(Workload.from_json(c["workload"]) for c in result["cases"]))
    found = []
    for axis in ("T", "B", "H"):
        groups: dict[Any, list[Workload]] = {}
        for workload in workloads:
            others = tuple(v for name, v in workload.as_json().items() if name != axis)
            groups.setdefault(others, []).append(workload)
        found += [
            (axis, sorted(group, key=lambda w: getattr(w, axis)))
            for group in groups.values()
            if len(group) >= 3
        ]
    return found
