r"""What the variances should be at the start, if weights and states were independent.

Equations
---------
Second moments q, weights of mean zero, gates independent of one another::

    q_z  = I Var(W) q_x + H Var(U) q_h(t-1)                 (each gate, without its bias)
    q_c  = E[f^2] q_c(t-1) + E[i^2] E[g^2] + 2 E[f] E[i] m
    q_h  = E[o^2] E[tanh^2(c)],  c ~ N(0, q_c)
    m    = E[c(t-1) g(t)] = E[i] E[g^2] sum_k E[f]^(k-1) rho_k

with E over z_k ~ N(b_k, q_z) by Gauss-Hermite quadrature. rho_k is the correlation of the inputs k
steps apart. Weights are the same at every step, so g is as alike from step to step as x is: with
rho = 0, as if they were drawn anew, the cell is predicted several times too small.

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


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def _sigmoid_squared(z: Array) -> Array:
    return _sigmoid(z) ** 2


def _tanh_squared(z: Array) -> Array:
    return np.tanh(z) ** 2


def second_moments(
    W: float,
    U: float,
    sizes: tuple[int, int],
    q_x: Array,
    biases: tuple[float, float],
    rho: Array | None = None,
) -> dict[str, Array]:
    """Predicted second moments of z_g, c and h by step, from variances of W and U.

    Parameters
    ----------
    sizes : I and H.
    q_x : (T,), the second moment of an entry of x by step.
    biases : b_i and b_f.
    rho : (T - 1,), correlation of x by lag 1 ... T - 1; None: no correlation.

    Examples
    --------
    >>> found = second_moments(0.1, 0.0, (10, 16), np.ones(3), (0.0, 0.0))
    >>> found["z"].round(3)
    array([1., 1., 1.])
    """
    I, H = sizes
    b_i, b_f = biases
    rho = np.zeros(len(q_x) - 1) if rho is None else rho
    q_c = q_h = 0.0
    found: dict[str, list[float]] = {"z": [], "c": [], "h": []}
    for t, x in enumerate(q_x):
        q_z = I * W * x + H * U * q_h
        f, i = _mean(_sigmoid, b_f, q_z), _mean(_sigmoid, b_i, q_z)
        f_squared, i_squared = (_mean(_sigmoid_squared, b, q_z) for b in (b_f, b_i))
        g_squared = _mean(_tanh_squared, 0, q_z)
        alike = i * g_squared * float((f ** np.arange(t) * rho[:t]).sum())
        q_c = f_squared * q_c + i_squared * g_squared + 2 * f * i * alike
        q_h = _mean(_sigmoid_squared, 0, q_z) * _mean(_tanh_squared, 0, q_c)
        for name, value in (("z", q_z), ("c", q_c), ("h", q_h)):
            found[name].append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def correlation(x: Array, lengths: Array) -> Array:
    """(T - 1,) correlation of inputs (B, T, I) by lag, about zero: 1 for a constant input."""
    T = x.shape[1]
    real = np.arange(T) < lengths[:, None]
    found = []
    for k in range(1, T):
        both = real[:, k:, None]
        pairs = (x[:, k:] * x[:, :-k] * both).sum()
        sizes = np.sqrt(((x[:, k:] ** 2) * both).sum() * ((x[:, :-k] ** 2) * both).sum())
        found.append(pairs / sizes if sizes else 0.0)
    return np.array(found)


def predicted(
    setting: Setting, I: int, H: int, q_x: Array, rho: Array | None = None
) -> dict[str, Array]:
    """Second moments that a setting should have; for forget biases 0 and 1."""
    rule = INITIALIZERS[setting.initializer]
    gates = 1 if rule.per_gate else 4
    W, U = (
        rule.scale**2 * _square(initializers.expected(name, (rows, H), gates=gates))
        for name, rows in ((rule.W, I), (rule.U, H))
    )
    return second_moments(W, U, (I, H), q_x, (0.0, float(setting.bias)), rho)


def _square(promise: initializers.Expected) -> float:
    return promise.variance + promise.mean**2


def compare(shape: Any, found: dict[str, Array]) -> list[dict[str, Any]]:
    """Predicted beside measured, of the lowest layer at the last step, by setting."""
    from lstm_oracle.benchmarks.study.tasks import TASKS

    task = TASKS[shape.task][0](shape.length)
    x, lengths = np.asarray(task.held_out.x), np.asarray(task.held_out.lengths)
    real = np.arange(task.length) < lengths[:, None]
    q_x = (np.square(x).mean(axis=-1) * real).sum(axis=0) / np.maximum(real.sum(axis=0), 1)
    rho = correlation(x, lengths)
    last = int(lengths.min()) - 1  # every sequence has this step
    rows = []
    for n, setting in enumerate(SETTINGS):
        if setting.bias == "chrono":
            continue
        apart = predicted(setting, task.input_size, 16, q_x)
        expected = predicted(setting, task.input_size, 16, q_x, rho)
        for quantity, name in (("z", "second_moment_g"), ("c", "second_moment_c"),
                               ("h", "second_moment_h")):  # fmt: skip
            rows.append({
                "task": shape.task, "length": shape.length, "depth": shape.depth,
                "setting": setting.initializer, "bias": setting.bias, "quantity": quantity,
                "step": last + 1, "predicted": float(expected[quantity][last]),
                    "uncorrelated": float(apart[quantity][last]),
                "measured": vars(Number.of(found[name][n, :, 0, last])),
            })  # fmt: skip
    return rows
