"""FlashRNN (Poeppel, Beck & Hochreiter 2024) on a GPU; the products with x are torch's."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import flashrnn
import numpy as np
import torch

from lstm_oracle.benchmarks.speed.contender import cells, composed, result
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import State


class FlashRNN:
    """`flashrnn.flashrnn` with one head, which is an LSTM."""

    def __init__(self, backend: str, device: str) -> None:
        """Take FlashRNN's backend; "vanilla" runs on a CPU too, for tests."""
        self.backend, self.device = backend, device
        torch.backends.cuda.matmul.allow_tf32 = False

    def versions(self) -> dict[str, str]:
        """PyTorch's and FlashRNN's."""
        return {"torch": torch.__version__, "flashrnn": version("flashrnn")}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """It knows no sequences of different lengths."""
        return "no masks" if workload.masked else ""

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """Compiled by its own means at the first call."""
        return _Prepared(self, workload, mode)


class _Prepared:
    def __init__(self, contender: FlashRNN, workload: Workload, mode: Mode) -> None:
        self._contender, self._workload, self._mode = contender, workload, mode
        self._dtype = getattr(torch, workload.dtype)

    def place(self, case: Case) -> Any:
        def put(a: Any, *, differentiated: bool = False) -> Any:
            tensor = torch.as_tensor(
                np.ascontiguousarray(a), dtype=self._dtype, device=self._contender.device
            )
            return tensor.requires_grad_(differentiated and self._mode == "training")

        weights = [
            {
                name: put(a, differentiated=True)
                for name, a in to_layout("flashrnn", spec, params).items()
            }
            for spec, params in zip(self._workload.specs, cells(case.params), strict=True)
        ]
        states, d_states = ([State(*map(put, s)) for s in cells(tree)]
                            for tree in (case.state, case.d_state))  # fmt: skip
        cotangents = [put(case.d_y), *(a for s in d_states for a in s)]
        return weights, put(case.x, differentiated=True), states, cotangents

    def run(self, inputs: Any) -> Any:
        weights, x, states, cotangents = inputs
        with torch.set_grad_enabled(self._mode == "training"):
            outputs = self._forward(weights, x, states)
        gradients = None
        if self._mode == "training":
            sources = [*(w for own in weights for w in own.values()), x]
            gradients = torch.autograd.grad(outputs, sources, cotangents)
        if self._contender.device == "cuda":
            torch.cuda.synchronize()
        return outputs, gradients

    def _forward(self, weights: Any, x: Any, states: Any) -> list[Any]:
        def layer(cell: int, x: Any, state: Any, reverse: bool) -> Any:
            own = weights[cell]
            x = x.flip(1) if reverse else x
            # (states, batch, time, heads, units) with one head, as FlashRNN has it.
            initial = torch.stack(tuple(state))[:, :, None, None, :]
            y, last = flashrnn.flashrnn(
                torch.einsum("bti,ghdi->btghd", x, own["W"]), own["R"], own["b"], states=initial,
                function="lstm", backend=self._contender.backend, dtype=self._workload.dtype,
            )  # fmt: skip
            y = y[0, :, :, 0]
            final = State(last[0, :, 0, 0], last[1, :, 0, 0])
            return (y.flip(1) if reverse else y), final

        y, finals = composed(self._workload, layer, lambda ys: torch.cat(ys, -1), x, states)
        return [y, *(a for state in finals for a in state)]

    def result(self, case: Case, outputs: Any) -> Result:
        (y, *finals), gradients = outputs
        y, *finals = map(_to_numpy, (y, *finals))
        states = [State(*finals[n : n + 2]) for n in range(0, len(finals), 2)]
        if gradients is None:
            return result(case, y, states)
        *d_weights, d_x = map(_to_numpy, gradients)
        d_cells = [
            gradients_from_layout(
                "flashrnn", spec, dict(zip("WRb", d_weights[3 * n : 3 * n + 3], strict=True))
            )
            for n, spec in enumerate(self._workload.specs)
        ]
        return result(case, y, states, d_cells, d_x)


def _to_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())


def lstm() -> FlashRNN:
    """The contender, with FlashRNN's fastest backend."""
    return FlashRNN("cuda_fused", "cuda")
