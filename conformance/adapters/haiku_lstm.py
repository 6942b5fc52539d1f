"""`haiku.LSTM`, unrolled by `haiku.dynamic_unroll`."""

from __future__ import annotations

from typing import Any

import haiku

from lstm_oracle.conformance.adapters.jax_network import JaxLibrary, JaxNetwork, zeros
from lstm_oracle.conformance.adapters.support import lacking, standard_activations
from lstm_oracle.reference.spec import Spec, State


def _lacks(spec: Spec) -> str:
    without_bias = "" if spec.use_bias else "no layer without bias"
    activations = "" if standard_activations(spec) else "no choice of activations"
    return lacking(spec) or without_bias or activations


def _run(
    spec: Spec, arrays: dict[str, Any], x: Any, state: Any, lengths: Any, *, reverse: bool
) -> tuple[Any, State]:
    @haiku.without_apply_rng
    @haiku.transform
    def layer(x: Any, state: Any) -> Any:
        core = haiku.LSTM(spec.hidden_size)
        return haiku.dynamic_unroll(core, x, state, time_major=False, reverse=reverse)

    start = haiku.LSTMState(*(zeros(spec, x) if state is None else state))
    y, final = layer.apply({"lstm/linear": arrays}, x, start)
    return y, State(final.hidden, final.cell)


def adapter() -> JaxNetwork:
    """The adapter."""
    return JaxNetwork(JaxLibrary("dm-haiku", "haiku", _run, _lacks, lengths=False))
