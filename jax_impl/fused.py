r"""The fused recurrence: pure XLA on any device, its backward pass written by hand.

Differentiating the plain scan accumulates d_U step by step, saves what it can compute again and
re-reads it all. Here the loop backwards carries d_h and d_c only and leaves d_z behind; what has
weights in it is one product before the loops or after them.

Equations
---------
With packed weights, gates in the order i, f, o, g, and the halves of sigma(z) = tanh(z/2)/2 + 1/2
folded into them, so that one tanh serves all gates::

    a = tanh(x_t @ W + h_{t-1} @ U + b)          i, f, o = a/2 + 1/2      g = a
    c_t = f * c_{t-1} + i * g                    h_t = o * tanh(c_t)
    k = (1 - a^2) * (g/2, c_{t-1}/2, tanh(c_t)/2, i)        e = o * (1 - tanh^2(c_t))

The forward loop writes the factors k over the products that it reads, the backward loop d_z over
the factors: one (T, B, 4H) buffer from start to end. Backward, per step from the last::

    d_h = d_y_t + d_h      d_c = d_c + d_h * e
    d_z = k * (d_c, d_c, d_h, d_c)
    d_h = d_z @ U^T        d_c = d_c * f

then d_U = H_prev^T d_Z, d_W = X^T d_Z, d_X = d_Z W^T, each one product over all steps.

Derivatives of this derivative are those of the plain scan, so that the whole is differentiable any
number of times in reverse mode. Forward mode is the plain scan's: implementation="scan".

References
----------
Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000; Greff et al. 2017, section II
(backpropagation through time); Appleyard, Kocisky & Blunsom 2016 (products of all steps at once).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl.activations import tanh
from lstm_oracle.jax_impl.interface import (
    Implementation,
    Inputs,
    Options,
    Output,
    Pieces,
    Setting,
    accumulator,
    variant,
)
from lstm_oracle.reference.spec import Dropout, Spec, State

_ORDER = ("i", "f", "o", "g")


class Operands(NamedTuple):
    """What the recurrence is differentiated by."""

    x: Any  # (T, B, I)
    W: Any  # (I, 4H), packed
    U: Any  # (H, 4H), packed
    b: Any  # (4H,), packed, or None
    state: State
    dropout_h: Any  # (T or 1, B, H), or None


class Marks(NamedTuple):
    """What is true of a step, for every step and row; None where it is the same for all."""

    real: Any  # (T, B, 1), False at masked steps
    cut: Any  # (T, 1, 1), True where no gradient passes to the step before


class How(NamedTuple):
    """How to loop and multiply: static."""

    precision: Any
    unroll: int
    in_place: bool


class Factors(NamedTuple):
    """What the backward loop multiplies with, once the forward loop has been."""

    k: Any  # (T, B, 4H)
    e_f: Any  # (T, B, 2H), side by side: XLA fills one array faster than two of a shape


# --- a layer --------------------------------------------------------------------------------------


def fused(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    """The carried h of every step (T, B, H) and the last state."""
    T, B, _ = inputs.x.shape
    operands = _operands(spec, inputs)
    marks = Marks(
        None if inputs.mask is None else inputs.mask[..., None],
        jnp.asarray(pieces.cut)[:, None, None] if pieces.cut.any() else None,
    )
    how = How(options.precision, options.unroll, in_place=B > 1)
    if options.remat is None:
        return Output(*recurrence(how, operands, marks))
    return _in_chunks(how, operands, marks, math.isqrt(T - 1) + 1 if T > 1 else 1)


def _operands(spec: Spec, inputs: Inputs) -> Operands:
    params, x, state, _, dropout = inputs
    dropout = dropout or Dropout()
    return Operands(
        x=x if dropout.x is None else x * dropout.x,
        W=_pack(params, "W"),
        U=_pack(params, "U"),
        b=_pack(params, "b").astype(accumulator(x.dtype)) if spec.use_bias else None,
        state=state,
        dropout_h=dropout.h,
    )


def _pack(params: Any, letter: str) -> jax.Array:
    """The gates' arrays side by side, those of sigmoids halved: exact in binary."""
    halves = {"g": 1.0}
    return jnp.concatenate(
        [params[f"{letter}_{k}"] * jnp.asarray(halves.get(k, 0.5), params[f"{letter}_{k}"].dtype)
         for k in _ORDER],
        axis=-1,
    )  # fmt: skip


def _in_chunks(how: How, operands: Operands, marks: Marks, length: int) -> Output:
    """The recurrence over pieces of `length` steps, of which only the states in between stay.

    What a piece saves for its backward pass is computed again there (Chen et al. 2016): with
    length sqrt(T) both the states kept and the piece at hand grow as sqrt(T).
    """
    each, every = _by_step(operands, marks)
    T = operands.x.shape[0]
    whole = T // length * length

    def piece(state: State, each: Any) -> tuple[State, jax.Array]:
        chunk, chunk_marks = _joined(operands, every, each)
        y, state = recurrence(how, chunk._replace(state=state), chunk_marks)
        return state, y

    def pieces_of(a: jax.Array) -> jax.Array:
        return a[:whole].reshape(-1, length, *a.shape[1:])

    state, y = jax.lax.scan(
        jax.checkpoint(piece, prevent_cse=False), operands.state, jax.tree.map(pieces_of, each)
    )
    y = y.reshape(whole, *y.shape[2:])
    if whole == T:
        return Output(y, state)
    state, y_rest = jax.checkpoint(piece)(state, jax.tree.map(lambda a: a[whole:], each))
    return Output(jnp.concatenate([y, y_rest]), state)


def _by_step(operands: Operands, marks: Marks) -> tuple[Any, Any]:
    """What has an entry per step, and a dropout mask that has one for all steps."""
    dropout_h = operands.dropout_h
    shared = dropout_h is not None and dropout_h.shape[0] == 1
    return (operands.x, None if shared else dropout_h, marks), dropout_h if shared else None


def _joined(operands: Operands, every: Any, each: Any) -> tuple[Operands, Marks]:
    x, dropout_h, marks = each
    return operands._replace(x=x, dropout_h=every if dropout_h is None else dropout_h), marks


# --- the recurrence and its derivative ------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def recurrence(how: How, operands: Operands, marks: Marks) -> tuple[jax.Array, State]:
    """h of every step and the last state. Its products with x are inside."""
    _, y, state = _advance(how, operands, marks, factors=False)
    return y, state


def _forward(how: How, operands: Operands, marks: Marks) -> Any:
    output, factors = _run(how, operands, marks)
    return output, (operands, marks, output[0], factors)


def _backward(how: How, saved: Any, cotangents: Any) -> Any:
    operands, marks, y, factors = saved
    return _pull_back(how, operands, marks, y, factors, cotangents), None


recurrence.defvjp(_forward, _backward)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _run(how: How, operands: Operands, marks: Marks) -> tuple[Any, Factors]:
    """Output, and the factors that its backward pass needs."""
    factors, y, state = _advance(how, operands, marks, factors=True)
    return (y, state), factors


@_run.defjvp
def _run_jvp(how: How, primals: Any, tangents: Any) -> Any:
    operands, marks = primals
    output, factors = _run(how, operands, marks)
    _, d_output = jax.jvp(lambda a: _plain(how, a, marks), (operands,), (tangents[0],))
    # What the factors do to a gradient is in the rule of `_pull_back`.
    return (output, factors), (d_output, jax.tree.map(jnp.zeros_like, factors))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull_back(
    how: How, operands: Operands, marks: Marks, y: Any, factors: Factors, cotangents: Any
) -> Operands:
    """Gradients of the operands. A function of operands and cotangents; the rest follows."""
    return _retreat(how, operands, marks, y, factors, cotangents)


@_pull_back.defjvp
def _pull_back_jvp(how: How, primals: Any, tangents: Any) -> Any:
    operands, marks, _, _, cotangents = primals

    def by_autodiff(operands: Operands, cotangents: Any) -> Operands:
        _, pull_back = jax.vjp(lambda a: _plain(how, a, marks), operands)
        return pull_back(cotangents)[0]

    _, d_gradients = jax.jvp(by_autodiff, (operands, cotangents), (tangents[0], tangents[4]))
    return _pull_back(how, *primals), d_gradients


def _plain(how: How, operands: Operands, marks: Marks) -> tuple[jax.Array, State]:
    """The same function as a plain scan, for JAX to differentiate."""
    each, every = _by_step(operands, marks)
    _, dropout_h, marks = each

    def body(state: State, inputs: Any) -> Any:
        z, dropout_h, marks = inputs
        dropout_h = every[0] if every is not None else dropout_h
        if marks.cut is not None:
            state = jax.tree.map(lambda s: jnp.where(marks.cut, jax.lax.stop_gradient(s), s), state)
        safe = _where(marks.real, state, jax.tree.map(jnp.zeros_like, state))
        a = tanh(_pre_activations(how, z, safe.h, dropout_h, operands))
        i, f, o, g = _gates(a)
        c = f * safe.c + i * g
        h = (o * tanh(c)).astype(state.h.dtype)
        state = _where(marks.real, State(h, c), state)
        return state, state.h

    z = _input_products(how, operands)
    state, y = jax.lax.scan(body, operands.state, (z, dropout_h, marks))
    return y, state


# --- forward, and directly under it backward ------------------------------------------------------


def _advance(how: How, operands: Operands, marks: Marks, *, factors: bool) -> Any:
    """Factors of every step where asked for, else None; h of every step; the last state."""
    z = _input_products(how, operands)  # (T, B, 4H)
    each, every = _by_step(operands, marks)
    _, dropout_h, marks = each

    def step(state: State, z: Any, inputs: Any) -> Any:
        dropout_h, marks = inputs
        dropout_h = every[0] if every is not None else dropout_h
        a = jnp.tanh(_pre_activations(how, z, state.h, dropout_h, operands))  # (B, 4H)
        i, f, o, g = _gates(a)
        c = f * state.c + i * g
        tanh_c = jnp.tanh(c)
        new = _where(marks.real, State((o * tanh_c).astype(state.h.dtype), c), state)
        if not factors:
            return new, None, (new.h,)
        k = (1 - a * a) * jnp.concatenate([g / 2, state.c / 2, tanh_c / 2, i], axis=-1)
        e = o * (1 - tanh_c * tanh_c)
        if marks.real is not None:
            k, e, f = (jnp.where(marks.real, a, at) for a, at in ((k, 0), (e, 0), (f, 1)))
        return new, k, (new.h, jnp.concatenate([e, f], axis=-1))

    B, H = operands.state.c.shape
    like = [((B, H), operands.state.h.dtype), ((B, 2 * H), z.dtype)][: 2 if factors else 1]
    state, k, (y, *e_f) = _steps(how, step, operands.state, z, (dropout_h, marks), like)
    return Factors(k, *e_f) if factors else None, y, state


def _retreat(
    how: How, operands: Operands, marks: Marks, y: Any, factors: Factors, cotangents: Any
) -> Operands:
    """Gradients of the operands, in their dtypes."""
    d_y, d_state = cotangents
    wide = factors.k.dtype
    each, every = _by_step(operands, marks)
    _, dropout_h, marks = each
    # Laid out for the products of the loop once, not in every step.
    U_transposed = operands.U.T.astype(wide)

    def step(d_state: State, k: Any, inputs: Any) -> Any:
        d_y, e_f, dropout_h, marks = inputs
        e, f = jnp.split(e_f, 2, axis=-1)
        dropout_h = every[0] if every is not None else dropout_h
        d_h = d_state.h + d_y
        d_c = d_state.c + d_h * e
        d_z = k * jnp.concatenate([d_c, d_c, d_h, d_c], axis=-1)
        d_h_prev = _product(how, d_z, U_transposed)
        if dropout_h is not None:
            d_h_prev = d_h_prev * dropout_h
        # A masked step has d_z = 0, so that all it does is to hand d_h and d_c on.
        d_state = State(_where(marks.real, d_h_prev, d_h), d_c * f)
        if marks.cut is not None:
            d_state = jax.tree.map(lambda d: jnp.where(marks.cut, 0, d), d_state)
        return d_state, d_z, ()

    d_state = State(d_state.h.astype(wide), d_state.c)
    inputs = (d_y.astype(wide), factors.e_f, dropout_h, marks)
    d_state, d_z, () = _steps(how, step, d_state, factors.k, inputs, [], reverse=True)
    return _parameter_gradients(how, operands, y, d_z, d_state)


def _parameter_gradients(
    how: How, operands: Operands, y: Any, d_z: jax.Array, d_state: State
) -> Operands:
    """What d_Z gives in one product each."""
    T, B, _ = d_z.shape
    x, W, U, b, state, dropout_h = operands
    wide = d_z.dtype
    h_prev = jnp.concatenate([state.h[None], y[:-1]]).astype(wide)
    r_prev = h_prev if dropout_h is None else h_prev * dropout_h
    rows = d_z.reshape(T * B, -1)
    gradients = Operands(
        x=_product(how, rows, W.T.astype(wide)).reshape(x.shape),
        W=_product(how, _columns(x.astype(wide)), rows),
        U=_product(how, _columns(r_prev), rows),
        b=None if b is None else rows.sum(axis=0),
        state=d_state,
        dropout_h=None
        if dropout_h is None
        else _summed_like(
            h_prev * _product(how, rows, U.T.astype(wide)).reshape(T, B, -1), dropout_h
        ),
    )
    return jax.tree.map(lambda d, a: d.astype(a.dtype), gradients, operands)


def _columns(a: jax.Array) -> jax.Array:
    """(T, B, N) as (N, T B), in memory too: XLA's CPU product reads rows faster than columns."""
    return jax.lax.optimization_barrier(a.reshape(-1, a.shape[-1]).T)


def _summed_like(a: jax.Array, like: jax.Array) -> jax.Array:
    return a.sum(axis=0, keepdims=True) if like.shape[0] == 1 else a


# --- pieces ---------------------------------------------------------------------------------------


def _steps(
    how: How,
    step: Callable[[Any, Any, Any], Any],
    carry: Any,
    buffer: jax.Array,
    inputs: Any,
    like: list[Any],
    *,
    reverse: bool = False,
) -> Any:
    """Carry after all steps, the buffer as the steps rewrote it, and what else they emitted.

    `step(carry, buffer_t, inputs_t) -> carry, new buffer_t, emitted_t`; `like` has shape and dtype
    of everything emitted in a step.
    """
    run = _in_place if how.in_place else _stacked
    return run(how, step, carry, buffer, inputs, like, reverse=reverse)


def _in_place(
    how: How, step: Any, carry: Any, buffer: Any, inputs: Any, like: list[Any], *, reverse: bool
) -> Any:
    # A third of the bytes of stacked outputs: at B >= 2, where arrays are large, it is faster.
    T = buffer.shape[0]

    def body(n: Any, loop: Any) -> Any:
        carry, buffer, emitted = loop
        t = T - 1 - n if reverse else n
        inputs_t = jax.tree.map(lambda a: _at(a, t), inputs)
        carry, new, emitted_t = step(carry, _at(buffer, t), inputs_t)
        if new is not None:
            # Otherwise XLA computes it twice, once per use, and keeps a copy of the buffer.
            new = jax.lax.optimization_barrier(new)
            buffer = jax.lax.dynamic_update_index_in_dim(buffer, new, t, 0)
        emitted = [
            jax.lax.dynamic_update_index_in_dim(all_steps, a, t, 0)
            for all_steps, a in zip(emitted, emitted_t, strict=True)
        ]
        return carry, buffer, emitted

    emitted = [jnp.zeros((T, *shape), dtype) for shape, dtype in like]
    carry, buffer, emitted = jax.lax.fori_loop(
        0, T, body, (carry, buffer, emitted), unroll=how.unroll
    )
    return carry, buffer, tuple(emitted)


def _at(a: jax.Array, t: Any) -> jax.Array:
    return jax.lax.dynamic_index_in_dim(a, t, 0, keepdims=False)


def _stacked(
    how: How, step: Any, carry: Any, buffer: Any, inputs: Any, like: list[Any], *, reverse: bool
) -> Any:
    def body(carry: Any, step_inputs: Any) -> Any:
        carry, new, emitted = step(carry, *step_inputs)
        return carry, (new, emitted)

    carry, (buffer, emitted) = jax.lax.scan(
        body, carry, (buffer, inputs), reverse=reverse, unroll=how.unroll
    )
    return carry, buffer, emitted


def _gates(a: jax.Array) -> list[jax.Array]:
    """i, f, o and g from the tanh of the folded pre-activations."""
    *sigmoids, g = jnp.split(a, 4, axis=-1)
    return [s / 2 + 0.5 for s in sigmoids] + [g]


def _input_products(how: How, operands: Operands) -> jax.Array:
    T, B, I = operands.x.shape
    return _product(how, operands.x.reshape(T * B, I), operands.W).reshape(T, B, -1)


def _pre_activations(
    how: How, z_x: jax.Array, h: jax.Array, dropout_h: Any, operands: Operands
) -> jax.Array:
    """The bias is added here, where it costs no pass over the memory."""
    z = z_x + _product(how, h if dropout_h is None else h * dropout_h, operands.U)
    return z if operands.b is None else z + operands.b


def _product(how: How, a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b, factors in their own dtype, summed in the accumulator's."""
    return jnp.matmul(a, b, precision=how.precision, preferred_element_type=accumulator(a.dtype))


def _where(real: Any, new: Any, old: Any) -> Any:
    """`new` where the step is real, `old` where it is masked."""
    if real is None:
        return new
    return jax.tree.map(lambda n, o: jnp.where(real, n, o), new, old)


# --- what it can do -------------------------------------------------------------------------------


def _unsupported(spec: Spec, setting: Setting) -> str | None:
    lacking = {
        "no dropout per gate": setting.dropout_per_gate,
        "no sequences of no steps": setting.T == 0,
    }
    return next((reason for reason, present in lacking.items() if present), None) or variant(spec)


IMPLEMENTATION = Implementation(
    name="fused",
    run=fused,
    unsupported=_unsupported,
    advantage=lambda spec, setting: "its backward loop has one product and no weight gradients",
)
