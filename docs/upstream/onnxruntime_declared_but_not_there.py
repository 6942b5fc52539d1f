"""onnxruntime's CPU LSTM is registered for double and for layout=1, and runs neither.

double: the session is made and `run` fails ("LSTM operator does not support double yet").
layout=1, in the operator since opset 14: the session cannot be made.
Expected: both computed, or the kernel not registered for double.
"""
# library: onnxruntime; issues: microsoft/onnxruntime#7687

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

options = onnxruntime.SessionOptions()
options.log_severity_level = 4


def run(element, dtype, layout):
    shapes = {"X": (3, 2, 2), "W": (1, 8, 2), "R": (1, 8, 2)}
    node = helper.make_node("LSTM", [*shapes], ["Y"], hidden_size=2, layout=layout)
    values = [helper.make_tensor_value_info(n, element, s) for n, s in shapes.items()]
    output = helper.make_tensor_value_info("Y", element, None)
    graph = helper.make_graph([node], "lstm", values, [output])
    opset = helper.make_opsetid("", 22)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {name: np.ones(shape, dtype) for name, shape in shapes.items()})


run(TensorProto.FLOAT, "float32", 0)
failed = []
for name, arguments in {
    "double": (TensorProto.DOUBLE, "float64", 0),
    "layout=1": (TensorProto.FLOAT, "float32", 1),
}.items():
    try:
        run(*arguments)
    except Exception as error:
        failed.append(name)
        print(f"{name}: {str(error).split(' : ')[-1].splitlines()[0][-120:]}")
raise SystemExit(len(failed) != 2)
