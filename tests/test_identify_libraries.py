"""`identify` is right about every library at hand, on the arrays that the library itself takes."""

from __future__ import annotations

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
