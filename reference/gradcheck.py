r"""Derivatives of any function of arrays by means that need no derivation.

For a function from arrays to one number, or, with a cotangent w, for <w, f(arrays)>. `arrays` is
any nesting of dicts, tuples and NamedTuples with arrays at the leaves, as parameters are. Arrays
below double precision are taken in double, but for central differences.

Equations
---------
::

    complex step           dL/da  = Im L(a + i h) / h + O(h^2)              h = 1e-100: exact
    central differences    dL/da  = (L(a + h) - L(a - h)) / 2h + O(h^2)     about 1e-10 at best
    Taylor remainder       |L(a + e v) - L(a) - e <g, v>| = O(e^2)       only if g is the gradient

References
----------
Squire & Trapp 1998; Martins, Sturdza & Alonso 2003 (complex step); Farrell et al. 2013, section
6 (Taylor remainder test).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lstm_oracle.reference.tree import flatten, map_leaves, replace

Array = np.ndarray

# Small enough that h^2 is zero beside 1 and large enough that nothing near it underflows: with
# 1e-200 NumPy's complex tanh does from |x| = 300.
COMPLEX_STEP = 1e-100


def complex_step(function: Callable[[Any], Any], arrays: Any, *, cotangent: Any = None) -> Any:
    """Gradient by the complex step, accurate to rounding; one call per entry.

    Parameters
    ----------
    function
        From `arrays` to one number, or to anything of the nesting of `cotangent`. It must be
        analytic and pass complex numbers on: no abs, no conjugate, no cast to real.
    cotangent
        w of <w, function(arrays)>; None where the function gives one number.

    Raises
    ------
    TypeError
        Where the function drops the imaginary part, or keeps it in single precision, which has no
        number as small as the step: every derivative would read zero.

    Examples
    --------
    >>> import numpy as np
    >>> complex_step(lambda a: (a["x"] ** 3).sum(), {"x": np.array([1.0, 2.0])})
    {'x': array([ 3., 12.])}
    """

    arrays = map_leaves(_double, arrays)
    # All of them, so that a real result tells of a cast, and not of a leaf that it does not use.
    as_complex = map_leaves(lambda a: a.astype(np.result_type(a, np.complex128)), arrays)

    def derivative(path: str, a: Array, index: tuple[int, ...]) -> float:
        moved = a.astype(np.result_type(a, np.complex128))
        moved[index] += 1j * COMPLEX_STEP
        value = function(replace(as_complex, {path: moved}))
        return _imaginary(_scalar(value, cotangent)) / COMPLEX_STEP

    return _entry_by_entry(derivative, arrays)


def central_difference(
    function: Callable[[Any], Any], arrays: Any, *, cotangent: Any = None, step: float | None = None
) -> Any:
    """Gradient by central differences; two calls per entry.

    `step` is relative to the entry's size, at least 1; None: the cube root of the unit roundoff,
    where the rounding error (roundoff / h) and the truncation error (h^2) are about equal. The
    arrays keep their precision, so that a function in single precision gets a step that it sees.
    """

    def derivative(path: str, a: Array, index: tuple[int, ...]) -> float:
        h = (step or np.finfo(a.dtype).eps ** (1 / 3)) * max(1.0, abs(float(a[index])))
        values, points = [], []
        for sign in (1, -1):
            moved = a.copy()
            moved[index] += sign * h
            points.append(moved[index])  # what was really stored
            values.append(_scalar(function(replace(arrays, {path: moved})), cotangent))
        return (values[0] - values[1]) / (points[0] - points[1])

    arrays = map_leaves(lambda a: np.asarray(a, np.result_type(a, np.float32)), arrays)
    return _entry_by_entry(derivative, arrays)


def taylor_rate(
    function: Callable[[Any], Any],
    arrays: Any,
    gradients: Any,
    direction: Any,
    *,
    cotangent: Any = None,
    steps: tuple[float, ...] = (1e-2, 5e-3, 2.5e-3, 1.25e-3),
) -> float:
    """The rate at which the first-order Taylor remainder along `direction` vanishes.

    2 (or more) for the right gradient of a smooth function, 1 for a wrong one: halving the step
    then only halves the remainder. The median over consecutive steps; inf where the remainder is
    zero, as that of a linear function.
    """
    arrays = map_leaves(_double, arrays)
    base = _scalar(function(arrays), cotangent)
    slope = _inner(gradients, direction)

    def remainder(step: float) -> float:
        moved = map_leaves(lambda a, v: a + step * v, arrays, direction)
        return abs(float(_scalar(function(moved), cotangent) - base - step * slope))

    remainders = [remainder(step) for step in steps]
    if min(remainders) == 0:
        return math.inf
    rates = np.diff(np.log(remainders)) / np.diff(np.log(steps))
    return float(np.median(rates))


def directional(
    function: Callable[[Any], Any], arrays: Any, direction: Any, *, cotangent: Any = None
) -> float:
    """Derivative along one direction by the complex step: one call, whatever the size.

    Raises
    ------
    TypeError
        As `complex_step` does.
    """
    moved = map_leaves(lambda a, v: _double(a) + 1j * COMPLEX_STEP * v, arrays, direction)
    return float(_imaginary(_scalar(function(moved), cotangent)) / COMPLEX_STEP)


def _double(a: Any) -> Array:
    return np.asarray(a, np.result_type(a, np.float64))


def _imaginary(value: Any) -> Any:
    dtype = np.result_type(value)
    if dtype.kind != "c" or dtype == np.complex64:
        raise TypeError(
            f"function gave {dtype} for a complex128 argument, expected complex128. Remove casts "
            "to real (float(), .real, dtype=float64) and to single precision from it."
        )
    return value.imag


def _entry_by_entry(derivative: Callable[..., float], arrays: Any) -> Any:
    gradients = {}
    for path, a in flatten(arrays).items():
        gradient = np.zeros(a.shape, np.result_type(a, np.float64))
        for index in np.ndindex(a.shape):
            gradient[index] = derivative(path, a, index)
        gradients[path] = gradient
    return replace(arrays, gradients)


def _scalar(value: Any, cotangent: Any) -> Any:
    if cotangent is not None:
        return _inner(cotangent, value)
    value = np.asarray(value)
    if value.size != 1:
        raise ValueError(
            f"function gave an array of shape {value.shape}, expected one number. "
            "Pass cotangent=w to differentiate <w, function(arrays)>."
        )
    return value.reshape(())[()]


def _inner(a: Any, b: Any) -> Any:
    """<a, b> over all leaves; a leaf of a that is None counts as zero."""
    ours, theirs = flatten(a), flatten(b)
    homeless = [path for path in ours if path not in theirs]
    if homeless:
        raise ValueError(
            f"cotangent (or gradients) has {', '.join(homeless)}, the function gave "
            f"{', '.join(theirs) or 'one array'}; expected the same nesting. Use the same tuples."
        )
    return sum((leaf * theirs[path]).sum() for path, leaf in ours.items())
