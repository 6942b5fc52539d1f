r"""Activation functions with their derivatives, as a table.

Every entry is a triple of functions of the pre-activation z, for real (float32, float64,
longdouble) and complex arrays. Complex arguments follow the real part where a function has a
kink, so that the complex step sees the branch that the real function takes.

The forms are chosen for accuracy in saturation: sech^2(z) instead of 1 - tanh^2(z), and
sigma(-z) instead of 1 - sigma(z). Those subtractions lose every digit where the result is small
(elementwise error 1e-9 instead of 1e-14, measured against 50 digits).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstm_oracle.reference.spec import ACTIVATIONS

Array = np.ndarray
Function = Callable[[Array], Array]


class Activation(NamedTuple):
    """A function of z, its derivative with respect to z, and its complement 1 - function."""

    value: Function
    derivative: Function
    complement: Function


def _real(z: Array) -> Array:
    """The part of z that decides on which side of a kink it lies."""
    return z.real if np.iscomplexobj(z) else z


def _minus_absolute(z: Array) -> Array:
    """-|z|; for complex z with the sign taken from the real part."""
    return -np.abs(z) if not np.iscomplexobj(z) else np.where(z.real > 0, -z, z)


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z), with full relative accuracy on both sides."""
    if np.iscomplexobj(z):
        # A complex e^-z must not overflow, since inf * 0j is NaN.
        e = np.exp(_minus_absolute(z))
        return np.where(z.real > 0, 1, e) / (1 + e)
    with np.errstate(over="ignore"):  # e^-z may overflow to inf: 1/inf is the right answer
        return 1 / (1 + np.exp(-z))


def sigmoid_derivative(z: Array) -> Array:
    """sigma(z) sigma(-z) = e^-|z| / (1 + e^-|z|)^2."""
    e = np.exp(_minus_absolute(z))
    return e / np.square(1 + e)


def sigmoid_complement(z: Array) -> Array:
    """1 - sigma(z) = sigma(-z)."""
    return sigmoid(-z)


def tanh(z: Array) -> Array:
    """(e^z - e^-z) / (e^z + e^-z)."""
    return np.tanh(z)


def tanh_derivative(z: Array) -> Array:
    """sech^2(z) = 4 e^-2|z| / (1 + e^-2|z|)^2."""
    e = np.exp(2 * _minus_absolute(z))
    return 4 * e / np.square(1 + e)


def tanh_complement(z: Array) -> Array:
    """1 - tanh(z) = 2 sigma(-2z)."""
    return 2 * sigmoid(-2 * z)


def _between(z: Array, low: float, high: float) -> Array:
    return (_real(z) > low) & (_real(z) < high)


def clip(z: Array, bound: float) -> Array:
    """z limited to [-bound, bound]."""
    return np.where(np.abs(_real(z)) <= bound, z, bound * np.sign(_real(z)))


def clip_derivative(z: Array, bound: float) -> Array:
    """1 inside [-bound, bound], 0 outside."""
    return (np.abs(_real(z)) <= bound).astype(z.dtype)


def _hard_sigmoid(reciprocal_slope: int) -> Activation:
    """max(0, min(1, z/s + 1/2)); its derivative is 1/s strictly inside, else 0."""
    s, edge = reciprocal_slope, reciprocal_slope / 2

    def value(z: Array) -> Array:
        inside = (z + edge) / s  # which, unlike z/s + 1/2, is exact where it is small
        return np.where(_between(z, -edge, edge), inside, (_real(z) > 0).astype(z.dtype))

    def derivative(z: Array) -> Array:
        return np.where(_between(z, -edge, edge), np.ones_like(z), 0) / s

    def complement(z: Array) -> Array:
        return value(-z)

    return Activation(value, derivative, complement)


def _hard_tanh(z: Array) -> Array:
    return np.where(_between(z, -1, 1), z, np.sign(_real(z)))


def _hard_tanh_derivative(z: Array) -> Array:
    return _between(z, -1, 1).astype(z.dtype)


def _linear(z: Array) -> Array:
    return z


def _linear_derivative(z: Array) -> Array:
    return np.ones_like(z)


def _leaky(slope: float, scale: float = 1.0) -> Activation:
    """scale * z for z > 0, scale * slope * z below: relu, leaky relu."""

    def value(z: Array) -> Array:
        return np.where(_real(z) > 0, scale * z, scale * (slope * z))

    def derivative(z: Array) -> Array:
        return np.where(_real(z) > 0, scale, scale * slope).astype(z.dtype)

    return _with_plain_complement(value, derivative)


def _exponential_linear(alpha: float, scale: float) -> Activation:
    """scale * z for z > 0, scale * alpha * (e^z - 1) below: elu, selu."""

    def below(z: Array) -> Array:
        # The side that `where` throws away must not overflow.
        return np.where(_real(z) > 0, 0, z)

    def value(z: Array) -> Array:
        return np.where(_real(z) > 0, scale * z, scale * (alpha * np.expm1(below(z))))

    def derivative(z: Array) -> Array:
        return np.where(_real(z) > 0, scale, scale * (alpha * np.exp(below(z))))

    return _with_plain_complement(value, derivative)


def _log1p(z: Array) -> Array:
    """log(1 + z); NumPy's complex one loses the real part of small z."""
    return 2 * np.arctanh(z / (2 + z)) if np.iscomplexobj(z) else np.log1p(z)


def _softplus(z: Array) -> Array:
    """log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)."""
    return np.where(_real(z) > 0, z, 0) + _log1p(np.exp(_minus_absolute(z)))


def _softsign(z: Array) -> Array:
    return z / (1 - _minus_absolute(z))


def _softsign_complement(z: Array) -> Array:
    """1 - z/(1 + |z|), without the subtraction where z is large."""
    return np.where(_real(z) > 0, 1, 1 - 2 * z) / (1 - _minus_absolute(z))


def _softsign_derivative(z: Array) -> Array:
    return 1 / np.square(1 - _minus_absolute(z))


def _silu(z: Array) -> Array:
    return z * sigmoid(z)


def _silu_derivative(z: Array) -> Array:
    return sigmoid(z) + z * sigmoid_derivative(z)


def _with_plain_complement(value: Function, derivative: Function) -> Activation:
    return Activation(value, derivative, lambda z: 1 - value(z))


TABLE: dict[str, Activation] = {
    "sigmoid": Activation(sigmoid, sigmoid_derivative, sigmoid_complement),
    "tanh": Activation(tanh, tanh_derivative, tanh_complement),
    "hard_sigmoid_sixth": _hard_sigmoid(6),
    "hard_sigmoid_fifth": _hard_sigmoid(5),
    "hard_tanh": _with_plain_complement(_hard_tanh, _hard_tanh_derivative),
    "linear": _with_plain_complement(_linear, _linear_derivative),
    "relu": _leaky(0.0),
    "leaky_relu": _leaky(0.2),
    "elu": _exponential_linear(1.0, 1.0),
    "selu": _exponential_linear(1.6732632423543772, 1.0507009873554805),
    "softplus": _with_plain_complement(_softplus, sigmoid),
    "softsign": Activation(_softsign, _softsign_derivative, _softsign_complement),
    "silu": _with_plain_complement(_silu, _silu_derivative),
}

if tuple(TABLE) != ACTIVATIONS:  # pragma: no cover - a mistake of ours, seen at import
    raise RuntimeError("the table of activations and the names in spec.ACTIVATIONS differ")
