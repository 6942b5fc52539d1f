"""Rounds: every contender once after another, again and again, until the figures are quiet.

A round in which others took the processor is thrown away and repeated. Rounds are added while one
that is near the best spreads too much. What stays loud after that is reported as `noisy`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lstm_oracle.benchmarks.speed.machine import Neighbours
from lstm_oracle.benchmarks.speed.process import Worker

LOUD_SPREAD = 0.10  # between the quartiles, over the median
LOUD_NEIGHBOURS = 0.15  # of one processor, taken by others during a round
_NEAR = 2.0  # times the best: the spread of one that is slower decides nothing
_MOST_CALLS = 200
# After a call the thread pools of OpenMP and XLA spin for some milliseconds before they sleep.
_SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    rounds: int = 5
    round_seconds: float = 0.2  # of one contender
    most_rounds: int = 10  # repetitions included


@dataclass
class Timed:
    """One contender in the rounds of one case: medians of each round that counted, in seconds."""

    worker: Worker
    call_seconds: float  # of the last call before the rounds
    rounds: list[float] = field(default_factory=list)
    failure: dict[str, Any] | None = None

    @property
    def noisy(self) -> bool:
        """Whether the quartiles lie too far apart."""
        return spread(self.rounds) > LOUD_SPREAD

    def ask(self, effort: Effort) -> float | None:
        """The median of one round, or None where it failed."""
        calls = int(effort.round_seconds / max(self.call_seconds, 1e-6))
        answer = self.worker.ask(do="time", calls=min(max(calls, 1), _MOST_CALLS))
        if answer["status"] != "ok":
            self.failure = answer
            return None
        self.call_seconds = statistics.median(answer["seconds"])
        return self.call_seconds


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; of few values, between neighbours.

    Examples
    --------
    >>> quartiles([1.0, 2.0, 3.0])
    (1.5, 2.0, 2.5)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, middle, third


def spread(values: Sequence[float]) -> float:
    """Distance of the quartiles over the median; 0 where there is nothing to spread."""
    if not values:
        return 0.0
    first, middle, third = quartiles(values)
    return (third - first) / middle if middle else 0.0


def run_rounds(timed: Sequence[Timed], effort: Effort) -> dict[str, int]:
    """Fill `rounds` of each; how many rounds counted, and how many were thrown away."""
    counts = {"counted": 0, "thrown_away": 0}
    while counts["counted"] + counts["thrown_away"] < effort.most_rounds:
        left = effort.most_rounds - counts["thrown_away"] - counts["counted"]
        needed = effort.rounds - counts["counted"]
        if needed <= 0 and not any(t.noisy for t in _near_the_best(_alive(timed))):
            break
        quiet, medians = _one_round(_alive(timed), effort, backwards=counts["counted"] % 2 == 1)
        # The last chances count, loud or not: a loud figure that says so is better than none.
        if not quiet and left > max(needed, 0):
            counts["thrown_away"] += 1
            continue
        for contender, median in medians:
            contender.rounds.append(median)
        counts["counted"] += 1
    return counts


def _alive(timed: Sequence[Timed]) -> list[Timed]:
    return [t for t in timed if t.failure is None]


def _near_the_best(timed: Sequence[Timed]) -> list[Timed]:
    best = min((t.call_seconds for t in timed), default=0.0)
    return [t for t in timed if t.call_seconds <= _NEAR * best]


def _one_round(
    timed: Sequence[Timed], effort: Effort, *, backwards: bool
) -> tuple[bool, list[tuple[Timed, float]]]:
    """Whether it was quiet, and everyone's median; every other round in the opposite order."""
    neighbours = Neighbours([t.worker.pid for t in timed])
    start, medians = time.perf_counter(), []
    for contender in reversed(timed) if backwards else timed:
        time.sleep(_SETTLE_SECONDS)
        median = contender.ask(effort)
        if median is not None:
            medians.append((contender, median))
    taken = neighbours.seconds() / max(time.perf_counter() - start, 1e-9)
    return taken <= LOUD_NEIGHBOURS, medians
