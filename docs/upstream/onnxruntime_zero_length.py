"""onnxruntime's LSTM gives a state of zeros for a sequence of length zero.

ONNX does not say what is right; every other way to read it (Keras, TensorFlow 1, a loop that does
not run) gives back the initial state.
Expected: Y_h and Y_c equal to initial_h and initial_c for that sequence.
"""
# library: onnxruntime; issues: onnx/onnx#1674, microsoft/onnxruntime#28189

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

inputs = {
    "X": np.ones((3, 2, 2), "float32"),
    "W": np.ones((1, 8, 2), "float32"),
    "R": np.ones((1, 8, 2), "float32"),
    "sequence_lens": np.array([3, 0], "int32"),
    "initial_h": np.full((1, 2, 2), 0.5, "float32"),
    "initial_c": np.full((1, 2, 2), 0.25, "float32"),
}
names = ["X", "W", "R", "", "sequence_lens", "initial_h", "initial_c"]
node = helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], hidden_size=2)
types = {"sequence_lens": TensorProto.INT32}
graph = helper.make_graph(
    [node],
    "lstm",
    [
        helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), a.shape)
        for n, a in inputs.items()
    ],
    [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("Y", "Y_h", "Y_c")],
)
opset = helper.make_opsetid("", 22)
model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
_, h, c = session.run(None, inputs)
print(f"length 0: Y_h {h[0, 1]} (initial 0.5), Y_c {c[0, 1]} (initial 0.25)")
raise SystemExit(bool(h[0, 1].any() or c[0, 1].any()))
