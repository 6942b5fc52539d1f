"""`DoubleDouble` computes with 106 binary digits, and refuses what it would compute with 53."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.double_double import DoubleDouble

# Relative: 4 units of 2^-106 for arithmetic (Joldes et al. 2017), below 2^-96 for functions.
ARITHMETIC, FUNCTIONS = Fraction(1, 2**104), 2.0**-96


@st.composite
def numbers(draw) -> DoubleDouble:
    """One number of any size in the middle of float64's range, its low part of any size."""
    hi = draw(st.floats(-1e50, 1e50).filter(lambda a: a == 0 or abs(a) > 1e-50))
    part = draw(st.floats(-0.49, 0.49))
    return DoubleDouble(hi, float(np.spacing(abs(hi)) * part) if hi else 0.0)


def value(a: DoubleDouble) -> Fraction:
    return Fraction(float(a.hi)) + Fraction(float(a.lo))


def assert_right(got: DoubleDouble, exact: Fraction) -> None:
    assert abs(value(got) - exact) <= ARITHMETIC * abs(exact)
    assert float(got.rounded()) == float(got.hi)


@given(numbers(), numbers())
def test_arithmetic_has_106_digits(a: DoubleDouble, b: DoubleDouble):
    x, y = value(a), value(b)
    assert_right(a + b, x + y)
    assert_right(a - b, x - y)
    assert_right(a * b, x * y)
    if y:
        assert_right(a / b, x / y)
    assert [bool(a < b), bool(a <= b), bool(a > b), bool(a >= b)] == [x < y, x <= y, x > y, x >= y]


@given(numbers())
def test_functions_of_one_number_are_exact_where_they_can_be(a: DoubleDouble):
    x = value(a)
    assert value(-a) == -x
    assert value(np.abs(a)) == abs(x)
    assert value(np.sign(a)) == (x > 0) - (x < 0)
    assert_right(np.square(a), x * x)


@pytest.mark.parametrize("size", [1e-12, 1e-3, 0.3, 3.0, 40.0, 600.0])
@pytest.mark.parametrize("name", ["exp", "expm1", "tanh", "log1p", "sqrt"])
def test_functions_have_96_digits(name, size):
    rng = np.random.default_rng(0)
    hi = rng.uniform(-size, size, 40)
    if name in ("log1p", "sqrt"):
        hi = np.abs(hi)
    a = DoubleDouble(hi, np.spacing(np.abs(hi)) * rng.uniform(-0.49, 0.49, 40))
    got = getattr(np, name)(a)
    with mpmath.workdps(60):
        for n in range(40):
            exact = getattr(mpmath, name)(_mpf(a[n]))
            assert abs(_mpf(got[n]) - exact) <= FUNCTIONS * abs(exact)


def _mpf(a: DoubleDouble) -> Any:
    return mpmath.mpf(float(a.hi)) + mpmath.mpf(float(a.lo))


def test_functions_at_the_ends_of_the_range():
    a = DoubleDouble(np.array([-np.inf, -1e4, 0.0, 1e4, np.inf, np.nan]))
    np.testing.assert_array_equal(np.exp(a).hi, [0, 0, 1, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(np.tanh(a).hi, [-1, -1, 0, 1, 1, np.nan])
    np.testing.assert_array_equal(np.expm1(a).hi, [-1, -1, 0, np.inf, np.inf, np.nan])
    np.testing.assert_array_equal((1 / (1 + np.exp(-a))).hi, [0, 0, 0.5, 1, 1, np.nan])
    assert float(np.sqrt(DoubleDouble(0.0)).hi) == 0


def test_products_and_sums_of_large_arrays_keep_their_digits():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 600)), rng.standard_normal((600, 200))
    got = DoubleDouble(a) @ DoubleDouble(b)
    assert got.shape == (3, 200)
    exact = [
        sum(Fraction(x) * Fraction(y) for x, y in zip(a[2], b[:, n], strict=True)) for n in (0, 9)
    ]
    for n, right in zip((0, 9), exact, strict=True):
        assert abs(value(got[2, n]) - right) <= 600 * ARITHMETIC * abs(a[2] * b[:, n]).sum()
    total = DoubleDouble(a).sum(axis=(0, 1))
    assert abs(value(total) - sum(map(Fraction, a.ravel()))) <= 1800 * ARITHMETIC * 1800
    assert DoubleDouble(a).sum(axis=-1, keepdims=True).shape == (3, 1)


def test_what_would_lose_digits_is_refused():
    a = DoubleDouble(np.ones(3))
    with pytest.raises(TypeError, match="no float64 array"):
        np.asarray(a)
    with pytest.raises(TypeError):
        np.sin(a)
    with pytest.raises(TypeError):
        np.add(a, a, where=np.ones(3, bool))
    with pytest.raises(TypeError):
        np.add.reduce(a)
    with pytest.raises(TypeError):
        np.median(a)
