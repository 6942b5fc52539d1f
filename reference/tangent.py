r"""Tangents: how outputs move when parameters, inputs and initial state move (forward mode).

The product rule, applied to the equations step by step and gate by gate. Nothing is taken from the
backward pass, and of the forward pass only the table of activations, so that the adjoint identity

    <w, J v> = <J^T w, v>        J v from here, J^T w from `backward`

tests each by the other; it holds to rounding, in any direction.

Equations
---------
::

    d_z_k = d_x_t @ W_k + x_t @ d_W_k + d_r_{t-1} @ U_k + r_{t-1} @ d_U_k + d_b_k
            [+ d_p_k * c_{t-1} + p_k * d_c_{t-1}]
    d_i = sigma_i'(z_i) * d_z_i          f, g and o alike               (coupled: d_i = -d_f)
    d_c_t = d_f * c_{t-1} + f * d_c_{t-1} + d_i * g + i * d_g
    d_h_t = d_o * sigma_c(c_t) + o * sigma_c'(c_t) * d_c_t
    d_r_t = d_h_t @ V + h_t @ d_V  or  d_h_t

Here d_<name> is a tangent, the derivative of <name> along the direction v, and not dL/d<name>.

References
----------
Williams & Zipser 1989, "A Learning Algorithm for Continually Running Fully Recurrent Neural
Networks" (forward accumulation); Griewank & Walther 2008, section 3.1; Pearlmutter 1994, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.reference import _inputs
from lstm_oracle.reference.activations import TABLE, clip, clip_derivative
from lstm_oracle.reference.passes import Mask, Output
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
)
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray
Pair = tuple[Array, Array]  # a value and its tangent


class Point(NamedTuple):
    """What outputs depend on; or how it moves."""

    params: Any
    x: Array
    state: Any


def tangent(
    architecture: Architecture,
    params: Any,
    x: Array,
    state: Any = None,
    mask: Array | None = None,
    *,
    d_params: Any = None,
    d_x: Array | None = None,
    d_state: Any = None,
    dropout: Any = None,
) -> tuple[Output, Output]:
    """Output of a layer, and its derivative along the direction (d_params, d_x, d_state).

    Parameters
    ----------
    architecture, params, x, state, mask, dropout
        As for `forward`.
    d_params, d_x, d_state
        The direction, nested like params, x and state. None, whole or in place of an array of the
        state, is zero.

    Returns
    -------
    Output, Output
        `y` and `state`, then their tangents. Where `Chunks` truncate, no tangent passes a border:
        it is the transpose of the truncated gradient.

    Raises
    ------
    TypeError, ValueError
        With what was got, what was expected, and the fix.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_oracle.reference import Spec, forward, backward, initializers
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = initializers.init(spec, np.random.default_rng(0))
    >>> x = np.ones((2, 5, 3))
    >>> d_y = tangent(spec, params, x, d_x=x)[1].y
    >>> gradients = backward(forward(spec, params, x)[1], d_y=np.ones_like(d_y))
    >>> bool(np.isclose(d_y.sum(), (gradients.x * x).sum(), rtol=1e-13))
    True
    """
    params, x, state, real, dropout = _inputs.checked(architecture, params, x, state, mask, dropout)
    at = Point(params, x, state)
    along = Point(*_inputs.checked_direction(architecture, at, (d_params, d_x, d_state)))
    return _tangent(architecture, at, along, real, dropout)


@singledispatch
def _tangent(
    architecture: Any, at: Point, along: Point, mask: Mask | None, dropout: Any
) -> tuple[Output, Output]:
    raise NotImplementedError  # pragma: no cover - _inputs rejects what is no architecture


# --- one layer ------------------------------------------------------------------------------------


@_tangent.register
def _scan(
    spec: Spec, at: Point, along: Point, mask: Mask | None, dropout: Dropout
) -> tuple[Output, Output]:
    B, T, _ = at.x.shape
    mask = mask or Mask(np.ones((B, T), bool), np.zeros(B, bool))
    r, c = zip(at.state, along.state, strict=True)
    emitted = _where(mask.started[:, None], r, _zeros(r))
    y = []
    for t in range(T):
        real = mask.real[:, t, None]
        x_t = at.x[:, t], along.x[:, t]
        x_t = _where(real, x_t, _zeros(x_t))
        new = _step(spec, at.params, along.params, x_t, r, c, dropout, t)
        new_r, new_c = _zoneout(spec, dropout, t, (r, c), new)
        r, c = _where(real, new_r, r), _where(real, new_c, c)
        emitted = _where(real, r, emitted)
        y.append(_EMITTED[spec.masked_output](emitted, real, r))
    values, tangents = zip(*y, strict=True)
    return (
        Output(np.stack(values, axis=1), State(r[0], c[0])),
        Output(np.stack(tangents, axis=1), State(r[1], c[1])),
    )


def _step(
    spec: Spec,
    params: dict[str, Array],
    d_params: dict[str, Array],
    x: Pair,
    r_prev: Pair,
    c_prev: Pair,
    dropout: Dropout,
    t: int,
) -> tuple[Pair, Pair]:
    """r_t and c_t, with their tangents."""
    w = _gate_products(spec, params, d_params, "W", x, dropout.x, t)
    u = _gate_products(spec, params, d_params, "U", r_prev, dropout.h, t)

    def weight(name: str) -> Pair:
        return params[name], d_params[name]

    def gate_input(k: str, seen: Pair) -> Pair:
        z = _plus(w[k], u[k])
        if spec.use_bias:
            z = _plus(z, weight(f"b_{k}"))
        return _plus(z, _times(weight(f"p_{k}"), seen)) if k in spec.peepholes else z

    f, d_f = _activate(spec, "f", gate_input("f", c_prev))
    i, d_i = _INPUT_GATE[spec.coupled](spec, gate_input, c_prev)
    g, d_g = _activate(spec, "g", gate_input("g", c_prev))
    c, d_c = _limited(
        spec.cell_clip,
        f * c_prev[0] + i * g,
        d_f * c_prev[0] + f * c_prev[1] + d_i * g + i * d_g,
    )
    o, d_o = _activate(spec, "o", gate_input("o", (c, d_c)))
    seen, d_seen = _CELL[spec.layer_norm](spec, weight, (c, d_c))
    squash = TABLE[spec.c_activation]
    s, d_s = squash.value(seen), squash.derivative(seen) * d_seen
    h, d_h = o * s, d_o * s + o * d_s
    return _projected(spec, weight, (h, d_h)), (c, d_c)


def _activate(spec: Spec, k: str, z: Pair) -> Pair:
    activation = TABLE[getattr(spec, f"{k}_activation")]
    a, d_a = _limited(spec.activation_clip, *z)
    return activation.value(a), activation.derivative(a) * d_a


def _limited(bound: float | None, a: Array, d_a: Array) -> Pair:
    return (a, d_a) if bound is None else (clip(a, bound), clip_derivative(a, bound) * d_a)


def _own_input_gate(spec: Spec, gate_input: Callable[[str, Pair], Pair], c_prev: Pair) -> Pair:
    return _activate(spec, "i", gate_input("i", c_prev))


def _coupled_input_gate(spec: Spec, gate_input: Callable[[str, Pair], Pair], c_prev: Pair) -> Pair:
    """i = 1 - f, d_i = -d_f."""
    z, d_z = _limited(spec.activation_clip, *gate_input("f", c_prev))
    activation = TABLE[spec.f_activation]
    return activation.complement(z), -(activation.derivative(z) * d_z)


_INPUT_GATE = {False: _own_input_gate, True: _coupled_input_gate}


def _plus(a: Pair, b: Pair) -> Pair:
    """a + b, and d_a + d_b."""
    return a[0] + b[0], a[1] + b[1]


def _times(a: Pair, b: Pair) -> Pair:
    """a * b, and d_a * b + a * d_b."""
    return a[0] * b[0], a[1] * b[0] + a[0] * b[1]


def _matmul(a: Pair, b: Pair) -> Pair:
    """a @ b, and d_a @ b + a @ d_b."""
    return a[0] @ b[0], a[1] @ b[0] + a[0] @ b[1]


def _projected(spec: Spec, weight: Callable[[str], Pair], h: Pair) -> Pair:
    return h if spec.projection_size is None else _matmul(h, weight("V"))


def _gate_products(
    spec: Spec,
    params: dict[str, Array],
    d_params: dict[str, Array],
    letter: str,
    a: Pair,
    multiplier: Array | None,
    t: int,
) -> dict[str, Pair]:
    """Each gate's product with its own dropout, normalized where the Spec says."""
    weights = {k: (params[f"{letter}_{k}"], d_params[f"{letter}_{k}"]) for k in spec.gates}
    products = {
        k: _matmul(_dropped(a, multiplier, n, t), weights[k]) for n, k in enumerate(spec.gates)
    }
    if not spec.layer_norm:
        return products
    values, tangents = (
        np.concatenate(parts, axis=-1) for parts in zip(*products.values(), strict=True)
    )
    pair = _normalized(spec.layer_norm_epsilon, values, tangents)
    each = zip(*(np.split(part, len(spec.gates), axis=-1) for part in pair), strict=True)
    return {
        k: _times((params[f"gain_{letter}_{k}"], d_params[f"gain_{letter}_{k}"]), pair)
        for k, pair in zip(spec.gates, each, strict=True)
    }


def _dropped(a: Pair, multiplier: Array | None, n: int, t: int) -> Pair:
    """What gate n reads of a: multipliers are (B, T or 1, N), or (B, T or 1, G, N)."""
    if multiplier is None:
        return a
    now = multiplier[:, 0 if multiplier.shape[1] == 1 else t]
    m = now if now.ndim == 2 else now[:, n]
    return a[0] * m, a[1] * m


def _normalized(epsilon: float, a: Array, d_a: Array) -> Pair:
    """N(a) = (a - mean) / s, and (d_centered - N * mean(N * d_centered)) / s."""
    centered, d_centered = (part - part.mean(axis=-1, keepdims=True) for part in (a, d_a))
    s = np.sqrt((centered * centered).mean(axis=-1, keepdims=True) + epsilon)
    normal = centered / s
    d_s = (normal * d_centered).mean(axis=-1, keepdims=True)
    return normal, (d_centered - normal * d_s) / s


def _plain_cell(spec: Spec, weight: Callable[[str], Pair], c: Pair) -> Pair:
    return c


def _normalized_cell(spec: Spec, weight: Callable[[str], Pair], c: Pair) -> Pair:
    value, d = _times(weight("gain_c"), _normalized(spec.layer_norm_epsilon, *c))
    shift, d_shift = weight("shift_c")
    return value + shift, d + d_shift


_CELL = {False: _plain_cell, True: _normalized_cell}


def _zoneout(
    spec: Spec, dropout: Dropout, t: int, old: tuple[Pair, Pair], new: tuple[Pair, Pair]
) -> tuple[Pair, Pair]:
    """m * old + (1 - m) * new, of r and c; masks are constants."""
    if not spec.zoneout:
        return new
    rates, masks = (spec.zoneout_h, spec.zoneout_c), (dropout.zoneout_h, dropout.zoneout_c)
    r, c = (
        _mixed(rate if mask is None else mask[:, 0 if mask.shape[1] == 1 else t], *pairs)
        for rate, mask, *pairs in zip(rates, masks, old, new, strict=True)
    )
    return r, c


def _mixed(m: Any, old: Pair, new: Pair) -> Pair:
    return m * old[0] + (1 - m) * new[0], m * old[1] + (1 - m) * new[1]


def _where(condition: Array, a: Pair, b: Pair) -> Pair:
    return np.where(condition, a[0], b[0]), np.where(condition, a[1], b[1])


def _zeros(a: Pair) -> Pair:
    return np.zeros_like(a[0]), np.zeros_like(a[1])


# What a step emits, from what was emitted last if it is masked, and from the carried r.
_EMITTED: dict[str, Callable[[Pair, Array, Pair], Pair]] = {
    "previous": lambda emitted, real, r: emitted,
    "zero": lambda emitted, real, r: _where(real, r, _zeros(r)),
    "state": lambda emitted, real, r: r,
}


# --- layers around layers -------------------------------------------------------------------------


@_tangent.register
def _reverse(
    architecture: Reverse, at: Point, along: Point, mask: Mask | None, dropout: Any
) -> tuple[Output, Output]:
    def flip(a: Array) -> Array:
        return a[:, ::-1]

    outputs = _tangent(
        architecture.layer,
        at._replace(x=flip(at.x)),
        along._replace(x=flip(along.x)),
        None if mask is None else mask.reversed(),
        map_leaves(flip, dropout),
    )
    if architecture.output_order == "processing":
        return outputs
    value, d = (output._replace(y=map_leaves(flip, output.y)) for output in outputs)
    return value, d


@_tangent.register
def _bidirectional(
    architecture: Bidirectional, at: Point, along: Point, mask: Mask | None, dropout: Any
) -> tuple[Output, Output]:
    halves = Directions(architecture.forward, Reverse(architecture.backward))
    outputs = [
        _tangent(half, _part(at, n, at.x), _part(along, n, along.x), mask, dropout[n])
        for n, half in enumerate(halves)
    ]
    (value_a, d_a), (value_b, d_b) = outputs
    y, d_y = _MERGE[architecture.merge]((value_a.y, d_a.y), (value_b.y, d_b.y))
    return (
        Output(y, Directions(value_a.state, value_b.state)),
        Output(d_y, Directions(d_a.state, d_b.state)),
    )


def _part(point: Point, n: int, x: Array) -> Point:
    return Point(point.params[n], x, point.state[n])


def _linearly(merge: Callable[[Any, Any], Any]) -> Callable[[Pair, Pair], Pair]:
    return lambda a, b: (merge(a[0], b[0]), merge(a[1], b[1]))


_MERGE: dict[str | None, Callable[[Pair, Pair], Pair]] = {
    "concat": _linearly(lambda a, b: np.concatenate((a, b), axis=-1)),
    "sum": _linearly(lambda a, b: a + b),
    "mul": _times,
    "ave": _linearly(lambda a, b: (a + b) / 2),
    None: _linearly(Directions),
}


@_tangent.register
def _stack(
    architecture: Stack, at: Point, along: Point, mask: Mask | None, dropout: Any
) -> tuple[Output, Output]:
    x, d_x = at.x, along.x
    states: list[tuple[Any, Any]] = []
    for n, layer in enumerate(architecture.layers):
        value, d = _tangent(layer, _part(at, n, x), _part(along, n, d_x), mask, dropout[n])
        x, d_x = value.y, d.y
        states.append((value.state, d.state))
    state, d_state = zip(*states, strict=True)
    return Output(x, state), Output(d_x, d_state)


@_tangent.register
def _chunks(
    architecture: Chunks, at: Point, along: Point, mask: Mask | None, dropout: Any
) -> tuple[Output, Output]:
    T, length = at.x.shape[1], architecture.length
    y: list[Pair] = []
    for start in range(0, T, length):
        piece = slice(start, min(start + length, T))
        if start and architecture.truncate:
            along = along._replace(state=map_leaves(np.zeros_like, along.state))
        value, d = _tangent(
            architecture.layer,
            at._replace(x=at.x[:, piece]),
            along._replace(x=along.x[:, piece]),
            None if mask is None else mask.cut(piece),
            map_leaves(lambda m, piece=piece: m if m.shape[1] == 1 else m[:, piece], dropout),
        )
        at, along = at._replace(state=value.state), along._replace(state=d.state)
        y.append((value.y, d.y))
    values, tangents = zip(*y, strict=True)
    return (
        Output(np.concatenate(values, axis=1), at.state),
        Output(np.concatenate(tangents, axis=1), along.state),
    )
