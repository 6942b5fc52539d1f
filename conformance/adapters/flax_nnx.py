"""`flax.nnx.LSTMCell` and `OptimizedLSTMCell`, inside `flax.nnx.RNN`."""

from __future__ import annotations

from functools import partial
from typing import Any

from flax import nnx

from lstm_oracle.conformance.adapters.flax_linen import lacks
from lstm_oracle.conformance.adapters.jax_network import (
    ACTIVATIONS,
    JaxLibrary,
    JaxNetwork,
    zeros_at_masked_steps,
)
from lstm_oracle.reference.spec import Spec, State


def _run(
    cell: Any, spec: Spec, arrays: dict[str, Any], x: Any, state: Any, lengths: Any, *,
    reverse: bool,
) -> tuple[Any, State]:  # fmt: skip
    module = cell(
        spec.input_size,
        spec.hidden_size,
        gate_fn=ACTIVATIONS[spec.o_activation],
        activation_fn=ACTIVATIONS[spec.g_activation],
        dtype=x.dtype,
        param_dtype=x.dtype,
        rngs=nnx.Rngs(0),
    )
    for path, array in arrays.items():
        name, _, kind = path.partition("/")
        setattr(getattr(module, name), kind, nnx.Param(array))
    layer = nnx.RNN(module, return_carry=True, reverse=reverse, keep_order=True)
    carry = None if state is None else (state.c, state.h)
    (c, h), y = layer(x, initial_carry=carry, seq_lengths=lengths)
    return zeros_at_masked_steps(y, lengths), State(h, c)


def plain() -> JaxNetwork:
    """The adapter of `LSTMCell`."""
    run = partial(_run, nnx.LSTMCell)
    return JaxNetwork(JaxLibrary("flax", "flax_nnx", run, lacks, lengths=True))


def optimized() -> JaxNetwork:
    """The adapter of `OptimizedLSTMCell`."""
    run = partial(_run, nnx.OptimizedLSTMCell)
    return JaxNetwork(JaxLibrary("flax", "flax_nnx_optimized", run, lacks, lengths=True))
