"""`torch.nn.LSTM`: oneDNN on CPUs, cuDNN on GPUs."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch

from lstm_oracle.benchmarks.speed.contender import cells, result
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import State


class TorchLSTM:
    """The module, called as it is; packed sequences where there is a mask."""

    def __init__(self) -> None:
        """On the device, and with the threads, that the environment names."""
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        self.device = "cuda" if os.environ.get("SPEED_DEVICE") == "gpu" else "cpu"
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def versions(self) -> dict[str, str]:
        """PyTorch's."""
        return {"torch": torch.__version__}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """Nothing of what is asked here."""
        return ""

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """The module."""
        return _Prepared(self.device, workload, mode)


class _Prepared:
    def __init__(self, device: str, workload: Workload, mode: Mode) -> None:
        self._workload, self._mode, self._device = workload, mode, device
        self._dtype = getattr(torch, workload.dtype)
        self._module = torch.nn.LSTM(
            workload.I, workload.H, workload.layers, batch_first=True,
            bidirectional=workload.directions == 2, dtype=self._dtype, device=device,
        )  # fmt: skip
        # all_weights: four names per cell, in the order of the cells.
        self._weights = [p for group in self._module.all_weights for p in group]

    def place(self, case: Case) -> Any:
        def put(a: Any) -> Any:
            return torch.as_tensor(np.ascontiguousarray(a), dtype=self._dtype, device=self._device)

        arrays = [
            a
            for spec, params in zip(self._workload.specs, cells(case.params), strict=True)
            for a in to_layout("torch", spec, params).values()
        ]
        with torch.no_grad():
            for parameter, array in zip(self._weights, arrays, strict=True):
                parameter.copy_(put(array))
        x = put(case.x).requires_grad_(self._mode == "training")
        states, d_states = ([put(np.stack([s[n] for s in cells(tree)])) for n in range(2)]
                            for tree in (case.state, case.d_state))  # fmt: skip
        lengths = None if case.mask is None else torch.as_tensor(case.mask.sum(axis=1))
        self._synchronize()
        return x, tuple(states), lengths, [put(case.d_y), *d_states]

    def run(self, inputs: Any) -> Any:
        x, state, lengths, cotangents = inputs
        if self._mode == "forward":
            with torch.no_grad():
                outputs, gradients = self._forward(x, state, lengths), None
        else:
            outputs = self._forward(x, state, lengths)
            gradients = torch.autograd.grad(outputs, [*self._weights, x], cotangents)
        self._synchronize()
        return outputs, gradients

    def _forward(self, x: Any, state: Any, lengths: Any) -> list[Any]:
        if lengths is None:
            y, (h, c) = self._module(x, state)
            return [y, h, c]
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        y, (h, c) = self._module(packed, state)
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
        return [y, h, c]

    def _synchronize(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()

    def result(self, case: Case, outputs: Any) -> Result:
        (y, h, c), gradients = outputs
        y, h, c = map(_to_numpy, (y, h, c))
        states = [State(h[n], c[n]) for n in range(len(h))]
        if gradients is None:
            return result(case, y, states)
        *d_weights, d_x = map(_to_numpy, gradients)
        d_cells = []
        for n, spec in enumerate(self._workload.specs):
            own = dict(zip(_NAMES, d_weights[4 * n : 4 * n + 4], strict=True))
            d_cells.append(gradients_from_layout("torch", spec, own))
        return result(case, y, states, d_cells, d_x)


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _to_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().float().cpu().numpy())


def lstm() -> TorchLSTM:
    """The contender."""
    return TorchLSTM()
