"""The LSTM layer for Keras 3: a sequence of steps of `LSTMCell`."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from lstm_oracle.keras_impl.backends import BACKEND, Step, unrolled
from lstm_oracle.keras_impl.cell import LSTMCell, arguments_of
from lstm_oracle.reference.spec import Architecture, MaskedOutput, Reverse, Spec, State


def _or_zero(condition: Any, r: Any) -> Any:
    return ops.where(condition, r, ops.zeros_like(r))


# What is emitted, from the carried state r, whether the step is real, and whether it or one
# before it is. At a masked step r is that of the last real step, or the initial one.
_EMITTED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "previous": lambda r, real, begun: _or_zero(begun, r),
    "zero": lambda r, real, begun: _or_zero(real, r),
    "state": lambda r, real, begun: r,
}


def _holding(step: Step) -> Step:
    """Step whose inputs end with whether it is real; a masked one leaves the state as it is."""

    def hold(state: State, inputs: Sequence[Any]) -> State:
        *inputs_t, real = inputs
        new = step(state, inputs_t)
        return State(*map(functools.partial(ops.where, real), new, state))

    return hold


@keras.saving.register_keras_serializable(package="lstm_oracle")
class LSTM(keras.layers.RNN):
    r"""LSTM layer: a drop-in for `keras.layers.LSTM`, with the variants that one lacks.

    Its weights, its initial weights under a seed and its saved weights are interchangeable with
    those of `keras.layers.LSTM` of the same arguments. The loop over time is its own and the same
    on TensorFlow, JAX and PyTorch.

    Parameters
    ----------
    units, activation, recurrent_activation, ... (the cell's)
        All of `LSTMCell`'s.
    implementation : 1, 2, "auto", "scan", "fused" or "native"
        1 and 2 as in `LSTMCell`: the layer's own loop. A name, on the JAX backend: that
        implementation of `lstm_oracle.jax_impl.lstm` computes the sequence, the same function of
        the same weights, faster; "auto" takes the fastest for the case.
    return_sequences, return_state, go_backwards, stateful, unroll
        As in `keras.layers.LSTM`.
    masked_output : "previous", "zero" or "state"
        What is emitted at a masked step, where the state does not change: the last output, zeros
        before the first real step (on every backend); zeros; or the carried state.
        `zero_output_for_mask=True` is Keras' name for "zero", which `Bidirectional` sets.
    use_cudnn : "auto" or False
        Accepted so that code for `keras.layers.LSTM` runs; cuDNN is never used.
    activity_regularizer, dtype, name, trainable
        As in every Keras layer.

    Raises
    ------
    TypeError, ValueError
        For what `LSTMCell` rejects, a named `implementation` on another backend than JAX or one
        that cannot do the case, `use_cudnn=True`, an unknown `masked_output`, a mask or an
        initial state whose shape does not fit.

    Notes
    -----
    Differs from `keras.layers.LSTM` 3.15.1 where that one is wrong. The input of a masked step is
    replaced by zeros before anything reads it, so NaN and Inf in padding reach neither outputs
    nor gradients. `unroll=True` computes the same as the loop, with masks, `go_backwards` and
    `zero_output_for_mask`. `dropout` works with `implementation=1`. float64 is computed in
    float64. A float16 layer can be built.

    Examples
    --------
    >>> layer = LSTM(4, peepholes="ifo", return_sequences=True)
    >>> tuple(layer(np.zeros((2, 5, 3)), mask=np.ones((2, 5), bool)).shape)
    (2, 5, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        *,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        masked_output: MaskedOutput = "previous",
        zero_output_for_mask: bool | None = None,
        use_cudnn: Any = "auto",
        implementation: Any = 2,
        activity_regularizer: Any = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        **kwargs: Any,
    ) -> None:
        """Keep the arguments; the variables come with `build`."""
        by_name = isinstance(implementation, str)
        cell_arguments = {key: kwargs.pop(key) for key in _CELL_ARGUMENTS & kwargs.keys()}
        cell = LSTMCell(
            units,
            activation,
            recurrent_activation,
            dtype=dtype,
            trainable=trainable,
            name="lstm_cell",
            implementation=2 if by_name else implementation,
            **cell_arguments,
        )
        super().__init__(
            cell,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            unroll=unroll,
            activity_regularizer=activity_regularizer,
            name=name,
            dtype=dtype,
            trainable=trainable,
            **kwargs,
        )
        self.input_spec = keras.layers.InputSpec(ndim=3)
        if masked_output not in _EMITTED:
            raise ValueError(
                f"{self._owner}: masked_output is {masked_output!r}, expected one of "
                f"{tuple(_EMITTED)}. Choose a name from the list."
            )
        self.masked_output = masked_output
        self.fast_path = _on_jax(self._owner, implementation) if by_name else None
        if zero_output_for_mask is not None:
            self.zero_output_for_mask = zero_output_for_mask
        self.use_cudnn = use_cudnn

    def build(self, sequences_shape: Any, initial_state_shape: Any = None) -> None:
        """Create the variables, and those of the state of a stateful layer."""
        # Here, not in the constructor: `Bidirectional` sets use_cudnn on finished layers.
        if self.use_cudnn not in ("auto", False):
            raise ValueError(
                f"{self._owner}: use_cudnn is {self.use_cudnn!r}, expected 'auto' or False. This "
                "layer never uses cuDNN; for cuDNN use keras.layers.LSTM, which takes the same "
                "weights."
            )
        super().build(sequences_shape)

    @property
    def implementation(self) -> Any:
        """The name of the one in `jax_impl` that is used, or the cell's 1 or 2."""
        # Keras' constructor reads this before ours has set `fast_path`.
        return getattr(self, "fast_path", None) or self.cell.implementation

    @property
    def _owner(self) -> str:
        return f"{type(self).__name__} {self.name!r}"

    @property
    def zero_output_for_mask(self) -> bool:
        """Keras' name for `masked_output == "zero"`."""
        return self.masked_output == "zero"

    @zero_output_for_mask.setter
    def zero_output_for_mask(self, value: bool) -> None:
        # Keras' constructor sets this before ours has set `masked_output`.
        chosen: MaskedOutput = getattr(self, "masked_output", "previous")
        self.masked_output = "zero" if value else "previous" if chosen == "zero" else chosen

    # --- the sequence -----------------------------------------------------------------------------

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """Run over x (B, T, I); returns what Keras' LSTM returns."""
        self._check_state(sequences, initial_state)
        return super().call(sequences, initial_state=initial_state, mask=mask, training=training)

    def inner_loop(
        self, sequences: Any, initial_state: Any, mask: Any, training: bool = False
    ) -> tuple[Any, Any, list[Any]]:
        """Scan the cell over the sequence: last output, outputs, final states."""
        # Keras casts floating inputs only; integers arrive as they are.
        x = self._processing_order(ops.cast(sequences, self.cell.compute_dtype))  # (T, B, I)
        real = self._real_steps(sequences, mask)  # (T, B, 1) or None
        if real is not None:
            x = _or_zero(real, x)
        # PyTorch assigns the final state into these very tensors when the layer is stateful.
        state = State(*(ops.copy(array) if self.stateful else array for array in initial_state))

        if self.fast_path is not None:
            from lstm_oracle.keras_impl import fast_path

            y, final = fast_path.run(self, x, state, real, training)
            if self.return_sequences:
                return y[:, -1], y, list(final)
            return (*self._outputs(None, final.h, real), list(final))

        step, inputs = self._step_and_inputs(x, state, training)
        scan = unrolled if self.unroll else BACKEND.scan
        inputs, run = (inputs, step) if real is None else ((*inputs, real), _holding(step))
        final, r = scan(run, state, inputs, self.return_sequences)
        return (*self._outputs(r, final.h, real), list(final))

    def _step_and_inputs(self, x: Any, state: State, training: bool) -> tuple[Any, Any]:
        """Return the step of this call, and what each step needs: z_x, and zoneout masks."""
        weights = self.cell.read_weights()
        multipliers = self.cell.multipliers(x[0], state.h, training)

        def step(state: State, inputs: Sequence[Any]) -> State:
            z_x, *keep = inputs
            return self.cell.advance(z_x, state, weights, multipliers.h, keep)

        z_x = self.cell.input_products(x, weights, multipliers.x)
        return step, (z_x, *self.cell.zoneout_masks(z_x, training))

    def _outputs(self, r: Any, last_r: Any, real: Any) -> tuple[Any, Any]:
        """Last output and, batch first, all outputs; both alike where only the last is wanted."""
        emit = _EMITTED[self.masked_output]
        if not self.return_sequences:
            last = last_r if real is None else emit(last_r, real[-1], ops.any(real, axis=0))
            return last, ops.expand_dims(last, 1)
        if real is not None:
            begun = ops.cumsum(ops.cast(real, "int32"), axis=0) > 0
            r = emit(r, real, begun)
        return r[-1], ops.swapaxes(r, 0, 1)

    def _processing_order(self, array: Any) -> Any:
        """(B, T, N) as (T, B, N), the step that is read first in front."""
        time_first = ops.swapaxes(array, 0, 1)
        return ops.flip(time_first, axis=0) if self.go_backwards else time_first

    def _real_steps(self, sequences: Any, mask: Any) -> Any:
        """Mask (B, T) as (T, B, 1), in processing order."""
        if isinstance(mask, (list, tuple)):
            mask = mask[0]  # those of the initial state follow
        if mask is None:
            return None
        got, expected = tuple(mask.shape), tuple(sequences.shape[:2])
        if len(got) != 2 or _differ(got, expected):
            raise ValueError(
                f"{self._owner}: mask has shape {got}, expected (batch, time) = {expected}. "
                "Pad x and mask together, or pass mask=None."
            )
        return self._processing_order(ops.expand_dims(ops.cast(mask, "bool"), -1))

    def _check_state(self, sequences: Any, initial_state: Any) -> None:
        if initial_state is None:
            return
        got = [tuple(array.shape) for array in keras.tree.flatten(initial_state)]
        expected = [(sequences.shape[0], size) for size in self.state_size]
        if len(got) != 2 or any(map(_differ, got, expected)):
            raise ValueError(
                f"{self._owner}: initial_state has shapes {got}, expected [h, c] of shapes "
                f"{expected}. Pass both, h first."
            )

    # --- description ------------------------------------------------------------------------------

    @property
    def spec(self) -> Spec:
        """Description of the layer as if it read forwards; see `LSTMCell.spec`."""
        return dataclasses.replace(self.cell.spec, masked_output=self.masked_output, name=self.name)

    @property
    def architecture(self) -> Architecture:
        """Description of the layer, the direction it reads in included."""
        return Reverse(self.spec, output_order="processing") if self.go_backwards else self.spec

    @classmethod
    def from_spec(cls, spec: Spec, **kwargs: Any) -> LSTM:
        """Build the layer that `spec` describes; `kwargs` are further constructor arguments.

        Examples
        --------
        >>> spec = Spec(input_size=3, hidden_size=4, coupled=True)
        >>> LSTM.from_spec(spec, return_sequences=True).spec.coupled
        True
        """
        layer = cls(**arguments_of(spec), masked_output=spec.masked_output, **kwargs)
        layer.build((kwargs.get("batch_size"), None, spec.input_size))
        return layer

    def gate_params(self) -> dict[str, np.ndarray]:
        """Return the parameters by gate, named as in `spec.param_shapes`."""
        return self.cell.gate_params()

    def set_gate_params(self, params: dict[str, np.ndarray]) -> None:
        """Set the parameters from a dict like that of `gate_params`."""
        self.cell.set_gate_params(params)

    def get_config(self) -> dict[str, Any]:
        """Return every constructor argument."""
        config = super().get_config()
        for name in ("cell", "zero_output_for_mask"):
            del config[name]
        regularizer = keras.regularizers.serialize(self.activity_regularizer)
        return {
            **self.cell.get_config(),
            **config,
            "implementation": self.implementation,
            "masked_output": self.masked_output,
            "use_cudnn": self.use_cudnn,
            "activity_regularizer": regularizer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LSTM:
        """Rebuild the layer from `get_config`."""
        return cls(**config)


def _on_jax(owner: str, implementation: str) -> str:
    if keras.backend.backend() != "jax":
        raise ValueError(
            f"{owner}: implementation is {implementation!r} on the backend "
            f"{keras.backend.backend()!r}, expected 1 or 2: those with a name run on JAX only. Set "
            "the environment variable KERAS_BACKEND=jax, or pass implementation=2."
        )
    if implementation not in _FAST_PATHS:
        raise ValueError(
            f"{owner}: implementation is {implementation!r}, expected 1, 2 or one of "
            f"{_FAST_PATHS}. Choose one of the list."
        )
    return implementation


def _differ(got: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Whether two shapes cannot be the same; None is a size that is not known yet."""
    known = [(a, b) for a, b in zip(got, expected, strict=False) if None not in (a, b)]
    return len(got) != len(expected) or any(a != b for a, b in known)


def _parameters_of(cell_class: type) -> set[str]:
    parameters = inspect.signature(cell_class.__init__).parameters.values()  # type: ignore[misc]
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD} - {"self"}


def _of_cell(name: str) -> property:
    return property(lambda layer: getattr(layer.cell, name), doc=f"The cell's `{name}`.")


_FAST_PATHS = ("auto", "scan", "fused", "native")
_GATE_ACTIVATIONS = {f"{k}_activation" for k in "ifgoc"}
_CELL_ARGUMENTS = _parameters_of(keras.layers.LSTMCell) | _parameters_of(LSTMCell)
# As in keras.layers.LSTM, what the cell was given can be read on the layer.
for _name in _CELL_ARGUMENTS - _GATE_ACTIVATIONS:
    setattr(LSTM, _name, _of_cell(_name))
