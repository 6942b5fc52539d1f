r"""Sequences: the scan over time, and the combinators around it.

`run` takes any architecture. In this module time is the leading axis, (T, B, ...), of x, mask and
dropout masks alike, so that a scan and a reversal are about axis 0 everywhere.

The scan's step is the cell's, wrapped by what knows nothing of gates: `_inert_where_masked` carries
the state through masked steps, `_cut_at_borders` stops the gradient between truncated chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.jax_impl.cell import cell
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
)


class Output(NamedTuple):
    """What a layer gives: `y` of every step, and the `state` after the last one."""

    y: Any
    state: Any


class Inputs(NamedTuple):
    """What a layer is run on, time leading; each in the nesting of its architecture."""

    params: Any
    x: Any  # (T, B, I)
    state: Any
    mask: Any  # (T, B), True at real steps, or None
    dropout: Any  # (T or 1, B, N) or (T or 1, B, G, N) each; None drops nothing


class Options(NamedTuple):
    """How to compute, as against what: steps per loop iteration, precision of the products."""

    unroll: int
    precision: Any


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of the `Chunks` around a layer begin: NumPy, known before anything runs."""

    position: np.ndarray  # (T,) steps since the innermost piece began
    cut: np.ndarray  # (T,) True where no gradient passes to the step before

    @classmethod
    def whole(cls, T: int) -> Pieces:
        """The sequence in one piece."""
        return cls(np.arange(T), np.zeros(T, bool))

    def split(self, length: int, *, truncate: bool) -> Pieces:
        """Every piece split into pieces of `length`, and cut between these if `truncate`."""
        border = (self.position > 0) & (self.position % length == 0)
        return Pieces(self.position % length, self.cut | (border & truncate))


StepInputs = Mapping[str, Any]
Step = Callable[[State, StepInputs], State]


def accumulator(dtype: Any) -> Any:
    """The dtype of sums, gates and cell: float32 for the 16-bit floats, else the dtype itself."""
    return jnp.promote_types(dtype, jnp.float32)


@singledispatch
def run(architecture: Any, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    """The output of an architecture, time leading."""
    raise TypeError(
        f"lstm: spec is of type {type(architecture).__name__}, expected a Spec, Reverse, "
        "Bidirectional, Stack or Chunks. Build one from lstm_oracle.reference.spec."
    )


# --- scan -----------------------------------------------------------------------------------------


@run.register
def _scan(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    params, x, state, mask, dropout = inputs
    dropout = dropout or Dropout()
    if mask is not None:
        # 0 * NaN is NaN: what stands in the padding must not reach a product.
        x = jnp.where(mask[..., None], x, 0)

    every_step: dict[str, Any] = {}
    each_step: dict[str, Any] = {"z_x": _input_products(spec, params, x, dropout.x, options)}
    if dropout.h is not None and dropout.h.shape[0] == 1:
        every_step = {"dropout_h": dropout.h[0]}
    else:
        each_step |= {"dropout_h": dropout.h}
    step = _layer_step(spec, params, every_step, options)
    if mask is not None:
        step, each_step = _inert_where_masked(step), each_step | {"real": mask}
    if pieces.cut.any():
        step, each_step = _cut_at_borders(step), each_step | {"cut": jnp.asarray(pieces.cut)}

    def body(state: State, step_inputs: StepInputs) -> tuple[State, jax.Array]:
        state = step(state, step_inputs)
        return state, state.h

    state, r = jax.lax.scan(body, state, each_step, unroll=options.unroll)
    y = r if mask is None else _MASKED_OUTPUTS[spec.masked_output](r, mask[..., None])
    return Output(y, state)


def _input_products(
    spec: Spec, params: Any, x: jax.Array, dropout_x: Any, options: Options
) -> jax.Array:
    """x_t @ W_k + b_k of all steps and gates at once: (T, B, G, H)."""
    z_x = _gate_products(x, dropout_x, _pack(spec, params, "W"), options)
    if not spec.use_bias:
        return z_x
    return z_x + jnp.stack([params[f"b_{k}"] for k in spec.gates]).astype(z_x.dtype)


def _layer_step(spec: Spec, params: Any, every_step: StepInputs, options: Options) -> Step:
    """The step from (r, c)_{t-1} to (r, c)_t."""
    U = _pack(spec, params, "U")
    # What a loop closes over collects its gradient in its own dtype, once per step: a sum that
    # 16 bits cannot hold. So weights enter the loop in the accumulator's dtype.
    wide = accumulator(U.dtype)
    U = U.astype(wide)
    p = {k: params[f"p_{k}"].astype(wide) for k in spec.peepholes}
    project = _projection(params, options)

    def step(state: State, step_inputs: StepInputs) -> State:
        step_inputs = {**step_inputs, **every_step}
        r, c = state
        z = step_inputs["z_x"] + _gate_products(r, step_inputs["dropout_h"], U, options)
        h, c = cell(spec, p, {k: z[:, n] for n, k in enumerate(spec.gates)}, c)
        return State(project(h.astype(r.dtype)).astype(r.dtype), c)

    return step


def _projection(params: Any, options: Options) -> Callable[[jax.Array], jax.Array]:
    """r_t = h_t @ V, or h_t (Sak et al. 2014)."""
    if "V" not in params:
        return lambda h: h
    V = params["V"].astype(accumulator(params["V"].dtype))
    return lambda h: _product("bh,hr->br", h, V, options)


def _pack(spec: Spec, params: Any, letter: str) -> jax.Array:
    """The gates' matrices (N, H) side by side: (N, G, H)."""
    return jnp.stack([params[f"{letter}_{k}"] for k in spec.gates], axis=1)


def _gate_products(a: jax.Array, dropout: Any, weights: jax.Array, options: Options) -> jax.Array:
    """(a * dropout) @ weights_k for all gates: (..., N) and (N, G, H) give (..., G, H).

    Dropout is (..., N), one product for all gates, or (..., G, N), one per gate.
    """
    if dropout is None:
        return _product("...n,ngh->...gh", a, weights, options)
    if dropout.ndim == a.ndim:
        return _product("...n,ngh->...gh", a * dropout, weights, options)
    return _product("...gn,ngh->...gh", a[..., None, :] * dropout, weights, options)


def _product(equation: str, a: jax.Array, weights: jax.Array, options: Options) -> jax.Array:
    """A product of factors in the dtype of `a`, summed in the accumulator's dtype."""
    return jnp.einsum(
        equation,
        a,
        weights.astype(a.dtype),
        precision=options.precision,
        preferred_element_type=accumulator(a.dtype),
    )


def _inert_where_masked(step: Step) -> Step:
    """Carry the state unchanged through steps that are not real.

    The new state that is discarded there is computed from zeros, not from the carried state: it
    is finite however large the state has grown, and no 0 * inf reaches the gradient.
    """

    def inert(state: State, step_inputs: StepInputs) -> State:
        real = step_inputs["real"][:, None]
        safe = jax.tree.map(lambda s: jnp.where(real, s, 0), state)
        new = step(safe, step_inputs)
        return jax.tree.map(lambda n, s: jnp.where(real, n, s), new, state)

    return inert


def _cut_at_borders(step: Step) -> Step:
    """Let no gradient through the state into the step before a cut (Williams & Peng 1990)."""

    def cut(state: State, step_inputs: StepInputs) -> State:
        return step(
            jax.tree.map(
                lambda s: jnp.where(step_inputs["cut"], jax.lax.stop_gradient(s), s), state
            ),
            step_inputs,
        )

    return cut


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
