"""More training sequences made from those there are, by changes under which targets stay true.

Each gives three changed copies of every training sequence beside the original; held-out data stay
as they are. Um et al. 2017 (jitter, scaling, time warping of sensor data); Le Guennec et al. 2016
(window slicing).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstm_oracle.diagnosis.interventions.base import Change
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import padding_of

Array = np.ndarray
Changed = Callable[[Array, np.random.Generator], Array]

COPIES = 3
JITTER = 0.1  # of each feature's deviation
SCALING = 0.1  # deviation of the factor of a sequence
KEPT = 0.9  # share of the steps that a slice keeps
WARP = 0.2  # deviation of the local speed


def jitter(x: Array, rng: np.random.Generator) -> Array:
    """Independent noise on every value: (B, T, F) to the same."""
    return x + JITTER * x.std((0, 1)) * rng.standard_normal(x.shape)


def scaling(x: Array, rng: np.random.Generator) -> Array:
    """Every sequence times one factor about 1, around the features' means."""
    mean = x.mean((0, 1))
    return mean + (x - mean) * (1 + SCALING * rng.standard_normal((len(x), 1, 1)))


def slicing(x: Array, rng: np.random.Generator) -> Array:
    """A window of nine tenths of each sequence, stretched to its full length."""
    T = x.shape[1]
    starts = rng.uniform(0, (1 - KEPT) * (T - 1), (len(x), 1))
    return _read_at(x, starts + KEPT * np.arange(T))


def warping(x: Array, rng: np.random.Generator) -> Array:
    """Each sequence at a speed that changes smoothly, from the first step to the last."""
    T = x.shape[1]
    knots = np.linspace(0, T - 1, 5)
    speed = np.exp(WARP * rng.standard_normal((len(x), 5)))
    times = np.stack([np.cumsum(np.interp(np.arange(T), knots, row)) for row in speed])
    times -= times[:, :1]
    return _read_at(x, times / times[:, -1:] * (T - 1))


def _read_at(x: Array, times: Array) -> Array:
    """Sequences (B, T, F) at fractional steps (B, T), by linear interpolation."""
    before = np.clip(np.floor(times).astype(int), 0, x.shape[1] - 2)
    share = (times - before)[..., None]
    rows = np.arange(len(x))[:, None]
    return (1 - share) * x[rows, before] + share * x[rows, before + 1]


def augmented(change: Changed, *, any_target: bool) -> Change:
    """An intervention that adds changed copies; `any_target` where quantities stay true as well.

    Only for one float input (batch, time, feature) without padding and one target per sequence.
    """

    def apply(setup: Setup) -> Setup | None:
        x = setup.train.x[0]
        if len(setup.train.x) != 1 or x.ndim != 3 or x.dtype.kind != "f" or x.shape[1] < 4:
            return None
        if padding_of(x) is not None or any(task.per_step for task in setup.tasks):
            return None
        if not any_target and any(task.kind == "regression" for task in setup.tasks):
            return None
        rng = np.random.default_rng(0)
        copies = [change(x.astype(np.float64), rng).astype(x.dtype) for _ in range(COPIES)]
        weight = setup.train.weight
        times = COPIES + 1
        train = Data(
            (np.concatenate([x, *copies]),),
            tuple(np.concatenate([y] * times) for y in setup.train.y),
            None if weight is None else np.concatenate([weight] * times),
        )
        return setup.changed(train=train)

    return apply
