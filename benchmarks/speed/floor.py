"""The least time that a workload can take on a machine of known rates."""

from __future__ import annotations

from typing import Any

from lstm_oracle.benchmarks.speed.workload import Mode, Workload

_BYTES = {"float32": 4, "bfloat16": 2}


def flops(workload: Workload, mode: Mode) -> int:
    """Of the matrix products; a backward pass has two for each of the forward one.

    Examples
    --------
    >>> flops(Workload(100, 128, 512, 512), "training") / 1e9
    161.0612736
    """
    steps = workload.T * workload.B
    forward = sum(
        2 * steps * 4 * spec.hidden_size * (spec.input_size + spec.hidden_size)
        for spec in workload.specs
    )
    return forward * (3 if mode == "training" else 1)


def traffic(workload: Workload, mode: Mode) -> int:
    """Bytes that must be read or written: inputs, weights, outputs, and their gradients.

    What is kept for the backward pass is not among them: it could be computed again.
    """
    steps = workload.T * workload.B
    values = steps * workload.I + workload.weights + steps * workload.H * workload.directions
    return values * _BYTES[workload.dtype] * (2 if mode == "training" else 1)


def dependent_steps(workload: Workload, mode: Mode) -> int:
    """Steps that have to wait for one another; the two directions of a layer do not."""
    return workload.T * workload.layers * (2 if mode == "training" else 1)


def floor(workload: Workload, mode: Mode, rates: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds: of the products, of the traffic, of the steps; and the largest of the three.

    A rate that was not measured leaves its part out, as None.
    """
    gemm = (rates.get("gemm_flops", {}).get(workload.dtype) or {}).get("rate")
    parts = {
        "products": _over(flops(workload, mode), gemm),
        "traffic": _over(traffic(workload, mode), rates.get("bandwidth_bytes")),
        "steps": _times(dependent_steps(workload, mode), rates.get("step_seconds")),
    }
    known = [value for value in parts.values() if value is not None]
    return {**{f"{name}_ms": value for name, value in parts.items()},
            "ms": max(known) if known else None}  # fmt: skip


def _over(amount: float, rate: float | None) -> float | None:
    return 1e3 * amount / rate if rate else None


def _times(count: int, seconds: float | None) -> float | None:
    return 1e3 * count * seconds if seconds else None
