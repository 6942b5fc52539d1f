r"""A whole architecture on a batch of sequences: forward, and backpropagation through time.

`forward(architecture, params, x)` gives `(Output(y, state), tape)`; `backward(tape, d_y, d_state)`
gives the gradient of <d_y, y> + <d_state, state> with respect to every parameter, to x and to the
initial state. Nothing is kept anywhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Imported for the passes that they register.
from lstm_oracle.reference import _inputs, combinators, scan  # noqa: F401
from lstm_oracle.reference.double_double import DoubleDouble
from lstm_oracle.reference.passes import Gradients, Output, backward_pass, forward_pass
from lstm_oracle.reference.spec import Architecture
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray


@dataclass(frozen=True)
class Tape:
    """What `forward` leaves for `backward`: every intermediate value of the pass."""

    architecture: Architecture
    inner: Any
    shape: tuple[int, int]  # B, T
    dtype: np.dtype
    precise: bool

    def trace(self) -> Any:
        """Every gate and state of every step: a `Trace` per scan, nested like the architecture."""
        return _rounded(self.inner.trace())


def forward(
    architecture: Architecture,
    params: Any,
    x: Array,
    state: Any = None,
    mask: Array | None = None,
    *,
    dropout: Any = None,
    precise: bool = False,
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
    precise : bool
        Compute, here and in `backward` from this tape, with 106 binary digits, and round once, at
        the end: float64 results that are correctly rounded but for one in 10^12 or so, on every
        machine alike, even of chaotic layers. Some hundred times slower. The arrays are float64.

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
    params, x, state, real, dropout = _inputs.checked(architecture, params, x, state, mask, dropout)
    dtype = x.dtype
    if precise:
        _inputs.check_is_double(architecture, dtype)
        params, x, state, dropout = map_leaves(DoubleDouble, (params, x, state, dropout))
    output, inner = forward_pass(architecture, params, x, state, real, dropout)
    return _rounded(output), Tape(architecture, inner, x.shape[:2], dtype, precise)


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

    Raises
    ------
    TypeError, ValueError
        For a tape that is none, and for cotangents whose nesting, shape or dtype does not fit.
    """
    if not isinstance(tape, Tape):
        raise TypeError(
            f"tape is of type {type(tape).__name__}, expected what forward returned. "
            "Call (y, state), tape = forward(…) first."
        )
    cotangents = _inputs.checked_cotangents(tape.architecture, tape.shape, tape.dtype, d_y, d_state)
    if tape.precise:
        _inputs.check_is_double(tape.architecture, *(a.dtype for a in flatten(cotangents).values()))
        cotangents = map_leaves(DoubleDouble, cotangents)
    gradients = _rounded(backward_pass(tape.inner, *cotangents))
    return gradients if trace else gradients._replace(trace=None)


def _rounded(tree: Any) -> Any:
    """The tree with its numbers of 106 digits, if it has any, rounded to float64."""
    return map_leaves(lambda a: a.rounded() if isinstance(a, DoubleDouble) else a, tree)
