"""Faults of the data's values that need no network to prove: rows are compared, baselines fitted.

Each test gives what it found and the set-up put right, on which the experiments then go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery, typed
from lstm_oracle.diagnosis.baselines import baselines
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.interventions import head
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import padding_of

Array = np.ndarray

AS_IN_X = 0.9  # of the targets: so many occur among the inputs where both are words
AS_MANY = 0.3  # of the different inputs: so many different targets there are at least
MOST_NAMES = 5000
DECISIVE = 0.95  # of the squared deviation
GAIN = 0.25  # in held-out skill: several times what two halves of the same data differ by


class Found(NamedTuple):
    """A finding, and the set-up with the data put right, or None where only new data would help."""

    finding: Finding
    repaired: Setup | None


def baseline_skill(setup: Setup, train: Data, held_out: Data) -> float:
    """Held-out skill of the best baseline."""
    return baselines(setup.tasks[0], train, held_out).best[1]


def _stand_in(setup: Setup) -> Iterator[Found]:
    """One number, far from all others and often repeated, where a value is missing (-999, 1e5)."""
    x = setup.train.x[0]
    if x.dtype.kind != "f" or x.ndim != 3:
        return
    padding = padding_of(x)
    for n in range(min(x.shape[2], 64)):
        values = x[:, :, n].ravel()
        low, middle, high = np.percentile(values, [5, 50, 95])
        far = values[np.abs(values - middle) > 20 * max(high - low, 1e-12)]
        if len(far) < 3 or high == low:
            continue
        value, count = max(
            zip(*np.unique(far, return_counts=True), strict=True), key=lambda p: p[1]
        )
        if count < 0.9 * len(far) or (padding is not None and padding.value[n] == value):
            continue
        yield Found(Finding(
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
        ), _without_stand_in(setup, n, value))  # fmt: skip
        return


def _without_stand_in(setup: Setup, feature: int, value: float) -> Setup:
    """The feature's median of the training data in its place."""
    column = setup.train.x[0][:, :, feature]
    median = np.median(column[column != value])

    def filled(x: Array) -> Array:
        x = x.copy()
        x[:, :, feature] = np.where(x[:, :, feature] == value, median, x[:, :, feature])
        return x

    return setup.with_inputs(filled)


def _outlying_targets(setup: Setup) -> Iterator[Found]:
    """A few targets so far off that they decide the loss, and a baseline better without them."""
    task, y = setup.tasks[0], setup.train.y[0]
    if task.kind != "regression" or len(y) < 40:
        return
    kept, asked = (_usual(setup, data) for data in (setup.train, setup.held_out))
    far = len(y) - len(kept)
    if not 0 < far <= 0.04 * len(y) or len(asked) < 10:
        return
    clean, judged = setup.train.take(kept), setup.held_out.take(asked)
    mean = clean.y[0].reshape(-1, len(task.mean)).astype(np.float64).mean(0)
    repaired = setup.changed(train=clean, held_out=judged, tasks=(replace(task, mean=mean),))
    if task.per_step:  # there is no baseline for each step
        yield from _deciding(setup, kept, repaired)
        return
    # Not the last value: it is not fitted, and outliers cannot spoil it.
    here, there = (
        max(0.0, *(skill for name, skill in found.skills.items() if name != "persistence"), 0.0)
        for found in (baselines(repaired.tasks[0], part, judged) for part in (setup.train, clean))
    )
    if there < here + GAIN / 2:
        return
    yield Found(
        Finding(
            "LSTM001", "data-quality", "error", 0.85,
            f"{far} of {len(y)} targets lie more than five times the 90 % range off: they decide "
            f"the loss. Without them a baseline has held-out skill {there:.2f} on the others, with "
            f"them {here:.2f}.",
            (Evidence("outlying targets", far),
             Evidence("held-out skill of a baseline with them", round(here, 3)),
             Evidence("held-out skill of a baseline without them", round(there, 3))),
            Remedy("clean-data", "Look at these rows; leave them out, or clip the targets.",
                   "low, high = np.percentile(y, [5, 95])\n"
                   "ok = np.abs(y - np.median(y)) <= 5 * (high - low)\nx, y = x[ok], y[ok]",
                   True, here, there),
            "These targets are real, and what matters most.",
        ),
        repaired,
    )  # fmt: skip


def _usual(setup: Setup, data: Data) -> Array:
    """Rows whose targets lie within five times the 90 % range of the median.

    Where there is no such range, what differs is rare, and no outlier.
    """
    labels = setup.tasks[0].labels
    low, middle, high = np.percentile(labels(setup.train.y[0]), [5, 50, 95], axis=0)
    spread = np.where(high > low, high - low, np.inf)
    usual = (np.abs(labels(data.y[0]) - middle) <= 5 * spread).reshape(len(data), -1)
    return np.flatnonzero(usual.all(1))


def _deciding(setup: Setup, kept: Array, repaired: Setup) -> Iterator[Found]:
    """A few sequences that nearly all of the squared deviation of the targets is in."""
    y = setup.train.y[0].astype(np.float64)
    deviation = np.square(y - np.median(y)).reshape(len(y), -1).sum(1)
    share = 1 - float(deviation[kept].sum() / deviation.sum())
    if share < DECISIVE:
        return
    far = len(y) - len(kept)
    yield Found(
        Finding(
            "LSTM001", "data-quality", "error", 0.75,
            f"{far} of {len(y)} sequences have targets more than five times the 90 % range off, "
            f"and {100 * share:.1f} % of the squared deviation is in them: they decide the loss.",
            (Evidence("sequences with outlying targets", far),
             Evidence("share of the squared deviation", round(share, 4), DECISIVE)),
            Remedy("clean-data", "Look at these sequences; leave them out, or clip the targets.",
                   "low, high = np.percentile(y, [5, 95])\n"
                   "y = np.clip(y, low - 5 * (high - low), high + 5 * (high - low))"),
            "These targets are real, and what matters most.",
        ),
        repaired,
    )  # fmt: skip


def _rows(x: Array) -> list[bytes]:
    return [np.ascontiguousarray(row).tobytes() for row in x]


def _leaked(setup: Setup) -> Iterator[Found]:
    """Held-out sequences that stand in the training data, to the bit."""
    if setup.held_out is setup.train:
        return
    seen = set(_rows(setup.train.x[0]))
    held_out = _rows(setup.held_out.x[0])
    shared = sum(row in seen for row in held_out) / len(held_out)
    if shared < 0.05 or setup.train.x[0].dtype.kind in "iu" or _few_values(setup.train.x[0]):
        return
    if _few_steps(setup.train.x[0]) and shared < 2 * _repeats(_rows(setup.train.x[0])):
        return  # equal by chance
    new = np.flatnonzero([row not in seen for row in held_out])
    yield Found(Finding(
        "LSTM002", "data-quality", "warning", 0.9,
        f"{100 * shared:.0f} % of the held-out sequences stand in the training data as well: "
        "their skill says nothing about new data.",
        (Evidence("held-out sequences that are training sequences", round(shared, 3), 0.0,
                  "compared bit for bit"),),
        Remedy("clean-data", "Remove duplicates before splitting.",
               "x, keep = np.unique(x, axis=0, return_index=True)\ny = y[keep]"),
        "No row of x_val equals a row of x_train.",
    ), setup.changed(held_out=setup.held_out.take(new)) if len(new) >= 8 else None)  # fmt: skip


def _few_steps(x: Array) -> bool:
    """Whether different sequences are made of the same few steps."""
    different = np.unique(x[:200].reshape(min(len(x), 200), -1), axis=0)
    steps = different.reshape(-1, *x.shape[2:]) if x.ndim > 2 else different.reshape(-1, 1)
    return len(np.unique(steps, axis=0)) < 0.2 * len(steps)


def _repeats(rows: list[bytes]) -> float:
    """The share of the last fifth that stands among the others."""
    cut = len(rows) * 4 // 5
    before = set(rows[:cut])
    return sum(row in before for row in rows[cut:]) / max(1, len(rows) - cut)


def _few_values(x: Array) -> bool:
    """Whether sequences can be equal by chance."""
    return len(np.unique(x[: min(len(x), 200)])) ** min(x[0].size, 20) < 1e6 * len(x)


def _duplicated(setup: Setup) -> Iterator[Found]:
    rows = _rows(setup.train.x[0])
    share = 1 - len(set(rows)) / len(rows)
    if share < 0.3 or setup.train.x[0].dtype.kind in "iu" or _few_values(setup.train.x[0]):
        return
    first = np.sort(np.unique(np.array(rows, dtype=object), return_index=True)[1])
    yield Found(Finding(
        "LSTM002", "data-quality", "warning", 0.8,
        f"{100 * share:.0f} % of the training sequences are copies of others: {len(set(rows))} "
        f"different ones are left of {len(rows)}.",
        (Evidence("copies among the training sequences", round(share, 3), 0.3,
                  "compared bit for bit"),),
        Remedy("clean-data", "Remove duplicates.",
               "x, keep = np.unique(x, axis=0, return_index=True)\ny = y[keep]"),
        "np.unique(x, axis=0) is as long as x.",
    ), setup.changed(
        train=setup.train.take(first), stands_for=setup.stands_for * len(rows) / len(first)
    ))  # fmt: skip


def _names_as_quantities(setup: Setup) -> Iterator[Found]:
    """Targets that are numbers of words, as the inputs are, predicted as quantities."""
    task, x, y = setup.tasks[0], setup.train.x[0], setup.train.y[0]
    looked_up = any(isinstance(a, keras.layers.Embedding) for a in surgery.all_layers(setup.model))
    one_each = task.kind == "regression" and y.size == len(y)
    if not (one_each and looked_up and np.equal(y, np.round(y)).all()):
        return
    values = np.unique(np.concatenate([y.ravel(), setup.held_out.y[0].ravel()]))
    alike = float(np.isin(y, x).mean())
    # A number of stars or years may be the number of some word too; words are as many as in x.
    if alike < AS_IN_X or not AS_MANY * len(np.unique(x)) <= len(values) <= MOST_NAMES:
        return
    named = replace(task, kind="multiclass", classes=values, coding="labels")
    repaired = head.repair_head(setup.changed(tasks=(named,)))
    yield Found(
        Finding(
            "LSTM070", "output-loss-mismatch", "error", 0.8,
            f"The targets are numbers of words, as the inputs are: {100 * alike:.0f} % of them "
            f"occur there. {head.loss_name(setup.loss)} takes word 7 for a neighbour of word 8, "
            "which it is not.",
            (Evidence("targets that are values of the inputs", round(alike, 3), AS_IN_X),
             Evidence("different targets", len(values))),
            Remedy("repair-head", "Give every word a unit, softmax and cross-entropy.",
                   "" if repaired is None else typed.difference(setup, repaired)),
            "The numbers are quantities: the distance between two of them means something.",
        ),
        repaired,
    )  # fmt: skip


# For set-ups of one input and one output.
TESTS = (_stand_in, _outlying_targets, _leaked, _duplicated, _names_as_quantities)
