"""How far an honest implementation may be off: the error of the oracle itself, measured.

The truth of a case is the oracle in a precision well above the case's own: 80-bit where float64 is
asked and the machine has it, else float64. The yardstick of a block is the largest error that two
witnesses make in a few runs with random rounding and random order of summation: the oracle, and
the textbook, whose plain formulas (1 - tanh^2, weight gradients added up step by step) are what
most frameworks compute.

References
----------
Dao et al. 2022 (FlashAttention) judge in the same way: error at most twice that of the plain
version in the same precision.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle import reference
from lstm_oracle.conformance import textbook, tolerances
from lstm_oracle.conformance.case import Case, Result, run_oracle
from lstm_oracle.conformance.rounding import Rounding
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray


class Deviation(NamedTuple):
    """Relative error of a block: of its norm, and of its largest entry."""

    norm: float
    entry: float


Yardstick = dict[str, Deviation]

_truths: dict[int, Result] = {}
_yardsticks: dict[int, Yardstick] = {}
_longer: dict[int, dict[int, Yardstick]] = {}  # by samples
_brief: dict[int, Yardstick] = {}
BRIEF = 2  # runs of each witness
OTHER_SEED = 1  # of the runs that are made in doubt


def truth(case: Case) -> Result:
    """The oracle's answer, in a precision above the case's own where there is one."""
    return _remembered(_truths, case, lambda: run_oracle(case, truth_dtype(case)))


def truth_dtype(case: Case) -> Any:
    """longdouble for float64 cases where it is longer, else float64."""
    longer = np.finfo(np.longdouble).eps < np.finfo(np.float64).eps
    affordable = _products(case) < tolerances.LONGDOUBLE_PRODUCTS
    return np.longdouble if case.dtype == "float64" and longer and affordable else np.float64


def yardstick(case: Case, *, samples: int | None = None, seed: int = 0) -> Yardstick:
    """{block: (norm error, entry error)} that honest arithmetic in the case's dtype makes.

    Parameters
    ----------
    samples : int, optional
        Randomly rounded runs of each witness; by default what `tolerances` says.
    seed : int
        Of the rounding.

    Examples
    --------
    >>> from lstm_oracle.conformance.matrix import cases
    >>> case = cases("quick", dtypes=("float32",))[0]
    >>> 1e-8 < yardstick(case)["y"].norm < 1e-5
    True
    """
    if samples is None and seed == 0:
        return _remembered(_yardsticks, case, lambda: _measure(case, _samples(case), seed))
    return _measure(case, samples or _samples(case), seed)


def longer_yardsticks(case: Case, first: Yardstick) -> Iterator[Yardstick]:
    """Yardsticks of more and more runs, each at least as large as the one before it."""
    known = first
    for samples in tolerances.SAMPLES_IN_DOUBT:
        more = _remembered(
            _longer.setdefault(samples, {}),
            case,
            partial(_measure, case, samples, OTHER_SEED),
        )
        known = larger(known, more)
        yield known


def brief_yardstick(case: Case) -> Yardstick:
    """That of the first runs of `yardstick` alone, and so never larger, for less.

    What agrees with it agrees with `yardstick` too; what does not has to be asked again.
    """
    return _remembered(_brief, case, lambda: _measure(case, BRIEF, 0))


def larger(one: Yardstick, other: Yardstick) -> Yardstick:
    """The larger deviation of either, of the blocks of the first one."""
    return {name: Deviation(*map(max, one[name], other[name])) for name in one}


def hand_over(case: Case, measured: Yardstick) -> None:
    """Takes a yardstick measured elsewhere as that of this case."""
    _remembered(_yardsticks, case, lambda: measured)


def deviation(got: Array, true: Array, scale: float) -> Deviation:
    """How far `got` lies from `true`; `scale` stands in for a block that is zero."""
    if got.size == 0:
        return Deviation(0.0, 0.0)
    with np.errstate(invalid="ignore", over="ignore"):
        # In the longer of both precisions: the truth may have more digits than the answer.
        difference = np.abs(got.astype(true.dtype, copy=False) - true)
    largest = float(np.abs(true).max())
    norm, size = float(_norm(true)), np.sqrt(true.size)
    return Deviation(
        float(_norm(difference)) / (norm or scale * size),
        float(difference.max()) / (largest or scale),
    )


def scales(blocks: dict[str, Array]) -> dict[str, float]:
    """What an error in a block is measured against where the block itself is zero.

    The largest entry of its family (the same letter over all gates), or, where the whole family
    is zero, of all gradients (or values).
    """
    largest = {name: _largest(block) for name, block in blocks.items()}
    families: dict[str, float] = {}
    for name, value in largest.items():
        for family in (_family(name), _kind(name)):
            families[family] = max(value, families.get(family, 0.0))
    return {
        name: value or families[_family(name)] or families[_kind(name)] or 1.0
        for name, value in largest.items()
    }


def run_rounded(case: Case, witness: Callable[[Case], Result], seed: Any) -> Result:
    """A witness's answer in the case's dtype, rounded at random."""
    rounding = Rounding(case.dtype, np.random.default_rng(seed))

    def rounded(tree: Any) -> Any:
        return map_leaves(rounding.array, tree)

    fields = ("params", "x", "state", "dropout", "d_y", "d_state")
    with np.errstate(over="ignore"):
        return witness(
            dataclasses.replace(case, **{name: rounded(getattr(case, name)) for name in fields})
        )


def oracle(case: Case) -> Result:
    """The oracle on the case's arrays as they are, whatever their arithmetic."""
    output, tape = reference.forward(
        case.architecture, case.params, case.x, case.state, case.mask, dropout=case.dropout
    )
    gradients = reference.backward(tape, case.d_y, case.d_state)
    return Result(output.y, output.state, gradients.params, gradients.x, gradients.state)


def _measure(case: Case, samples: int, seed: int) -> Yardstick:
    true = truth(case).blocks()
    scale = scales(true)
    worst = dict.fromkeys(true, Deviation(0.0, 0.0))
    for sample in range(samples):
        for n, witness in enumerate((oracle, textbook.run)):
            blocks = run_rounded(case, witness, [seed, sample, n]).blocks()
            for name, block in true.items():
                new = deviation(np.asarray(blocks[name]), block, scale[name])
                worst[name] = Deviation(*map(max, worst[name], new))
    return worst


def _samples(case: Case) -> int:
    return tolerances.format_of(case.dtype).samples


def _remembered(table: dict[int, Any], case: Case, make: Callable[[], Any]) -> Any:
    """The entry of a case, for as long as that case object lives."""
    if id(case) not in table:
        table[id(case)] = make()
        weakref.finalize(case, table.pop, id(case), None)
    return table[id(case)]


def _products(case: Case) -> float:
    """Multiplications of all matrix products, roughly."""
    weights = sum(leaf.size for leaf in flatten(case.params).values())
    return 3.0 * weights * case.x.shape[0] * case.x.shape[1]


def _norm(a: Array) -> Any:
    """The 2-norm; squares of entries scaled to 1, for cotangents of any size."""
    largest = np.abs(a).max()
    return largest * np.sqrt(np.square(a / largest).sum()) if largest > 0 else largest


def _largest(a: Array) -> float:
    return float(np.abs(a).max()) if a.size else 0.0


def _family(name: str) -> str:
    """d_0.forward.W_i to d_0.forward.W; what belongs to no gate stays."""
    stem, _, gate = name.rpartition("_")
    return stem if len(gate) == 1 and stem != "d" else name


def _kind(name: str) -> str:
    return "gradients" if name.startswith("d_") else "values"
