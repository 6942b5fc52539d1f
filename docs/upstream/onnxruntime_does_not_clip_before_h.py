"""onnxruntime's LSTM does not clip the input of the activation h.

ONNX: "Clipping bounds the elements of a tensor in the range of [-threshold, +threshold] and is
applied to the input of activations." H_t = o_t * h(C_t), so C_t is to be clipped on its way to h.
Expected: with h = Affine (the identity), |H_t| <= clip, as the gate o_t is at most one.
"""
# library: onnxruntime; issues: microsoft/onnxruntime#27224

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

clip = 1.0
inputs = {
    "X": np.full((8, 1, 1), 5.0, "float32"),
    "W": np.ones((1, 4, 1), "float32"),
    "R": np.zeros((1, 4, 1), "float32"),
}
node = helper.make_node(
    "LSTM",
    [*inputs],
    ["Y"],
    hidden_size=1,
    clip=clip,
    activations=["Sigmoid", "Tanh", "Affine"],
    activation_alpha=[1.0],
    activation_beta=[0.0],
)
graph = helper.make_graph(
    [node],
    "lstm",
    [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in inputs.items()],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
)
opset = helper.make_opsetid("", 22)
model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
largest = float(np.abs(session.run(None, inputs)[0]).max())
print(f"clip {clip}, largest output {largest:.4f}")
raise SystemExit(largest <= clip)
