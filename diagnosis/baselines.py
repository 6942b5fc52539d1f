"""What can be predicted without a network: is there signal, and how much of it is easy?

Constant, persistence, ridge regression and nearest neighbours, on a few numbers per sequence. They
fit in milliseconds and cannot fail to train, so that a network below them has a fault, and nothing
above zero says that there may be nothing to learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lstm_oracle.diagnosis.setup import Data
from lstm_oracle.diagnosis.task import Task

Array = np.ndarray

_MOST_COLUMNS = 256
_MOST_ROWS = 1500


class Baselines(NamedTuple):
    """Held-out skill of every baseline, by name."""

    skills: dict[str, float]

    @property
    def best(self) -> tuple[str, float]:
        """Name and skill of the best one; the constant predictor's is zero."""
        name = max(self.skills, key=lambda n: self.skills[n], default="constant")
        return name, max(0.0, self.skills.get(name, 0.0))


def baselines(task: Task, train: Data, held_out: Data, output: int = 0) -> Baselines:
    """Skills of the baselines for one output; those that do not apply are left out."""
    if task.per_step:
        return Baselines(_persistence(task, held_out, output))
    rows = np.random.default_rng(0).permutation(len(train))[:_MOST_ROWS]
    y = task.labels(train.y[output])[rows]
    truth = held_out.y[output]
    X, X_held_out = features([a[rows] for a in train.x], list(held_out.x))
    center, scale = X.mean(0), X.std(0)
    use = scale > 1e-12 * (1 + np.abs(center))
    X, X_held_out = (
        np.clip((a[:, use] - center[use]) / scale[use], -10, 10) for a in (X, X_held_out)
    )
    skills = _persistence(task, held_out, output)
    if X.shape[1] == 0:
        return Baselines(skills)
    skills["ridge"] = task.skill(truth, _as_output(task, _ridge(task, X, y, X_held_out)))
    skills["nearest neighbours"] = task.skill(
        truth, _as_output(task, _neighbours(task, X, y, X_held_out))
    )
    return Baselines(skills)


def of_outputs(tasks: Sequence[Task], train: Data, held_out: Data) -> Baselines:
    """Of the only output each by its name; of several the mean of the best of each."""
    found = [baselines(task, train, held_out, n) for n, task in enumerate(tasks)]
    if len(found) == 1:
        return found[0]
    best = float(np.mean([one.best[1] for one in found]))
    return Baselines({"the best baseline of each output": best})


def features(train: list[Array], held_out: list[Array]) -> tuple[Array, Array]:
    """(B, n) each: of every sequence its first and last steps, mean, deviation, extremes and slope.

    Where the whole sequence has no more than 256 numbers, those as well; of integer sequences the
    counts of each value.
    """
    pairs = [_columns(a, b) for a, b in zip(train, held_out, strict=True)]
    return tuple(np.concatenate(side, axis=1) for side in zip(*pairs, strict=True))  # type: ignore[return-value]


def _columns(train: Array, held_out: Array) -> tuple[Array, Array]:
    if train.ndim == 2 and train.dtype.kind in "iu":
        values = np.unique(train)[:_MOST_COLUMNS]
        return _counts(train, values), _counts(held_out, values)
    whole = train.shape[1:] == held_out.shape[1:]
    return _statistics(train, whole), _statistics(held_out, whole)


def _statistics(x: Array, whole: bool) -> Array:
    a = np.nan_to_num(np.asarray(x, np.float64)).reshape(
        len(x), x.shape[1] if x.ndim > 1 else 1, -1
    )
    a = a[:, :, :64]
    T = a.shape[1]
    slope = a[:, T // 2 :].mean(1) - a[:, : max(1, T // 2)].mean(1)
    roughness = np.abs(np.diff(a, axis=1)).mean(1) if T > 1 else a[:, 0]
    columns = [a.mean(1), a.std(1), a.min(1), a.max(1), a[:, 0], a[:, -1], slope, roughness]
    if whole and a[0].size <= _MOST_COLUMNS:
        columns.append(a.reshape(len(x), -1))
    return np.concatenate(columns, axis=1)


def _counts(x: Array, values: Array) -> Array:
    return np.stack([(x == v).mean(1) for v in values], axis=1)


def _coded(task: Task, y: Array) -> Array:
    return y if task.kind == "regression" else np.eye(task.class_count)[y]


def _ridge(task: Task, X: Array, y: Array, X_new: Array) -> Array:
    """Ridge regression on the coded targets, its strength by generalized cross-validation."""
    target = _coded(task, y)
    mean = target.mean(0)
    u, s, vt = np.linalg.svd(X, full_matrices=False)
    best = (np.inf, np.zeros((X.shape[1], target.shape[1])))
    projected = u.T @ (target - mean)
    for strength in np.geomspace(1e-2, 1e4, 7):
        shrink = s**2 / (s**2 + strength)
        rest = target - mean - u @ (shrink[:, None] * projected)
        freedom = max(1e-3, 1 - shrink.sum() / len(X))
        score = float(np.square(rest).mean() / freedom**2)
        if score < best[0]:
            best = score, vt.T @ ((s / (s**2 + strength))[:, None] * projected)
    return X_new @ best[1] + mean


def _neighbours(task: Task, X: Array, y: Array, X_new: Array, k: int = 7) -> Array:
    """Mean over the k nearest training sequences."""
    target = _coded(task, y)
    distances = (X**2).sum(1) - 2 * X_new @ X.T
    nearest = np.argpartition(distances, min(k, len(X) - 1), axis=1)[:, :k]
    return target[nearest].mean(1)


def _as_output(task: Task, guess: Array) -> Array:
    """Class scores decided, so that a two-column score is not read as one probability."""
    if task.kind == "regression":
        return guess
    decided = guess.argmax(1)
    if task.kind == "binary" and task.coding == "labels":
        return task.classes[decided].astype(float)
    return np.eye(task.class_count)[decided]


def last_values(task: Task, data: Data, output: int = 0) -> list[float]:
    """Skill of each input feature's last value as the forecast; empty where y is no such value."""
    x, y = data.x[0], data.y[output]
    if task.kind != "regression" or x.ndim != 3 or task.per_step or task.labels(y).shape[1] != 1:
        return []
    return [task.skill(y, x[:, -1, n : n + 1]) for n in range(min(8, x.shape[2]))]


def _persistence(task: Task, data: Data, output: int) -> dict[str, float]:
    skills = last_values(task, data, output)
    return {"persistence": max(skills)} if skills else {}
