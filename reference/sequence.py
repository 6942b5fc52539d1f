r"""A whole sequence: the scan over time and the combinators around it, forward and backward.

`forward(architecture, params, x)` gives `(Output(y, state), tape)`; `backward(tape, d_y, d_state)`
gives the gradient of <d_y, y> + <d_state, state> with respect to every parameter, to x and to the
initial state. Nothing is kept anywhere else. Each kind of architecture has a forward and, directly
under it, the backward that undoes it; none but the scan knows of gates.

What can be hoisted out of the loop over time is: the products with W come before it as one, the
gradients of all weights after it as one product each over all steps (Appleyard et al. 2016,
"Optimizing Performance of Recurrent Neural Networks on GPUs", section 3).

Inside the scan arrays are time, batch, feature, so that a step is contiguous; outside they are
batch, time, feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.reference import _inputs, cell
from lstm_oracle.reference.gate_product import GateProduct, gate_product
from lstm_oracle.reference.masked_output import MASKED_OUTPUT
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
)
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray


class Output(NamedTuple):
    """What a layer emits, y (B, T, R), and the state that it ends in."""

    y: Any
    state: Any


class Gradients(NamedTuple):
    """Gradients, each of the shape and nesting of what it belongs to."""

    params: Any
    x: Array
    state: Any  # with respect to the initial state
    trace: Any = None  # GradientTrace of every scan, where asked for


@dataclass(frozen=True)
class Tape:
    """What `forward` leaves for `backward`: every intermediate value of the pass."""

    architecture: Architecture
    inner: Any
    shape: tuple[int, int]  # B, T
    dtype: np.dtype

    def trace(self) -> Any:
        """Every gate and state of every step: a `Trace` per scan, nested like the architecture."""
        return self.inner.trace()


class Trace(NamedTuple):
    """Everything a scan computed, (B, T, H) each, in the order of time in which it was computed."""

    z: dict[str, Array]
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    h: Array
    r: Array  # (B, T, R), the state carried into step t + 1: unchanged by a masked step


class GradientTrace(NamedTuple):
    """The gradients that flowed through a scan, (B, T, H) each; zero at masked steps."""

    d_h: Array  # dL/dh_t in all
    d_c: Array  # dL/dc_t in all
    d_z: dict[str, Array]


def forward(
    architecture: Architecture,
    params: Any,
    x: Array,
    state: Any = None,
    mask: Array | None = None,
    *,
    dropout: Any = None,
) -> tuple[Output, Tape]:
    """Output of a layer on a batch of sequences, and the tape that `backward` needs.

    Parameters
    ----------
    architecture : Spec, Reverse, Bidirectional, Stack or Chunks
    params
        Nested as `spec.param_shapes(architecture)`: {"W_i": (I, H), …} for a Spec.
    x : (B, T, I)
        float32, float64, longdouble or complex; the result has the common type of x and params.
    state
        Initial state, nested as `spec.state_shapes`; None, or None in place of an array, is zero.
    mask : (B, T) of bool, optional
        True: a real step. A masked step leaves the state alone, and its x may be anything.
    dropout
        Multipliers, `Dropout(x, h)` nested like the state; see `spec.Dropout`.

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
    >>> (y, state), tape = forward(spec, params, np.ones((2, 5, 3)))
    >>> y.shape, state.h.shape, backward(tape, d_y=np.ones_like(y)).params["U_f"].shape
    ((2, 5, 4), (2, 4), (4, 4))
    """
    inputs = _inputs.checked(architecture, params, x, state, mask, dropout)
    output, inner = _forward(architecture, *inputs)
    x = inputs[1]
    return output, Tape(architecture, inner, x.shape[:2], x.dtype)


def backward(tape: Tape, d_y: Any = None, d_state: Any = None, *, trace: bool = False) -> Gradients:
    """Gradient of <d_y, y> + <d_state, state_T> by backpropagation through time.

    Parameters
    ----------
    tape
        From `forward`; it can be used any number of times.
    d_y : (B, T, R), optional
        dL/dy (`Directions` of two where merge is None); None is zero.
    d_state
        dL/d(final state), nested like the state; None, or None in place of an array, is zero.
    trace
        Whether to give every step's d_h, d_c and d_z as well, one `GradientTrace` per scan.
    """
    if not isinstance(tape, Tape):
        raise TypeError(
            f"tape is of type {type(tape).__name__}, expected what forward returned. "
            "Call (y, state), tape = forward(…) first."
        )
    cotangents = _inputs.checked_cotangents(tape.architecture, tape.shape, tape.dtype, d_y, d_state)
    gradients = _backward(tape.inner, *cotangents)
    return gradients if trace else gradients._replace(trace=None)


@singledispatch
def _forward(
    architecture: Any, params: Any, x: Array, state: Any, mask: Array | None, dropout: Any
) -> tuple[Output, Any]:
    raise NotImplementedError  # pragma: no cover - _inputs rejects what is no architecture


@singledispatch
def _backward(tape: Any, d_y: Any, d_state: Any) -> Gradients:
    raise NotImplementedError  # pragma: no cover - every tape below has its own


# --- scan -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScanTape:
    """What the scan of one Spec leaves for `backward`; arrays are (T, B, …)."""

    architecture: Spec
    params: dict[str, Array]
    steps: cell.Step
    r: Array  # (T, B, R) carried after each step
    initial: State
    mask: Array | None  # (T, B, 1)
    input_product: GateProduct
    recurrent_product: GateProduct
    x: Array  # (T, B, I), zero at masked steps
    r_prev: Array
    c_prev: Array

    def trace(self) -> Trace:
        """Every gate and state of every step."""
        steps = map_leaves(_swap, self.steps)
        return Trace(steps.z, steps.i, steps.f, steps.g, steps.o, steps.c, steps.h, _swap(self.r))


@_forward.register
def _scan(
    spec: Spec, params: Any, x: Array, state: State, mask: Array | None, dropout: Any
) -> tuple[Output, ScanTape]:
    keep = None if mask is None else _swap(mask[:, :, None])  # (T, B, 1)
    x = _swap(x)
    if keep is not None:
        x = np.where(keep, x, 0)  # a masked x may be NaN, and 0 * NaN is NaN
    inputs = gate_product(spec, params, "W", _time_first(dropout.x))
    recurrent = gate_product(spec, params, "U", _time_first(dropout.h))
    p = _peepholes(spec, params)

    z_in = inputs.forward(x)  # (T, B, G*H): every step's product at once
    if spec.use_bias:
        z_in = z_in + np.concatenate([params[f"b_{k}"] for k in spec.gates])
    r, c = state
    steps, carried = [], [state]
    for t in range(x.shape[0]):
        z = _split(spec, z_in[t] + recurrent.forward(r, t))
        step = cell.forward(spec, p, z, c)
        new = State(_project(params, step.h), step.c)
        r, c = new if keep is None else _choose(keep[t], new, State(r, c))
        steps.append(step)
        carried.append(State(r, c))

    r_all = np.stack([s.h for s in carried])  # (T + 1, B, R), the initial state first
    c_all = np.stack([s.c for s in carried])
    tape = ScanTape(
        spec, params, map_leaves(lambda *arrays: np.stack(arrays), *steps), r_all[1:], state, keep,
        inputs, recurrent, x, r_all[:-1], c_all[:-1],
    )  # fmt: skip
    y = MASKED_OUTPUT[spec.masked_output].forward(tape.r, keep)
    return Output(_swap(y), State(r, c)), tape


@_backward.register
def _scan_backward(tape: ScanTape, d_y: Array, d_state: State) -> Gradients:
    spec, params, keep = tape.architecture, tape.params, tape.mask
    p = _peepholes(spec, params)
    slope = cell.slopes(spec, tape.steps)
    d_emitted = MASKED_OUTPUT[spec.masked_output].backward(_swap(d_y), keep)
    d_r, d_c = d_state
    d_h_all, d_r_all, d_c_all, d_z_all = [], [], [], []
    for t in reversed(range(tape.x.shape[0])):
        d_r = d_r + d_emitted[t]
        new, old = (State(d_r, d_c), None) if keep is None else _share(keep[t], State(d_r, d_c))
        d_h = _project_backward(params, new.h)
        step, slope_t = _at(tape.steps, t), _at(slope, t)
        d_z, d_c_t, d_c = cell.backward(spec, p, step, slope_t, tape.c_prev[t], d_h, new.c)
        d_z_fused = np.concatenate([d_z[k] for k in spec.gates], axis=-1)
        d_r_all.append(new.h)
        d_h_all.append(d_h)
        d_c_all.append(d_c_t)
        d_z_all.append(d_z_fused)
        d_r = tape.recurrent_product.backward(d_z_fused, t)
        if old is not None:
            d_r, d_c = d_r + old.h, d_c + old.c

    d_z_fused, d_r_new, d_h, d_c_each = (
        np.stack(arrays[::-1]) for arrays in (d_z_all, d_r_all, d_h_all, d_c_all)
    )
    d_z = _split(spec, d_z_fused)
    d_params = (
        tape.input_product.d_weights(tape.x, d_z_fused)
        | tape.recurrent_product.d_weights(tape.r_prev, d_z_fused)
        | {f"b_{k}": d_z[k].sum(axis=(0, 1)) for k in spec.gates if spec.use_bias}
        | {f"p_{k}": (d_z[k] * _seen(tape, k)).sum(axis=(0, 1)) for k in spec.peepholes}
        | _d_projection(tape, d_r_new)
    )
    return Gradients(
        {name: d_params[name] for name in spec.param_shapes},
        _swap(tape.input_product.backward(d_z_fused)),
        State(d_r, d_c),
        GradientTrace(_swap(d_h), _swap(d_c_each), map_leaves(_swap, d_z)),
    )


def _swap(a: Array) -> Array:
    """Batch first to time first, and back."""
    return np.swapaxes(a, 0, 1)


def _time_first(multiplier: Array | None) -> Array | None:
    return None if multiplier is None else _swap(multiplier)


def _split(spec: Spec, fused: Array) -> dict[str, Array]:
    """(…, G*H) to {k: (…, H)}, as views."""
    H = spec.hidden_size
    return {k: fused[..., n * H : (n + 1) * H] for n, k in enumerate(spec.gates)}


def _at(tree: Any, t: int) -> Any:
    """Step t of arrays with a leading time axis; what has none holds for every step."""
    return map_leaves(lambda a: a[t] if isinstance(a, np.ndarray) else a, tree)


def _peepholes(spec: Spec, params: dict[str, Array]) -> dict[str, Array]:
    return {k: params[f"p_{k}"] for k in spec.peepholes}


def _seen(tape: ScanTape, k: str) -> Array:
    """The cell that gate k's peephole saw: c_{t-1}, or c_t for the output gate."""
    return tape.steps.c if k == "o" else tape.c_prev


def _choose(keep: Array, new: State, old: State) -> State:
    """A masked step leaves the state as it was."""
    return State(np.where(keep, new.h, old.h), np.where(keep, new.c, old.c))


def _share(keep: Array, d: State) -> tuple[State, State]:
    """The gradient of `_choose`: to the new state at real steps, to the old one at masked steps."""
    return (
        State(np.where(keep, d.h, 0), np.where(keep, d.c, 0)),
        State(np.where(keep, 0, d.h), np.where(keep, 0, d.c)),
    )


def _project(params: dict[str, Array], h: Array) -> Array:
    """r_t = h_t @ V, or h_t (Sak et al. 2014)."""
    return h @ params["V"] if "V" in params else h


def _project_backward(params: dict[str, Array], d_r: Array) -> Array:
    return d_r @ params["V"].T if "V" in params else d_r


def _d_projection(tape: ScanTape, d_r: Array) -> dict[str, Array]:
    if "V" not in tape.params:
        return {}
    h = tape.steps.h
    return {"V": h.reshape(-1, h.shape[-1]).T @ d_r.reshape(-1, d_r.shape[-1])}


# --- reverse --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReverseTape:
    """A layer's tape, its time running backwards."""

    architecture: Reverse
    inner: Any

    def trace(self) -> Any:
        """The inner trace: step 0 is the one processed first."""
        return self.inner.trace()


@_forward.register
def _reverse(
    architecture: Reverse, params: Any, x: Array, state: Any, mask: Array | None, dropout: Any
) -> tuple[Output, ReverseTape]:
    flipped_mask = None if mask is None else mask[:, ::-1]
    dropout = map_leaves(_flip_dropout, dropout)
    (y, state), inner = _forward(
        architecture.layer, params, x[:, ::-1], state, flipped_mask, dropout
    )
    return Output(_ordered(architecture, y), state), ReverseTape(architecture, inner)


@_backward.register
def _reverse_backward(tape: ReverseTape, d_y: Any, d_state: Any) -> Gradients:
    gradients = _backward(tape.inner, _ordered(tape.architecture, d_y), d_state)
    return gradients._replace(x=gradients.x[:, ::-1])


def _ordered(architecture: Reverse, y: Any) -> Any:
    """From the order of processing to the order asked for, and back."""
    if architecture.output_order == "processing":
        return y
    return map_leaves(lambda a: a[:, ::-1], y)


def _flip_dropout(multiplier: Array) -> Array:
    """Multipliers belong to steps of x, and go with them."""
    return multiplier[:, ::-1]


# --- bidirectional --------------------------------------------------------------------------------


@dataclass(frozen=True)
class BidirectionalTape:
    """The tapes of both directions, and what they emitted."""

    architecture: Bidirectional
    inner: Directions
    y: Directions

    def trace(self) -> Directions:
        """Both traces; the backward one in its own order of processing."""
        return Directions(self.inner.forward.trace(), self.inner.backward.trace())


@_forward.register
def _bidirectional(
    architecture: Bidirectional, params: Any, x: Array, state: Any, mask: Array | None, dropout: Any
) -> tuple[Output, BidirectionalTape]:
    halves = Directions(architecture.forward, Reverse(architecture.backward))
    outputs, tapes = zip(
        *(
            _forward(half, params[n], x, state[n], mask, dropout[n])
            for n, half in enumerate(halves)
        ),
        strict=True,
    )
    y = Directions(*(output.y for output in outputs))
    tape = BidirectionalTape(architecture, Directions(*tapes), y)
    merged = MERGE[architecture.merge].forward(y)
    return Output(merged, Directions(*(output.state for output in outputs))), tape


@_backward.register
def _bidirectional_backward(tape: BidirectionalTape, d_y: Any, d_state: Directions) -> Gradients:
    d_halves = MERGE[tape.architecture.merge].backward(d_y, tape.y)
    halves = [
        _backward(*arguments) for arguments in zip(tape.inner, d_halves, d_state, strict=True)
    ]
    return Gradients(
        Directions(*(half.params for half in halves)),
        halves[0].x + halves[1].x,
        Directions(*(half.state for half in halves)),
        Directions(*(half.trace for half in halves)),
    )


class _Merge(NamedTuple):
    forward: Any  # (Directions) -> y
    backward: Any  # (d_y, Directions) -> Directions


MERGE: dict[str | None, _Merge] = {
    "concat": _Merge(
        lambda y: np.concatenate(y, axis=-1),
        lambda d_y, y: Directions(d_y[..., : y.forward.shape[-1]], d_y[..., y.forward.shape[-1] :]),
    ),
    "sum": _Merge(lambda y: y.forward + y.backward, lambda d_y, y: Directions(d_y, d_y)),
    "mul": _Merge(
        lambda y: y.forward * y.backward,
        lambda d_y, y: Directions(d_y * y.backward, d_y * y.forward),
    ),
    "ave": _Merge(
        lambda y: (y.forward + y.backward) / 2, lambda d_y, y: Directions(d_y / 2, d_y / 2)
    ),
    None: _Merge(lambda y: y, lambda d_y, y: d_y),
}


# --- stack ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StackTape:
    """The tapes of all layers, the lowest first."""

    architecture: Stack
    inner: tuple[Any, ...]

    def trace(self) -> tuple[Any, ...]:
        """One trace per layer."""
        return tuple(tape.trace() for tape in self.inner)


@_forward.register
def _stack(
    architecture: Stack, params: Any, x: Array, state: Any, mask: Array | None, dropout: Any
) -> tuple[Output, StackTape]:
    states, tapes = [], []
    for layer, *arguments in zip(architecture.layers, params, state, dropout, strict=True):
        layer_params, layer_state, layer_dropout = arguments
        (x, final), tape = _forward(layer, layer_params, x, layer_state, mask, layer_dropout)
        states.append(final)
        tapes.append(tape)
    return Output(x, tuple(states)), StackTape(architecture, tuple(tapes))


@_backward.register
def _stack_backward(tape: StackTape, d_y: Any, d_state: tuple[Any, ...]) -> Gradients:
    layers = []
    for inner, d_final in zip(reversed(tape.inner), reversed(d_state), strict=True):
        layers.append(_backward(inner, d_y, d_final))
        d_y = layers[-1].x
    layers.reverse()
    return Gradients(
        tuple(layer.params for layer in layers),
        layers[0].x,
        tuple(layer.state for layer in layers),
        tuple(layer.trace for layer in layers),
    )


# --- chunks ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChunksTape:
    """The tapes of all pieces, the earliest first."""

    architecture: Chunks
    inner: tuple[Any, ...]
    lengths: tuple[int, ...]

    def trace(self) -> Any:
        """The pieces' traces, joined in time."""
        return _join([tape.trace() for tape in self.inner])


@_forward.register
def _chunks(
    architecture: Chunks, params: Any, x: Array, state: Any, mask: Array | None, dropout: Any
) -> tuple[Output, ChunksTape]:
    T, length = x.shape[1], architecture.length
    pieces = [slice(start, min(start + length, T)) for start in range(0, T, length)]
    ys, tapes = [], []
    for piece in pieces:
        piece_mask = None if mask is None else mask[:, piece]
        piece_dropout = map_leaves(lambda m, piece=piece: _cut_dropout(m, piece), dropout)
        (y, state), tape = _forward(
            architecture.layer, params, x[:, piece], state, piece_mask, piece_dropout
        )
        ys.append(y)
        tapes.append(tape)
    lengths = tuple(piece.stop - piece.start for piece in pieces)
    return Output(_join(ys), state), ChunksTape(architecture, tuple(tapes), lengths)


@_backward.register
def _chunks_backward(tape: ChunksTape, d_y: Any, d_state: Any) -> Gradients:
    stop, pieces = d_y.shape[1], []
    for inner, length in zip(reversed(tape.inner), reversed(tape.lengths), strict=True):
        pieces.append(_backward(inner, d_y[:, stop - length : stop], d_state))
        d_state, stop = pieces[-1].state, stop - length
        if tape.architecture.truncate:
            d_state = map_leaves(np.zeros_like, d_state)
    pieces.reverse()
    return Gradients(
        map_leaves(lambda *arrays: sum(arrays), *(piece.params for piece in pieces)),
        _join([piece.x for piece in pieces]),
        pieces[0].state,
        _join([piece.trace for piece in pieces]),
    )


def _join(trees: list[Any]) -> Any:
    """Pieces (B, t, …) to one (B, T, …)."""
    return map_leaves(lambda *arrays: np.concatenate(arrays, axis=1), *trees)


def _cut_dropout(multiplier: Array, piece: slice) -> Array:
    """Multipliers of every step are cut like x; those of the whole sequence are not."""
    return multiplier if multiplier.shape[1] == 1 else multiplier[:, piece]
