r"""Activation functions of the JAX implementation, differentiable to any order in both modes.

Where automatic differentiation of the obvious form cancels (`1 - tanh^2`, `1 - sigma`), a
custom JVP rule states the derivative in a form that does not: sech^2(z), sigma(z) sigma(-z).
Rules are `custom_jvp`, never `custom_vjp`: forward mode, reverse mode and derivatives of
derivatives all follow from them.

At a kink the derivative is that of the outside for the hard functions (0 at the border) and that
of the left side for relu, leaky relu, elu and selu.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Function = Callable[[jax.Array], jax.Array]


@jax.custom_jvp
def sigmoid_slope(z: jax.Array) -> jax.Array:
    """sigma(z) sigma(-z) = e^-|z| / (1 + e^-|z|)^2: the derivative of sigma."""
    e = jnp.exp(-jnp.abs(z))
    return e / jnp.square(1 + e)


def _slope_of_slope(d_z: jax.Array, slope: jax.Array, z: jax.Array) -> jax.Array:
    """sigma'' = -sigma' tanh(z/2)."""
    return -slope * tanh(z / 2) * d_z


sigmoid_slope.defjvps(_slope_of_slope)


@jax.custom_jvp
def sigmoid(z: jax.Array) -> jax.Array:
    """1 / (1 + e^-z), accurate to a unit roundoff on both sides."""
    return jax.lax.logistic(z)


sigmoid.defjvps(lambda d_z, _, z: sigmoid_slope(z) * d_z)


@jax.custom_jvp
def tanh(z: jax.Array) -> jax.Array:
    """(e^z - e^-z) / (e^z + e^-z); its derivative is sech^2(z) = 4 sigma(2z) sigma(-2z)."""
    return jnp.tanh(z)


tanh.defjvps(lambda d_z, _, z: 4 * sigmoid_slope(2 * z) * d_z)


@jax.custom_jvp
def softplus(z: jax.Array) -> jax.Array:
    """log(1 + e^z) = max(z, 0) + log(1 + e^-|z|)."""
    return jnp.maximum(z, 0) + jnp.log1p(jnp.exp(-jnp.abs(z)))


softplus.defjvps(lambda d_z, _, z: sigmoid(z) * d_z)


@jax.custom_jvp
def softsign(z: jax.Array) -> jax.Array:
    """z / (1 + |z|)."""
    return z / (1 + jnp.abs(z))


softsign.defjvps(lambda d_z, _, z: d_z / jnp.square(1 + jnp.abs(z)))


@jax.custom_jvp
def _expm1(z: jax.Array) -> jax.Array:
    """e^z - 1. JAX's own rule, (e^z - 1) + 1, loses the derivative where it is small."""
    return jnp.expm1(z)


_expm1.defjvps(lambda d_z, _, z: jnp.exp(z) * d_z)


def linear(z: jax.Array) -> jax.Array:
    """z itself."""
    return z


def silu(z: jax.Array) -> jax.Array:
    """z sigma(z)."""
    return z * sigmoid(z)


def hard_tanh(z: jax.Array) -> jax.Array:
    """z limited to [-1, 1]."""
    return jnp.where(jnp.abs(z) < 1, z, jnp.sign(z))


def clip(z: jax.Array, bound: float) -> jax.Array:
    """z limited to [-bound, bound]; the derivative is 1 up to and at the bound, 0 beyond."""
    return jnp.where(jnp.abs(z) <= bound, z, bound * jnp.sign(z))


def _hard_sigmoid(reciprocal_slope: float) -> Function:
    def hard_sigmoid(z: jax.Array) -> jax.Array:
        inside = z / reciprocal_slope + 0.5
        return jnp.where(2 * jnp.abs(z) < reciprocal_slope, inside, (z > 0).astype(z.dtype))

    return hard_sigmoid


def _leaky_relu(slope: float) -> Function:
    return lambda z: jnp.where(z > 0, z, slope * z)


def _elu(alpha: float, scale: float) -> Function:
    def elu(z: jax.Array) -> jax.Array:
        # The branch that `where` discards must stay finite, or 0 * inf reaches the gradient.
        below = alpha * _expm1(jnp.where(z > 0, 0, z))
        return scale * jnp.where(z > 0, z, below)

    return elu


_hard_sigmoid_sixth = _hard_sigmoid(6)
_hard_sigmoid_fifth = _hard_sigmoid(5)

ACTIVATIONS: dict[str, Function] = {
    "sigmoid": sigmoid,
    "tanh": tanh,
    "hard_sigmoid_sixth": _hard_sigmoid_sixth,
    "hard_sigmoid_fifth": _hard_sigmoid_fifth,
    "hard_tanh": hard_tanh,
    "linear": linear,
    "relu": _leaky_relu(0.0),
    "leaky_relu": _leaky_relu(0.2),
    "elu": _elu(alpha=1.0, scale=1.0),
    "selu": _elu(alpha=1.6732632423543772, scale=1.0507009873554805),
    "softplus": softplus,
    "softsign": softsign,
    "silu": silu,
}

_COMPLEMENTS: dict[str, Function] = {
    "sigmoid": lambda z: sigmoid(-z),
    "tanh": lambda z: 2 * sigmoid(-2 * z),
    "hard_sigmoid_sixth": lambda z: _hard_sigmoid_sixth(-z),
    "hard_sigmoid_fifth": lambda z: _hard_sigmoid_fifth(-z),
}


def complement(name: str) -> Function:
    """1 - activation, as a function of z that does not subtract from 1 where that cancels."""
    activation = ACTIVATIONS[name]
    return _COMPLEMENTS.get(name, lambda z: 1 - activation(z))
