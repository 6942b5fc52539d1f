"""A textbook LSTM and its backpropagation through time in 50-digit arithmetic.

Written from the equations alone, one sequence of one layer at a time, without any of the forms that
the oracle takes for accuracy: at 50 digits 1 - tanh^2 loses nothing that float64 could show.
Arrays are NumPy object arrays of mpmath numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mpmath
import numpy as np

from lstm_oracle.reference.spec import Spec

DIGITS = 50

_exp = np.frompyfunc(mpmath.exp, 1, 1)
_tanh = np.frompyfunc(mpmath.tanh, 1, 1)
_exact = np.frompyfunc(lambda value: mpmath.mpf(float(value)), 1, 1)
_rounded = np.frompyfunc(float, 1, 1)


def exact(a: Any) -> np.ndarray:
    """Float64 numbers as mpmath numbers, without any rounding."""
    return np.asarray(_exact(a), dtype=object)


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + _exp(-z))


class Step(NamedTuple):
    """What a step computed, for the backward pass."""

    x: np.ndarray
    r_prev: np.ndarray
    c_prev: np.ndarray
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray


def step(spec: Spec, p: dict[str, np.ndarray], x, r, c) -> tuple[Step, np.ndarray]:
    """x (I,), r (R,), c (H,) to the step and its r."""

    def z(k: str, seen: np.ndarray) -> np.ndarray:
        return x @ p[f"W_{k}"] + r @ p[f"U_{k}"] + p.get(f"b_{k}", 0) + p.get(f"p_{k}", 0) * seen

    f = sigmoid(z("f", c))
    i = 1 - f if spec.coupled else sigmoid(z("i", c))
    g = _tanh(z("g", c))
    new = f * c + i * g
    o = sigmoid(z("o", new))
    h = o * _tanh(new)
    return Step(x, r, c, i, f, g, o, new, h), h @ p["V"] if "V" in p else h


def step_backward(spec: Spec, p, d_p, s: Step, d_r, d_c):
    """d_r (R,) and d_c (H,) of a step to those of the step before, and d_x; adds to d_p."""
    d_h = d_r
    if "V" in p:
        d_p["V"] += np.outer(s.h, d_r)
        d_h = p["V"] @ d_r
    squashed = _tanh(s.c)
    d_z = {"o": d_h * squashed * s.o * (1 - s.o)}
    d_c = d_c + d_h * s.o * (1 - squashed**2) + p.get("p_o", 0) * d_z["o"]
    d_i, d_f = d_c * s.g, d_c * s.c_prev
    if spec.coupled:
        d_f = d_f - d_i
    else:
        d_z["i"] = d_i * s.i * (1 - s.i)
    d_z["f"] = d_f * s.f * (1 - s.f)
    d_z["g"] = d_c * s.i * (1 - s.g**2)
    d_c_prev = d_c * s.f
    d_x, d_r_prev = 0, 0
    for k, d in d_z.items():
        d_x, d_r_prev = d_x + p[f"W_{k}"] @ d, d_r_prev + p[f"U_{k}"] @ d
        d_p[f"W_{k}"] += np.outer(s.x, d)
        d_p[f"U_{k}"] += np.outer(s.r_prev, d)
        if f"b_{k}" in p:
            d_p[f"b_{k}"] += d
        if f"p_{k}" in p:
            d_p[f"p_{k}"] += d * (s.c if k == "o" else s.c_prev)
            if k != "o":
                d_c_prev = d_c_prev + p[f"p_{k}"] * d
    return d_x, d_r_prev, d_c_prev


class Exact(NamedTuple):
    """Results of a sequence, rounded to float64 once, at the end."""

    y: np.ndarray  # (T, R)
    h: np.ndarray
    c: np.ndarray
    d_params: dict[str, np.ndarray]
    d_x: np.ndarray
    d_h: np.ndarray  # of the initial state
    d_c: np.ndarray


def lstm(spec: Spec, params, x, h, c, d_y, d_h, d_c) -> Exact:
    """One sequence: x (T, I), h (R,), c (H,), and cotangents of y, of h_T and of c_T."""
    with mpmath.workdps(DIGITS):
        p = {name: exact(a) for name, a in params.items()}
        r, c = exact(h), exact(c)
        steps, y = [], []
        for x_t in exact(x):
            s, r = step(spec, p, x_t, r, c)
            c = s.c
            steps.append(s)
            y.append(r)
        final_r = r
        d_p = {name: 0 * a for name, a in p.items()}
        d_r, d_c, d_x = exact(d_h), exact(d_c), []
        for s, d_y_t in zip(reversed(steps), reversed(exact(d_y)), strict=True):
            d_x_t, d_r, d_c = step_backward(spec, p, d_p, s, d_r + d_y_t, d_c)
            d_x.append(d_x_t)
        rounded = [np.stack(y), final_r, c, d_p, np.stack(d_x[::-1]), d_r, d_c]
        return Exact(*(round_off(a) for a in rounded))


def round_off(a: Any) -> Any:
    if isinstance(a, dict):
        return {name: round_off(value) for name, value in a.items()}
    return _rounded(a).astype(np.float64)
