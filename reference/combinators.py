"""Layers around layers: reversed, in both directions, stacked, cut into pieces.

Each forward is followed by the backward that undoes it. None of them knows of gates, masks only of
their axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.reference.passes import Gradients, Mask, Output, backward_pass, forward_pass
from lstm_oracle.reference.spec import Bidirectional, Chunks, Directions, Reverse, Stack
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray


@dataclass(frozen=True)
class ReverseTape:
    """A layer's tape, its time running backwards."""

    architecture: Reverse
    inner: Any

    def trace(self) -> Any:
        """The inner trace: step 0 is the one processed first."""
        return self.inner.trace()


@forward_pass.register
def _reverse(
    architecture: Reverse, params: Any, x: Array, state: Any, mask: Mask | None, dropout: Any
) -> tuple[Output, ReverseTape]:
    flipped_mask = None if mask is None else mask.reversed()
    dropout = map_leaves(_flip_dropout, dropout)
    (y, state), inner = forward_pass(
        architecture.layer, params, x[:, ::-1], state, flipped_mask, dropout
    )
    return Output(_ordered(architecture, y), state), ReverseTape(architecture, inner)


@backward_pass.register
def _reverse_backward(tape: ReverseTape, d_y: Any, d_state: Any) -> Gradients:
    gradients = backward_pass(tape.inner, _ordered(tape.architecture, d_y), d_state)
    return gradients._replace(x=gradients.x[:, ::-1])


def _ordered(architecture: Reverse, y: Any) -> Any:
    """From the order of processing to the order asked for, and back."""
    if architecture.output_order == "processing":
        return y
    return map_leaves(lambda a: a[:, ::-1], y)


def _flip_dropout(multiplier: Array) -> Array:
    """Multipliers belong to steps of x, and go with them."""
    return multiplier[:, ::-1]


@dataclass(frozen=True)
class BidirectionalTape:
    """The tapes of both directions, and what they emitted."""

    architecture: Bidirectional
    inner: Directions
    y: Directions

    def trace(self) -> Directions:
        """Both traces; the backward one in its own order of processing."""
        return Directions(self.inner.forward.trace(), self.inner.backward.trace())


@forward_pass.register
def _bidirectional(
    architecture: Bidirectional, params: Any, x: Array, state: Any, mask: Mask | None, dropout: Any
) -> tuple[Output, BidirectionalTape]:
    halves = Directions(architecture.forward, Reverse(architecture.backward))
    outputs, tapes = zip(
        *(
            forward_pass(half, params[n], x, state[n], mask, dropout[n])
            for n, half in enumerate(halves)
        ),
        strict=True,
    )
    y = Directions(*(output.y for output in outputs))
    tape = BidirectionalTape(architecture, Directions(*tapes), y)
    merged = MERGE[architecture.merge].forward(y)
    return Output(merged, Directions(*(output.state for output in outputs))), tape


@backward_pass.register
def _bidirectional_backward(tape: BidirectionalTape, d_y: Any, d_state: Directions) -> Gradients:
    d_halves = MERGE[tape.architecture.merge].backward(d_y, tape.y)
    halves = [
        backward_pass(*arguments) for arguments in zip(tape.inner, d_halves, d_state, strict=True)
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


@dataclass(frozen=True)
class StackTape:
    """The tapes of all layers, the lowest first."""

    architecture: Stack
    inner: tuple[Any, ...]

    def trace(self) -> tuple[Any, ...]:
        """One trace per layer."""
        return tuple(tape.trace() for tape in self.inner)


@forward_pass.register
def _stack(
    architecture: Stack, params: Any, x: Array, state: Any, mask: Mask | None, dropout: Any
) -> tuple[Output, StackTape]:
    states, tapes = [], []
    for layer, *arguments in zip(architecture.layers, params, state, dropout, strict=True):
        layer_params, layer_state, layer_dropout = arguments
        (x, final), tape = forward_pass(layer, layer_params, x, layer_state, mask, layer_dropout)
        states.append(final)
        tapes.append(tape)
    return Output(x, tuple(states)), StackTape(architecture, tuple(tapes))


@backward_pass.register
def _stack_backward(tape: StackTape, d_y: Any, d_state: tuple[Any, ...]) -> Gradients:
    layers = []
    for inner, d_final in zip(reversed(tape.inner), reversed(d_state), strict=True):
        layers.append(backward_pass(inner, d_y, d_final))
        d_y = layers[-1].x
    layers.reverse()
    return Gradients(
        tuple(layer.params for layer in layers),
        layers[0].x,
        tuple(layer.state for layer in layers),
        tuple(layer.trace for layer in layers),
    )


@dataclass(frozen=True)
class ChunksTape:
    """The tapes of all pieces, the earliest first."""

    architecture: Chunks
    inner: tuple[Any, ...]
    lengths: tuple[int, ...]

    def trace(self) -> Any:
        """The pieces' traces, joined in time."""
        return _join([tape.trace() for tape in self.inner])


@forward_pass.register
def _chunks(
    architecture: Chunks, params: Any, x: Array, state: Any, mask: Mask | None, dropout: Any
) -> tuple[Output, ChunksTape]:
    T, length = x.shape[1], architecture.length
    pieces = [slice(start, min(start + length, T)) for start in range(0, T, length)]
    ys, tapes = [], []
    for piece in pieces:
        piece_mask = None if mask is None else mask.cut(piece)
        piece_dropout = map_leaves(lambda m, piece=piece: _cut_dropout(m, piece), dropout)
        (y, state), tape = forward_pass(
            architecture.layer, params, x[:, piece], state, piece_mask, piece_dropout
        )
        ys.append(y)
        tapes.append(tape)
    lengths = tuple(piece.stop - piece.start for piece in pieces)
    return Output(_join(ys), state), ChunksTape(architecture, tuple(tapes), lengths)


@backward_pass.register
def _chunks_backward(tape: ChunksTape, d_y: Any, d_state: Any) -> Gradients:
    stop, pieces = d_y.shape[1], []
    for inner, length in zip(reversed(tape.inner), reversed(tape.lengths), strict=True):
        pieces.append(backward_pass(inner, d_y[:, stop - length : stop], d_state))
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
