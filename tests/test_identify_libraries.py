"""`identify` is right about every library at hand, on the arrays that the library itself takes."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from lstm_oracle.conformance import identify
from lstm_oracle.conformance.adapters import REGISTRY, load

# Name, layout, its order of gates, what it adds to the forget gate at run time.
LIBRARIES = (
    ("torch.nn.LSTM", "torch", "ifgo", 0.0),
    ("jax.experimental.rnn.lstm_ref", "torch", "ifgo", 0.0),
    ("flax.linen.LSTMCell", "flax", "ifgo", 0.0),
    ("flax.linen.OptimizedLSTMCell", "flax", "ifgo", 0.0),
    ("flax.nnx.LSTMCell", "flax_nnx", "ifgo", 0.0),
    ("flax.nnx.OptimizedLSTMCell", "flax_nnx_optimized", "ifgo", 0.0),
    ("equinox.nn.LSTMCell", "equinox", "ifgo", 0.0),
    ("haiku.LSTM", "haiku", "igfo", 1.0),
    ("onnxruntime", "onnx", "iofg", 0.0),
    ("onnx.reference", "onnx", "iofg", 0.0),
    ("tf1 LSTMCell", "tf1", "igfo", 1.0),
)


@pytest.mark.filterwarnings("ignore")  # of the libraries
@pytest.mark.parametrize(("name", "layout", "order", "forget_bias"), LIBRARIES)
def test_every_library_is_identified(name, layout, order, forget_bias):
    row = next((row for key, row in REGISTRY.items() if key == name), None)
    if row is None:
        pytest.skip(f"{name} has no adapter here")
    if row.missing():
        pytest.skip(row.missing())
    found = identify(load(row), layout, dtype="float32")
    assert found.gate_order.value == order
    assert found.recurrent_gate_order.value == order
    assert found.bias_gate_order.value == order
    assert found.forget_bias.value == pytest.approx(forget_bias, abs=1e-3)
    assert found.direction.value == "forward"
    assert found.clip.value == "none"
    assert found.calls <= 64


KERAS = """
import json, keras
from lstm_oracle.conformance import identify
found = []
for options in ({}, {"recurrent_activation": "hard_sigmoid", "go_backwards": True}):
    layer = keras.layers.LSTM(4, return_sequences=True, return_state=True, **options)
    layer.build((None, None, 3))
    found.append({name: item.value for name, item in identify(layer, "keras").items.items()})
print(json.dumps([keras.backend.backend(), found]))
"""


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs tensorflow")
def test_keras_on_tensorflow_is_identified():
    done = subprocess.run(
        [sys.executable, "-c", KERAS], capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    backend, (usual, other) = json.loads(done.stdout.splitlines()[-1])
    assert backend == "tensorflow"
    assert usual == {
        "gate_order": "ifgo", "recurrent_gate_order": "ifgo", "bias_gate_order": "ifgo",
        "bias": "one", "forget_bias": 0.0, "direction": "forward", "gate_activation": "sigmoid",
        "hard_sigmoid_slope": "none", "masked_output": "previous", "before_first": "zero",
        "zero_length": "initial", "clip": "none", "clip_bound": "none", "peephole_order": "",
    }  # fmt: skip
    assert other == usual | {
        "direction": "backward, processing order",
        "gate_activation": "hard_sigmoid_sixth",
        "hard_sigmoid_slope": 1 / 6,
    }
