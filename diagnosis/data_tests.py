"""Faults of the data that need no network to prove: a baseline is fitted, or rows are compared.

The same baselines (ridge, nearest neighbours) on the data as they are and on the data put right, on
the same rows: where the second has much more held-out skill, the first were put together wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lstm_oracle.diagnosis.baselines import baselines
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.setup import Data, Setup

Array = np.ndarray

GAIN = 0.25  # in held-out skill: several times what two halves of the same data differ by


def findings(setup: Setup) -> list[Finding]:
    """Leaks, duplicates, x and y out of step, and windows that end before what matters."""
    if len(setup.tasks) != 1 or len(setup.train.x) != 1:
        return []
    return [
        finding
        for test in (_stand_in, _leaked, _duplicated, _misaligned, _short_window)
        for finding in test(setup)
    ]


def _stand_in(setup: Setup) -> Iterator[Finding]:
    """One number, far from all others and often repeated, where a value is missing (-999, 1e5)."""
    x = setup.train.x[0]
    if x.dtype.kind != "f" or x.ndim != 3:
        return
    for n in range(min(x.shape[2], 64)):
        values = x[:, :, n].ravel()
        low, middle, high = np.percentile(values, [5, 50, 95])
        far = values[np.abs(values - middle) > 20 * max(high - low, 1e-12)]
        if len(far) < 3 or high == low:
            continue
        value, count = max(
            zip(*np.unique(far, return_counts=True), strict=True), key=lambda p: p[1]
        )
        if count < 0.9 * len(far):
            continue
        yield Finding(
            "LSTM001", "data-quality", "error", 0.9,
            f"feature {n} holds the number {value:g} {int(count)} times, and all other values lie "
            f"between {np.min(values[values != value]):g} and {np.max(values[values != value]):g}: "
            "it stands for a missing value.",
            (Evidence(f"times {value:g} in feature {n}", int(count)),
             Evidence("distance from the median, in 90 % ranges",
                      round(float(abs(value - middle) / (high - low)), 1), 20)),
            Remedy("clean-data", "Leave these sequences out, or fill in the values.",
                   f"ok = (x != {value:g}).all(axis=(1, 2))\nx, y = x[ok], y[ok]"),
            f"{value:g} is a real measurement.",
        )  # fmt: skip
        return


def _rows(x: Array) -> list[bytes]:
    return [np.ascontiguousarray(row).tobytes() for row in x]


def _leaked(setup: Setup) -> Iterator[Finding]:
    """Held-out sequences that stand in the training data, to the bit."""
    seen = set(_rows(setup.train.x[0]))
    held_out = _rows(setup.held_out.x[0])
    shared = sum(row in seen for row in held_out) / len(held_out)
    if shared < 0.05 or setup.train.x[0].dtype.kind in "iu" or _few_values(setup.train.x[0]):
        return
    yield Finding(
        "LSTM002", "data-quality", "warning", 0.9,
        f"{100 * shared:.0f} % of the held-out sequences stand in the training data as well: "
        "their skill says nothing about new data.",
        (Evidence("held-out sequences that are training sequences", round(shared, 3), 0.0,
                  "compared bit for bit"),),
        Remedy("clean-data", "Remove duplicates before splitting.",
               "x, keep = np.unique(x, axis=0, return_index=True)\ny = y[keep]"),
        "No row of x_val equals a row of x_train.",
    )  # fmt: skip


def _few_values(x: Array) -> bool:
    """Whether sequences can be equal by chance."""
    return len(np.unique(x[: min(len(x), 200)])) ** min(x[0].size, 20) < 1e6 * len(x)


def _duplicated(setup: Setup) -> Iterator[Finding]:
    rows = _rows(setup.train.x[0])
    share = 1 - len(set(rows)) / len(rows)
    if share < 0.3 or setup.train.x[0].dtype.kind in "iu" or _few_values(setup.train.x[0]):
        return
    yield Finding(
        "LSTM002", "data-quality", "warning", 0.8,
        f"{100 * share:.0f} % of the training sequences are copies of others: {len(set(rows))} "
        f"different ones are left of {len(rows)}.",
        (Evidence("copies among the training sequences", round(share, 3), 0.3,
                  "compared bit for bit"),),
        Remedy("clean-data", "Remove duplicates.",
               "x, keep = np.unique(x, axis=0, return_index=True)\ny = y[keep]"),
        "np.unique(x, axis=0) is as long as x.",
    )  # fmt: skip


def _skill(setup: Setup, train: Data, held_out: Data) -> float:
    return baselines(setup.tasks[0], train, held_out).best[1]


def _misaligned(setup: Setup) -> Iterator[Finding]:
    """Targets that belong to the sequence k places on."""
    task, data = setup.tasks[0], setup.train
    n = len(data)
    if task.per_step or n < 60:
        return
    cut = int(n * 0.75)

    def shifted(k: int) -> float:
        x, y = data.x[0][max(0, -k) : n - max(0, k)], data.y[0][max(0, k) : n - max(0, -k)]
        x_train, y_train, x_held, y_held = x[:cut], y[:cut], x[cut:], y[cut:]
        return _skill(setup, Data((x_train,), (y_train,)), Data((x_held,), (y_held,)))

    here = shifted(0)
    if here > 0.6:
        return
    best = max((shifted(k), k) for k in (-3, -2, -1, 1, 2, 3))
    neighbours_alike = _alike(data.y[0])
    if best[0] < here + GAIN or neighbours_alike:
        return
    yield Finding(
        "LSTM003", "data-quality", "error", 0.85,
        f"x and y are out of step by {best[1]:+d}: a baseline predicts y[n {best[1]:+d}] from x[n] "
        f"with held-out skill {best[0]:.2f}, and y[n] with {here:.2f}.",
        (Evidence("skill for the targets as they are", round(here, 3)),
         Evidence(f"skill for the targets shifted by {best[1]:+d}", round(best[0], 3))),
        Remedy("clean-data", "Put x and y in step.",
               f"x, y = x[:-{best[1]}], y[{best[1]}:]" if best[1] > 0
               else f"x, y = x[{-best[1]}:], y[:{best[1]}]",
               True, here, best[0]),
        "A baseline is as good for y[n] as for its neighbours.",
    )  # fmt: skip


def _alike(y: Array) -> bool:
    """Whether neighbouring targets are so alike that a shift hardly matters."""
    flat = y.reshape(len(y), -1)[:, 0].astype(float)
    deviation = flat.std()
    return bool(deviation > 0 and np.abs(np.diff(flat)).mean() < 0.15 * deviation)


def _short_window(setup: Setup) -> Iterator[Finding]:
    """Consecutive windows of one series: does a longer past predict better?"""
    task, data = setup.tasks[0], setup.train
    x = data.x[0]
    if task.per_step or x.ndim != 3 or len(x) < 120 or x.dtype.kind != "f":
        return
    T = x.shape[1]
    if T > 1 and not np.array_equal(x[1:, :-1], x[:-1, 1:]):
        return
    if T == 1 and not _looks_like_a_series(x):
        return
    series = np.concatenate([x[0], x[1:, -1]])  # (n + T - 1, F)
    here = _window_skill(setup, series, T, T)
    found = [(_window_skill(setup, series, T, T * k), T * k) for k in (2, 4, 8, 16, 32)
             if T * k < len(x) // 3]  # fmt: skip
    if not found:
        return
    best, length = max(found)
    length = min(n for skill, n in found if skill > best - 0.05)
    if best < here + 0.15:
        return
    yield Finding(
        "LSTM050", "window", "error", 0.85,
        f"Windows of {T} steps end before what matters: with {length} a baseline has held-out "
        f"skill {best:.2f}, with {T} it has {here:.2f}.",
        (Evidence("window in steps", [T, *(n for _, n in found)]),
         Evidence("held-out skill of the baseline",
                  [round(here, 3), *(round(s, 3) for s, _ in found)])),
        Remedy("longer-window", f"Cut windows of {length} steps.", f"window = {length}", True, here,
               best),
        "A baseline gains nothing from a longer window.",
    )  # fmt: skip


def _looks_like_a_series(x: Array) -> bool:
    """Whether consecutive single steps go on from each other."""
    flat = x[:, 0, 0]
    return bool(flat.std() > 0 and np.corrcoef(flat[:-1], flat[1:])[0, 1] > 0.3)


def _window_skill(setup: Setup, series: Array, T: int, length: int) -> float:
    """Held-out skill of the baselines with windows of `length` that end where the present ones do.

    The first windows of the longest length are left out everywhere, so that rows stay the same.
    """
    y = setup.train.y[0]
    ends = np.arange(max(0, len(y) // 3), len(y)) + T  # one past the last step of each window
    ends = ends[ends >= length]
    x = np.stack([series[end - length : end] for end in ends])
    target = y[ends - T]
    cut = int(len(x) * 0.7)
    return _skill(setup, Data((x[:cut],), (target[:cut],)), Data((x[cut:],), (target[cut:],)))
