"""`equinox.nn.LSTMCell`, scanned over time and mapped over the batch, as its documentation does."""

from __future__ import annotations

from typing import Any

import equinox
import jax
import jax.numpy as jnp

from lstm_oracle.conformance.adapters.jax_network import JaxLibrary, JaxNetwork, zeros
from lstm_oracle.conformance.adapters.support import lacking, standard_activations
from lstm_oracle.reference.spec import Spec, State


def _lacks(spec: Spec) -> str:
    return lacking(spec) or ("" if standard_activations(spec) else "no choice of activations")


def _run(
    spec: Spec, arrays: dict[str, Any], x: Any, state: Any, lengths: Any, *, reverse: bool
) -> tuple[Any, State]:
    made = equinox.nn.LSTMCell(
        spec.input_size, spec.hidden_size, spec.use_bias, x.dtype, key=jax.random.key(0)
    )
    cell = equinox.tree_at(
        lambda cell: [getattr(cell, name) for name in arrays], made, list(arrays.values())
    )

    def step(state: Any, x_t: Any) -> Any:
        h, c = jax.vmap(cell)(x_t, state)
        return (h, c), h

    start = tuple(zeros(spec, x) if state is None else state)
    (h, c), y = jax.lax.scan(step, start, jnp.swapaxes(x, 0, 1), reverse=reverse)
    return jnp.swapaxes(y, 0, 1), State(h, c)


def adapter() -> JaxNetwork:
    """The adapter."""
    return JaxNetwork(JaxLibrary("equinox", "equinox", _run, _lacks, lengths=False))
