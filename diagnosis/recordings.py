"""Windows that overlap were cut from the same recording: a split at random then tells nothing new.

What a network knows of the recording it meets again in the held-out windows. Held out are whole
recordings in its place, and the same training is made (Roberts et al. 2017, Cross-validation
strategies for data with temporal, spatial, hierarchical, or phylogenetic structure).
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.lab import Run
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import Task, with_all_classes

Array = np.ndarray

FEWEST = 5  # recordings, that some may be held out and others trained on
OVERLAPPING = 0.5  # of the windows
CANDIDATES = 8  # windows that begin with the same step
DIFFERENT = 0.9  # of the windows begin with a step of their own
FURTHEST = 256  # steps from one window to the next
HELD_OUT = 0.25
FEWEST_WINDOWS = 30  # held out
DRAWS = 20  # of recordings, until all classes are on both sides


def recordings(x: Array) -> Array | None:
    """The number of the recording that each window (n, T, F) is from; None where few overlap.

    Two are from the same where one begins within the other and goes on as it does, to the bit.
    """
    if x.ndim != 3 or x.dtype.kind != "f" or x.shape[1] < 4:
        return None
    begins = defaultdict(list)
    for row, step in enumerate(x[:, 0]):
        begins[step.tobytes()].append(row)
    if len(begins) < DIFFERENT * len(x):
        return None  # a few different steps, such as letters: windows are alike by chance
    group = np.arange(len(x))
    for row, window in enumerate(x):
        following = _following(x, row, window, begins)
        if following is not None:
            group[group == group[following]] = group[row]
    _, numbers, sizes = np.unique(group, return_inverse=True, return_counts=True)
    return numbers if (sizes[numbers] > 1).mean() > OVERLAPPING else None


def _following(x: Array, row: int, window: Array, begins: dict[bytes, list[int]]) -> int | None:
    """The window that begins soonest within this one."""
    T = len(window)
    for step in range(1, min(T - 1, FURTHEST)):
        for other in begins.get(window[step].tobytes(), ())[:CANDIDATES]:
            if other != row and np.array_equal(window[step:], x[other, : T - step]):
                # Padding goes on alike everywhere.
                return None if np.ptp(window[step:], axis=0).max() == 0 else other
    return None


def of_both_parts(setup: Setup, fewest: int = FEWEST) -> Array | None:
    """The recordings of training and held-out windows; None where they are of fewer, or none."""
    parts = (setup.train.x[0], setup.held_out.x[0])
    if len(setup.train.x) != 1 or parts[0].shape[1:] != parts[1].shape[1:]:
        return None
    numbers = recordings(np.concatenate(parts))
    return None if numbers is None or numbers.max() + 1 < fewest else numbers


def held_apart(setup: Setup, seed: int) -> Setup | None:
    """The set-up with whole recordings held out, where windows of the same are on both sides."""
    train, held_out = setup.train, setup.held_out
    numbers = None if setup.y_scale is not None else of_both_parts(setup)
    if numbers is None:
        return None
    mine, theirs = numbers[: len(train)], numbers[len(train) :]
    if np.isin(theirs, mine).mean() < OVERLAPPING:
        return None
    x, y = ((np.concatenate(pair),) for pair in ((train.x[0], held_out.x[0]),
                                                 (train.y[0], held_out.y[0])))  # fmt: skip
    task = with_all_classes(setup.tasks[0], y[0])
    rng = np.random.default_rng(seed)
    for _ in range(DRAWS):
        apart = np.isin(numbers, _some(numbers, rng))
        parts = [Data(x, y).take(np.flatnonzero(rows)) for rows in (~apart, apart)]
        if len(parts[1]) >= FEWEST_WINDOWS and not _new_classes(task, *parts):
            return setup.changed(train=parts[0], held_out=parts[1], tasks=(task,), places=None)
    return None


def _some(numbers: Array, rng: np.random.Generator) -> Array:
    """Recordings, drawn at random, that hold about a quarter of the windows."""
    order = rng.permutation(numbers.max() + 1)
    counts = np.cumsum(np.bincount(numbers)[order])
    return order[: max(1, int(np.searchsorted(counts, HELD_OUT * len(numbers))))]


def _new_classes(task: Task, train: Data, held_out: Data) -> bool:
    """Whether a held-out class is of no other recording, or there is one alone."""
    if task.kind == "regression":
        return False
    mine, theirs = (set(np.unique(task.labels(part.y[0]))) for part in (train, held_out))
    return len(theirs) < 2 or not theirs <= mine


def known_again(run: Run, apart: Run, gain: float) -> Finding | None:
    """A warning where windows of new recordings are predicted far worse; `gain`: than chance."""
    if not apart.complete or run.generalized - apart.generalized < gain:
        return None
    return Finding(
        "LSTM031", "data-split", "warning", 0.8,
        "The held-out windows overlap with training windows, step for step: they are of the same "
        f"recordings, and predicted with skill {run.generalized:.2f}. Of recordings that were "
        f"never trained on it is {apart.generalized:.2f}.",
        (Evidence("held-out skill, windows of the same recordings", round(run.generalized, 3)),
         Evidence("held-out skill, whole recordings held out", round(apart.generalized, 3))),
        Remedy("split-by-recording", "Hold out whole recordings: split before windows are cut.",
               "held_out = np.isin(recording, recordings[:len(recordings) // 5])\n"
               "model.fit(x[~held_out], y[~held_out], "
               "validation_data=(x[held_out], y[held_out]))"),
        "No held-out window shares a step with a training window.",
    )  # fmt: skip
