"""Two results held against each other: what became slower, beyond what noise explains."""

from __future__ import annotations

from typing import Any, NamedTuple

from lstm_oracle.benchmarks.speed.workload import Workload

MARGIN = 1.05  # a change of less is not one


class Change(NamedTuple):
    """One contender at one case in both results."""

    workload: Workload
    mode: str
    device: str
    contender: str
    old_ms: float | None
    new_ms: float | None
    ratio: float | None  # new over old: above 1 it became slower
    verdict: str  # "same", "slower", "faster", "broken", "mended"


class Comparison(NamedTuple):
    """What changed, and what makes the two results hard to compare."""

    changes: list[Change]
    differences: list[str]

    @property
    def regressed(self) -> list[Change]:
        """What is slower, or has no time any more."""
        return [change for change in self.changes if change.verdict in ("slower", "broken")]


def compare(old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    """Every contender at every case that both results have.

    It is slower where the median grew by more than 5 % and the quartiles of the two do not
    overlap; faster likewise.

    Raises
    ------
    ValueError
        Where the two have no case in common.
    """
    before = _rows(old)
    changes = [_change(key, before[key], row) for key, row in _rows(new).items() if key in before]
    if not changes:
        raise ValueError(
            "the two results have no contender at the same workload, mode and device, expected at "
            "least one. Measure the same shapes in both."
        )
    return Comparison(changes, _differences(old, new))


Key = tuple[Workload, str, str, str]


def _rows(result: dict[str, Any]) -> dict[Key, dict[str, Any]]:
    return {
        (Workload.from_json(case["workload"]), case["mode"], case["device"], row["contender"]): row
        for case in result["cases"]
        for row in case["rows"]
    }


def _change(key: Key, old: dict[str, Any], new: dict[str, Any]) -> Change:
    before, after = old["median_ms"], new["median_ms"]
    if before is None or after is None:
        verdict = "same" if before is after else "mended" if before is None else "broken"
        return Change(*key, before, after, None, verdict)
    ratio = after / before
    verdict = "same"
    if ratio > MARGIN and new["quartiles_ms"][0] > old["quartiles_ms"][1]:
        verdict = "slower"
    if ratio < 1 / MARGIN and new["quartiles_ms"][1] < old["quartiles_ms"][0]:
        verdict = "faster"
    return Change(*key, before, after, ratio, verdict)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs beside the code: the machine, the threads, versions."""
    found = [
        f"{name}: {_changed(old[name], new[name])}"
        for name in ("machine", "threads", "devices")
        if old[name] != new[name]
    ]
    before, after = _versions(old), _versions(new)
    found += [
        f"{name}: {before[name]} and {after[name]}"
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    ]
    return found


def _changed(old: Any, new: Any) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{old} and {new}"
    return "; ".join(
        f"{key} {old.get(key)} and {new.get(key)}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    )


def _versions(result: dict[str, Any]) -> dict[str, str]:
    return {k: v for entry in result["contenders"] for k, v in entry["versions"].items()}
