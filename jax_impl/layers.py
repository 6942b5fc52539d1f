r"""One layer by the implementation chosen for it, and the combinators around it.

`run` takes any architecture. In this module time is the leading axis, (T, B, ...), of x, mask and
dropout masks alike, so that a reversal is about axis 0 everywhere. What a masked step reads and
emits is settled here, once for all implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl.implementations import chosen_for
from lstm_oracle.jax_impl.interface import Inputs, Options, Output, Pieces
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
)


@singledispatch
def run(architecture: Any, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    """The output of an architecture, time leading."""
    raise TypeError(
        f"lstm: spec is of type {type(architecture).__name__}, expected a Spec, Reverse, "
        "Bidirectional, Stack or Chunks. Build one from lstm_oracle.reference.spec."
    )


# --- one layer ------------------------------------------------------------------------------------


@run.register
def _layer(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    chosen = chosen_for(spec, inputs, pieces, options)
    mask = inputs.mask
    if mask is None:
        return chosen.run(spec, inputs, pieces, options)
    # 0 * NaN is NaN: what stands in the padding must not reach a product.
    real = mask[..., None]
    r, state = chosen.run(spec, inputs._replace(x=jnp.where(real, inputs.x, 0)), pieces, options)
    return Output(_MASKED_OUTPUTS[spec.masked_output](r, real), state)


# What is emitted at masked steps, from the carried r (T, B, R) and mask (T, B, 1). A masked step
# leaves r as it was, so that the previous output is r itself once there has been a real step.
_MASKED_OUTPUTS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "previous": lambda r, mask: jnp.where(jnp.cumsum(mask, axis=0) > 0, r, 0),
    "zero": lambda r, mask: jnp.where(mask, r, 0),
    "state": lambda r, mask: r,
}


# --- combinators ----------------------------------------------------------------------------------


@run.register
def _reverse(architecture: Reverse, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    flipped = inputs._replace(
        x=_flip(inputs.x), mask=_flip(inputs.mask), dropout=_flip(inputs.dropout)
    )
    y, state = run(architecture.layer, flipped, pieces, options)
    return Output(_flip(y) if architecture.output_order == "original" else y, state)


def _flip(tree: Any) -> Any:
    """The last step first. A dropout mask of one step for all is its own mirror image."""
    return jax.tree.map(lambda a: jnp.flip(a, axis=0), tree)


@run.register
def _bidirectional(
    architecture: Bidirectional, inputs: Inputs, pieces: Pieces, options: Options
) -> Output:
    halves = Directions(architecture.forward, Reverse(architecture.backward))
    dropout = inputs.dropout or Directions(None, None)
    outputs = [
        run(half, Inputs(params, inputs.x, state, inputs.mask, half_dropout), pieces, options)
        for half, params, state, half_dropout in zip(
            halves, inputs.params, inputs.state, dropout, strict=True
        )
    ]
    y, state = (Directions(*parts) for parts in zip(*outputs, strict=True))
    return Output(_MERGE[architecture.merge](y), state)


_MERGE: dict[str | None, Callable[[Directions], Any]] = {
    "concat": lambda y: jnp.concatenate(y, axis=-1),
    "sum": lambda y: y.forward + y.backward,
    "mul": lambda y: y.forward * y.backward,
    "ave": lambda y: (y.forward + y.backward) / 2,
    None: lambda y: y,
}


@run.register
def _stack(architecture: Stack, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    y, states = inputs.x, []
    dropout = inputs.dropout or (None,) * len(architecture.layers)
    for layer, params, state, layer_dropout in zip(
        architecture.layers, inputs.params, inputs.state, dropout, strict=True
    ):
        layer_inputs = Inputs(params, y, state, inputs.mask, layer_dropout)
        y, state = run(layer, layer_inputs, pieces, options)
        states.append(state)
    return Output(y, tuple(states))


@run.register
def _chunks(architecture: Chunks, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    # A scan carries its state anyway: pieces differ from the whole by where gradients stop.
    pieces = pieces.split(architecture.length, truncate=architecture.truncate)
    return run(architecture.layer, inputs, pieces, options)
