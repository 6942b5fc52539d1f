"""A result held against the oracle's: every block by its norm, and every entry."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.report import BlockError, CaseReport
from lstm_oracle.conformance.yardstick import (
    Deviation,
    Yardstick,
    deviation,
    longer_yardsticks,
    scales,
    truth,
)
from lstm_oracle.conformance.yardstick import yardstick as measure

Array = np.ndarray
_GATE = re.compile(r"_([ifgo])$")
_WORDS = {"i": "input", "f": "forget", "g": "candidate", "o": "output"}


def compare(
    case: Case,
    result: Result,
    yardstick: Yardstick | None = None,
    *,
    longer: Iterable[Yardstick] = (),
    ours: bool = False,
    true: dict[str, Array] | None = None,
) -> CaseReport:
    """Whether a result agrees with the oracle, and where it does not.

    Parameters
    ----------
    yardstick : optional
        Of this case, where it is known already. By default it is measured, and measured longer
        where an answer is only a little worse than it allows.
    longer : optional
        With a known yardstick: longer ones, for answers that are only a little worse.
    ours : bool
        Whether to hold float64 to this project's own promise, `tolerances.OURS_FLOAT64`, as well.
        For cases such as the matrix's, which are well conditioned: where gates saturate or states
        explode, the oracle itself does not keep it in float64.
    true : optional
        The oracle's blocks, where only some of them can be compared; by default all of them.

    Returns
    -------
    CaseReport
        "agree" or "disagree". The message of a disagreement names the blocks, the gates and the
        steps; known defects and the nearest seeded bug are for others to add.
    """
    if yardstick is None:
        yardstick = measure(case)
        longer = longer_yardsticks(case, yardstick)
    in_reserve = iter(longer)
    true, got = truth(case).blocks() if true is None else true, result.blocks()
    true = {name: block for name, block in true.items() if _answered(case, result, name)}
    misfit = _misfit(true, got)
    if misfit:
        return CaseReport(case.name, "disagree", case.dtype, message=misfit)
    scale = scales(true)

    def judged(measured: Yardstick) -> tuple[BlockError, ...]:
        return tuple(
            _judge(case, name, got[name], block, scale[name], measured[name], ours)
            for name, block in true.items()
        )

    blocks = judged(yardstick)
    while _in_doubt(blocks) and (measured := next(in_reserve, None)) is not None:
        blocks = judged(measured)
    wrong = sorted((b for b in blocks if not b.ratio <= 1), key=lambda b: -b.ratio)
    if not wrong:
        return CaseReport(case.name, "agree", case.dtype, blocks)
    return CaseReport(case.name, "disagree", case.dtype, blocks, _message(case, wrong, true, got))


def _in_doubt(blocks: tuple[BlockError, ...]) -> bool:
    """Whether the answer is wrong, and by so little that the yardstick may have been too short."""
    return 1 < max((b.ratio for b in blocks), default=0.0) <= tolerances.DOUBT


def _answered(case: Case, result: Result, name: str) -> bool:
    """Whether an answer to this block is due.

    Not of gradients from what has only a forward pass, nor of the gradient of an initial state
    that was not given.
    """
    if name.startswith("d_state") and case.state is None and result.d_state is None:
        return False
    return result.d_params is not None or not name.startswith("d_")


def _misfit(true: dict[str, Array], got: dict[str, Array]) -> str:
    """What is missing, or of another shape."""
    missing = [name for name in true if name not in got]
    if missing:
        return f"no {', '.join(missing)} in the result"
    shapes = [
        f"{name} has shape {np.shape(got[name])}, expected {block.shape}"
        for name, block in true.items()
        if np.shape(got[name]) != block.shape
    ]
    return "; ".join(shapes)


def _judge(
    case: Case, name: str, got: Array, true: Array, scale: float, yard: Deviation, ours: bool
) -> BlockError:
    """The norm or the largest entry, whichever is worse against its tolerance."""
    allowed = tolerances.format_of(case.dtype)
    floor = allowed.floor * allowed.roundoff
    if not np.isfinite(np.asarray(got, np.float64)).all():
        return BlockError(name, np.inf, yard.norm, allowed.k * max(yard.norm, floor), np.inf)
    error = deviation(np.asarray(got), true, scale)
    candidates = [
        (found, measured, allowed.k * max(measured, floor))
        for found, measured in zip(error, yard, strict=True)
    ]
    if ours and case.dtype == "float64":
        candidates.append((error.norm, yard.norm, tolerances.OURS_FLOAT64))
    found, measured, tolerance = max(candidates, key=lambda row: row[0] / row[2])
    return BlockError(name, found, measured, tolerance, found / tolerance)


# --- what to say about it -------------------------------------------------------------------------


def _message(
    case: Case, wrong: list[BlockError], true: dict[str, Array], got: dict[str, Array]
) -> str:
    """Which blocks, which gates, from which step."""
    worst = wrong[0]
    parts = [
        f"{len(wrong)} of {len(true)} blocks are wrong, most of all {worst.block} "
        f"(off by {worst.error:.2g}, allowed {worst.tolerance:.2g})"
    ]
    if len(wrong) > 1:
        parts.append("also " + _names([b.block for b in wrong[1:]]))
    parts.append(_gates(wrong, true))
    tolerance = {b.block: b.tolerance for b in wrong}
    for name in tolerance:
        if name in ("y", "y.forward", "y.backward"):
            parts.append(_steps(name, true[name], got[name], tolerance[name], "first"))
        if name == "d_x":
            parts.append(_steps(name, true[name], got[name], tolerance[name], "last"))
    return "; ".join(part for part in parts if part)


def _names(names: list[str], most: int = 6) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _gates(wrong: list[BlockError], true: dict[str, Array]) -> str:
    """The gates whose weight gradients are wrong, where the others' are right."""
    gates = {match[1] for block in wrong if (match := _GATE.search(block.block))}
    all_gates = {match[1] for name in true if (match := _GATE.search(name))}
    if not gates or gates == all_gates:
        return ""
    named = ", ".join(f"{k} ({_WORDS[k]})" for k in "ifgo" if k in gates)
    return f"only of gate {named}" if len(gates) == 1 else f"only of gates {named}"


def _steps(name: str, true: Array, got: Array, tolerance: float, which: str) -> str:
    """y is wrong from a first step on; d_x, which is computed backwards, from a last one."""
    scale = float(np.abs(true).max()) or 1.0
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(np.asarray(got, np.float64) - true.astype(np.float64)) <= tolerance * scale)
    steps = np.flatnonzero(off.any(axis=(0, 2)))
    if not steps.size:
        return ""
    T = true.shape[1]
    step = int(steps[0] if which == "first" else steps[-1])
    return f"{name} is wrong at {steps.size} of {T} steps, {which} at step {step}"
