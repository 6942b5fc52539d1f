"""The question that a workload asks, the oracle's answer, and how far off an honest one may be.

A large workload is checked at its full size, but on some of its sequences: the cotangents of all
others are zero, so that weight gradients come from the checked ones alone, which the oracle runs.
They are spread over the batch, first and last among them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance import textbook
from lstm_oracle.conformance.case import Case, Result, run_oracle
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.sampled_yardstick import sampled_yardstick, select
from lstm_oracle.conformance.tolerances import FORMATS
from lstm_oracle.conformance.yardstick import (
    OTHER_SEED,
    Deviation,
    Yardstick,
    deviation,
    larger,
    scales,
)
from lstm_oracle.reference.spec import param_shapes, state_shapes
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray

# Multiplications that the oracle may take for a check: about a second in float64.
AFFORDABLE_PRODUCTS = 2e9
_FEWEST_SEQUENCES = 8
# `conformance` takes the largest error of eight runs with random rounding; here each of two
# witnesses runs once, as it rounds by itself. Of 16 contenders at three shapes, honest ones came to
# 1.4 of the tolerance without this factor, in sums of 1000 steps or of 2048 products.
_ONE_RUN = 3.0
_SAMPLES_IN_DOUBT = 16  # runs of each witness


def make_case(workload: Workload, seed: int = 0) -> Case:
    """Random weights, inputs, initial state and cotangents, exact in the workload's dtype."""
    rng = np.random.default_rng([seed, workload.T, workload.B, workload.I, workload.H])

    def exact(a: Array) -> Array:
        return to_format(a, workload.dtype)

    def normal(shape: tuple[int, ...]) -> Array:
        return exact(rng.standard_normal(shape, dtype=np.float32))

    B, T = workload.B, workload.T
    bound = 1 / np.sqrt(workload.H)
    architecture = workload.architecture
    # In their own order, so that a seed means the same numbers everywhere.
    params = _drawn(
        param_shapes(architecture), lambda shape: exact(rng.uniform(-bound, bound, shape))
    )
    lengths = rng.integers(max(1, T // 2), T + 1, B)
    lengths[0] = T
    return Case(
        name=workload.name,
        architecture=architecture,
        params=params,
        x=normal((B, T, workload.I)),
        state=_drawn(state_shapes(architecture, B), lambda shape: 0.5 * normal(shape)),
        mask=np.arange(T) < lengths[:, None] if workload.masked else None,
        dropout=None,
        d_y=normal((B, T, workload.H * workload.directions)),
        d_state=_drawn(state_shapes(architecture, B), normal),
        dtype=workload.dtype,
    )


def _drawn(shapes: Any, draw: Any) -> Any:
    """A tree of arrays from a tree of shapes, whose leaves are tuples of whole numbers."""
    if isinstance(shapes, dict):
        return {name: _drawn(shape, draw) for name, shape in shapes.items()}
    if all(isinstance(n, int) for n in shapes):
        return draw(shapes)
    parts = [_drawn(part, draw) for part in shapes]
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def checked_sequences(workload: Workload) -> Array:
    """Numbers of the sequences that the oracle runs; all of them where that is affordable."""
    one = 3.0 * workload.weights * workload.T
    count = int(min(workload.B, max(_FEWEST_SEQUENCES, AFFORDABLE_PRODUCTS / one)))
    return np.unique(np.linspace(0, workload.B - 1, count).round().astype(int))


def checked_case(case: Case, rows: Array) -> Case:
    """The same case with cotangents of zero for all but some sequences."""
    keep = np.zeros(len(case.x), bool)
    keep[rows] = True

    def silenced(a: Array) -> Array:
        return a * keep.reshape(-1, *[1] * (a.ndim - 1))

    return dataclasses.replace(
        case, d_y=map_leaves(silenced, case.d_y), d_state=map_leaves(silenced, case.d_state)
    )


class Truth:
    """The oracle's blocks for a workload's checked sequences, and the yardstick of each."""

    def __init__(self, rows: Array, blocks: dict[str, Array], yardstick: Yardstick) -> None:
        """Take what `measured` made or `load` read."""
        self.rows, self.blocks, self.yardstick = rows, blocks, yardstick

    @classmethod
    def measured(cls, workload: Workload, case: Case | None = None) -> Truth:
        """Run the oracle, and two honest witnesses in float32; by default on `make_case`.

        The yardstick is three times the larger error of the oracle and of the textbook in plain
        float32; a 16-bit format's is that times the ratio of the unit roundoffs.
        """
        rows = checked_sequences(workload)
        part = select(make_case(workload) if case is None else case, rows)
        true = {name: a for name, a in run_oracle(part).blocks().items() if _is_asked(name)}
        coarser = FORMATS[workload.dtype].roundoff / FORMATS["float32"].roundoff
        single = in_float32(part)
        witnesses = [run_oracle(part, np.float32).blocks(), textbook.run(single).blocks()]
        scale = scales(true)
        yardstick = {}
        for name, block in true.items():
            errors = [deviation(np.asarray(w[name]), block, scale[name]) for w in witnesses]
            worst = (_ONE_RUN * coarser * max(e) for e in zip(*errors, strict=True))
            yardstick[name] = Deviation(*worst)
        return cls(rows, true, yardstick)

    def save(self, path: Path) -> None:
        """Write it for the workers."""
        arrays = {f"block {name}": block for name, block in self.blocks.items()}
        yardstick = np.array(json.dumps(self.yardstick))
        np.savez(path, rows=self.rows, yardstick=yardstick, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Truth:
        """What `save` wrote."""
        with np.load(path) as file:
            blocks = {
                name.removeprefix("block "): file[name]
                for name in file.files
                if name.startswith("block ")
            }
            yardstick = {k: Deviation(*v) for k, v in json.loads(str(file["yardstick"])).items()}
            return cls(file["rows"], blocks, yardstick)

    def judge(self, case: Case, result: Result, mode: Mode) -> CaseReport:
        """Whether a contender's answer to the `checked_case` agrees."""
        part = select(case, self.rows)
        true = {
            name: block
            for name, block in self.blocks.items()
            if mode == "training" or not name.startswith("d_")
        }

        def of_rows(tree: Any) -> Any:
            return map_leaves(lambda a: np.asarray(a)[self.rows], tree)

        answer = Result(of_rows(result.y), of_rows(result.state), result.d_params,
                        of_rows(result.d_x))  # fmt: skip
        return compare(part, answer, self.yardstick, longer=self.longer(part), true=true)

    def longer(self, part: Case) -> Iterator[Yardstick]:
        """One of many runs with random rounding, for an answer that is only a little worse.

        It takes a minute, so only doubt asks for it: two witnesses that ran once may both have been
        lucky.
        """
        more = sampled_yardstick(part, samples=_SAMPLES_IN_DOUBT, seed=OTHER_SEED)
        yield larger(self.yardstick, more.yardstick)


def _is_asked(name: str) -> bool:
    """Gradients of the initial state are not: few train it."""
    return not name.startswith("d_state")


def in_float32(case: Case) -> Case:
    """The same case with all its numbers in float32."""
    names = ("params", "x", "state", "d_y", "d_state")
    return dataclasses.replace(
        case,
        **{name: map_leaves(lambda a: a.astype(np.float32), getattr(case, name)) for name in names},
    )
