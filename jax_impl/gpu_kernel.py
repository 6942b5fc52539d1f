r"""A kernel for GPUs that keeps U on chip and loops over time inside (Pallas, Triton).

Step by step a scan pays for one launch and one reading of U per step; both are spared where a whole
recurrence is one kernel. A program takes 16 sequences through all steps, forwards or backwards; U
is read once where it fits into a multiprocessor's registers and shared memory, and otherwise from
its cache at every step. The products with x, and the weights' gradients, are single products
outside.

Equations
---------
As in `lstm`; backwards, from the last step to the first, with d_h and d_c of the step after::

    d_h += d_r_t           d_o = d_h * tanh(c_t)      d_c += d_h * o * (1 - tanh(c_t)^2)
    d_i = d_c * g          d_f = d_c * c_{t-1}        d_g = d_c * i
    d_z = (d_i i(1-i), d_f f(1-f), d_g (1-g^2), d_o o(1-o))
    d_h = d_z @ U^T        d_c = d_c * f
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

GATES = ("i", "f", "g", "o")
ROWS = 16  # sequences of a program: the smallest product that Triton has
_HELD_BYTES = 128 * 1024  # of U, kept in registers and shared memory; larger is read every step
_WARPS = 8  # their registers hold most of U


class How(NamedTuple):
    """What a kernel is compiled for."""

    precision: Any
    interpret: bool


# --- kernels --------------------------------------------------------------------------------------
# Arrays are (T, B, H), gates (T, B, 4, H), U (4, H, H) by gate, B a multiple of ROWS and H a power
# of two, as Triton has it. Whole arrays are handed over: each program reads its own rows.


def _rows() -> Any:
    return pl.ds(pl.program_id(0) * ROWS, ROWS)


def _gate_matrices(U: Any) -> Any:
    """U by gate: held where it fits, else read at every use."""
    if U.size * U.dtype.itemsize > _HELD_BYTES:
        return lambda k: U[k]
    held = [U[k] for k in range(len(GATES))]
    return lambda k: held[k]


def _forward_kernel(how: How, z_x: Any, U: Any, h_0: Any, c_0: Any, real: Any,
                    r: Any, c: Any, gates: Any) -> None:  # fmt: skip
    """All steps of 16 sequences: r and c of every step, and the gates for the way back."""
    rows, matrix = _rows(), _gate_matrices(U)

    def step(t: Any, state: Any) -> Any:
        h_before, c_before = state
        z = [z_x[t, rows, k, :] + _dot(how, h_before, matrix(k)) for k in range(len(GATES))]
        i, f, o = (jax.nn.sigmoid(z[k]) for k in (0, 1, 3))
        g = jnp.tanh(z[2])
        c_new = f * c_before + i * g
        h_new = (o * jnp.tanh(c_new)).astype(h_before.dtype)
        is_real = real[t, rows][:, None] != 0
        h_new = jnp.where(is_real, h_new, h_before)
        c_new = jnp.where(is_real, c_new, c_before)
        r[t, rows, :] = h_new
        c[t, rows, :] = c_new
        for k, gate in enumerate((i, f, g, o)):
            gates[t, rows, k, :] = gate
        return h_new, c_new

    jax.lax.fori_loop(0, z_x.shape[0], step, (h_0[rows, :], c_0[rows, :]))


def _backward_kernel(how: How, gates: Any, c: Any, c_0: Any, U_T: Any, real: Any, d_r: Any,
                     d_c_T: Any, d_z: Any, d_h_0: Any, d_c_0: Any) -> None:  # fmt: skip
    """All steps of 16 sequences, the last first: d_z of every step, d_h and d_c at the start."""
    rows, matrix, T = _rows(), _gate_matrices(U_T), gates.shape[0]

    def step(n: Any, carried: Any) -> Any:
        t = T - 1 - n
        d_h, d_c = carried
        i, f, g, o = (gates[t, rows, k, :] for k in range(len(GATES)))
        before = c[jnp.maximum(t - 1, 0), rows, :]
        c_before = jnp.where(t == 0, c_0[rows, :], before)
        s = jnp.tanh(c[t, rows, :])
        is_real = real[t, rows][:, None] != 0
        d_h = d_h + d_r[t, rows, :]
        d_cell = d_c + d_h * o * (1 - s * s)
        steps = (
            d_cell * g * i * (1 - i),
            d_cell * c_before * f * (1 - f),
            d_cell * i * (1 - g * g),
            d_h * s * o * (1 - o),
        )
        back = jnp.zeros_like(d_h)
        for k, d_z_k in enumerate(steps):
            d_z_k = jnp.where(is_real, d_z_k, 0.0)
            d_z[t, rows, k, :] = d_z_k
            back = back + _dot(how, d_z_k.astype(U_T.dtype), matrix(k))
        # A masked step passes on what comes to it.
        return jnp.where(is_real, back, d_h), jnp.where(is_real, d_cell * f, d_c)

    start = jnp.zeros_like(d_c_T[rows, :]), d_c_T[rows, :]
    d_h_0[rows, :], d_c_0[rows, :] = jax.lax.fori_loop(0, T, step, start)


def _dot(how: How, a: Any, b: Any) -> Any:
    return jax.lax.dot(a, b, precision=how.precision, preferred_element_type=jnp.float32)


def _call(kernel: Any, how: How, batch: int, out: Any, *arrays: Any) -> Any:
    return pl.pallas_call(
        partial(kernel, how),
        out_shape=out,
        grid=(batch // ROWS,),
        interpret=how.interpret,
        # Each step needs the one before: there is nothing for a pipeline of loads to overlap.
        compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=1),
    )(*arrays)


# --- the recurrence, with its derivative ----------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(how: How, z_x: Any, U: Any, h_0: Any, c_0: Any, real: Any) -> Any:
    """r of every step (T, B, H) and c after the last one, from z_x (T, B, 4, H).

    Differentiable once, in reverse mode: a second derivative goes through "scan" or "fused".
    """
    return _forward(how, z_x, U, h_0, c_0, real)[0]


def _forward(how: How, z_x: Any, U: Any, h_0: Any, c_0: Any, real: Any) -> Any:
    T, B, _, H = z_x.shape
    wide = jnp.float32
    out = [
        jax.ShapeDtypeStruct((T, B, H), h_0.dtype),
        jax.ShapeDtypeStruct((T, B, H), wide),
        jax.ShapeDtypeStruct((T, B, len(GATES), H), wide),
    ]
    r, c, gates = _call(_forward_kernel, how, B, out, z_x, U, h_0, c_0, real)
    return (r, c[-1]), (U, h_0, c_0, real, r, c, gates)


def _backward(how: How, kept: Any, cotangents: Any) -> Any:
    U, h_0, c_0, real, r, c, gates = kept
    d_r, d_c_T = cotangents
    T, B, H = r.shape
    wide = jnp.float32
    out = [
        jax.ShapeDtypeStruct((T, B, len(GATES), H), wide),
        jax.ShapeDtypeStruct((B, H), wide),
        jax.ShapeDtypeStruct((B, H), wide),
    ]
    d_z, d_h_0, d_c_0 = _call(
        _backward_kernel, how, B, out, gates, c, c_0, jnp.swapaxes(U, 1, 2), real,
        d_r.astype(wide), d_c_T,
    )  # fmt: skip
    r_before = jnp.concatenate([h_0[None], r[:-1]])
    d_U = jnp.einsum(
        "tbr,tbgh->grh", r_before.astype(wide), d_z, precision=how.precision,
        preferred_element_type=wide,
    )  # fmt: skip
    return d_z, d_U.astype(U.dtype), d_h_0.astype(h_0.dtype), d_c_0, None


recurrence.defvjp(_forward, _backward)
