"""A disagreement in words: where it shows, what is wrong there, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lstm_oracle.conformance.adapters.support import specs
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.functions.resemblance import Resemblance
from lstm_oracle.conformance.report import CaseReport

# What cases have or have not; a failure that goes along with one of them is explained by it.
_TRAITS: dict[str, Callable[[Case], bool]] = {
    "there is one step only (T = 1)": lambda case: case.x.shape[1] == 1,
    "there is more than one step": lambda case: case.x.shape[1] > 1,
    "there are more than 20 steps": lambda case: case.x.shape[1] > 20,
    "there is one sequence only (B = 1)": lambda case: len(case.x) == 1,
    "there is more than one sequence (B > 1)": lambda case: len(case.x) > 1,
    "there is more than one hidden unit": lambda case: all(
        spec.hidden_size > 1 for spec in specs(case.architecture)
    ),
    "there are more than four sequences": lambda case: len(case.x) > 4,
    "there is a mask": lambda case: case.mask is not None,
    "masked steps hold NaN": lambda case: bool((case.x != case.x).any()),
    "a step is really masked": lambda case: case.mask is not None and not case.mask.all(),
    "there is an initial state": lambda case: case.state is not None,
    "there is no initial state": lambda case: case.state is None,
    "there is dropout": lambda case: case.dropout is not None,
    "x does not lie together in memory": lambda case: bool(case.options.get("strided")),
    "the state is carried from piece to piece": lambda case: bool(case.options.get("pieces")),
}

_WORTH_NAMING = 0.25  # share of the difference that the closest bug explains


def explain(
    pairs: Sequence[tuple[Case, CaseReport]], nearest: Sequence[Resemblance], crashed: str = ""
) -> str:
    """Several lines: what is wrong, in which cases, and the nearest bug."""
    if crashed:
        return crashed
    wrong = [(case, report) for case, report in pairs if report.status in ("disagree", "error")]
    if not wrong:
        return "" if any(r.status == "agree" for _, r in pairs) else "no case could be run"
    lines = [_where(pairs, wrong), _what(wrong)]
    if any(report.status == "disagree" for _, report in wrong):
        lines.append(_resembles(nearest))
    return "\n".join(line for line in lines if line)


def _where(
    pairs: Sequence[tuple[Case, CaseReport]], wrong: Sequence[tuple[Case, CaseReport]]
) -> str:
    """The trait that all wrong cases have, and no right one."""
    right = [case for case, report in pairs if report.status == "agree"]
    if not right:
        return "wrong in every case"
    exact = [
        words
        for words, has in _TRAITS.items()
        if all(has(case) for case, _ in wrong) and not any(has(case) for case in right)
    ]
    if exact:
        return f"wrong exactly where {exact[0]}"
    names = [report.name.rpartition(", ")[0] for _, report in wrong]
    shown = "; ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"wrong in: {shown}"


def _what(wrong: Sequence[tuple[Case, CaseReport]]) -> str:
    """The message of the smallest wrong case."""
    case, report = min(wrong, key=lambda pair: (pair[1].status == "error", pair[0].x.size))
    B, T, I = case.x.shape
    values = {b.block for _, r in wrong for b in r.blocks if b.ratio > 1 or b.ratio != b.ratio}
    gradients_only = bool(values) and all(name.startswith("d_") for name in values)
    prefix = "values agree, gradients do not; " if gradients_only else ""
    return f"{prefix}in {report.name!r} (B {B}, T {T}, I {I}): {report.message}"


def _resembles(nearest: Sequence[Resemblance]) -> str:
    if not nearest:
        return "no bug of the zoo could be compared with this answer"
    best = nearest[0]
    if not best.fits:
        share = max(0.0, 1 - best.distance)
        if share < _WORTH_NAMING:
            return "none of the zoo's bugs looks like these answers"
        closest = f"{best.id!r} explains {share:.0%} of the difference"
        return f"none of the zoo's bugs gives these answers; the closest, {closest}"
    others = [one.id for one in nearest[1:] if one.fits and one.distance <= best.distance + 1e-6]
    same = f" (or {' or '.join(others)}: the same in these cases)" if others else ""
    how = "the same wrong answers" if best.distance < 0.01 else "nearly the same wrong answers"
    return f"nearest bug of the zoo, with {how}: {best.id}: {best.sentence}{same}"
