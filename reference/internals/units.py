r"""Hidden units as a population: how many directions they use, which do nothing, which are twins.

Definitions
-----------
Hidden states of all real steps as rows of A, their mean taken away::

    effective rank   exp(-sum_k p_k log p_k),  p_k = s_k / sum s, s the singular values of A
    dead             standard deviation of h_j below 0.001 (h lies in -1 ... 1)
    duplicate        |correlation of h_j with a unit before it| above 0.999, neither dead

References
----------
Roy & Vetterli 2007, "The effective rank: a measure of effective dimensionality", section 2.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray

DEAD, DUPLICATE = 1e-3, 0.999


def _rows(h: Array, real: Array) -> Array:
    rows = h[real]
    return rows - rows.mean(axis=0)


def effective_rank(h: Array, real: Array) -> float:
    """Of hidden states (B, T, H): between 1 and H; NaN where they never change."""
    s = np.linalg.svd(_rows(h, real), compute_uv=False)
    if not s.any():
        return float("nan")
    p = s[s > 0] / s.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def dead(h: Array, real: Array) -> Array:
    """(H,) True for a unit that hardly ever changes."""
    return np.less(_rows(h, real).std(axis=0), DEAD)


def duplicate(h: Array, real: Array) -> Array:
    """(H,) True for a unit that says what a unit before it says."""
    rows, lifeless = _rows(h, real), dead(h, real)
    normed = rows / np.where(lifeless, np.inf, rows.std(axis=0))
    alike = np.abs(normed.T @ normed) / len(rows) > DUPLICATE
    return np.asarray(np.any(np.triu(alike, 1), axis=0))
