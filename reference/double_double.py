r"""Arrays of 106 binary digits: each number is an unevaluated sum of two float64 numbers.

`DoubleDouble` behaves as far like a NumPy array as the oracle needs, so that cell, scan and
combinators run on it unchanged: operators and ufuncs through `__array_ufunc__`, functions like
`concatenate` and `where` through `__array_function__`. What is not in these two tables raises, so
that nothing is silently computed in 53 digits.

Only float64 additions, multiplications and divisions are used, so it gives the same numbers on
every machine with IEEE arithmetic; there need be no longer type and no fused multiply-add.

Equations
---------
::

    a + b = s + e       s = fl(a + b)     e exact     (TwoSum: Knuth)
    a * b = p + e       p = fl(a * b)     e exact     (TwoProd: Dekker, factors split by Veltkamp)
    e^x = 2^m (1 + expm1(x - m ln 2))                 expm1 by a Taylor series at a 512th, doubled

Relative errors are a few 2^-104 per operation, below 2^-96 for functions, where the low part is
not subnormal (results above 1e-290).

References
----------
Dekker 1971, "A Floating-Point Technique for Extending the Available Precision"; Knuth 1997,
section 4.2.2, theorem B; Hida, Li & Bailey 2001, "Algorithms for Quad-Double Precision Floating
Point Arithmetic" (exp); Joldes, Muller & Popescu 2017 (error bounds of double-double operations).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

Array = np.ndarray

_SPLITTER = 2.0**27 + 1  # cuts 53 binary digits into 26 and 27
_BLOCK = 1 << 18  # products that a matrix product holds at once


class DoubleDouble(NDArrayOperatorsMixin):
    """An array of numbers hi + lo, |lo| at most half a unit in the last place of hi.

    Examples
    --------
    >>> import numpy as np
    >>> third = DoubleDouble(np.array([1.0])) / 3
    >>> float(third.lo[0])
    1.850371707708594e-17
    """

    def __init__(self, hi: Any, lo: Any = None) -> None:
        """Take over hi + lo, as it is."""
        self.hi = np.asarray(hi, np.float64)
        self.lo = np.zeros_like(self.hi) if lo is None else np.asarray(lo, np.float64)

    def rounded(self) -> Array:
        """The nearest float64 numbers."""
        return self.hi + self.lo

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as of an array."""
        return self.hi.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.hi.ndim

    @property
    def dtype(self) -> np.dtype:
        """The dtype of both parts: what a mask is cast to on its way into a product."""
        return self.hi.dtype

    @property
    def T(self) -> DoubleDouble:
        """Transposed."""
        return self._each(lambda a: a.T)

    def __len__(self) -> int:
        """Length of the first axis."""
        return len(self.hi)

    def __getitem__(self, index: Any) -> DoubleDouble:
        """A part of the array."""
        return self._each(lambda a: a[index])

    def reshape(self, *shape: int) -> DoubleDouble:
        """The same numbers in another shape."""
        return self._each(lambda a: a.reshape(*shape))

    def sum(self, axis: int | tuple[int, ...], *, keepdims: bool = False) -> DoubleDouble:
        """The sum over axes, by halves."""
        total = self
        for n in sorted((int(n) % self.ndim for n in np.atleast_1d(axis)), reverse=True):
            total = _sum_over(total, n)
            if keepdims:
                total = total[(*n * (slice(None),), None)]
        return total

    def __array__(self, *args: Any, **kwargs: Any) -> Array:
        """Refuse: NumPy would go on with 53 digits and nobody would see it."""
        raise TypeError(
            "DoubleDouble is no float64 array. Round it with .rounded() where you want."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """One of `UFUNCS`."""
        if method != "__call__" or kwargs or ufunc not in UFUNCS:
            return NotImplemented
        # Infinite numbers have no error; what is computed of it is thrown away.
        with np.errstate(all="ignore"):
            return UFUNCS[ufunc](*map(_lifted, inputs))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """One of `FUNCTIONS`."""
        if function not in FUNCTIONS:
            return NotImplemented
        return FUNCTIONS[function](*args, **kwargs)

    def _each(self, move: Callable[[Array], Array]) -> DoubleDouble:
        """What moves numbers moves both parts."""
        return DoubleDouble(move(self.hi), move(self.lo))


def _lifted(a: Any) -> DoubleDouble:
    return a if isinstance(a, DoubleDouble) else DoubleDouble(a)


# --- error-free transformations -------------------------------------------------------------------


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """s + e = a + b, exactly."""
    s = a + b
    other = s - a
    return s, (a - (s - other)) + (b - other)


def _fast_two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The same where |a| >= |b| or a is zero."""
    s = a + b
    return s, b - (s - a)


def _split(a: Array) -> tuple[Array, Array]:
    c = _SPLITTER * a
    high = c - (c - a)
    return high, a - high


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """p + e = a * b, exactly."""
    p = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _joined(hi: Array, lo: Array) -> DoubleDouble:
    """hi + lo with the parts apart."""
    hi, lo = _fast_two_sum(hi, _finite(lo))
    return DoubleDouble(hi, _finite(lo))


def _finite(error: Array) -> Array:
    """Zero in place of the NaN that an infinite result leaves as its error."""
    return np.where(np.isfinite(error), error, 0.0)


# --- arithmetic -----------------------------------------------------------------------------------


def _add(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Accurate even where the high parts cancel."""
    s, e = _two_sum(a.hi, b.hi)
    t, f = _two_sum(a.lo, b.lo)
    s, e = _fast_two_sum(s, _finite(e + t))
    return _joined(s, e + f)


def _negative(a: DoubleDouble) -> DoubleDouble:
    return DoubleDouble(-a.hi, -a.lo)


def _subtract(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    return _add(a, _negative(b))


def _multiply(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    p, e = _two_product(a.hi, b.hi)
    return _joined(p, e + (a.hi * b.lo + a.lo * b.hi))


def _divide(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Three digits of base 2^53."""
    first = a.hi / b.hi
    rest = _subtract(a, _multiply(b, DoubleDouble(first)))
    second = _finite(rest.hi / b.hi)
    rest = _subtract(rest, _multiply(b, DoubleDouble(second)))
    return _add(_joined(first, second), DoubleDouble(_finite(rest.hi / b.hi)))


def _square(a: DoubleDouble) -> DoubleDouble:
    return _multiply(a, a)


def _absolute(a: DoubleDouble) -> DoubleDouble:
    return _where(a.hi < 0, _negative(a), a)


def _sign(a: DoubleDouble) -> DoubleDouble:
    return DoubleDouble(np.sign(a.hi))


def _sqrt(a: DoubleDouble) -> DoubleDouble:
    """One step of Newton's method from the float64 root."""
    root = DoubleDouble(np.sqrt(a.hi))
    return _where(a.hi == 0, root, _add(root, _divide(_subtract(a, _square(root)), root) * 0.5))


def _matmul(a: DoubleDouble, b: DoubleDouble) -> DoubleDouble:
    """Every product exact to 106 digits, summed by halves, some columns of `a` at a time."""
    rows, columns = math.prod(a.shape[:-1]), b.shape[-1]
    width = max(1, _BLOCK // max(1, rows * columns))
    total = DoubleDouble(0.0)
    for start in range(0, a.shape[-1], width):
        piece = slice(start, start + width)
        left, right = a[..., piece, None], b[..., None, piece, :]
        total = _add(total, _sum_over(_multiply(left, right), -2))
    return total


def _sum_over(a: DoubleDouble, axis: int) -> DoubleDouble:
    a = a._each(lambda part: np.moveaxis(part, axis, 0))
    while len(a) > 1:
        half = len(a) // 2
        pairs = _add(a[:half], a[half : 2 * half])
        a = _concatenate([pairs, a[2 * half :]])
    return a[0]


# --- functions ------------------------------------------------------------------------------------


def _nearest(value: Fraction) -> DoubleDouble:
    """A rational number to 106 digits."""
    hi = float(value)
    return DoubleDouble(hi, float(value - Fraction(hi)))


# ln 2 to 40 decimal digits.
_LN2 = _nearest(Fraction("0.6931471805599453094172321214581765680755"))
_HALVINGS = 9  # of the argument of the series
_INVERSE_FACTORIALS = [_nearest(Fraction(1, math.factorial(n))) for n in range(2, 14)]
# e^x beyond these is inf, and 0; 2^m has to be a number before.
_LARGEST, _SMALLEST = 709.0, -745.0


def _expm1_and_exponent(x: DoubleDouble) -> tuple[DoubleDouble, Array]:
    """expm1(x - m ln 2) and m: |x - m ln 2| is at most ln(2) / 2."""
    m = np.round(x.hi / _LN2.hi)
    r = _subtract(x, _multiply(_LN2, DoubleDouble(m)))
    r = r._each(lambda part: np.ldexp(part, -_HALVINGS))
    # |r| < 0.0007: the next term of the series is below 2^-150 of the first.
    series = DoubleDouble(np.zeros_like(r.hi))
    for coefficient in reversed(_INVERSE_FACTORIALS):
        series = _multiply(_add(series, coefficient), r)
    y = _add(r, _multiply(series, r))
    for _ in range(_HALVINGS):  # expm1(2 r) = 2 y + y^2
        y = _add(y._each(lambda part: 2 * part), _square(y))
    return y, m.astype(np.int64)


def _scaled(a: DoubleDouble, m: Array) -> DoubleDouble:
    return a._each(lambda part: np.ldexp(part, m))


def _exp(x: DoubleDouble) -> DoubleDouble:
    inside = _clipped(x, _SMALLEST, _LARGEST)
    y, m = _expm1_and_exponent(inside)
    found = _scaled(_add(y, DoubleDouble(1.0)), m)
    found = _where(x.hi > _LARGEST, DoubleDouble(np.inf), found)
    return _where(x.hi < _SMALLEST, DoubleDouble(0.0), found)


def _expm1(x: DoubleDouble) -> DoubleDouble:
    """e^x - 1; near zero without the subtraction."""
    y, m = _expm1_and_exponent(_clipped(x, _SMALLEST, _LARGEST))
    shifted = _subtract(_scaled(_add(y, DoubleDouble(1.0)), m), DoubleDouble(1.0))
    found = _where(m == 0, y, shifted)
    return _where(x.hi > _LARGEST, DoubleDouble(np.inf), found)


def _tanh(x: DoubleDouble) -> DoubleDouble:
    """-expm1(-2|x|) / (2 + expm1(-2|x|)), with the sign of x."""
    e = _expm1(_multiply(_absolute(x), DoubleDouble(-2.0)))
    positive = _divide(_negative(e), _add(e, DoubleDouble(2.0)))
    return _where(x.hi < 0, _negative(positive), positive)


def _log1p(x: DoubleDouble) -> DoubleDouble:
    """One step of Newton's method for expm1(y) = x from the float64 logarithm."""
    y = DoubleDouble(np.log1p(x.hi))
    e = _expm1(y)
    return _add(y, _divide(_subtract(x, e), _add(e, DoubleDouble(1.0))))


def _clipped(x: DoubleDouble, low: float, high: float) -> DoubleDouble:
    """NaN stays NaN."""
    outside = (x.hi < low) | (x.hi > high)
    return _where(outside, DoubleDouble(np.clip(x.hi, low, high)), x)


def _compares(relation: Callable[[Any, Any], Any]) -> Callable[[DoubleDouble, DoubleDouble], Array]:
    """By the difference, which is exact where it decides."""

    def compare(a: DoubleDouble, b: DoubleDouble) -> Array:
        return relation(_subtract(a, b).hi, 0.0)

    return compare


UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: _add,
    np.subtract: _subtract,
    np.multiply: _multiply,
    np.divide: _divide,
    np.matmul: _matmul,
    np.negative: _negative,
    np.absolute: _absolute,
    np.square: _square,
    np.sqrt: _sqrt,
    np.sign: _sign,
    np.exp: _exp,
    np.expm1: _expm1,
    np.tanh: _tanh,
    np.log1p: _log1p,
    np.less: _compares(np.less),
    np.less_equal: _compares(np.less_equal),
    np.greater: _compares(np.greater),
    np.greater_equal: _compares(np.greater_equal),
}


# --- functions that move numbers ------------------------------------------------------------------


def _moves(function: Any) -> Callable[..., DoubleDouble]:
    """A NumPy function of one array, applied to both parts."""
    return lambda a, *args, **kwargs: a._each(lambda part: function(part, *args, **kwargs))


def _concatenate(arrays: Any, axis: int = 0) -> DoubleDouble:
    parts = [_lifted(a) for a in arrays]
    return DoubleDouble(
        np.concatenate([a.hi for a in parts], axis), np.concatenate([a.lo for a in parts], axis)
    )


def _stack(arrays: Any, axis: int = 0) -> DoubleDouble:
    return _concatenate(
        [_lifted(a)._each(lambda part: np.expand_dims(part, axis)) for a in arrays], axis
    )


def _split_array(a: DoubleDouble, sections: int, axis: int = 0) -> list[DoubleDouble]:
    pairs = zip(np.split(a.hi, sections, axis), np.split(a.lo, sections, axis), strict=True)
    return [DoubleDouble(hi, lo) for hi, lo in pairs]


def _where(condition: Array, a: Any, b: Any) -> DoubleDouble:
    a, b = _lifted(a), _lifted(b)
    return DoubleDouble(np.where(condition, a.hi, b.hi), np.where(condition, a.lo, b.lo))


def _filled(function: Any) -> Callable[..., DoubleDouble]:
    """A function like zeros_like: the low part is zero."""
    return lambda a, *args, **kwargs: DoubleDouble(function(a.hi, *args, **kwargs))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.split: _split_array,
    np.where: _where,
    np.swapaxes: _moves(np.swapaxes),
    np.zeros_like: _filled(np.zeros_like),
    np.ones_like: _filled(np.ones_like),
    np.full_like: _filled(np.full_like),
    np.iscomplexobj: lambda a: False,
}
