"""What the oracle answers to a problem: its outputs, and every gradient by name."""

from __future__ import annotations

from typing import Any

from lstm_oracle import reference


def oracle_answer(problem: Any, architecture: Any = None) -> dict[str, Any]:
    """y, final state and every gradient of <d_y, y> + <d_state, state>.

    Of `problem.spec`, or of another architecture of the same parameters.
    """
    (y, state), tape = reference.forward(
        architecture or problem.spec,
        problem.params,
        problem.x,
        problem.state,
        problem.mask,
        dropout=problem.dropout,
    )
    gradients = reference.backward(tape, problem.d_y, problem.d_state)
    return {
        "y": y,
        "state": state,
        "d_params": gradients.params,
        "d_x": gradients.x,
        "d_state": gradients.state,
    }
