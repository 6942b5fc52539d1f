"""onnxruntime's LSTM operator: forward only."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lstm_oracle.benchmarks.speed.contender import cells, result
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import to_layout
from lstm_oracle.reference.spec import State

_OPSET, _IR_VERSION = 18, 10


class OnnxRuntime:
    """A graph of one LSTM node per layer, between transpositions: the operator is time-major."""

    def versions(self) -> dict[str, str]:
        """onnxruntime's."""
        return {"onnxruntime": onnxruntime.__version__}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """It has no backward pass, and its CPU kernel knows float32 alone."""
        if mode == "training":
            return "forward only"
        return "" if workload.dtype == "float32" else f"no {workload.dtype}"

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """The session is made when the weights are there: they are part of the graph."""
        return _Prepared(workload)


class _Prepared:
    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._session: Any = None

    def place(self, case: Case) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        if os.environ.get("SPEED_DEVICE") == "gpu":
            providers = ["CUDAExecutionProvider"]
        self._session = onnxruntime.InferenceSession(
            _graph(self._workload, case).SerializeToString(), options, providers=providers
        )
        inputs = {"x": case.x.astype(np.float32)}
        if case.mask is not None:
            inputs["lengths"] = case.mask.sum(axis=1).astype(np.int32)
        both = self._workload.directions
        for n in range(self._workload.layers):
            states = cells(case.state)[n * both : (n + 1) * both]
            inputs[f"h{n}"] = np.stack([s.h for s in states]).astype(np.float32)
            inputs[f"c{n}"] = np.stack([s.c for s in states]).astype(np.float32)
        return inputs

    def run(self, inputs: Any) -> Any:
        return self._session.run(None, inputs)

    def result(self, case: Case, outputs: Any) -> Result:
        y, *finals = outputs
        states = [
            State(h, c)
            for n in range(self._workload.layers)
            for h, c in zip(finals[2 * n], finals[2 * n + 1], strict=True)
        ]
        return result(case, y, states)


def _graph(workload: Workload, case: Case) -> Any:
    B, T, H, both = workload.B, workload.T, workload.H, workload.directions
    nodes = [helper.make_node("Transpose", ["x"], ["x0"], perm=[1, 0, 2])]
    weights, inputs, outputs = (
        [],
        [_value("x", (B, T, workload.I))],
        [_value("y", (B, T, H * both))],
    )
    if workload.masked:
        inputs.append(_value("lengths", (B,), TensorProto.INT32))
    for n in range(workload.layers):
        own = slice(n * both, (n + 1) * both)
        arrays = [
            to_layout("onnx", spec, params)
            for spec, params in zip(workload.specs[own], cells(case.params)[own], strict=True)
        ]
        for name in ("W", "R", "B"):
            stacked = np.stack([a[name] for a in arrays]).astype(np.float32)
            weights.append(numpy_helper.from_array(stacked, f"{name}{n}"))
        lengths = "lengths" if workload.masked else ""
        nodes += [
            helper.make_node(
                "LSTM",
                [f"x{n}", f"W{n}", f"R{n}", f"B{n}", lengths, f"h{n}", f"c{n}"],
                [f"y{n}", f"h{n}_T", f"c{n}_T"],
                hidden_size=H,
                direction="bidirectional" if both == 2 else "forward",
            ),
            # (T, directions, B, H) to (T, B, directions H)
            helper.make_node("Transpose", [f"y{n}"], [f"t{n}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"t{n}", "flat"], [f"x{n + 1}"]),
        ]
        inputs += [_value(f"{k}{n}", (both, B, H)) for k in "hc"]
        outputs += [_value(f"{k}{n}_T", (both, B, H)) for k in "hc"]
    weights.append(numpy_helper.from_array(np.array([T, B, H * both], np.int64), "flat"))
    nodes.append(helper.make_node("Transpose", [f"x{workload.layers}"], ["y"], perm=[1, 0, 2]))
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
    onnx.checker.check_model(model)
    return model


def _value(name: str, shape: tuple[int, ...], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def lstm() -> OnnxRuntime:
    """The contender."""
    return OnnxRuntime()
