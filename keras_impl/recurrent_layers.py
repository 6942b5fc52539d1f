"""Which recurrent layers a Keras model holds, and what each is in the terms of `Spec`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from lstm_oracle.keras_impl.activations import spec_name
from lstm_oracle.keras_impl.cell import LSTMCell
from lstm_oracle.keras_impl.lstm import LSTM
from lstm_oracle.reference.layouts import from_layout
from lstm_oracle.reference.spec import Architecture, MaskedOutput, Reverse, Spec, Stack, State


class CannotDescribe(ValueError):
    """A recurrent layer that has no description as an LSTM; the message says why."""


@dataclass(frozen=True)
class Found:
    """A layer of a model and the way to it, such as "model/bidirectional/forward_lstm"."""

    path: str
    layer: Any


def children(layer: Any) -> list[Any]:
    """Return the layers directly inside a layer: of models, wrappers and a user's own alike."""
    # Keras has no public way to list the sublayers of anything but a Model.
    return list(layer._flatten_layers(recursive=False, include_self=False))


def walk(layer: Any, path: str = "", seen: set[int] | None = None) -> Iterator[Found]:
    """Every layer of a model, itself first; a shared one where it is met first."""
    seen = set() if seen is None else seen
    if id(layer) in seen:
        return
    seen.add(id(layer))
    path = f"{path}/{layer.name}" if path else layer.name
    yield Found(path, layer)
    for child in children(layer):
        yield from walk(child, path, seen)


def recurrent_layers(model: Any) -> list[Found]:
    """Every layer of the model that reads a sequence step by step."""
    return [found for found in walk(model) if isinstance(found.layer, keras.layers.RNN)]


# --- one cell -------------------------------------------------------------------------------------


def _keras_cell(cell: Any) -> Spec:
    owner = f"LSTMCell {cell.name!r}"
    squash = spec_name(cell.activation, owner)
    gate = spec_name(cell.recurrent_activation, owner)
    return Spec(
        input_size=cell.kernel.shape[0],
        hidden_size=cell.units,
        use_bias=cell.use_bias,
        i_activation=gate,
        f_activation=gate,
        g_activation=squash,
        o_activation=gate,
        c_activation=squash,
        name=cell.name,
    )


_CELLS: dict[type, Callable[[Any], Spec]] = {
    LSTMCell: lambda cell: cell.spec,
    keras.layers.LSTMCell: _keras_cell,
}


# What a subclass may change without changing what is computed.
_HARMLESS = {"__init__", "get_config", "from_config"}


def _known_base(instance: Any, known: tuple[type, ...]) -> type:
    """Return the known class whose equations an instance has: its own, or one it left alone."""
    for base in known:
        if isinstance(instance, base) and not _overrides(type(instance), base):
            return base
    raise CannotDescribe(
        f"{type(instance).__name__} is not one of the LSTM classes that can be described "
        f"({_names(known)}), or replaces a method of one"
    )


def _overrides(subclass: type, base: type) -> set[str]:
    mro = subclass.__mro__
    between = mro[: mro.index(base)]
    methods = {name for c in between for name, value in vars(c).items() if callable(value)}
    return {name for name in methods - _HARMLESS if hasattr(base, name)}


def _names(classes: tuple[type, ...]) -> str:
    return ", ".join(f"{c.__module__.split('.')[0]}.{c.__name__}" for c in classes)


def _cell_spec(cell: Any) -> Spec:
    base = _known_base(cell, tuple(_CELLS))
    if not cell.built:
        raise CannotDescribe("it has not been built; call the model on data first")
    return _CELLS[base](cell)


_VARIABLES = ("kernel", "recurrent_kernel", "bias", "projection_kernel")


def cell_arrays(cell: Any) -> dict[str, Any]:
    """Variables of a cell by the names of the layout "keras"."""
    named = {name: getattr(cell, name, None) for name in _VARIABLES}
    vectors = {vector.name: vector for vector in getattr(cell, "peephole_vectors", ())}
    return {
        name: variable for name, variable in {**named, **vectors}.items() if variable is not None
    }


# --- a layer --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Description:
    """What a recurrent layer is, and how its variables and states map to canonical ones."""

    architecture: Architecture
    specs: tuple[Spec, ...]
    cells: tuple[Any, ...]
    stacked: bool

    @property
    def variables(self) -> list[dict[str, Any]]:
        """Variables of every cell, by name."""
        return [cell_arrays(cell) for cell in self.cells]

    def params(self, arrays: list[dict[str, Any]]) -> Any:
        """Canonical parameters (or their gradients) from arrays shaped like `variables`."""
        each = [
            from_layout("keras", spec, {name: to_numpy(a) for name, a in named.items()})
            for spec, named in zip(self.specs, arrays, strict=True)
        ]
        return self._nested(each)

    def state(self, flat: list[Any]) -> Any:
        """Canonical state from [h, c] or [h, c, h, c, ...]."""
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return self._nested([State(to_numpy(h), to_numpy(c)) for h, c in pairs])

    def _nested(self, each: list[Any]) -> Any:
        return tuple(each) if self.stacked else each[0]


def describe(layer: Any) -> Description:
    """Describe a recurrent layer.

    Raises
    ------
    CannotDescribe
        For what is no LSTM, or has a part that `Spec` cannot name.
    """
    _known_base(layer, (LSTM, keras.layers.LSTM, keras.layers.RNN))
    stacked = isinstance(layer.cell, keras.layers.StackedRNNCells)
    cells = tuple(layer.cell.cells) if stacked else (layer.cell,)
    try:
        specs = tuple(_with_mask_rule(_cell_spec(cell), layer) for cell in cells)
    except CannotDescribe:
        raise
    except ValueError as error:  # an activation without a name
        raise CannotDescribe(str(error)) from error
    forwards: Architecture = Stack(specs) if stacked else specs[0]
    architecture = Reverse(forwards, output_order="processing") if layer.go_backwards else forwards
    return Description(architecture, specs, cells, stacked)


def _with_mask_rule(spec: Spec, layer: Any) -> Spec:
    # Keras documents "the output of the previous step"; where a backend emits another value, that
    # is its defect and has to show.
    documented: MaskedOutput = "zero" if layer.zero_output_for_mask else "previous"
    rule: MaskedOutput = getattr(layer, "masked_output", documented)
    return dataclasses.replace(spec, masked_output=rule)


def to_numpy(tensor: Any) -> np.ndarray:
    """Array of a tensor; half precisions as float32, which holds them exactly."""
    if keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16"):
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor))
