"""The yardstick of a large case, estimated from a few of its sequences.

Measuring a yardstick costs many randomly rounded runs of the oracle; a layer of a user's model on a
real batch can be a hundred times larger than any case of the matrix. Sequences are independent, and
their rounding errors too: the error of k sequences tells that of B.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.conformance import textbook, tolerances
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.yardstick import (
    OTHER_SEED,
    Deviation,
    Yardstick,
    larger,
    oracle,
    run_rounded,
    scales,
    truth,
)
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray

# Multiplications of one run that take about a third of a second, of which there are eight.
AFFORDABLE_PRODUCTS = 4e7


View = Callable[[dict[str, Array]], dict[str, Array]]


class Sampled(NamedTuple):
    """A yardstick and the sequences that it was measured on."""

    yardstick: Yardstick
    sequences: int


def everything(blocks: dict[str, Array]) -> dict[str, Array]:
    """The view of an implementation that gives every block."""
    return blocks


def sampled_yardstick(
    case: Case,
    *,
    view: View = everything,
    products: float = AFFORDABLE_PRODUCTS,
    samples: int | None = None,
    seed: int = 0,
) -> Sampled:
    """The yardstick of a case; of a large one, from the sequences with the largest cotangents.

    Equations
    ---------
    Of B sequences k are run. Rounding errors of different sequences are independent, so
    norm(error of B) = sqrt(B/k) * norm(error of k), and an entry of a weight's gradient, which is
    a sum over sequences, grows likewise. Sequences with larger cotangents make larger errors, so
    that the estimate errs upwards. Errors are relative to the blocks of the whole case: where the
    sequences' gradients cancel, as at the end of a training, the yardstick grows with it.

    Parameters
    ----------
    view : callable
        From all of the oracle's blocks to those that are compared.
    products : float
        Multiplications that a run may take.
    samples : int, optional
        Randomly rounded runs of each witness, fewer where one sequence takes more than that; by
        default what `tolerances` says.
    seed : int
        Of the rounding.
    """
    B, T, _ = case.x.shape
    weights = sum(leaf.size for leaf in flatten(case.params).values())
    one = 3.0 * weights * T
    k = min(B, max(1, int(products / one)))
    part = case if k == B else select(case, _largest_cotangents(case, k))
    wanted = tolerances.format_of(case.dtype).samples if samples is None else samples
    errors = _Errors(case, part, view)
    for sample in range(max(1, min(wanted, int(wanted * products / one)))):
        for n, witness in enumerate((oracle, textbook.run)):
            errors.add(run_rounded(part, witness, [seed, sample, n]))
    return Sampled(errors.relative(B / k), k)


def longer_sampled_yardsticks(
    case: Case,
    first: Yardstick,
    *,
    view: View = everything,
    products: float = AFFORDABLE_PRODUCTS,
) -> Iterator[Yardstick]:
    """Yardsticks of more and more runs, each at least as large as the one before it.

    More runs are of fewer sequences, so that each yardstick takes about as long as the first one
    did.
    """
    known = first
    usual = tolerances.format_of(case.dtype).samples
    for samples in tolerances.SAMPLES_IN_DOUBT:
        fewer = products * usual / samples
        found = sampled_yardstick(
            case, view=view, products=fewer, samples=samples, seed=OTHER_SEED
        ).yardstick
        known = larger(known, found)
        yield known


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


class _Errors:
    """The largest errors of several runs on part of a case, relative to the whole of it."""

    def __init__(self, case: Case, part: Case, view: View) -> None:
        self._view = view
        self._whole = view(truth(case).blocks())
        self._true = self._whole if part is case else view(truth(part).blocks())
        self._scale = scales(self._whole)
        self._sums = {f"d_{path}" for path in flatten(case.params)}
        self._norm = dict.fromkeys(self._whole, 0.0)
        self._entry = dict.fromkeys(self._whole, 0.0)

    def add(self, result: Result) -> None:
        """Take note of a run."""
        for name, block in self._view(result.blocks()).items():
            error = np.asarray(block, np.float64) - self._true[name].astype(np.float64)
            self._norm[name] = max(self._norm[name], float(np.linalg.norm(error)))
            self._entry[name] = max(self._entry[name], float(np.abs(error).max(initial=0.0)))

    def relative(self, times: float) -> Yardstick:
        """The yardstick of `times` as many sequences."""
        grown = float(np.sqrt(times))
        return {
            name: Deviation(
                grown * self._norm[name] / self._norm_of(name),
                (grown if name in self._sums else 1.0) * self._entry[name] / self._peak_of(name),
            )
            for name in self._whole
        }

    def _norm_of(self, name: str) -> float:
        block = self._whole[name].astype(np.float64)
        return float(np.linalg.norm(block)) or self._scale[name] * float(np.sqrt(block.size))

    def _peak_of(self, name: str) -> float:
        return float(np.abs(self._whole[name]).max(initial=0.0)) or self._scale[name]
