"""A Keras LSTM layer as a subject: clones of it, with the weights of each case."""

from __future__ import annotations

from typing import Any

import keras

from lstm_oracle.conformance.adapters.keras_network import KerasAdapter
from lstm_oracle.conformance.functions.objects import AdapterSubject
from lstm_oracle.keras_impl.recurrent_layers import describe
from lstm_oracle.reference.spec import Architecture, Bidirectional, Reverse, Spec, Stack

_INPUTS = 3  # of a layer that has not been built, which may have any number


class KerasLayerSubject(AdapterSubject):
    """A layer, run and differentiated on the backend of this process; it is not changed."""

    def __init__(self, layer: Any, options: dict[str, Any]) -> None:
        """Read what the layer is."""
        architecture = _architecture(layer)
        dtype = options["dtype"] or keras.backend.standardize_dtype(layer.compute_dtype)
        recurrent = layer.forward_layer if _is_both(layer) else layer
        adapter = KerasAdapter(lambda spec, **own: _clone(recurrent, spec, own), lambda case: "")
        super().__init__(adapter, architecture, {**options, "dtype": dtype})
        self.name = f"{type(layer).__name__} {layer.name!r}"

    def manner(self) -> str:
        """The backend differentiates."""
        backend = keras.backend.backend()
        return f"clones of the layer in {self.dtype}; gradients by Keras on {backend}"


def _architecture(layer: Any) -> Architecture:
    """What the layer is.

    Raises
    ------
    ValueError
        For what is no LSTM, or has a part that `Spec` cannot name.
    """
    if _is_both(layer):
        halves = [_architecture(half) for half in (layer.forward_layer, layer.backward_layer)]
        specs = [half.layer if isinstance(half, Reverse) else half for half in halves]
        return Bidirectional(specs[0], specs[1], layer.merge_mode)
    built = layer if layer.built else _clone(layer, None, {})
    architecture = describe(built).architecture
    if isinstance(architecture, Stack):
        raise ValueError(
            f"layer {layer.name!r} has stacked cells, expected one LSTM cell. Check its layers "
            "one by one."
        )
    return architecture


def _is_both(layer: Any) -> bool:
    return isinstance(layer, keras.layers.Bidirectional)


def _clone(layer: Any, spec: Spec | None, arguments: dict[str, Any]) -> Any:
    """A layer of the same configuration with these arguments, built."""
    clone = type(layer).from_config({**layer.get_config(), **arguments})
    clone.build((None, None, _INPUTS if spec is None else spec.input_size))
    return clone
