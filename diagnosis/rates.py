"""The learning rate at which a set-up trains best, by a range test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.interventions import Intervention
from lstm_oracle.diagnosis.lab import Lab
from lstm_oracle.diagnosis.setup import Setup

WORSE = 0.05  # of a loss: more than what batches differ by


def best_rate(lab: Lab, user: Setup, steps: int, seed: int, least_left: float) -> float:
    """The learning rate for the user's own optimizer, by a range test (Smith 2017).

    Judged by the training loss, which moves long before skill does.
    """
    rate = iv.optimization.rate_of(user)
    losses: dict[float, float] = {}

    def range_over(rates: Iterable[float]) -> float:
        """The rate with the least loss, these and all before."""
        for one in rates:
            if lab.left < 1.5 * least_left:
                break
            if not 1e-6 <= one <= 10:
                continue
            changed = iv.optimization.with_rate(one)(user)
            run = lab.train(changed, steps=steps, seed=seed, deadline=least_left)
            if not run.complete:
                break
            end = run.losses[-max(1, steps // 4) :]
            losses[one] = np.inf if run.diverged else float(np.mean(end))
        return min(losses, key=lambda r: losses[r], default=rate)

    best = range_over(outwards(rate, losses))
    if best != rate:
        best = range_over((3 * best, best / 3))
    own = losses.get(rate, np.inf)
    # The user's own rate keeps the benefit of the doubt.
    return rate if np.isfinite(own) and losses[best] > own - 0.005 * abs(own) else best


def outwards(rate: float, losses: dict[float, float]) -> Iterator[float]:
    """The rate and its neighbours, up and down in turn by factors of ten.

    A way on which the loss got worse is not gone further: beyond, it gets worse still.
    """
    yield rate
    closed = set()
    for power in range(1, 5):
        for way in (1, -1):
            one = rate * 10.0 ** (way * power)
            if way in closed or way * power < -3:
                continue
            yield one
            own = losses.get(rate, np.inf)
            if losses.get(one, own) > own + WORSE * abs(own):
                closed.add(way)


def another_rate(setup: Setup, best: float) -> Intervention | None:
    """The user's optimizer at another rate; None where that is its rate."""
    rate = iv.optimization.rate_of(setup)
    if best == rate:
        return None
    up = best > rate
    return Intervention(
        "learning-rate-up" if up else "learning-rate-down",
        "learning-rate-low" if up else "learning-rate-high",
        "LSTM111" if up else "LSTM110",
        f"Use a learning rate of {best:.1e} in place of {rate:.1e}.",
        f"model.optimizer.learning_rate = {best:.1e}",
        iv.optimization.with_rate(best),
        1,
    )
