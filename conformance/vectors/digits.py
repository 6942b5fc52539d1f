"""Numbers of 80 decimal digits that NumPy's object arrays compute with: the textbook runs on them.

The textbook's plain formulas lose digits (1 - tanh^2 in saturation loses up to 30); of 80, enough
are left for a float64 that is correctly rounded. `decimal` computes the same digits on every
machine, so that test vectors are the same bytes everywhere.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_oracle.conformance import textbook
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray
DIGITS = 80
_CONTEXT = decimal.Context(prec=DIGITS, Emin=-999_999, Emax=999_999)


def _value(other: Any) -> decimal.Decimal:
    """What a number is, exactly: float64 numbers have finitely many decimal digits."""
    return other.value if isinstance(other, Digits) else decimal.Decimal(other)


def _computes(compute: Callable[..., decimal.Decimal]) -> Callable[[Digits, Any], Digits]:
    return lambda a, b: Digits(compute(a.value, _value(b)))


def _computes_swapped(compute: Callable[..., decimal.Decimal]) -> Callable[[Digits, Any], Digits]:
    return lambda a, b: Digits(compute(_value(b), a.value))


def _compares(relation: Callable[[Any, Any], bool]) -> Callable[[Digits, Any], bool]:
    return lambda a, b: relation(a.value, _value(b))


class Digits:
    """A real number of 80 digits; NumPy's functions find its methods by name.

    Examples
    --------
    >>> float(Digits(1).exp())
    2.718281828459045
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Take over a number, without rounding."""
        self.value = _value(value)

    __add__ = __radd__ = _computes(_CONTEXT.add)
    __mul__ = __rmul__ = _computes(_CONTEXT.multiply)
    __sub__ = _computes(_CONTEXT.subtract)
    __truediv__ = _computes(_CONTEXT.divide)
    __pow__ = _computes(_CONTEXT.power)
    __rsub__ = _computes_swapped(_CONTEXT.subtract)
    __rtruediv__ = _computes_swapped(_CONTEXT.divide)
    __lt__ = _compares(operator.lt)
    __le__ = _compares(operator.le)
    __gt__ = _compares(operator.gt)
    __ge__ = _compares(operator.ge)

    def __neg__(self) -> Digits:
        """-z."""
        return Digits(_CONTEXT.minus(self.value))

    def __abs__(self) -> Digits:
        """|z|."""
        return Digits(_CONTEXT.abs(self.value))

    def __float__(self) -> float:
        """The nearest float64: Python rounds a decimal number correctly."""
        return float(self.value)

    def exp(self) -> Digits:
        """e^z."""
        return Digits(_CONTEXT.exp(self.value))

    def log(self) -> Digits:
        """The natural logarithm."""
        return Digits(_CONTEXT.ln(self.value))

    def sqrt(self) -> Digits:
        """The square root."""
        return Digits(_CONTEXT.sqrt(self.value))

    def tanh(self) -> Digits:
        """1 - 2 / (e^2z + 1)."""
        return 1 - 2 / ((2 * self).exp() + 1)


_exact = np.frompyfunc(Digits, 1, 1)
_nearest = np.frompyfunc(float, 1, 1)


def run_exactly(case: Case) -> Result:
    """The textbook's answer in 80 digits, rounded to float64 once, at the end.

    Examples
    --------
    >>> from lstm_oracle.conformance.matrix import cases
    >>> from lstm_oracle.conformance.yardstick import truth
    >>> case = cases("quick")[0]
    >>> bool(np.allclose(run_exactly(case).y, truth(case).y.astype(float), rtol=1e-15))
    True
    """
    names = ("params", "x", "state", "dropout", "d_y", "d_state")
    fields = {name: map_leaves(_lifted, getattr(case, name)) for name in names}
    result = textbook.run(Case(**(vars(case) | fields)))
    blocks = (result.y, result.state, result.d_params, result.d_x, result.d_state)
    return Result(*map_leaves(_rounded, blocks))


def _lifted(a: Array) -> Array:
    return np.asarray(_exact(a), dtype=object)


def _rounded(a: Array) -> Array:
    return np.asarray(_nearest(a)).astype(np.float64)
