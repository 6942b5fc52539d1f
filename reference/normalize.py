r"""Layer normalization of the last axis, without gain and shift.

Equations
---------
::

    N(a) = (a - mean(a)) / s        s = sqrt(mean((a - mean(a))^2) + epsilon)

    d_a = (d - mean(d) - N * mean(d * N)) / s                d = dL/dN

Means are over the N entries of the last axis; the variance is the biased one, divided by N.

References
----------
Ba, Kiros & Hinton 2016, "Layer Normalization", equation 3. Differs in epsilon, which every
library adds.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def forward(a: Array, epsilon: float) -> Array:
    """N(a), of the shape of a."""
    centered, s = _parts(a, epsilon)
    return centered / s


def backward(a: Array, epsilon: float, d: Array) -> Array:
    """dL/da from d = dL/dN(a)."""
    centered, s = _parts(a, epsilon)
    n = centered / s
    return (d - _mean(d) - n * _mean(d * n)) / s


def _parts(a: Array, epsilon: float) -> tuple[Array, Array]:
    centered = a - _mean(a)
    return centered, np.sqrt(_mean(centered * centered) + epsilon)


def _mean(a: Array) -> Array:
    return a.sum(axis=-1, keepdims=True) / a.shape[-1]
