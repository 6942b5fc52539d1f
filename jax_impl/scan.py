r"""The plain scan: any `Spec`, differentiated by JAX itself, in every mode and to any order.

The scan's step is the cell's, wrapped by what knows nothing of gates: `_inert_where_masked` carries
the state through masked steps, `_cut_at_borders` stops the gradient between truncated chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl.cell import cell
from lstm_oracle.jax_impl.interface import (
    Implementation,
    Inputs,
    Options,
    Output,
    Pieces,
    Setting,
    accumulator,
)
from lstm_oracle.jax_impl.normalize import normalize
from lstm_oracle.reference.spec import Dropout, Spec, State

StepInputs = Mapping[str, Any]
Step = Callable[[State, StepInputs], State]


def scan(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    """The carried r of every step (T, B, R) and the last state, step by step."""
    params, x, state, mask, dropout = inputs
    dropout = dropout or Dropout()
    masks = {"h": dropout.h, "zoneout_h": dropout.zoneout_h, "zoneout_c": dropout.zoneout_c}
    every_step = {
        name: mask[0] for name, mask in masks.items() if mask is not None and len(mask) == 1
    }
    each_step: dict[str, Any] = {
        name: mask for name, mask in masks.items() if name not in every_step
    }
    each_step |= {"z_x": _input_products(spec, params, x, dropout.x, options)}
    step = _layer_step(spec, params, every_step, options)
    if spec.zoneout:
        step = _zoned_out(spec, step, every_step)
    if mask is not None:
        step, each_step = _inert_where_masked(step), each_step | {"real": mask}
    if pieces.cut.any():
        step, each_step = _cut_at_borders(step), each_step | {"cut": jnp.asarray(pieces.cut)}

    def body(state: State, step_inputs: StepInputs) -> tuple[State, jax.Array]:
        state = step(state, step_inputs)
        return state, state.h

    state, r = jax.lax.scan(body, state, each_step, unroll=options.unroll)
    return Output(r, state)


def _input_products(
    spec: Spec, params: Any, x: jax.Array, dropout_x: Any, options: Options
) -> jax.Array:
    """x_t @ W_k + b_k of all steps and gates at once: (T, B, G, H)."""
    z_x = _gate_products(x, dropout_x, _pack(spec, params, "W"), options)
    z_x = _normalizer(spec, params, "W")(z_x)
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
    p |= {name: params[name].astype(wide) for name in ("gain_c", "shift_c") if name in params}
    normalized = _normalizer(spec, params, "U")
    project = _projection(params, options)

    def step(state: State, step_inputs: StepInputs) -> State:
        step_inputs = {**step_inputs, **every_step}
        r, c = state
        z = step_inputs["z_x"] + normalized(_gate_products(r, step_inputs["h"], U, options))
        h, c = cell(spec, p, {k: z[:, n] for n, k in enumerate(spec.gates)}, c)
        return State(project(h.astype(r.dtype)).astype(r.dtype), c)

    return step


def _normalizer(spec: Spec, params: Any, letter: str) -> Callable[[jax.Array], jax.Array]:
    """gain * N(product), all gates (..., G, H) in one (Ba et al. 2016, equation 20); or nothing."""
    if not spec.layer_norm:
        return lambda product: product
    gain = jnp.stack([params[f"gain_{letter}_{k}"] for k in spec.gates])
    gain = gain.astype(accumulator(gain.dtype))
    return lambda product: gain * normalize(product, (-2, -1), spec.layer_norm_epsilon)


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


def _zoned_out(spec: Spec, step: Step, every_step: StepInputs) -> Step:
    """Keep previous values of r and c where masks are 1; without masks, as much as the rates say.

    References
    ----------
    Krueger et al. 2017, section 3.1.
    """

    def zoned(state: State, step_inputs: StepInputs) -> State:
        new = step(state, step_inputs)
        masks = {**step_inputs, **every_step}
        h, c = masks["zoneout_h"], masks["zoneout_c"]
        return State(
            _between(spec.zoneout_h if h is None else h, state.h, new.h),
            _between(spec.zoneout_c if c is None else c, state.c, new.c),
        )

    return zoned


def _between(share: Any, old: jax.Array, new: jax.Array) -> jax.Array:
    """share * old + (1 - share) * new, not rounded to 16 bits before the sum."""
    wide = accumulator(new.dtype)
    share = jnp.asarray(share, wide)
    return (share * old.astype(wide) + (1 - share) * new.astype(wide)).astype(new.dtype)


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


def _unsupported(spec: Spec, setting: Setting) -> str | None:
    return "remat is for the fused implementation" if setting.remat else None


IMPLEMENTATION = Implementation(
    name="scan",
    run=scan,
    unsupported=_unsupported,
    advantage=lambda spec, setting: "it can do every case and every kind of derivative",
)
