"""NumPy arrays that round at random: what the oracle becomes in another precision.

A `RandomlyRounded` array holds float64 numbers that are representable in a narrower format.
Every operation on it is carried out and then rounded stochastically to that format; every sum and
every product of matrices is accumulated in a random order. The oracle runs on such arrays
unchanged: what it then differs by from the truth is what an honest implementation in that format
may differ by.

References
----------
Parker 1997, "Monte Carlo Arithmetic"; Croci et al. 2022, "Stochastic rounding: implementation,
error analysis and applications".
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np

from lstm_oracle.conformance.tolerances import format_of

Array = np.ndarray

# Their results are representable whenever their arguments are.
_EXACT = frozenset(
    (np.negative, np.positive, np.absolute, np.sign, np.maximum, np.minimum, np.fmax, np.fmin)
)
# Those that libraries compute to a few units in the last place only.
_TRANSCENDENTAL = frozenset((np.exp, np.expm1, np.log, np.log1p, np.tanh))
_POOL = 1 << 14  # random numbers drawn at once, and then cut at random places


class Rounding:
    """Rounds float64 arrays to the grid of a format, up or down at random, without bias."""

    def __init__(self, dtype: str, rng: np.random.Generator) -> None:
        """Draw the random numbers that all roundings share."""
        self.dtype = dtype
        self.rng = rng
        self.dropped = 53 - format_of(dtype).digits  # binary digits
        self.accumulator = np.float64 if dtype == "float64" else np.float32
        self._round = self._perturb if dtype == "float64" else self._drop_digits
        high = 2**self.dropped if self.dropped else 1
        library = format_of(dtype).library * format_of(dtype).roundoff
        self._library = library * rng.uniform(-1, 1, _POOL)
        self._kind = type("RandomlyRounded", (RandomlyRounded,), {"rounding": self})
        self._digits = rng.integers(0, high, _POOL, dtype=np.int64)
        # float64 results come rounded to nearest, with variance 1/12 of a squared unit in the last
        # place; moving one in twelve by one unit makes that the 1/6 of stochastic rounding.
        self._moves = 0.75 * 2.0**-52 * rng.choice([-1.0, 1.0] + 22 * [0.0], _POOL)

    def __call__(self, a: Array) -> Array:
        """The array, rounded."""
        rounded = self._round(a)
        return self._half_range(rounded) if self.dtype == "float16" else rounded

    def library(self, a: Array) -> Array:
        """Results of a library's function, off by what such functions are off."""
        return a + a.clip(-1e300, 1e300) * self._cut(self._library, a.shape)

    def _cut(self, pool: Array, shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        if size > _POOL // 2:
            return self.rng.choice(pool, size).reshape(shape)
        start = int(self.rng.integers(0, _POOL - size))
        return pool[start : start + size].reshape(shape)

    def _drop_digits(self, a: Array) -> Array:
        # A random number below one unit is added to the integer that the bits are; cutting the
        # low bits then rounds up with the probability of the part that is cut. Inf stays inf.
        bits = np.ascontiguousarray(a).view(np.int64) + self._cut(self._digits, a.shape)
        return (bits & -(1 << self.dropped)).view(np.float64)

    def _perturb(self, a: Array) -> Array:
        return a + a.clip(-1e300, 1e300) * self._cut(self._moves, a.shape)  # inf stays inf

    def _half_range(self, a: Array) -> Array:
        """float16 ends at 65504, and its smallest step is 2^-24."""
        step = 2.0**-24
        noise = self.rng.random(a.shape)
        with np.errstate(invalid="ignore"):
            a = np.where(np.abs(a) < 2.0**-14, np.floor(a / step + noise) * step, a)
        return np.where(np.abs(a) > 65504, np.copysign(np.inf, a), a)

    def array(self, a: Any) -> RandomlyRounded:
        """An array of the nearest representable numbers that computes with this rounding."""
        return cast(RandomlyRounded, to_format(a, self.dtype).view(self._kind))


class RandomlyRounded(np.ndarray):
    """float64 carriers of a narrower format. Made by `Rounding.array`."""

    rounding: Rounding
    __array_priority__ = 100.0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """One operation, carried out and rounded."""
        plain = [np.asarray(a) if isinstance(a, RandomlyRounded) else a for a in inputs]
        if "out" in kwargs:
            kwargs["out"] = tuple(np.asarray(a) for a in kwargs["out"])
        if ufunc is np.matmul:
            return self._wrap(self._matmul(*plain))
        if method == "reduce" and ufunc is np.add:
            return self._wrap(self._sum(plain[0], **kwargs))
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc in _EXACT:
            return self._wrap(result, exact=True)
        if ufunc in _TRANSCENDENTAL:
            result = self.rounding.library(result)
        return self._wrap(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Functions like where and stack move numbers, and keep the class."""
        result = super().__array_function__(func, types, args, kwargs)
        if isinstance(result, np.ndarray):
            return self._wrap(result, exact=True)
        return result

    def _wrap(self, result: Any, *, exact: bool = False) -> Any:
        if isinstance(result, RandomlyRounded):
            return result
        result = np.asarray(result)
        if result.dtype != np.float64:
            return result
        return (result if exact else self.rounding(result)).view(type(self))

    def _matmul(self, a: Array, b: Array) -> Array:
        """Products summed over the contracted axis in a random order."""
        order = self.rounding.rng.permutation(b.shape[-2] if b.ndim > 1 else b.shape[0])
        dtype: Any = self.rounding.accumulator
        left = a[..., order].astype(dtype)
        right = (b[..., order, :] if b.ndim > 1 else b[order]).astype(dtype)
        return np.asarray(left @ right, np.float64)

    def _sum(self, a: Array, axis: Any = 0, keepdims: bool = False, **_: Any) -> Array:
        """A sum over axes in a random order."""
        axes = tuple(range(a.ndim)) if axis is None else np.atleast_1d(axis)
        axes = tuple(int(n) % a.ndim for n in axes)
        kept = [n for n in range(a.ndim) if n not in axes]
        rows = a.transpose(*axes, *kept).reshape(-1, *(a.shape[n] for n in kept))
        rows = rows[self.rounding.rng.permutation(len(rows))].astype(self.rounding.accumulator)
        total = np.asarray(rows.sum(axis=0), np.float64)
        if keepdims:
            return total.reshape([1 if n in axes else a.shape[n] for n in range(a.ndim)])
        return total


def to_format(a: Any, dtype: str) -> Array:
    """The nearest numbers of a format, ties to even, as float64.

    Examples
    --------
    >>> float(to_format(0.1, "bfloat16"))
    0.10009765625
    """
    a = np.array(a, np.float64)
    if dtype == "bfloat16":
        return _to_bfloat16(a)
    format_of(dtype)
    return a.astype(dtype).astype(np.float64)


def _to_bfloat16(a: Array) -> Array:
    # Scaling by a power of two is exact, and makes rounding to 8 digits a rounding to integers.
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.round(mantissa * 256) / 256, exponent)
