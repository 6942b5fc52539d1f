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
_log = np.frompyfunc(mpmath.log, 1, 1)
_sqrt = np.frompyfunc(mpmath.sqrt, 1, 1)
_exact = np.frompyfunc(lambda value: mpmath.mpf(float(value)), 1, 1)
_rounded = np.frompyfunc(float, 1, 1)

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def exact(a: Any) -> np.ndarray:
    """Float64 numbers as mpmath numbers, without any rounding."""
    return np.asarray(_exact(a), dtype=object)


def number(value: float) -> mpmath.mpf:
    return mpmath.mpf(float(value))


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + _exp(-z))


def _between(low, z, high):
    return np.where((z > low) & (z < high), mpmath.mpf(1), mpmath.mpf(0))


def _hard(width: int):
    """max(0, min(1, z / width + 1/2)), and its derivative."""
    edge = mpmath.mpf(width) / 2
    return (
        lambda z: np.where(
            abs(z) < edge, z / width + mpmath.mpf(1) / 2, _between(0, z, mpmath.inf)
        ),
        lambda z: _between(-edge, z, edge) / width,
    )


def _elu(alpha: float, scale: float):
    alpha, scale = number(alpha), number(scale)
    return (
        lambda z: scale * np.where(z > 0, z, alpha * (_exp(z) - 1)),
        lambda z: scale * np.where(z > 0, mpmath.mpf(1), alpha * _exp(z)),
    )


def _leaky(slope: float):
    slope = number(slope)
    return (
        lambda z: np.where(z > 0, z, slope * z),
        lambda z: np.where(z > 0, mpmath.mpf(1), slope),
    )


# Value and derivative, as functions of z.
ACTIVATIONS = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (_tanh, lambda z: 1 - _tanh(z) ** 2),
    "hard_sigmoid_sixth": _hard(6),
    "hard_sigmoid_fifth": _hard(5),
    "hard_tanh": (
        lambda z: np.where(abs(z) < 1, z, np.where(z > 0, mpmath.mpf(1), mpmath.mpf(-1))),
        lambda z: _between(-1, z, 1),
    ),
    "linear": (lambda z: z, lambda z: 0 * z + 1),
    "relu": _leaky(0.0),
    "leaky_relu": _leaky(0.2),
    "elu": _elu(1.0, 1.0),
    "selu": _elu(SELU_ALPHA, SELU_SCALE),
    "softplus": (lambda z: _log(1 + _exp(z)), sigmoid),
    "softsign": (lambda z: z / (1 + abs(z)), lambda z: 1 / (1 + abs(z)) ** 2),
    "silu": (
        lambda z: z * sigmoid(z),
        lambda z: sigmoid(z) + z * sigmoid(z) * (1 - sigmoid(z)),
    ),
}


def _clip(bound: float | None, z):
    return z if bound is None else np.where(abs(z) <= bound, z, np.where(z > 0, bound, -bound))


def _inside(bound: float | None, z):
    return 1 if bound is None else np.where(abs(z) <= bound, mpmath.mpf(1), mpmath.mpf(0))


def _normalize(spec: Spec, a: np.ndarray):
    """N(a) and its deviation, or what stands for them without layer normalization."""
    mean = a.sum() / len(a)
    s = _sqrt(((a - mean) ** 2).sum() / len(a) + number(spec.layer_norm_epsilon))
    return (a - mean) / s, s


def _normalize_backward(n: np.ndarray, s: Any, d: np.ndarray) -> np.ndarray:
    return (d - d.sum() / len(d) - n * (d * n).sum() / len(d)) / s


class Step(NamedTuple):
    """What a step computed, for the backward pass."""

    x: np.ndarray
    r_prev: np.ndarray
    c_prev: np.ndarray
    z: dict[str, np.ndarray]
    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c_free: np.ndarray
    c: np.ndarray
    seen: np.ndarray  # what the cell's activation is given
    h: np.ndarray
    norms: dict[str, Any]  # N and its deviation, of "W", "U" and "c"
    keep: tuple[Any, Any]  # zoneout of r and c


def step(spec: Spec, p: dict[str, np.ndarray], x, r, c, keep) -> tuple[Step, np.ndarray, Any]:
    """x (I,), r (R,), c (H,) to the step and its r and c."""
    norms: dict[str, Any] = {}
    products = {
        letter: {k: a @ p[f"{letter}_{k}"] for k in spec.gates}
        for letter, a in (("W", x), ("U", r))
    }
    if spec.layer_norm:
        for letter, by_gate in products.items():
            norms[letter] = _normalize(spec, np.concatenate([by_gate[k] for k in spec.gates]))
            for k, n in zip(spec.gates, np.split(norms[letter][0], len(spec.gates)), strict=True):
                by_gate[k] = p[f"gain_{letter}_{k}"] * n
    z = {}

    def gate(k: str, seen: np.ndarray) -> np.ndarray:
        z[k] = products["W"][k] + products["U"][k] + p.get(f"b_{k}", 0) + p.get(f"p_{k}", 0) * seen
        return activate(spec, k, z[k])

    f = gate("f", c)
    i = 1 - f if spec.coupled else gate("i", c)
    g = gate("g", c)
    c_free = f * c + i * g
    new = _clip(spec.cell_clip, c_free)
    o = gate("o", new)
    seen = new
    if spec.layer_norm:
        norms["c"] = _normalize(spec, new)
        seen = p["gain_c"] * norms["c"][0] + p["shift_c"]
    h = o * ACTIVATIONS[spec.c_activation][0](seen)
    s = Step(x, r, c, z, i, f, g, o, c_free, new, seen, h, norms, keep)
    new_r = h @ p["V"] if "V" in p else h
    return s, keep[0] * r + (1 - keep[0]) * new_r, keep[1] * c + (1 - keep[1]) * new


def activate(spec: Spec, k: str, z: np.ndarray) -> np.ndarray:
    return ACTIVATIONS[getattr(spec, f"{k}_activation")][0](_clip(spec.activation_clip, z))


def slope(spec: Spec, k: str, z: np.ndarray) -> np.ndarray:
    inner = ACTIVATIONS[getattr(spec, f"{k}_activation")][1](_clip(spec.activation_clip, z))
    return inner * _inside(spec.activation_clip, z)


def step_backward(spec: Spec, p, d_p, s: Step, d_r, d_c):
    """d_r (R,) and d_c (H,) of a step to those of the step before, and d_x; adds to d_p."""
    old_r, old_c = s.keep[0] * d_r, s.keep[1] * d_c
    d_r, d_c = d_r - old_r, d_c - old_c
    d_h = d_r
    if "V" in p:
        d_p["V"] += np.outer(s.h, d_r)
        d_h = p["V"] @ d_r
    value, derivative = ACTIVATIONS[spec.c_activation]
    d_z = {"o": d_h * value(s.seen) * slope(spec, "o", s.z["o"])}
    d_seen = d_h * s.o * derivative(s.seen)
    if spec.layer_norm:
        d_p["gain_c"] += d_seen * s.norms["c"][0]
        d_p["shift_c"] += d_seen
        d_seen = _normalize_backward(*s.norms["c"], d_seen * p["gain_c"])
    d_c = d_c + d_seen + p.get("p_o", 0) * d_z["o"]
    d_c = d_c * _inside(spec.cell_clip, s.c_free)
    d_i, d_f = d_c * s.g, d_c * s.c_prev
    if spec.coupled:
        d_f = d_f - d_i
    else:
        d_z["i"] = d_i * slope(spec, "i", s.z["i"])
    d_z["f"] = d_f * slope(spec, "f", s.z["f"])
    d_z["g"] = d_c * s.i * slope(spec, "g", s.z["g"])
    d_c_prev = d_c * s.f + old_c
    for k, d in d_z.items():
        if f"b_{k}" in p:
            d_p[f"b_{k}"] += d
        if f"p_{k}" in p:
            d_p[f"p_{k}"] += d * (s.c if k == "o" else s.c_prev)
            if k != "o":
                d_c_prev = d_c_prev + p[f"p_{k}"] * d
    d_x = products_backward(spec, p, d_p, "W", s.x, s, d_z)
    d_r_prev = products_backward(spec, p, d_p, "U", s.r_prev, s, d_z)
    return d_x, d_r_prev + old_r, d_c_prev


def products_backward(spec: Spec, p, d_p, letter: str, a, s: Step, d_z):
    """The gradient of a (N,), from those of all gates; adds to d_p."""
    d_products = d_z
    if spec.layer_norm:
        n, deviation = s.norms[letter]
        d_normal = {}
        for k, n_k in zip(spec.gates, np.split(n, len(spec.gates)), strict=True):
            d_p[f"gain_{letter}_{k}"] += d_z[k] * n_k
            d_normal[k] = d_z[k] * p[f"gain_{letter}_{k}"]
        together = np.concatenate([d_normal[k] for k in spec.gates])
        d_together = _normalize_backward(n, deviation, together)
        split = np.split(d_together, len(spec.gates))
        d_products = dict(zip(spec.gates, split, strict=True))
    d_a = 0
    for k, d in d_products.items():
        d_p[f"{letter}_{k}"] += np.outer(a, d)
        d_a = d_a + p[f"{letter}_{k}"] @ d
    return d_a


class Exact(NamedTuple):
    """Results of a sequence: rounded to float64 once, at the end, by `lstm`."""

    y: np.ndarray  # (T, R)
    h: np.ndarray
    c: np.ndarray
    d_params: dict[str, np.ndarray]
    d_x: np.ndarray
    d_h: np.ndarray  # of the initial state
    d_c: np.ndarray


def lstm(spec: Spec, params, x, h, c, d_y, d_h, d_c, zoneout=None) -> Exact:
    """One sequence: x (T, I), h (R,), c (H,), and cotangents of y, of h_T and of c_T.

    `zoneout` are masks (T, R) and (T, H); without them the rates stand for them.
    """
    with mpmath.workdps(DIGITS):
        p = {name: exact(a) for name, a in params.items()}
        arguments = map(exact, (x, h, c, d_y, d_h, d_c))
        return Exact(*(round_off(a) for a in unrounded(spec, p, *arguments, zoneout)))


def unrounded(spec: Spec, p, x, h, c, d_y, d_h, d_c, zoneout=None) -> Exact:
    """The same of mpmath numbers, and not rounded."""
    T = len(x)
    rates = [np.full(T, rate) for rate in (spec.zoneout_h, spec.zoneout_c)]
    keeps = list(zip(*(exact(mask) for mask in zoneout or rates), strict=True))
    r, steps, y = h, [], []
    for x_t, keep in zip(x, keeps, strict=True):
        s, r, c = step(spec, p, x_t, r, c, keep)
        steps.append(s)
        y.append(r)
    d_p = {name: 0 * a for name, a in p.items()}
    d_r, d_x, final_c = d_h, [], c
    for s, d_y_t in zip(reversed(steps), reversed(d_y), strict=True):
        d_x_t, d_r, d_c = step_backward(spec, p, d_p, s, d_r + d_y_t, d_c)
        d_x.append(d_x_t)
    return Exact(np.stack(y), r, final_c, d_p, np.stack(d_x[::-1]), d_r, d_c)


def round_off(a: Any) -> Any:
    if isinstance(a, dict):
        return {name: round_off(value) for name, value in a.items()}
    return _rounded(a).astype(np.float64)
