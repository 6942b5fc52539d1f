"""Activations, derivatives and complements keep their digits, in saturation too."""

from __future__ import annotations

import warnings

import mpmath
import numpy as np
import pytest

from lstm_oracle.reference.activations import TABLE, clip, clip_derivative
from lstm_oracle.reference.gradcheck import COMPLEX_STEP
from lstm_oracle.reference.spec import ACTIVATIONS

ROUNDOFF = np.finfo(np.float64).eps / 2
TINY = 1e-300  # below it float64 has fewer digits, and complex steps of size 1e-100 underflow

mp = mpmath.mp.clone()
mp.dps = 400  # 1 - tanh(400) has 347 zeros before its first digit

SIZES = np.array([1e-12, 1e-3, 0.1, 0.3, 0.7, 0.9, 1.2, 2.0, 2.9, 4.0, 9.0, 19.0, 37.0, 80.0])
Z = np.concatenate([-SIZES, SIZES, [-150.0, 150.0, -340.0, 340.0, -700.0, 700.0, -800.0, 800.0]])


def hard_sigmoid(width):
    return lambda z: max(mp.mpf(0), min(mp.mpf(1), z / width + mp.mpf(1) / 2))


def exponential_linear(alpha, scale):
    alpha, scale = mp.mpf(alpha), mp.mpf(scale)
    return lambda z: scale * (z if z > 0 else alpha * mp.expm1(z))


DEFINITIONS = {
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "tanh": mp.tanh,
    "hard_sigmoid_sixth": hard_sigmoid(6),
    "hard_sigmoid_fifth": hard_sigmoid(5),
    "hard_tanh": lambda z: max(mp.mpf(-1), min(mp.mpf(1), z)),
    "linear": lambda z: z,
    "relu": lambda z: max(mp.mpf(0), z),
    "leaky_relu": lambda z: z if z > 0 else mp.mpf(0.2) * z,
    "elu": exponential_linear(1.0, 1.0),
    "selu": exponential_linear(1.6732632423543772, 1.0507009873554805),
    "softplus": lambda z: mp.log1p(mp.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "silu": lambda z: z / (1 + mp.exp(-z)),
}
# Differentiated by hand once more, where mpmath's numeric derivative would lose the digits.
SLOPES = {
    "sigmoid": lambda z: mp.exp(-z) / (1 + mp.exp(-z)) ** 2,
    "tanh": lambda z: mp.sech(z) ** 2,
    "softplus": lambda z: 1 / (1 + mp.exp(-z)),
    "softsign": lambda z: 1 / (1 + abs(z)) ** 2,
    "silu": lambda z: (1 + mp.exp(-z) + z * mp.exp(-z)) / (1 + mp.exp(-z)) ** 2,
}
# 1 - value and sigma + z sigma' cross zero near some z, and lose digits there; they are measured
# against the size of their terms. So is the exp of a rounded argument (z = 700: 350 roundoffs).
CROSSING = {"silu", "softplus", "linear", "relu", "leaky_relu", "elu", "selu", "hard_tanh"}

every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def slope(name: str, z: float) -> mpmath.mpf:
    if name in SLOPES:
        return SLOPES[name](mp.mpf(z))
    h = mp.mpf(10) ** -200
    return (DEFINITIONS[name](mp.mpf(z) + h) - DEFINITIONS[name](mp.mpf(z) - h)) / (2 * h)


def assert_digits(got, exact, *, roundoffs: float = 8, floor: float = 0.0) -> None:
    """Every element right to some roundoffs of itself (or of `floor`)."""
    for z, a, b in zip(Z, got, exact, strict=True):
        allowed = roundoffs * ROUNDOFF * max(abs(b), floor) + TINY
        assert abs(mp.mpf(float(a)) - b) <= allowed, f"z = {z}: {a}, expected {mp.nstr(b, 20)}"


def test_every_activation_has_a_definition_to_be_tested_against():
    assert tuple(DEFINITIONS) == ACTIVATIONS == tuple(TABLE)


@every_activation
def test_values_keep_their_digits(name):
    assert_digits(TABLE[name].value(Z), [DEFINITIONS[name](mp.mpf(z)) for z in Z])


@every_activation
def test_derivatives_keep_their_digits(name):
    floor = 0.1 if name in CROSSING else 0.0
    assert_digits(TABLE[name].derivative(Z), [slope(name, z) for z in Z], floor=floor)


@every_activation
def test_complements_keep_their_digits(name):
    exact = [1 - DEFINITIONS[name](mp.mpf(z)) for z in Z]
    assert_digits(TABLE[name].complement(Z), exact, floor=1.0 if name in CROSSING else 0.0)


@every_activation
def test_complex_step_of_the_value_is_the_derivative(name):
    stepped = TABLE[name].value(Z + 1j * COMPLEX_STEP)
    exact = [DEFINITIONS[name](mp.mpf(z)) for z in Z]
    assert_digits(stepped.real, exact)
    # The step itself has 1e-100 only to its last digit, and 2e-208 is no longer there.
    slopes = [slope(name, z) if abs(z) < 300 else mp.mpf(0) for z in Z]
    got = np.where(np.abs(Z) < 300, stepped.imag / COMPLEX_STEP, 0)
    # A quotient of complex numbers, as softsign is, subtracts even where its slope does not.
    floor = 0.1 if name in CROSSING | {"softsign"} else 1e-160
    assert_digits(got, slopes, roundoffs=16, floor=floor)


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex64, np.complex128])
def test_precision_is_kept_without_warnings_far_in_saturation(name, dtype):
    z = np.array([-1e4, -800, -90, -1, 0, 1, 90, 800, 1e4], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [function(z) for function in TABLE[name]]
    for got, exact in zip(results, [f(z.real.astype(float)) for f in TABLE[name]], strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got.real, exact, rtol=1e-5, atol=1e-37)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"linear", "relu", "leaky_relu"}))
def test_derivatives_do_not_depend_on_the_side_from_which_zero_is_seen(name):
    slopes = TABLE[name].derivative(np.array([-1e-14, 0.0, 1e-14]))
    kink = {"selu"}  # whose slopes at zero differ by its alpha
    np.testing.assert_allclose(slopes[:2] if name in kink else slopes, slopes[1], rtol=1e-13)


def test_clip_limits_on_both_sides_and_is_flat_there():
    z = np.array([-3.0, -0.5, 0.0, 0.5, 0.7, 3.0])
    np.testing.assert_array_equal(clip(z, 0.5), [-0.5, -0.5, 0, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(clip_derivative(z, 0.5), [0, 1, 1, 1, 0, 0])
    stepped = clip(z + 1j * COMPLEX_STEP, 0.5).imag / COMPLEX_STEP
    np.testing.assert_array_equal(stepped, clip_derivative(z, 0.5))


@every_activation
def test_the_complex_step_is_the_derivative_at_zero_and_at_every_kink(name):
    z = np.array([-3.0, -2.5, -1.0, -0.0, 0.0, 1.0, 2.5, 3.0])
    stepped = TABLE[name].value(z + 1j * COMPLEX_STEP)
    np.testing.assert_allclose(stepped.imag / COMPLEX_STEP, TABLE[name].derivative(z), rtol=1e-15)
    np.testing.assert_allclose(stepped.real, TABLE[name].value(z), rtol=1e-15, atol=1e-100)
    complement = TABLE[name].complement(z + 1j * COMPLEX_STEP)
    np.testing.assert_allclose(complement.imag, -stepped.imag, rtol=1e-15, atol=1e-116)


@every_activation
def test_complex_numbers_far_in_saturation_stay_finite(name):
    z = np.array([-1e4, -800.0, -720.0, 720.0, 800.0, 1e4]) + 1j * COMPLEX_STEP
    for function in TABLE[name]:
        assert np.isfinite(function(z)).all()
