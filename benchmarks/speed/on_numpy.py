"""The oracle itself, in float32 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle import reference
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.tree import map_leaves


class Oracle:
    """`reference.forward` and `reference.backward`."""

    def versions(self) -> dict[str, str]:
        """NumPy's."""
        return {"numpy": np.__version__}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """NumPy has no bfloat16."""
        return "" if workload.dtype == "float32" else f"no {workload.dtype}"

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """Nothing is compiled."""
        return _Prepared(workload, mode)


class _Prepared:
    def __init__(self, workload: Workload, mode: Mode) -> None:
        self._architecture, self._mode = workload.architecture, mode

    def place(self, case: Case) -> Any:
        arrays = (case.params, case.x, case.state, case.d_y, case.d_state)
        return *map_leaves(lambda a: a.astype(np.float32), arrays), case.mask

    def run(self, inputs: Any) -> Any:
        params, x, state, d_y, d_state, mask = inputs
        output, tape = reference.forward(self._architecture, params, x, state, mask)
        if self._mode == "forward":
            return output, None
        return output, reference.backward(tape, d_y, d_state)

    def result(self, case: Case, outputs: Any) -> Result:
        (y, state), gradients = outputs
        if gradients is None:
            return Result(y, state)
        return Result(y, state, gradients.params, gradients.x)


def oracle() -> Oracle:
    """The contender."""
    return Oracle()
