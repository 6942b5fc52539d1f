"""What `check` found, as data that prints itself."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from lstm_oracle.conformance.functions.resemblance import Resemblance
from lstm_oracle.conformance.report import CaseReport

_MOST_ROWS = 16


@dataclass(frozen=True)
class BlockVerdict:
    """One block over all cases: the case in which it is worst.

    `ratio` is the error over its tolerance: above 1 it disagrees. `yardstick` is what honest
    arithmetic in this dtype was measured to lose on the same case.
    """

    block: str
    ratio: float
    error: float
    yardstick: float
    tolerance: float
    case: str
    wrong_in: int  # cases
    of: int  # cases that have this block

    @property
    def agrees(self) -> bool:
        """Whether it is right in every case."""
        return self.wrong_in == 0


@dataclass(frozen=True)
class Verdict:
    """Whether a function computes an LSTM, block by block; if not, where and what it looks like.

    Attributes
    ----------
    agrees : bool
        Whether at least one case was looked at and none was wrong.
    blocks : dict of BlockVerdict
        By name: "y", "state.h" (h_T), "state.c" (c_T), "d_W_i" … "d_x", "d_state.h" (of h_0).
    explanation : str
        In words; "" where it agrees.
    nearest : tuple of Resemblance
        Bugs of the zoo that the wrong answers look like, the most similar first.
    cases : tuple of CaseReport
        Every case by itself.
    left_out : tuple of str
        What could not be looked at, as the function does not take or give it.
    """

    name: str
    agrees: bool
    dtype: str
    manner: str
    blocks: dict[str, BlockVerdict]
    cases: tuple[CaseReport, ...]
    explanation: str = ""
    nearest: tuple[Resemblance, ...] = ()
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())

    def raise_if_wrong(self) -> Verdict:
        """Itself where it agrees.

        Raises
        ------
        AssertionError
            With the whole report, so that a test fails with it.
        """
        if not self.agrees:
            raise AssertionError(str(self))
        return self

    def to_json(self, indent: int | None = None) -> str:
        """All of it as JSON; infinite numbers are strings."""
        return json.dumps(_plain(dataclasses.asdict(self)), indent=indent, allow_nan=False)

    def __str__(self) -> str:
        """A report for a terminal."""
        return "\n".join([self._headline(), f"  {self.manner}", *self._body()])

    def _headline(self) -> str:
        done = [case for case in self.cases if case.status != "unsupported"]
        wrong = sum(case.status != "agree" for case in done)
        seconds = f"{self.seconds:.1f} s"
        if self.agrees:
            return f"{self.name} agrees with the oracle in all {len(done)} cases ({seconds})"
        return f"{self.name} DISAGREES in {wrong} of {len(done)} cases ({seconds})"

    def _body(self) -> list[str]:
        lines = [f"  {line}" for line in self.explanation.splitlines()]
        shown = self._shown()
        if shown:
            width = max(11, *(len(_name(block.block)) + 2 for block in shown))
            lines.append(f"  {'block':<{width}}error/tolerance     error  yardstick")
            lines += [_row(block, width) for block in shown[:_MOST_ROWS]]
        if len(shown) > _MOST_ROWS:
            lines.append(f"  and {len(shown) - _MOST_ROWS} blocks with smaller errors")
        if self.left_out:
            lines.append(f"  not looked at: {', '.join(self.left_out)}")
        return lines + [f"  note: {note}" for note in self.notes]

    def _shown(self) -> list[BlockVerdict]:
        """One row per letter: gates together, by the worst of them."""
        worst: dict[str, BlockVerdict] = {}
        for name, block in self.blocks.items():
            family = _family(name)
            row = dataclasses.replace(block, block=family)
            if family not in worst or row.ratio > worst[family].ratio:
                worst[family] = row
        rows = list(worst.values())
        return rows if len(rows) <= _MOST_ROWS else sorted(rows, key=lambda row: -row.ratio)


def _row(block: BlockVerdict, width: int) -> str:
    mark = "" if block.agrees else f"  WRONG in {block.wrong_in} of {block.of}, worst: {block.case}"
    return (
        f"  {_name(block.block):<{width}}{block.ratio:>15.2g}{block.error:>10.1e}"
        f"{block.yardstick:>11.1e}{mark}"
    )


_NAMES = {"state.h": "h_T", "state.c": "c_T", "d_state.h": "d_h_0", "d_state.c": "d_c_0"}


def _name(block: str) -> str:
    return _NAMES.get(block, block)


def _family(name: str) -> str:
    stem, _, gate = name.rpartition("_")
    return stem if gate and gate in "ifgo" and stem not in ("d", "") else name


def _plain(value: Any) -> Any:
    """The value with nothing in it that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
