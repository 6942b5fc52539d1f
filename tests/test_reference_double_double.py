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


def drawn(*shape) -> DoubleDouble:
    rng = np.random.default_rng(len(shape))
    hi = rng.standard_normal(shape)
    return DoubleDouble(hi, np.spacing(np.abs(hi)) * rng.uniform(-0.49, 0.49, shape))


MOVES = {
    "transpose": lambda a: a.T,
    "index": lambda a: a[1:, 0],
    "reshape": lambda a: a.reshape(3, -1),
    "swapaxes": lambda a: np.swapaxes(a, 0, 2),
    "concatenate": lambda a: np.concatenate([a, a[:1]]),
    "concatenate along the last axis": lambda a: np.concatenate([a, a], axis=-1),
    "stack": lambda a: np.stack([a, a]),
    "stack along the second axis": lambda a: np.stack([a, a, a], axis=1),
    "split": lambda a: np.split(a, 2)[1],
    "split the last axis": lambda a: np.split(a, 4, axis=-1)[3],
    "where": lambda a: np.where(np.eye(3, 4, dtype=bool), a, a[0]),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_what_moves_numbers_moves_both_parts(move):
    a = drawn(2, 3, 4)
    got = move(a)
    np.testing.assert_array_equal(got.hi, move(a.hi))
    np.testing.assert_array_equal(got.lo, move(a.lo))
    assert (got.shape, got.ndim, len(got)) == (got.hi.shape, got.hi.ndim, len(got.hi))


def test_what_is_filled_has_no_low_part():
    a = drawn(2, 3)
    for got, expected in (
        (np.zeros_like(a), 0),
        (np.ones_like(a), 1),
        (np.full_like(a[:1], 0.25), 0.25),
    ):
        np.testing.assert_array_equal(got.hi, np.full(got.shape, expected))
        np.testing.assert_array_equal(got.lo, np.zeros(got.shape))
    assert a.dtype == np.float64
    assert np.iscomplexobj(a) is False


@pytest.mark.parametrize("block", [1, 3, 40, 1 << 18])
@pytest.mark.parametrize(
    ("left", "right"), [((3, 5), (5, 2)), ((4, 2, 5), (5, 3)), ((1, 1), (1, 1)), ((2, 7), (7, 1))]
)
def test_products_do_not_depend_on_how_many_are_held_at_once(monkeypatch, block, left, right):
    monkeypatch.setattr("lstm_oracle.reference.double_double._BLOCK", block)
    a, b = drawn(*left), drawn(*right)
    got = a @ b
    rows, wide = a.reshape(-1, left[-1]), got.reshape(-1, right[-1])
    assert got.shape == (*left[:-1], right[-1])
    for row in range(len(rows)):
        for column in range(right[-1]):
            terms = [value(rows[row, n]) * value(b[n, column]) for n in range(left[-1])]
            error = abs(value(wide[row, column]) - sum(terms))
            assert error <= left[-1] * ARITHMETIC * sum(map(abs, terms))


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (-1, 0), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_axes_are_those_of_numpy_and_exact(axis, keepdims):
    a = drawn(2, 3, 5)
    got, like = a.sum(axis, keepdims=keepdims), a.hi.sum(axis, keepdims=keepdims)
    assert got.shape == like.shape
    np.testing.assert_allclose(got.hi, like, rtol=1e-12)
    whole = sum(value(a.reshape(-1)[n]) for n in range(30))
    again = got.reshape(-1)
    assert abs(sum(value(again[n]) for n in range(len(again))) - whole) <= 60 * ARITHMETIC


def test_zero_has_no_sign_where_it_has_none():
    zero = DoubleDouble(np.zeros(2))
    for function in (np.abs, np.sqrt, np.tanh, np.expm1):
        assert not np.signbit(function(zero).hi).any()
        assert not np.signbit(function(zero).lo).any()


def test_comparisons_see_the_low_part():
    one, more = DoubleDouble(1.0), DoubleDouble(1.0, 2.0**-60)
    assert bool(one < more)
    assert not bool(more <= one)
    assert bool(one <= one)
    assert bool(one >= one)
    assert not bool(one > one)


def test_numbers_of_one_digit_mix_with_those_of_two():
    third = DoubleDouble(1.0) / 3
    assert value(third) != Fraction(1 / 3)
    assert_right(third, Fraction(1, 3))
    assert_right(2.0 - third, Fraction(2) - value(third))
    assert_right(np.where(False, 1.0, third), value(third))


def test_the_ends_of_exp_are_where_float64_ends():
    x = np.array([709.0, 709.7, -745.0, -745.1, -700.0])
    got = np.exp(DoubleDouble(x))
    with mpmath.workdps(40):
        exact = [float(mpmath.exp(mpmath.mpf(float(z)))) for z in x]
    np.testing.assert_array_equal(got.hi[[0, 2, 3, 4]], [exact[0], exact[2], 0.0, exact[4]])
    # Beyond 709 and below -745 it is given up, a little before float64 ends.
    assert got.hi[1] == np.inf
    assert np.isfinite(got.lo).all()
    assert np.expm1(DoubleDouble(709.0)).hi == exact[0]
    assert np.expm1(DoubleDouble(-800.0)).hi == -1
    assert np.expm1(DoubleDouble(709.5)).hi == np.inf


@pytest.mark.parametrize("x", [DoubleDouble(709.0, 5e-14), DoubleDouble(-745.0, -5e-14)])
def test_the_last_argument_of_exp_that_counts_keeps_its_low_part(x):
    with mpmath.workdps(60):
        exact = mpmath.expm1(_mpf(x))
        assert abs(_mpf(np.expm1(x)) - exact) <= FUNCTIONS * abs(exact)
        scaled = np.exp(DoubleDouble(x.hi / 2, x.lo / 2))  # e^-745 itself has no digits
        assert abs(_mpf(scaled) / mpmath.exp(_mpf(x) / 2) - 1) <= 2.0**-90
    if x.hi > 0:
        assert np.exp(x).rounded() > np.exp(DoubleDouble(709.0)).rounded()
