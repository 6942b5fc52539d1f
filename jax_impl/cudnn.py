"""cuDNN's LSTM as one of the implementations, through `jax.experimental.rnn`.

Not measured: no GPU was at hand when it was written, so "auto" does not take it. Its weights are
held against the oracle with JAX's own reference of what cuDNN computes in its place, in tests.
"""

from __future__ import annotations

import jax.numpy as jnp

from lstm_oracle.jax_impl.interface import (
    Implementation,
    Inputs,
    Options,
    Output,
    Pieces,
    Setting,
    lacking,
)
from lstm_oracle.reference.spec import Spec, State

_GATES = "ifgo"


def _run(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    from jax.experimental import rnn

    params, x, state, *_ = inputs
    T, B, _ = x.shape

    def fused(letter: str) -> jnp.ndarray:
        return jnp.concatenate([params[f"{letter}_{k}"].T.ravel() for k in _GATES])

    b = jnp.zeros(4 * spec.hidden_size, x.dtype)
    if spec.use_bias:
        b = jnp.concatenate([params[f"b_{k}"] for k in _GATES])
    # cuDNN adds two biases; one of them is enough.
    weights = jnp.concatenate([fused("W"), fused("U"), b, jnp.zeros_like(b)])
    y, h, c = rnn.lstm(
        jnp.swapaxes(x, 0, 1), state.h[None], state.c[None].astype(x.dtype), weights,
        jnp.full(B, T, jnp.int32), spec.input_size, spec.hidden_size, 1, 0.0, False,
        options.precision,
    )  # fmt: skip
    return Output(jnp.swapaxes(y, 0, 1), State(h[0].astype(state.h.dtype), c[0]))


def _unsupported(spec: Spec, setting: Setting) -> str | None:
    own = {
        f"it runs on a GPU, not on {setting.platform}": setting.platform != "gpu",
        f"no {setting.dtype}, only float32": setting.dtype != "float32",
        "no masks": setting.masked,
    }
    return lacking(spec, setting, own)


def _advantage(spec: Spec, setting: Setting) -> str | None:
    """None until it has been measured: "auto" takes nothing that nobody has timed."""
    return None


IMPLEMENTATION = Implementation("cudnn", _run, _unsupported, _advantage)
