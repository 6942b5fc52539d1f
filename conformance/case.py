"""A case: one layer, its numbers and its cotangents; and the result that an implementation gives.

An implementation is a function `run(case) -> Result`, NumPy arrays in, NumPy arrays out, names as
in `lstm_oracle.reference`. Everything that conformance knows goes through these two types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstm_oracle import reference
from lstm_oracle.reference.spec import Architecture
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """What an implementation is asked to compute.

    Arrays hold float64 numbers that are exactly representable in `dtype`, so that every
    implementation, of whatever precision, is asked the same question.
    """

    name: str
    architecture: Architecture
    params: Any
    x: Array  # (B, T, I)
    state: Any  # initial state, nested like the architecture; None: zero
    mask: Array | None  # (B, T) of bool
    dropout: Any
    d_y: Any  # cotangent of y
    d_state: Any  # cotangent of the final state
    dtype: str = "float64"  # "float64", "float32", "bfloat16", "float16"
    # Ways of computing that must not change the answer, for implementations that have a choice:
    # {"unroll": True}, {"implementation": 1}.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What an implementation computed, as NumPy arrays (float32 or float64).

    `d_params`, `d_x` and `d_state` (of the initial state) are the gradients of
    <d_y, y> + <d_state, final state>; None where an implementation has only a forward pass.
    """

    y: Any
    state: Any
    d_params: Any = None
    d_x: Array | None = None
    d_state: Any = None

    def blocks(self) -> dict[str, Array]:
        """Every array by name: y, h, c of the final state, and d_<name> of each gradient."""
        named = {"y": self.y, "state": self.state}
        flat = flatten(named)
        gradients = (("", self.d_params), ("x", self.d_x), ("state", self.d_state))
        for name, tree in gradients:
            flat |= {
                "d_" + ".".join(part for part in (name, path) if part): leaf
                for path, leaf in flatten(tree).items()
            }
        return flat


def run_oracle(case: Case, dtype: Any = np.float64) -> Result:
    """The oracle's answer, computed in the given NumPy dtype."""

    def cast(tree: Any) -> Any:
        return map_leaves(lambda a: np.asarray(a).astype(dtype), tree)

    output, tape = reference.forward(
        case.architecture,
        cast(case.params),
        cast(case.x),
        cast(case.state),
        case.mask,
        dropout=cast(case.dropout),
    )
    gradients = reference.backward(tape, cast(case.d_y), cast(case.d_state))
    return Result(output.y, output.state, gradients.params, gradients.x, gradients.state)
