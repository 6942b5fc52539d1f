r"""What the variances should be at the start, if weights and states were independent.

Equations
---------
Second moments q, weights of mean zero drawn anew at every step, gates independent::

    q_z  = I Var(W) q_x + H Var(U) q_h(t-1) + q_b           (each gate)
    q_c  = E[f^2] q_c(t-1) + E[i^2] E[g^2]
    q_h  = E[o^2] E[tanh^2(c)],  c ~ N(0, q_c)

with E over z_k ~ N(b_k, q_z - q_b) by Gauss-Hermite quadrature.

References
----------
Glorot & Bengio 2010, section 4.2.1, and He et al. 2015, section 2.2: the variance of a layer's
sums; Chen, Pennington & Schoenholz 2018 and Gilboa et al. 2019: the recursion for gated cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle.benchmarks.study.report import Number
from lstm_oracle.benchmarks.study.settings import INITIALIZERS, SETTINGS, Setting
from lstm_oracle.reference import initializers

Array = np.ndarray

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _mean(function: Any, mean: float, variance: float) -> float:
    return float(_WEIGHTS @ function(mean + np.sqrt(variance) * _NODES))


def _sigmoid_squared(z: Array) -> Array:
    return 1 / (1 + np.exp(-z)) ** 2


def _tanh_squared(z: Array) -> Array:
    return np.tanh(z) ** 2


def second_moments(
    W: float, U: float, sizes: tuple[int, int], q_x: Array, biases: tuple[float, float]
) -> dict[str, Array]:
    """Predicted second moments of z_g, c and h by step, from variances of W and U.

    Parameters
    ----------
    sizes : I and H.
    q_x : (T,), the second moment of an entry of x by step.
    biases : b_i and b_f.

    Examples
    --------
    >>> found = second_moments(0.1, 0.0, (10, 16), np.ones(3), (0.0, 0.0))
    >>> found["z"].round(3)
    array([1., 1., 1.])
    """
    I, H = sizes
    b_i, b_f = biases
    q_c = q_h = 0.0
    found: dict[str, list[float]] = {"z": [], "c": [], "h": []}
    for x in q_x:
        q_z = I * W * x + H * U * q_h
        q_c = _mean(_sigmoid_squared, b_f, q_z) * q_c + _mean(_sigmoid_squared, b_i, q_z) * _mean(
            _tanh_squared, 0, q_z
        )
        q_h = _mean(_sigmoid_squared, 0, q_z) * _mean(_tanh_squared, 0, q_c)
        for name, value in (("z", q_z), ("c", q_c), ("h", q_h)):
            found[name].append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def predicted(setting: Setting, I: int, H: int, q_x: Array) -> dict[str, Array]:
    """Second moments that a setting should have; for forget biases 0 and 1."""
    rule = INITIALIZERS[setting.initializer]
    gates = 1 if rule.per_gate else 4
    W, U = (
        rule.scale**2 * _square(initializers.expected(name, (rows, H), gates=gates))
        for name, rows in ((rule.W, I), (rule.U, H))
    )
    return second_moments(W, U, (I, H), q_x, (0.0, float(setting.bias)))


def _square(promise: initializers.Expected) -> float:
    return promise.variance + promise.mean**2


def compare(shape: Any, found: dict[str, Array]) -> list[dict[str, Any]]:
    """Predicted beside measured, of the lowest layer at the last step, by setting."""
    from lstm_oracle.benchmarks.study.tasks import TASKS

    task = TASKS[shape.task][0](shape.length)
    x, lengths = np.asarray(task.held_out.x), np.asarray(task.held_out.lengths)
    real = np.arange(task.length) < lengths[:, None]
    q_x = (np.square(x).mean(axis=-1) * real).sum(axis=0) / np.maximum(real.sum(axis=0), 1)
    last = int(lengths.min()) - 1  # every sequence has this step
    rows = []
    for n, setting in enumerate(SETTINGS):
        if setting.bias == "chrono":
            continue
        expected = predicted(setting, task.input_size, 16, q_x)
        for quantity, name in (("z", "second_moment_g"), ("c", "second_moment_c"),
                               ("h", "second_moment_h")):  # fmt: skip
            rows.append({
                "task": shape.task, "length": shape.length, "depth": shape.depth,
                "setting": setting.initializer, "bias": setting.bias, "quantity": quantity,
                "step": last + 1, "predicted": float(expected[quantity][last]),
                "measured": vars(Number.of(found[name][n, :, 0, last])),
            })  # fmt: skip
    return rows
