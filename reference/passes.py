"""The two passes that every kind of architecture has, and what they return.

`scan` and `combinators` register one forward and one backward for each kind; the arguments have
been checked and completed by `_inputs`, so that no pass looks at them again.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Mask(NamedTuple):
    """Which steps are real, and which sequences had a real step before these ones."""

    real: Array  # (B, T) of bool
    started: Array  # (B,) of bool: False but for the later pieces of a sequence in chunks

    def reversed(self) -> Mask:
        """The same with time running backwards."""
        return Mask(self.real[:, ::-1], self.started)

    def cut(self, piece: slice) -> Mask:
        """That of some consecutive steps."""
        started = self.started | self.real[:, : piece.start].any(axis=1)
        return Mask(self.real[:, piece], started)


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


@singledispatch
def forward_pass(
    architecture: Any, params: Any, x: Array, state: Any, mask: Mask | None, dropout: Any
) -> tuple[Output, Any]:
    """Output and tape of one kind of architecture."""
    raise NotImplementedError  # pragma: no cover - _inputs rejects what is no architecture


@singledispatch
def backward_pass(tape: Any, d_y: Any, d_state: Any) -> Gradients:
    """Gradients from one kind of tape."""
    raise NotImplementedError  # pragma: no cover - every kind registers its own
