"""The yardstick of a large case, estimated from a few of its sequences.

Measuring a yardstick costs many randomly rounded runs of the oracle; a layer of a user's model on a
real batch can be a hundred times larger than any case of the matrix. Sequences are independent, and
their rounding errors too: the error of k sequences tells that of B.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.yardstick import Deviation, Yardstick, scales, truth, yardstick
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray

# Multiplications of one run that take about a third of a second, of which there are eight.
AFFORDABLE_PRODUCTS = 4e7


class Sampled(NamedTuple):
    """A yardstick and the sequences that it was measured on."""

    yardstick: Yardstick
    sequences: int


def sampled_yardstick(case: Case, *, products: float = AFFORDABLE_PRODUCTS) -> Sampled:
    """The yardstick of a case; of a large one, from the sequences with the largest cotangents.

    Equations
    ---------
    Of B sequences k are run. Rounding errors of different sequences are independent, so
    norm(error of B) = sqrt(B/k) * norm(error of k), and an entry of a weight's gradient, which is
    a sum over sequences, grows likewise. Sequences with larger cotangents make larger errors, so
    that the estimate errs upwards. Errors are relative to the blocks of the whole case: where the
    sequences' gradients cancel, as at the end of a training, the yardstick grows with it.
    """
    B, T, _ = case.x.shape
    weights = sum(leaf.size for leaf in flatten(case.params).values())
    one = 3.0 * weights * T
    if one * B <= products:
        return Sampled(yardstick(case), B)
    k = max(1, int(products / one))
    part = select(case, _largest_cotangents(case, k))
    allowed = tolerances.format_of(case.dtype).samples
    samples = max(1, min(allowed, int(allowed * products / one)))
    return Sampled(_extrapolated(case, part, yardstick(part, samples=samples), B / k), k)


def select(case: Case, rows: Array) -> Case:
    """The case of some of its sequences.

    Examples
    --------
    >>> from lstm_oracle.conformance.matrix import cases
    >>> case = cases("quick")[0]
    >>> select(case, np.array([0])).x.shape == (1, *case.x.shape[1:])
    True
    """
    batched = ("x", "state", "mask", "dropout", "d_y", "d_state")
    return dataclasses.replace(
        case, **{name: map_leaves(lambda a: a[rows], getattr(case, name)) for name in batched}
    )


def _largest_cotangents(case: Case, k: int) -> Array:
    size: Any = np.zeros(len(case.x))
    for leaf in flatten((case.d_y, case.d_state)).values():
        size = size + np.square(leaf).reshape(len(leaf), -1).sum(axis=1)
    return np.sort(np.argsort(-size, kind="stable")[:k])


def _extrapolated(case: Case, part: Case, measured: Yardstick, times: float) -> Yardstick:
    whole, some = truth(case).blocks(), truth(part).blocks()
    scale, part_scale = scales(whole), scales(some)
    sums = {f"d_{path}" for path in flatten(case.params)}
    return {
        name: Deviation(
            measured[name].norm
            * _ratio(_norm(some[name], part_scale[name]), _norm(block, scale[name]))
            * np.sqrt(times),
            measured[name].entry
            * _ratio(_peak(some[name], part_scale[name]), _peak(block, scale[name]))
            * (np.sqrt(times) if name in sums else 1.0),
        )
        for name, block in whole.items()
    }


def _norm(block: Array, scale: float) -> float:
    return float(np.linalg.norm(block.astype(np.float64))) or scale * float(np.sqrt(block.size))


def _peak(block: Array, scale: float) -> float:
    return float(np.abs(block).max()) or scale


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 1.0
