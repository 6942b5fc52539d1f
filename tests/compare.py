"""How the tests of the oracle compare nested arrays: every entry, by the size of its block."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle.reference.tree import flatten

# Right and wrong lie far apart: two ways to compute a gradient of the drawn problems differ by
# 1e-15 to 1e-11 (cancellation in blocks of one entry), a wrong one by 1e-3 and more.
CLOSE = 1e-9


def worst_error(got: Any, expected: Any) -> tuple[float, str]:
    """Largest error over all blocks, each relative to the largest entry of its block."""
    got, expected = flatten(got), flatten(expected)
    assert got.keys() == expected.keys()
    overall = max((np.abs(b).max() for b in expected.values()), default=0.0)
    errors = {}
    for path, b in expected.items():
        a = got[path]
        assert a.shape == b.shape, f"{path}: {a.shape} is not {b.shape}"
        assert np.isfinite(a).all(), f"{path} is not finite"
        # A block that is zero, but for rounding, is measured by the other blocks.
        scale = max(np.abs(b).max(), 1e-5 * overall)
        errors[path] = float(np.abs(a - b).max() / scale) if scale else float(np.abs(a).max())
    worst = max(errors, key=errors.__getitem__)
    return errors[worst], worst


def assert_close(got: Any, expected: Any, tolerance: float = CLOSE) -> None:
    error, path = worst_error(got, expected)
    assert error <= tolerance, f"{path} is off by {error:.1e}, allowed {tolerance:.0e}"


def assert_identical(got: Any, expected: Any) -> None:
    """The same numbers to the last bit, the sign of zero apart."""
    got, expected = flatten(got), flatten(expected)
    assert got.keys() == expected.keys()
    for path, b in expected.items():
        np.testing.assert_array_equal(got[path], b, err_msg=path)
