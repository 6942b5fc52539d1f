"""Activations and their derivatives, elementwise, saturation included."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from lstm_oracle.jax_impl.activations import ACTIVATIONS, complement
from lstm_oracle.reference import spec

Z = np.concatenate([np.linspace(-36.7, 36.3, 24), np.linspace(-2.9, 2.8, 17), [1e-9, -1e-9]])

# Relative, in unit roundoffs of float64: XLA's tanh and exp are good for three or four, and the
# second derivative of tanh is a product of four of them.
ROUNDOFFS = 40

mp = mpmath.mp


def _clamp(low, z, high):
    return max(mpmath.mpf(low), min(mpmath.mpf(high), z))


def _elu(alpha, scale):
    return lambda z: scale * (z if z > 0 else alpha * mpmath.expm1(z))


def _sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


TRUTH = {
    "sigmoid": _sigmoid,
    "tanh": mpmath.tanh,
    "hard_sigmoid_sixth": lambda z: _clamp(0, z / 6 + 0.5, 1),
    "hard_sigmoid_fifth": lambda z: _clamp(0, z / 5 + 0.5, 1),
    "hard_tanh": lambda z: _clamp(-1, z, 1),
    "linear": lambda z: z,
    "relu": lambda z: max(mpmath.mpf(0), z),
    "leaky_relu": lambda z: z if z > 0 else z * mpmath.mpf(0.2),
    "elu": _elu(1, 1),
    "selu": _elu(mpmath.mpf(1.6732632423543772), mpmath.mpf(1.0507009873554805)),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "silu": lambda z: z * _sigmoid(z),
}


def truth(name, order):
    with mpmath.workdps(60):
        return [mpmath.diff(TRUTH[name], mpmath.mpf(float(z)), order) for z in Z]


def check(got, expected):
    with mpmath.workdps(60):
        for value, exact, z in zip(np.asarray(got), expected, Z, strict=True):
            error = abs(mpmath.mpf(float(value)) - exact)
            # 1e-40: numerical differentiation of the truth is not exact where it is zero.
            assert error <= ROUNDOFFS * 2**-53 * abs(exact) + 1e-20 * (abs(exact) < 1e-17), z


def test_the_table_has_every_name_of_the_spec():
    assert tuple(ACTIVATIONS) == spec.ACTIVATIONS == tuple(TRUTH)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_value_slope_and_curvature_match_fifty_digits(name):
    along_ones = jnp.ones_like(Z)

    def slope(z):
        return jax.jvp(ACTIVATIONS[name], (z,), (along_ones,))[1]

    @jax.jit
    def all_orders(z):
        return ACTIVATIONS[name](z), *jax.jvp(slope, (z,), (along_ones,))

    for order, got in enumerate(all_orders(jnp.asarray(Z))):
        check(got, truth(name, order))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_complement_is_one_minus_the_activation(name):
    got = complement(name)(jnp.asarray(Z))
    np.testing.assert_allclose(got, 1 - ACTIVATIONS[name](jnp.asarray(Z)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_the_complement_of_a_saturated_activation_keeps_its_digits(name):
    with mpmath.workdps(60):
        check(complement(name)(jnp.asarray(Z)), [1 - value for value in truth(name, 0)])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nothing_overflows_far_out(name):
    far = jnp.asarray([-1e4, 1e4], jnp.float32)
    value, slope = jax.jvp(ACTIVATIONS[name], (far,), (jnp.ones_like(far),))
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
