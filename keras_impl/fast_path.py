"""`LSTM(implementation="fused")` and the like: the sequence by the JAX implementation, on request.

Imported when a layer that asks for it is called, on the JAX backend only; what is held against
the oracle as the Keras implementation is the layer's own loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Dropout, State

if TYPE_CHECKING:
    from lstm_oracle.keras_impl.lstm import LSTM


def run(layer: LSTM, x: Any, state: State, real: Any, training: bool) -> tuple[Any, State]:
    """Output of every step (B, T, R), in processing order, and the last state.

    x (T, B, I) and real (T, B, 1), or None, are in processing order.
    """
    T = x.shape[0]
    multipliers = layer.cell.multipliers(x[0], state.h, training)
    zoneout = [jnp.swapaxes(mask, 0, 1) for mask in layer.cell.zoneout_masks(x, training)]
    y, final = lstm(
        _params(layer),
        jnp.swapaxes(x, 0, 1),
        state,
        None if real is None else real[..., 0].T,
        spec=layer.spec,
        dropout=Dropout(_by_gate(multipliers.x), _by_gate(multipliers.h), *zoneout),
        unroll=T if layer.unroll else 1,
        precision=None,
        implementation=layer.implementation,
    )
    # In 16 bits the cell comes back in 32, wider than the state that Keras keeps.
    return y, State(*(new.astype(old.dtype) for new, old in zip(final, state, strict=True)))


def _by_gate(multipliers: Any) -> Any:
    """One multiplier for all gates (B, N), or one per gate (B, 1, G, N)."""
    if multipliers is None:
        return None
    if len(multipliers) == 1:
        return multipliers[0]
    return jnp.stack(multipliers, axis=1)[:, None]


def _params(layer: LSTM) -> dict[str, Any]:
    weights, gates = layer.cell.read_weights(), layer.cell.gates
    fused = {
        "W": weights.W,
        "U": weights.U,
        "b": weights.b,
        "gain_W": weights.gain_W,
        "gain_U": weights.gain_U,
    }
    params = {
        f"{letter}_{k}": block
        for letter, array in fused.items()
        if array is not None
        for k, block in zip(gates, jnp.split(array, len(gates), axis=-1), strict=True)
    }
    params |= {f"p_{k}": p for k, p in weights.p.items()}
    whole = {"V": weights.V, "gain_c": weights.gain_c, "shift_c": weights.shift_c}
    return params | {name: array for name, array in whole.items() if array is not None}
