"""Changes of the data and of how they are fed."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.interventions.head import loss_name
from lstm_oracle.diagnosis.setup import Data, Scale, Setup
from lstm_oracle.diagnosis.task import (
    Task,
    as_list,
    left_out,
    padding_of,
    with_all_classes,
)

Array = np.ndarray


def clean_data(setup: Setup) -> Setup | None:
    """Leave out sequences with a NaN or an infinity in x or y."""

    def kept(data: Data) -> Data:
        bad = np.zeros(len(data), bool)
        for a in (*data.x, *data.y):
            if a.dtype.kind == "f":
                bad |= ~np.isfinite(a.reshape(len(a), -1)).all(1)
        return data.take(np.flatnonzero(~bad)) if bad.any() else data

    train, held_out = kept(setup.train), kept(setup.held_out)
    if train is setup.train and held_out is setup.held_out:
        return None
    if len(train) < 2 or len(held_out) < 1:
        return None
    return setup.changed(train=train, held_out=held_out)


def standardize_inputs(setup: Setup) -> Setup | None:
    """Every feature to mean 0 and deviation 1 over the real steps of the training data."""
    looked_up = any(isinstance(a, keras.layers.Embedding) for a in surgery.all_layers(setup.model))
    scales = tuple(None if looked_up and x.ndim == 2 else _scale(x) for x in setup.train.x)
    if setup.x_scale or all(s is None for s in scales):
        return None
    return setup.changed(x_scale=scales)


def _scale(x: Array) -> Scale | None:
    """What standardizes an input, or None where it is about standard already, or no quantity."""
    if x.ndim < 2 or not is_quantity(x):
        return None
    padding = padding_of(x) if x.ndim == 3 else None
    rows = x[~padding.steps] if padding is not None else x.reshape(-1, x.shape[-1])
    if x.ndim == 2:
        rows = x.reshape(-1, 1)
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    varies = deviation > 1e-12 * (1 + np.abs(mean))
    deviation = np.where(varies, deviation, 1.0)
    # A factor of about three either way is no difference to a gate. Of several features a small one
    # is told by its largest value: what is rare deviates little.
    reach = np.where(varies, np.abs(rows - mean).max(0), 1.0)
    near_zero = (np.abs(mean) < 3).all() and (deviation < 4).all()
    if near_zero and deviation.max() > 0.1 and reach.min() > 0.1:
        return None
    return Scale(mean, deviation, None if padding is None else padding.value)


def is_quantity(x: Array) -> bool:
    """Whether numbers are measured, not names: whole numbers with a feature axis are."""
    return x.dtype.kind == "f" or (x.dtype.kind in "iu" and x.ndim == 3)


def standardize_targets(setup: Setup) -> Setup | None:
    """Targets to mean 0 and deviation 1 of the training data, predictions scaled back.

    Those that are quantities: classes, and what a loss compares as probabilities, stay.
    """
    if setup.y_scale is not None or all(task.kind != "regression" for task in setup.tasks):
        return None
    losses = as_list(setup.loss)
    scales = tuple(
        _target_scale(y, loss_name(losses[min(n, len(losses) - 1)]), task)
        for n, (y, task) in enumerate(zip(setup.train.y, setup.tasks, strict=True))
    )
    if all(scale is None for scale in scales):
        return None

    def scaled(data: Data) -> Data:
        y = tuple(
            a if scale is None else ((a - scale[0]) / scale[1]).astype(np.float32).reshape(a.shape)
            for a, scale in zip(data.y, scales, strict=True)
        )
        return Data(data.x, y, data.weight)

    return setup.changed(train=scaled(setup.train), y_scale=scales)


def _target_scale(y: Array, loss: str, task: Task) -> tuple[Array, Array] | None:
    """Mean and deviation of every column, or None where these are about right or no quantities."""
    if task.kind != "regression" or "crossentropy" in loss:
        return None
    columns = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1).astype(np.float64)
    mean, deviation = columns.mean(0), columns.std(0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    if (np.abs(mean) < 2).all() and (deviation < 3).all() and (deviation > 0.05).all():
        return None
    return mean, deviation


def class_weights(setup: Setup) -> Setup | None:
    """Weigh every class by n / (K n_k), in every step where there is a target for each."""
    if len(setup.tasks) != 1 or setup.tasks[0].kind == "regression":
        return None
    task, y = setup.tasks[0], setup.train.y[0]
    labels = task.labels(y)
    real = np.ones(len(labels), bool)
    if task.per_step:
        weight = _of_steps(setup.train, task)
        real = weight.reshape(-1) > 0
    counts = np.bincount(labels[real], minlength=task.class_count)
    judged = np.arange(len(counts)) != task.filler
    low, high = counts[judged].min(), counts[judged].max()
    if low == 0 or high < 3 * low or setup.class_weight is not None:
        return None
    weights = counts.sum() / (judged.sum() * np.maximum(counts, 1))
    if task.per_step:
        weighted = (weight * weights[labels].reshape(weight.shape)).astype(np.float32)
        return setup.changed(train=Data(setup.train.x, setup.train.y, weighted))
    codes = range(len(counts)) if task.coding == "one-hot" else task.classes
    return setup.changed(
        class_weight={int(k): float(w) for k, w in zip(codes, weights, strict=True)}
    )


def _of_steps(data: Data, task: Task) -> Array:
    """(B, T) weights of the steps: the user's own, zero where a target is blank, else one."""
    blank = task.blank(data.y[0])
    none = np.zeros(data.y[0].shape[:2], bool)
    return left_out(data.weight, none if blank is None else blank)


def resample(setup: Setup) -> Setup | None:
    """Every class as often as the most frequent one, by drawing sequences more than once."""
    task = setup.tasks[0]
    if len(setup.tasks) != 1 or task.kind == "regression" or task.per_step:
        return None
    labels = task.labels(setup.train.y[0])
    counts = np.bincount(labels, minlength=task.class_count)
    if counts.min() == 0 or counts.max() < 3 * counts.min():
        return None
    rng = np.random.default_rng(0)
    rows = [rng.choice(np.flatnonzero(labels == k), counts.max()) for k in range(len(counts))]
    return setup.changed(train=setup.train.take(np.concatenate(rows)), class_weight=None)


def difference_targets(setup: Setup, feature: int) -> Setup:
    """The change from the last value of an input feature, in place of the next value."""

    def last(x: tuple[Array, ...], like: Array) -> Array:
        return (
            x[0][:, -1, feature].astype(np.float32).reshape((len(like),) + (1,) * (like.ndim - 1))
        )

    def changes(data: Data, y: Array) -> Data:
        return Data(data.x, (y - last(data.x, y),), data.weight)

    def values(outputs: list[Array], x: tuple[Array, ...]) -> list[Array]:
        return [outputs[0] + last(setup.made_of(x), outputs[0])]

    train = changes(setup.train, setup.in_units_of_the_user(list(setup.train.y))[0])
    mean = train.y[0].reshape(len(train), -1).mean(0, dtype=np.float64)
    task = replace(setup.tasks[0], mean=mean)
    return setup.changed(
        train=train, held_out=changes(setup.held_out, setup.held_out.y[0]), tasks=(task,),
        y_scale=None, restored=(*setup.restored, values),
    )  # fmt: skip


def steps_between(x: Array) -> Array:
    """(B, T, F): the change of every feature from the step before, zero in the first."""
    x = x.astype(np.float32)
    return np.diff(x, axis=1, prepend=x[:, :1])


def shuffle_split(setup: Setup, seed: int = 0) -> Setup | None:
    """Draw the held-out sequences at random from all of them."""
    n, held = len(setup.train), len(setup.held_out)
    if setup.y_scale is not None or any(
        a.shape[1:] != b.shape[1:] for a, b in zip(setup.train.x, setup.held_out.x, strict=True)
    ):
        return None
    order = np.random.default_rng(seed).permutation(n + held)

    def joined(a: tuple[Array, ...], b: tuple[Array, ...], rows: Array) -> tuple[Array, ...]:
        return tuple(np.concatenate(pair)[rows] for pair in zip(a, b, strict=True))

    parts = [
        Data(
            joined(setup.train.x, setup.held_out.x, rows),
            joined(setup.train.y, setup.held_out.y, rows),
        )
        for rows in (order[:n], order[n:])
    ]
    tasks = tuple(
        with_all_classes(task, np.concatenate([a, b]))
        for task, a, b in zip(setup.tasks, parts[0].y, parts[1].y, strict=True)
    )
    return setup.changed(train=parts[0], held_out=parts[1], shuffle=True, tasks=tasks, places=None)


def shuffle_batches(setup: Setup) -> Setup | None:
    """Draw batches at random."""
    return None if setup.shuffle else setup.changed(shuffle=True)
