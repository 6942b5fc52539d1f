"""What a recurrent layer is, as data: nothing here computes.

`Spec` describes one LSTM layer that reads its sequence forwards. `Reverse`, `Bidirectional`,
`Stack` and `Chunks` combine such descriptions, to any depth. Together they are an
*architecture*; every implementation (NumPy, Keras, JAX, an adapter of somebody else's) is
built from the same one.

References
----------
Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (forget gate); Gers &
Schmidhuber 2000 (peepholes); Sak et al. 2014 (recurrent projection); Greff et al. 2017
(LSTM: A Search Space Odyssey: coupled gates); Ba, Kiros & Hinton 2016 (layer normalization);
Krueger et al. 2017 (zoneout).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

ACTIVATIONS = (
    "sigmoid",
    "tanh",
    "hard_sigmoid_sixth",  # max(0, min(1, z/6 + 1/2)): Keras 3, PyTorch
    "hard_sigmoid_fifth",  # max(0, min(1, z/5 + 1/2)): Keras 2, ONNX
    "hard_tanh",
    "linear",
    "relu",
    "leaky_relu",  # slope 0.2 below zero: Keras 3
    "elu",
    "selu",
    "softplus",
    "softsign",
    "silu",
)

MergeMode: TypeAlias = Literal["concat", "sum", "mul", "ave"] | None
MaskedOutput: TypeAlias = Literal["previous", "zero", "state"]

_MERGE_MODES = ("concat", "sum", "mul", "ave", None)
_MASKED_OUTPUTS = ("previous", "zero", "state")


class State(NamedTuple):
    """Recurrent state of one layer: `h` (B, R), what is fed back, and `c` (B, H), the cell."""

    h: Any
    c: Any


class Directions(NamedTuple):
    """A pair of values, one per direction of a `Bidirectional` layer."""

    forward: Any
    backward: Any


class Dropout(NamedTuple):
    """Random masks of one layer, drawn by the caller, so that the layer is deterministic.

    `x` and `h` have entries 0 or 1/(1-rate): they multiply the input of the gates and the
    recurrent state on its way into the gates (never on its way to the output). `None` drops
    nothing.

    `zoneout_h` and `zoneout_c` belong to a Spec with zoneout: 1 where r or c keeps its previous
    value, 0 where it is updated (Krueger et al. 2017). `None` is the expectation, as at
    inference: the Spec's rate stands for the mask.

    Shapes: (B, N) one mask for the whole sequence (Gal & Ghahramani 2016); (B, T, N) one per
    step; for `x` and `h` also (B, T, G, N), one per step and gate, gates in the order of
    `Spec.gates`. T may be 1. N is I for `x`, R for `h` and `zoneout_h`, H for `zoneout_c`.
    """

    x: Any = None
    h: Any = None
    zoneout_h: Any = None
    zoneout_c: Any = None


def _check_size(owner: str, name: str, value: Any, *, optional: bool = False) -> None:
    if optional and value is None:
        return
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(
            f"{owner}: {name} is {value!r} of type {type(value).__name__}, expected a whole "
            f"number. Pass {name}=<int>."
        )
    if value.__index__() < 1:
        raise ValueError(
            f"{owner}: {name} is {value}, expected at least 1. Pass a positive {name}."
        )


def _check_choice(owner: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if not any(value is choice or value == choice for choice in choices):
        names = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"{owner}: {name} is {value!r}, expected one of {names}. Choose a name from the list."
        )


def _check_clip(owner: str, name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{owner}: {name} is {value!r} of type {type(value).__name__}, expected a positive "
            f"number or None. Pass {name}=None to switch the clip off."
        )
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"{owner}: {name} is {value}, expected a positive finite number or None. "
            f"Pass {name}=None to switch the clip off."
        )


def _check_epsilon(owner: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{owner}: layer_norm_epsilon is {value!r} of type {type(value).__name__}, expected a "
            "positive number. Pass for example layer_norm_epsilon=1e-5."
        )
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"{owner}: layer_norm_epsilon is {value}, expected a positive finite number: a row of "
            "equal entries has no variance. Pass for example layer_norm_epsilon=1e-5."
        )


def _check_rate(owner: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{owner}: {name} is {value!r} of type {type(value).__name__}, expected a number in "
            f"[0, 1). Pass {name}=0.0 to switch zoneout off."
        )
    if not 0 <= value < 1:
        raise ValueError(
            f"{owner}: {name} is {value}, expected at least 0 and below 1. "
            f"Pass {name}=0.0 to switch zoneout off."
        )


@dataclass(frozen=True, kw_only=True)
class Spec:
    r"""One LSTM layer, completely.

    Equations
    ---------
    ::

        z_k = x_t @ W_k + r_{t-1} @ U_k + b_k [+ p_k * c_{t-1}]      k in i, f, g
        i = sigma_i(z_i)   f = sigma_f(z_f)   g = sigma_g(z_g)       (coupled: i = 1 - f)
        c_t = f * c_{t-1} + i * g                                    (then cell_clip)
        z_o = x_t @ W_o + r_{t-1} @ U_o + b_o [+ p_o * c_t]
        o = sigma_o(z_o)
        h_t = o * sigma_c(c_t)        r_t = h_t @ V  or  h_t

    With `layer_norm`, N(a) = (a - mean(a)) / sqrt(var(a) + epsilon) over the last axis, the gates
    k side by side in it (Ba et al. 2016, equations 20 to 22)::

        z = gain_W * N(x_t @ W) + gain_U * N(r_{t-1} @ U) + b [+ p * c]
        h_t = o * sigma_c(gain_c * N(c_t) + shift_c)

    With zoneout, of masks m (Krueger et al. 2017, section 3.1)::

        r_t <- m_h * r_{t-1} + (1 - m_h) * r_t        c_t <- m_c * c_{t-1} + (1 - m_c) * c_t

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    projection_size : int, optional
        R of the recurrent projection `V` (H, R) of Sak et al. 2014; None: R = H, no projection.
    use_bias : bool
        Whether the gates have `b_k`.
    peepholes : str
        The gates that see the cell, any of the letters "ifo" (Gers & Schmidhuber 2000).
    coupled : bool
        i = 1 - f (Greff et al. 2017, "CIFG"): there is then no `W_i`, `U_i`, `b_i`.
    i_activation, f_activation, g_activation, o_activation, c_activation : str
        Names from `ACTIVATIONS`; `c_activation` squashes c_t on its way to h_t.
    cell_clip : float, optional
        c_t is clipped to [-cell_clip, cell_clip] (TensorFlow 1 contrib, cuDNN).
    activation_clip : float, optional
        Every z_k is clipped to [-activation_clip, activation_clip] (the ONNX `clip` attribute).
    masked_output : "previous", "zero" or "state"
        What is emitted at a masked step, where the state does not change. "previous": the last
        emitted output, zeros before the first real step (Keras on TensorFlow). "zero": zeros
        (PyTorch's packed sequences, ONNX). "state": the carried r (Keras' JAX loop), so the
        initial one before the first real step.
    layer_norm : bool
        Whether both products and, on its way to h_t, the cell are normalized. The cell that is
        carried and that peepholes see is not. Differs from Ba et al. in that their shifts of the
        two products are one with `b`, as in Haste.
    layer_norm_epsilon : float
        epsilon, added to the variance.
    zoneout_h, zoneout_c : float
        The rates at which entries of r and c keep their previous value; 0: no zoneout. Masks are
        drawn by the caller (`Dropout.zoneout_h`, `.zoneout_c`); without them the rates stand for
        them. h_t and the output gate's peephole see c_t before zoneout.
    name : str
        How error messages call the layer.

    Raises
    ------
    TypeError, ValueError
        With what was got, what was expected, and the fix.

    Examples
    --------
    >>> spec = Spec(input_size=3, hidden_size=4, peepholes="o", projection_size=2)
    >>> spec.param_shapes["U_f"], spec.param_shapes["p_o"], spec.param_shapes["V"]
    ((2, 4), (4,), (4, 2))
    """

    input_size: int
    hidden_size: int
    projection_size: int | None = None
    use_bias: bool = True
    peepholes: str = ""
    coupled: bool = False
    i_activation: str = "sigmoid"
    f_activation: str = "sigmoid"
    g_activation: str = "tanh"
    o_activation: str = "sigmoid"
    c_activation: str = "tanh"
    cell_clip: float | None = None
    activation_clip: float | None = None
    masked_output: MaskedOutput = "previous"
    layer_norm: bool = False
    layer_norm_epsilon: float = 1e-5
    zoneout_h: float = 0.0
    zoneout_c: float = 0.0
    name: str = "lstm"

    def __post_init__(self) -> None:
        """Reject what cannot be a layer."""
        owner = f"Spec {self.name!r}"
        _check_size(owner, "input_size", self.input_size)
        _check_size(owner, "hidden_size", self.hidden_size)
        _check_size(owner, "projection_size", self.projection_size, optional=True)
        for flag in ("use_bias", "coupled", "layer_norm"):
            _check_choice(owner, flag, getattr(self, flag), (True, False))
        for letter in "ifgoc":
            name = f"{letter}_activation"
            _check_choice(owner, name, getattr(self, name), ACTIVATIONS)
        _check_clip(owner, "cell_clip", self.cell_clip)
        _check_clip(owner, "activation_clip", self.activation_clip)
        _check_choice(owner, "masked_output", self.masked_output, _MASKED_OUTPUTS)
        _check_epsilon(owner, self.layer_norm_epsilon)
        _check_rate(owner, "zoneout_h", self.zoneout_h)
        _check_rate(owner, "zoneout_c", self.zoneout_c)
        self._check_peepholes(owner)

    def _check_peepholes(self, owner: str) -> None:
        allowed = "fo" if self.coupled else "ifo"
        if not isinstance(self.peepholes, str) or not set(self.peepholes) <= set(allowed):
            raise ValueError(
                f"{owner}: peepholes is {self.peepholes!r}, expected letters of {allowed!r}"
                f"{' (a coupled layer has no z_i)' if self.coupled else ''}. "
                f"Pass for example peepholes={allowed!r}."
            )
        ordered = "".join(k for k in allowed if k in self.peepholes)
        object.__setattr__(self, "peepholes", ordered)
        if self.coupled and self.i_activation != "sigmoid":
            raise ValueError(
                f"{owner}: i_activation is {self.i_activation!r}, expected the default: a coupled "
                "layer computes i = 1 - f and has no activation for i. Leave i_activation out."
            )

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates that have weights, in canonical order: i, f, g, o; coupled f, g, o."""
        return ("f", "g", "o") if self.coupled else ("i", "f", "g", "o")

    @property
    def recurrent_size(self) -> int:
        """R: the width of r_t = y_t, which is H unless there is a projection."""
        return self.hidden_size if self.projection_size is None else self.projection_size

    @property
    def param_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter, in canonical order."""
        I, H, R = self.input_size, self.hidden_size, self.recurrent_size
        shapes: dict[str, tuple[int, ...]] = {}
        shapes |= {f"W_{k}": (I, H) for k in self.gates}
        shapes |= {f"U_{k}": (R, H) for k in self.gates}
        shapes |= {f"b_{k}": (H,) for k in self.gates if self.use_bias}
        shapes |= {f"p_{k}": (H,) for k in self.peepholes}
        if self.projection_size is not None:
            shapes["V"] = (H, R)
        if self.layer_norm:
            shapes |= {f"gain_{letter}_{k}": (H,) for letter in "WU" for k in self.gates}
            shapes |= {"gain_c": (H,), "shift_c": (H,)}
        return shapes

    @property
    def zoneout(self) -> bool:
        """Whether r or c keep previous values at random."""
        return self.zoneout_h > 0 or self.zoneout_c > 0

    @property
    def output_size(self) -> int:
        """Width of y: R."""
        return self.recurrent_size


@dataclass(frozen=True)
class Reverse:
    """A layer that reads its sequence from the last step to the first.

    `output_order` is the order in time of what it emits: "original", step t of y belongs to
    step t of x (PyTorch, ONNX, cuDNN), or "processing", the first emitted is the one of the last
    step (Keras' `go_backwards`).
    """

    layer: Architecture
    output_order: Literal["original", "processing"] = "original"

    def __post_init__(self) -> None:
        """Reject an unknown order."""
        _check_choice("Reverse", "output_order", self.output_order, ("original", "processing"))

    @property
    def input_size(self) -> int:
        """Width of x."""
        return self.layer.input_size

    @property
    def output_size(self) -> int:
        """Width of y."""
        return self.layer.output_size


@dataclass(frozen=True)
class Bidirectional:
    """One layer that reads forwards and one that reads backwards, their outputs merged.

    `backward` is described as if it read forwards; it is reversed here. `merge` is one of Keras'
    modes: "concat", "sum", "mul", "ave", or None: both outputs, as `Directions`. Parameters,
    states and dropout masks are `Directions` too.
    """

    forward: Architecture
    backward: Architecture
    merge: MergeMode = "concat"

    def __post_init__(self) -> None:
        """Reject halves that do not fit."""
        _check_choice("Bidirectional", "merge", self.merge, _MERGE_MODES)
        if self.forward.input_size != self.backward.input_size:
            raise ValueError(
                f"Bidirectional: forward reads input_size {self.forward.input_size}, backward "
                f"{self.backward.input_size}; expected the same. Both halves read the same x."
            )
        if self.merge in ("sum", "mul", "ave") and (
            self.forward.output_size != self.backward.output_size
        ):
            raise ValueError(
                f"Bidirectional: merge={self.merge!r} got output sizes "
                f"{self.forward.output_size} and {self.backward.output_size}, expected equal "
                "ones. Use merge='concat', or give both halves the same size."
            )

    @property
    def input_size(self) -> int:
        """Width of x."""
        return self.forward.input_size

    @property
    def output_size(self) -> int:
        """Width of the merged y; of the pair's widths together where merge is None."""
        if self.merge in ("concat", None):
            return self.forward.output_size + self.backward.output_size
        return self.forward.output_size


@dataclass(frozen=True)
class Stack:
    """Layers on top of each other: each reads what the one below emits.

    Parameters, states and dropout masks are tuples, one entry per layer.
    """

    layers: tuple[Architecture, ...]

    def __post_init__(self) -> None:
        """Reject layers that do not fit on each other."""
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers:
            raise ValueError("Stack: got no layers, expected at least one. Pass layers=(spec, …).")
        for n, (below, above) in enumerate(zip(self.layers[:-1], self.layers[1:], strict=True)):
            if isinstance(below, Bidirectional) and below.merge is None:
                raise ValueError(
                    f"Stack: layer {n} has merge=None and emits a pair, expected one array for "
                    f"layer {n + 1} to read. Give it a merge mode."
                )
            if below.output_size != above.input_size:
                raise ValueError(
                    f"Stack: layer {n} emits {below.output_size} features, layer {n + 1} expects "
                    f"input_size {above.input_size}. Set them equal."
                )

    @property
    def input_size(self) -> int:
        """Width of x."""
        return self.layers[0].input_size

    @property
    def output_size(self) -> int:
        """Width of y."""
        return self.layers[-1].output_size


@dataclass(frozen=True)
class Chunks:
    """A layer run over pieces of `length` steps, the state carried from piece to piece.

    `truncate=True` stops the gradient at every border between two pieces: truncated
    backpropagation through time (Williams & Peng 1990), as a stateful layer trained on
    consecutive pieces has it. `truncate=False` changes nothing but memory and order of work.
    Only for layers that read forwards.
    """

    layer: Architecture
    length: int
    truncate: bool = False

    def __post_init__(self) -> None:
        """Reject lengths below one and layers that need the future."""
        _check_size("Chunks", "length", self.length)
        if reads_backwards(self.layer):
            raise ValueError(
                "Chunks: got a layer that reads backwards, expected one that reads forwards: "
                "the state of a later step cannot be carried from an earlier piece. "
                "Use Chunks around the forward layers alone."
            )

    @property
    def input_size(self) -> int:
        """Width of x."""
        return self.layer.input_size

    @property
    def output_size(self) -> int:
        """Width of y."""
        return self.layer.output_size


Architecture: TypeAlias = Spec | Reverse | Bidirectional | Stack | Chunks


def reads_backwards(architecture: Architecture) -> bool:
    """Whether any part of the architecture needs later steps first."""
    if isinstance(architecture, (Reverse, Bidirectional)):
        return True
    if isinstance(architecture, Stack):
        return any(reads_backwards(layer) for layer in architecture.layers)
    return isinstance(architecture, Chunks) and reads_backwards(architecture.layer)


def param_shapes(architecture: Architecture) -> Any:
    """Shapes of all parameters, in the architecture's own nesting (dict, `Directions`, tuple)."""
    if isinstance(architecture, Spec):
        return architecture.param_shapes
    if isinstance(architecture, Bidirectional):
        return Directions(param_shapes(architecture.forward), param_shapes(architecture.backward))
    if isinstance(architecture, Stack):
        return tuple(param_shapes(layer) for layer in architecture.layers)
    return param_shapes(architecture.layer)


def state_shapes(architecture: Architecture, batch_size: int) -> Any:
    """Shapes of the state (and of its gradient), in the architecture's own nesting."""
    if isinstance(architecture, Spec):
        return State(
            (batch_size, architecture.recurrent_size), (batch_size, architecture.hidden_size)
        )
    if isinstance(architecture, Bidirectional):
        return Directions(
            state_shapes(architecture.forward, batch_size),
            state_shapes(architecture.backward, batch_size),
        )
    if isinstance(architecture, Stack):
        return tuple(state_shapes(layer, batch_size) for layer in architecture.layers)
    return state_shapes(architecture.layer, batch_size)


def output_shapes(architecture: Architecture, batch_size: int, steps: int) -> Any:
    """Shape of y, (B, T, R); `Directions` of two where a Bidirectional layer does not merge."""
    if isinstance(architecture, Bidirectional) and architecture.merge is None:
        halves = (architecture.forward, architecture.backward)
        return Directions(*(output_shapes(half, batch_size, steps) for half in halves))
    if isinstance(architecture, Stack):
        return output_shapes(architecture.layers[-1], batch_size, steps)
    if isinstance(architecture, (Reverse, Chunks)):
        return output_shapes(architecture.layer, batch_size, steps)
    return (batch_size, steps, architecture.output_size)
