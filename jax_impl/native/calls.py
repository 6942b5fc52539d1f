"""The kernel as functions of JAX arrays: reverse mode, and derivatives of it, defined.

Outside the kernel arrays are (batch, time, feature). What it keeps for its backward pass has a
layout of its own: z (T, Hb, B, 4, L) and c (T, Hb, B, L), with units in Hb blocks of L lanes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl import scan
from lstm_oracle.jax_impl.interface import Inputs, Options, Pieces
from lstm_oracle.jax_impl.native import build
from lstm_oracle.reference.spec import Spec, State

GATES = "ifgo"


class Primals(NamedTuple):
    """What the layer is a function of; weights and biases one per gate, in the order of `GATES`."""

    x: jax.Array  # (B, T, I)
    W: tuple[jax.Array, ...]  # (I, H)
    U: tuple[jax.Array, ...]  # (H, H)
    b: tuple[jax.Array, ...]  # (H,)
    state: State  # (B, H) each


class Results(NamedTuple):
    """The state that every step leaves, and that after the last."""

    y: jax.Array  # (B, T, H)
    state: State


class _Kept(NamedTuple):
    """What the backward pass needs of the forward pass."""

    y: jax.Array
    z: jax.Array
    c: jax.Array


@jax.custom_vjp
def lstm(primals: Primals, mask: jax.Array | None) -> Results:
    """The states of a standard LSTM; mask (B, T) is True at real steps.

    All arrays are of one dtype, float32 or float64. Differentiable in reverse mode any number of
    times: the first derivative by the kernel, derivatives of it by the plain scan.
    """
    return _forward(primals, mask, keep=False)[0]


def _lstm_forward(primals: Primals, mask: Any) -> tuple[Results, Any]:
    results, kept = _run(primals, mask)
    return results, (primals, mask, kept)


def _lstm_backward(residuals: Any, d_results: Results) -> tuple[Primals, None]:
    primals, mask, kept = residuals
    return _gradients(primals, d_results, mask, kept), None


lstm.defvjp(_lstm_forward, _lstm_backward)


# A derivative of a derivative goes through what the rules of the first one call: each of these
# has rules of its own, whose forward pass is the function itself. `kept` is no function of its own
# there: as a function of primals and cotangents alone, the gradient is that of the plain scan.


@jax.custom_vjp
def _run(primals: Primals, mask: Any) -> tuple[Results, _Kept]:
    """The states, and what the backward pass needs."""
    results, kept = _forward(primals, mask, keep=True)
    return results, _Kept(results.y, *kept)


def _run_forward(primals: Primals, mask: Any) -> tuple[Any, Any]:
    results, kept = _run(primals, mask)
    return (results, kept), (primals, mask, kept)


def _run_backward(residuals: Any, d_outputs: tuple[Results, _Kept]) -> tuple[Primals, None]:
    return _lstm_backward(residuals, d_outputs[0])


_run.defvjp(_run_forward, _run_backward)


@jax.custom_vjp
def _gradients(primals: Primals, d_results: Results, mask: Any, kept: _Kept) -> Primals:
    """The gradients, from the kernel."""
    return _backward(primals, d_results, mask, kept)


def _gradients_forward(
    primals: Primals, d_results: Results, mask: Any, kept: _Kept
) -> tuple[Primals, Any]:
    return _gradients(primals, d_results, mask, kept), (primals, d_results, mask)


def _gradients_backward(residuals: Any, d_gradients: Primals) -> tuple[Any, ...]:
    primals, d_results, mask = residuals

    def gradients(primals: Primals, d_results: Results) -> Primals:
        _, pull_back = jax.vjp(lambda primals: _plain(primals, mask), primals)
        return pull_back(d_results)[0]

    _, pull_back = jax.vjp(gradients, primals, d_results)
    return (*pull_back(d_gradients), None, None)


_gradients.defvjp(_gradients_forward, _gradients_backward)


def _plain(primals: Primals, mask: Any) -> Results:
    """The same function by `scan`."""
    I, H = primals.W[0].shape
    params = {
        f"{letter}_{k}": array
        for letter in "WUb"
        for k, array in zip(GATES, getattr(primals, letter), strict=True)
    }
    x = jnp.swapaxes(primals.x, 0, 1)
    if mask is not None:
        mask = jnp.swapaxes(mask, 0, 1)
        x = jnp.where(mask[..., None], x, 0)
    y, state = scan.IMPLEMENTATION.run(
        Spec(input_size=I, hidden_size=H),
        Inputs(params, x, primals.state, mask, None),
        Pieces.whole(x.shape[0]),
        Options(1, "highest", "scan", None, "cpu"),
    )
    return Results(jnp.swapaxes(y, 0, 1), state)


# --- calls ----------------------------------------------------------------------------------------


def _forward(primals: Primals, mask: Any, *, keep: bool) -> tuple[Results, tuple[jax.Array, ...]]:
    """The states, and z and c of every step where they are to be kept."""
    x, W, U, b, (h0, c0) = primals
    (B, T, _), H, dtype = x.shape, U[0].shape[0], x.dtype
    L = build.library(str(dtype)).lstm_oracle_lanes()
    blocks = -(-H // L)
    shapes: list[tuple[int, ...]] = [(B, T, H), (B, H), (B, H)]
    if keep:
        shapes += [(T, blocks, B, 4, L), (T, blocks, B, L)]
    operands = (x, *W, *U, *b, h0, c0, *_if_any(mask))
    y, h_T, c_T, *kept = _call("forward", operands, shapes)
    return Results(y, State(h_T, c_T)), tuple(kept)


def _backward(primals: Primals, d_results: Results, mask: Any, kept: _Kept) -> Primals:
    x, W, U, b, (h0, c0) = primals
    d_y, (d_h_T, d_c_T) = d_results
    y, z, c = kept
    d_Z, d_h0, d_c0 = _call(
        "backward",
        (*U, c0, z, c, d_y, d_h_T, d_c_T, *_if_any(mask)),
        [z.shape, h0.shape, c0.shape],
        # d_Z takes the place of z, which nobody reads afterwards: both have every case of a vmap.
        vmap_method="broadcast_all",
        input_output_aliases={5: 0},
    )
    # Apart, so that XLA leaves out what nobody asks for.
    (d_x,) = _call("input_gradient", (d_Z, *W), [x.shape])
    d_weights = _call(
        "weight_gradients",
        (d_Z, x, y, h0, *_if_any(mask)),
        [array.shape for array in (*W, *U, *b)],
    )
    d_W, d_U, d_b = (tuple(d_weights[n : n + 4]) for n in (0, 4, 8))
    return Primals(d_x, d_W, d_U, d_b, State(d_h0, d_c0))


def activations(z: jax.Array) -> tuple[jax.Array, ...]:
    """sigma(z), its derivative, tanh(z) and its derivative, as the kernel computes them: (N,)."""
    return tuple(_call("activations", (z,), [z.shape] * 4))


def _call(handler: str, operands: Any, shapes: Any, **options: Any) -> Any:
    dtype = next(operand.dtype for operand in operands if operand.dtype != bool)
    build.library(str(dtype))
    options = {"vmap_method": "expand_dims"} | options
    # Inside a shard_map, results differ along the axes of the mesh along which operands do.
    axes = varying(operands)
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]
    call = jax.ffi.ffi_call(build.target(handler, str(dtype)), results, **options)
    return vary(call(*(vary(operand, axes) for operand in operands)), axes)


def varying(tree: Any) -> frozenset[str]:
    """The axes of a mesh along which one of the arrays differs, inside a shard_map."""
    return frozenset().union(*(_vma(leaf) for leaf in jax.tree.leaves(tree)))


def vary(tree: Any, axes: frozenset[str]) -> Any:
    """The same arrays, as ones that differ along axes of a mesh; their gradients are summed."""

    def one(leaf: Any) -> Any:
        missing = tuple(sorted(axes - _vma(leaf)))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(one, tree)


def _vma(leaf: Any) -> frozenset[str]:
    # Versions of JAX call the axes differently, or do not know of them.
    array_type = jax.typeof(leaf)
    if hasattr(array_type, "manual_axis_type"):
        return array_type.manual_axis_type.varying
    return getattr(array_type, "vma", frozenset())


def _if_any(mask: Any) -> tuple[Any, ...]:
    return () if mask is None else (mask,)
