"""What the benchmark asks of a contender, and what contenders have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.spec import State
from lstm_oracle.reference.tree import flatten, replace

Array = np.ndarray


class Prepared(Protocol):
    """One workload in one mode, ready to be run."""

    def place(self, case: Case) -> Any:
        """The case's arrays where and as the contender computes, weights in its own layout."""

    def run(self, inputs: Any) -> Any:
        """All outputs, computed when this returns. The first call compiles what is compiled."""

    def result(self, case: Case, outputs: Any) -> Result:
        """The outputs of `run` in the oracle's names and layout."""


class Contender(Protocol):
    """An LSTM that is timed."""

    def versions(self) -> dict[str, str]:
        """Versions of what computes, by name of distribution."""

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """Why this cannot be run, or "" where it can."""

    def prepare(self, workload: Workload, mode: Mode) -> Prepared:
        """Make ready; nothing is compiled yet."""


def cells(tree: Any) -> list[Any]:
    """The parameters, or the states, of every direction of every layer, in order."""
    if isinstance(tree, (dict, State)):
        return [tree]
    return [found for part in tree for found in cells(part)]


def result(
    case: Case,
    y: Any,
    states: Sequence[State],
    d_cells: Sequence[dict[str, Array]] | None = None,
    d_x: Any = None,
) -> Result:
    """A result from what belongs to each cell, in the order of `cells`."""
    state = replace(case.state, _by_path(case.state, [a for state in states for a in state]))
    if d_cells is None:
        return Result(y, state)
    leaves = [a for gradients in d_cells for a in gradients.values()]
    return Result(y, state, replace(case.params, _by_path(case.params, leaves)), d_x)


def _by_path(tree: Any, leaves: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flatten(tree), leaves, strict=True))


Layer = Callable[[int, Any, Any, bool], tuple[Any, Any]]  # (cell, x, state, reverse) to y, state


def composed(workload: Workload, layer: Layer, concatenate: Any, x: Any, states: Any) -> Any:
    """Output and final states of a network from a function of one direction of one layer."""
    finals = []
    for n in range(workload.layers):
        outputs = []
        for direction in range(workload.directions):
            cell = n * workload.directions + direction
            y, final = layer(cell, x, states[cell], direction == 1)
            outputs.append(y)
            finals.append(final)
        x = outputs[0] if len(outputs) == 1 else concatenate(outputs)
    return x, finals
