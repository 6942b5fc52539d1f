"""onnx.reference's LSTM ignores sequence_lens, clip, activations and input_forget.

The operator's definition has all four; the evaluator takes them and computes as if they were not
there, without a word.
Expected: other outputs, or an error that says what is not implemented.
"""
# library: onnx

import numpy as np
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

rng = np.random.default_rng(0)
inputs = {
    "X": rng.normal(size=(4, 2, 3)).astype("float32"),
    "W": rng.normal(size=(1, 20, 3)).astype("float32"),
    "R": rng.normal(size=(1, 20, 5)).astype("float32"),
    "B": np.zeros((1, 40), "float32"),
    "sequence_lens": np.array([4, 2], "int32"),
}


def run(lengths=False, **attributes):
    names = [*inputs] if lengths else [name for name in inputs if name != "sequence_lens"]
    node = helper.make_node("LSTM", names, ["Y"], hidden_size=5, **attributes)
    types = {"sequence_lens": TensorProto.INT32}
    values = [
        helper.make_tensor_value_info(n, types.get(n, TensorProto.FLOAT), inputs[n].shape)
        for n in names
    ]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "lstm", values, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {n: inputs[n] for n in names})[0]


plain = run()
ignored = {
    "sequence_lens": run(lengths=True),
    "clip": run(clip=0.1),
    "activations": run(activations=["Relu", "Relu", "Relu"]),
    "input_forget": run(input_forget=1),
}
found = [name for name, y in ignored.items() if np.array_equal(y, plain)]
print(f"without any effect: {', '.join(found)}")
raise SystemExit(len(found) != 4)
