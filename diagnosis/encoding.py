"""Inputs in the wrong form: time and features exchanged, codes as quantities, time folded away.

Each suspect form is undone and a plain network is trained on the result, beside one on the inputs
as they are. A form is suspected from the arrays alone, and blamed for what undoing it gains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from lstm_oracle.diagnosis.interventions.base import Intervention
from lstm_oracle.diagnosis.interventions.data import steps_between
from lstm_oracle.diagnosis.plain import plain
from lstm_oracle.diagnosis.setup import Setup
from lstm_oracle.diagnosis.task import padding_of

Array = np.ndarray
Form = Callable[[Array], Array]

WITHIN = 0.1  # of the deviation between sequences: less within them is too little to be seen
MOST_CODES = 20_000  # whole numbers: the words of a text; what was divided may be any quantity


def suspects(setup: Setup) -> Iterator[Intervention]:
    """Interventions that undo a suspicious form of the (only) input."""
    if len(setup.train.x) != 1 or len(setup.tasks) != 1:
        return
    x = setup.train.x[0]
    for look in (_exchanged_axes, _reshaped_axes, _codes_as_quantities, _folded_time, _levels):
        yield from look(x)


def _undoing(key: str, text: str, code: str, form: Form) -> Intervention:
    def apply(setup: Setup) -> Setup | None:
        return plain(setup.with_inputs(form))

    return Intervention(key, "input-encoding", "LSTM020", text, code, apply, 1)


def _exchanged_axes(x: Array) -> Iterator[Intervention]:
    """What changes little from entry to entry of an axis is likelier time than features."""
    if x.ndim != 3 or min(x.shape[1:]) < 3 or x.dtype.kind != "f":
        return
    along_time, along_features = (np.abs(np.diff(x, axis=n)).mean() for n in (1, 2))
    if along_features < 0.6 * along_time:
        yield _undoing(
            "swap-axes",
            "Exchange the time and the feature axis.",
            "x = x.transpose(0, 2, 1)   # (batch, time, feature)",
            lambda a: np.ascontiguousarray(np.swapaxes(a, 1, 2)),
        )


def _reshaped_axes(x: Array) -> Iterator[Intervention]:
    """(B, F, T) reshaped where its axes were to be exchanged: steps are cut from other steps."""
    if x.ndim != 3 or min(x.shape[1:]) < 2 or x.dtype.kind != "f":
        return
    T, F = x.shape[1:]

    def exchanged(a: Array) -> Array:
        return np.ascontiguousarray(np.swapaxes(a.reshape(len(a), F, T), 1, 2))

    as_it_is, undone = (np.abs(np.diff(a, axis=1)).mean() for a in (x, exchanged(x)))
    if undone < 0.8 * as_it_is:
        yield _undoing(
            "transpose-axes",
            "Exchange the axes by transposing: reshape cuts the values into other rows.",
            f"x = x.reshape(-1, {F}, {T}).transpose(0, 2, 1)   # (batch, time, feature)",
            exchanged,
        )


def _codes_as_quantities(x: Array) -> Iterator[Intervention]:
    """A single feature of few, evenly spaced values: numbers of categories."""
    if (x.ndim == 3 and x.shape[2] != 1) or x.ndim < 2 or x.shape[1] < 2:
        return
    if x.ndim == 2 and x.dtype.kind in "iu":
        return
    values = np.unique(x)
    gaps = np.diff(values)
    whole = np.equal(values, np.round(values)).all()
    if not 3 <= len(values) <= (MOST_CODES if whole else 512) or gaps.min() <= 0:
        return
    unit = gaps.min()
    places = (values - values[0]) / unit
    if np.abs(places - np.round(places)).max() > 0.02 or places[-1] > 4 * len(values):
        return

    def codes(a: Array) -> Array:
        flat = a[..., 0] if a.ndim == 3 else a
        return np.clip(np.round((flat - values[0]) / unit), 0, places[-1]).astype(np.int32)

    yield _undoing(
        "integer-encoding",
        "Feed the codes as whole numbers to an Embedding: they are names, not quantities.",
        "keras.layers.Embedding(input_dim=codes.max() + 1, output_dim=32)",
        codes,
    )


def _levels(x: Array) -> Iterator[Intervention]:
    """Sequences on levels so far apart that what happens within one is hardly to be seen."""
    if x.ndim != 3 or x.shape[1] < 4 or x.dtype.kind != "f" or padding_of(x) is not None:
        return
    within, between = x.std(1).mean(0), x.mean(1).std(0)
    if ((within > 0) & (within < WITHIN * between)).any():
        yield _undoing(
            "feed-changes",
            "Feed the changes from step to step: beside the levels, on which the sequences lie far "
            "apart, they are too small to be seen.",
            "x = np.diff(x, axis=1, prepend=x[:, :1])   # and to deviation 1",
            steps_between,
        )


def _folded_time(x: Array) -> Iterator[Intervention]:
    """One step that holds many features: the history, laid side by side."""
    if x.ndim == 3 and x.shape[1] == 1 and x.shape[2] >= 8:
        yield _undoing(
            "unfold-time",
            "Give the steps of the history a time axis: an LSTM over one step has nothing to "
            "remember.",
            "x = x.reshape(len(x), -1, 1)   # (batch, time, 1)",
            lambda a: a.reshape(len(a), -1, 1),
        )
