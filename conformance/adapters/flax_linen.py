"""`flax.linen.LSTMCell` and `OptimizedLSTMCell`, inside `flax.linen.RNN`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen
from flax.traverse_util import unflatten_dict

from lstm_oracle.conformance.adapters.jax_network import (
    ACTIVATIONS,
    JaxLibrary,
    JaxNetwork,
    zeros_at_masked_steps,
)
from lstm_oracle.conformance.adapters.support import lacking, shared_activations
from lstm_oracle.reference.spec import Spec, State


def lacks(spec: Spec) -> str:
    """What neither the cells of linen nor those of nnx have."""
    without_bias = "" if spec.use_bias else "no layer without bias"
    return lacking(spec) or without_bias or shared_activations(spec, ACTIVATIONS)


def _run(
    cell: Any, spec: Spec, arrays: dict[str, Any], x: Any, state: Any, lengths: Any, *,
    reverse: bool,
) -> tuple[Any, State]:  # fmt: skip
    layer = linen.RNN(
        cell(
            spec.hidden_size,
            gate_fn=ACTIVATIONS[spec.o_activation],
            activation_fn=ACTIVATIONS[spec.g_activation],
            dtype=x.dtype,
            param_dtype=x.dtype,
        ),
        return_carry=True,
        reverse=reverse,
        keep_order=True,
    )
    carry = None if state is None else (jnp.asarray(state.c), jnp.asarray(state.h))
    variables = {"params": {"cell": unflatten_dict(arrays, sep="/")}}
    (c, h), y = layer.apply(variables, x, initial_carry=carry, seq_lengths=lengths)
    return zeros_at_masked_steps(y, lengths), State(h, c)


def _adapter(cell: Any) -> JaxNetwork:
    return JaxNetwork(JaxLibrary("flax", "flax", partial(_run, cell), lacks, lengths=True))


def plain() -> JaxNetwork:
    """The adapter of `LSTMCell`."""
    return _adapter(linen.LSTMCell)


def optimized() -> JaxNetwork:
    """The adapter of `OptimizedLSTMCell`."""
    return _adapter(linen.OptimizedLSTMCell)
