"""Which bug of the zoo do wrong answers look like?

A bug is held against all that is known: it has to give the same wrong answers where the function
is wrong, and right ones where the function is right. Compared are deviations from the truth, every
block divided by its largest entry, so that no block drowns another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.conformance.yardstick import deviation, scales, truth, yardstick
from lstm_oracle.conformance.zoo import BUGS, Bug, gate_orders

Array = np.ndarray

# Of the function's deviations: how much a bug has to explain to be looked at in every case.
_PROMISING = 0.6
_MOST_CASES = 6  # of each kind, wrong and right, the smallest first
# Two bugs that explain the same to within this are the same bug as far as these cases tell.
_SAME = 1e-6
# A direction this close to the bug's own is the bug in another size.
_CORRELATED = 0.95
_HUGE = 1e3  # what stands for Inf and NaN


@dataclass(frozen=True)
class Resemblance:
    """A bug of the zoo beside the wrong answers.

    `distance` is |wrong - bug| / |wrong - truth|, over all cases: 0 is the same wrong answer, 1 is
    as far from the bug as from the truth. `correlation` is the cosine between both deviations.
    """

    id: str
    sentence: str
    distance: float
    correlation: float
    fits: bool


class Evidence(NamedTuple):
    """A case, the function's answer, and what was made of it."""

    case: Case
    result: Result
    report: CaseReport


class _Sight(NamedTuple):
    """What a bug has to reproduce in one case."""

    case: Case
    names: tuple[str, ...]
    true: dict[str, Array]
    found: Array  # the function's deviation


def nearest(evidence: Sequence[Evidence]) -> tuple[Resemblance, ...]:
    """The bugs that explain the evidence best, at most three; the first ones tell if it fits.

    Several that fit equally well cannot be told apart by these cases.
    """
    wrong = [_sight(one) for one in _smallest(evidence, "disagree") if _comparable(one)]
    if not wrong:
        return ()
    right = [_sight(one) for one in _smallest(evidence, "agree") if _comparable(one)]
    candidates = (*BUGS, *gate_orders())
    first = [(_against(one, wrong[:1]), one) for one in candidates]
    promising = [one for (distance, _), one in first if distance < _PROMISING]
    if not promising:
        promising = [one for _, one in sorted(first, key=lambda row: row[0][0])[:3]]
    ranked = sorted((_judged(one, wrong, right) for one in promising), key=_rank)
    if not ranked[0].fits:
        coarse = _coarse(evidence)
        if coarse is not None:
            return (coarse, *ranked[:2])
    return tuple(ranked[:3])


def _rank(one: Resemblance) -> tuple[bool, float, float]:
    return not one.fits, round(one.distance, 6), -one.correlation


def _smallest(evidence: Sequence[Evidence], status: str) -> list[Evidence]:
    chosen = [one for one in evidence if one.report.status == status]
    return sorted(chosen, key=lambda one: one.case.x.size)[:_MOST_CASES]


def _comparable(one: Evidence) -> bool:
    """Whether the answer has the right shapes, and comes from one call, as a bug's does."""
    return bool(one.report.blocks) and not one.case.options.get("pieces")


def _sight(one: Evidence) -> _Sight:
    whole, got = truth(one.case).blocks(), one.result.blocks()
    names = tuple(block.block for block in one.report.blocks if block.block in whole)
    true = {name: whole[name].astype(np.float64) for name in names}
    return _Sight(one.case, names, true, _deviation(got, true))


def _deviation(got: dict[str, Array], true: dict[str, Array]) -> Array:
    parts = []
    size = scales(true)
    for name, block in true.items():
        with np.errstate(all="ignore"):
            difference = (np.asarray(got[name], np.float64) - block) / size[name]
        clean = np.nan_to_num(difference, nan=_HUGE, posinf=_HUGE, neginf=-_HUGE)
        parts.append(np.clip(clean, -_HUGE, _HUGE).ravel())
    return np.concatenate(parts)


def _suspect(one: Bug, sight: _Sight) -> Array | None:
    """The bug's own deviation; None where it does not survive this architecture."""
    try:
        return _deviation(one.run(sight.case).blocks(), sight.true)
    except (ValueError, IndexError, KeyError):
        return None


def _against(one: Bug, sights: Sequence[_Sight]) -> tuple[float, float]:
    """Distance and correlation of a bug over some cases; every case weighs the same."""
    gaps, along = [], []
    for sight in sights:
        suspect = _suspect(one, sight)
        size = _norm(sight.found)
        if suspect is None or suspect.shape != sight.found.shape or not size:
            return np.inf, 0.0
        gaps.append(_norm(sight.found - suspect) / size)
        other = _norm(suspect)
        along.append(float((sight.found * suspect).sum()) / (size * other) if other else 0.0)
    return float(np.sqrt(np.mean(np.square(gaps)))), float(np.mean(along))


def _norm(a: Array) -> float:
    """Without the threads of a linear algebra library, which wait for each other here."""
    return float(np.sqrt(np.square(a).sum()))


def _judged(one: Bug, wrong: Sequence[_Sight], right: Sequence[_Sight]) -> Resemblance:
    distance, correlation = _against(one, wrong)
    innocent = all(_harmless(one, sight) for sight in right)
    fits = innocent and (distance < tolerances.RESEMBLANCE or correlation > _CORRELATED)
    return Resemblance(one.id, one.sentence, distance, correlation, fits)


def _harmless(one: Bug, sight: _Sight) -> bool:
    """Whether the bug does not show where the function is right."""
    suspect = _suspect(one, sight)
    if suspect is None:
        return False
    allowed = 1e3 * tolerances.format_of(sight.case.dtype).roundoff
    return float(np.abs(suspect).max(initial=0.0)) <= max(
        allowed, 10 * float(np.abs(sight.found).max(initial=0.0))
    )


# --- too few digits -------------------------------------------------------------------------------


def _coarse(evidence: Sequence[Evidence]) -> Resemblance | None:
    """Whether the errors are those of a narrower format: nothing is wrong but the digits."""
    wrong = [one for one in _smallest(evidence, "disagree") if _comparable(one)]
    for narrow in ("float32", "float16", "bfloat16"):
        wider = tolerances.format_of(wrong[0].case.dtype).digits
        if tolerances.format_of(narrow).digits < wider and all(_within(o, narrow) for o in wrong):
            sentence = (
                f"The errors are those of arithmetic in {narrow}, not in the dtype asked for."
            )
            return Resemblance(f"computed-in-{narrow}", sentence, 0.0, 0.0, True)
    return None


def _within(one: Evidence, narrow: str) -> bool:
    case = dataclasses.replace(one.case, dtype=narrow)
    measured = yardstick(case)
    allowed = tolerances.format_of(narrow)
    true, got = truth(one.case).blocks(), one.result.blocks()
    scale = scales(true)
    return all(
        deviation(np.asarray(got[b.block]), true[b.block], scale[b.block]).norm
        <= allowed.k * max(measured[b.block].norm, allowed.floor * allowed.roundoff)
        for b in one.report.blocks
        if b.block in true
    )
