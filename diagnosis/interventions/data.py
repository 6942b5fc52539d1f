"""Changes of the data and of how they are fed."""

from __future__ import annotations

import numpy as np

from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import padded_steps

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
    moments = [_moments(x) for x in setup.train.x]
    if all(m is None for m in moments):
        return None

    def standardized(data: Data) -> Data:
        x = tuple(
            a if m is None else _standardize(a, *m) for a, m in zip(data.x, moments, strict=True)
        )
        return Data(x, data.y, data.weight)

    return setup.changed(train=standardized(setup.train), held_out=standardized(setup.held_out))


def _moments(x: Array) -> tuple[Array, Array] | None:
    """Mean and deviation per feature, or None where they are already about 0 and 1."""
    if x.ndim < 2 or x.dtype.kind != "f":
        return None
    padding = padded_steps(x)
    rows = x[~padding] if padding is not None else x.reshape(-1, x.shape[-1])
    if x.ndim == 2:
        rows = x.reshape(-1, 1)
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    deviation = np.where(deviation > 1e-12 * (1 + np.abs(mean)), deviation, 1.0)
    # A factor of about three either way is no difference to a gate.
    if (np.abs(mean) < 3).all() and (deviation < 4).all() and deviation.max() > 0.1:
        return None
    return mean, deviation


def _standardize(x: Array, mean: Array, deviation: Array) -> Array:
    out = ((x - mean) / deviation).astype(np.float32)
    padding = padded_steps(x)
    if padding is not None:
        out[padding] = 0
    return out


def standardize_targets(setup: Setup) -> Setup | None:
    """Targets to mean 0 and deviation 1 of the training data, predictions scaled back."""
    if setup.y_scale is not None or any(task.kind != "regression" for task in setup.tasks):
        return None
    scales = []
    for y in setup.train.y:
        columns = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1).astype(np.float64)
        deviation = columns.std(0)
        scales.append((columns.mean(0), np.where(deviation > 0, deviation, 1.0)))
    if all((np.abs(m) < 2).all() and (d < 3).all() and (d > 0.05).all() for m, d in scales):
        return None

    def scaled(data: Data) -> Data:
        y = tuple(
            ((a - m) / d).astype(np.float32).reshape(a.shape)
            for a, (m, d) in zip(data.y, scales, strict=True)
        )
        return Data(data.x, y, data.weight)

    return setup.changed(train=scaled(setup.train), y_scale=tuple(scales))


def class_weights(setup: Setup) -> Setup | None:
    """Weigh every class by n / (K n_k)."""
    if len(setup.tasks) != 1 or setup.tasks[0].kind == "regression" or setup.tasks[0].per_step:
        return None
    task = setup.tasks[0]
    counts = np.bincount(task.labels(setup.train.y[0]), minlength=task.class_count)
    if counts.min() == 0 or counts.max() < 3 * counts.min() or setup.class_weight is not None:
        return None
    weights = counts.sum() / (len(counts) * counts)
    codes = range(len(counts)) if task.coding == "one-hot" else task.classes
    return setup.changed(
        class_weight={int(k): float(w) for k, w in zip(codes, weights, strict=True)}
    )


def shuffle_split(setup: Setup) -> Setup | None:
    """Draw the held-out sequences at random from all of them."""
    n, held = len(setup.train), len(setup.held_out)
    if setup.y_scale is not None or any(
        a.shape[1:] != b.shape[1:] for a, b in zip(setup.train.x, setup.held_out.x, strict=True)
    ):
        return None
    order = np.random.default_rng(0).permutation(n + held)

    def joined(a: tuple[Array, ...], b: tuple[Array, ...], rows: Array) -> tuple[Array, ...]:
        return tuple(np.concatenate(pair)[rows] for pair in zip(a, b, strict=True))

    parts = [
        Data(
            joined(setup.train.x, setup.held_out.x, rows),
            joined(setup.train.y, setup.held_out.y, rows),
        )
        for rows in (order[:n], order[n:])
    ]
    return setup.changed(train=parts[0], held_out=parts[1], shuffle=True)


def shuffle_batches(setup: Setup) -> Setup | None:
    """Draw batches at random."""
    return None if setup.shuffle else setup.changed(shuffle=True)
