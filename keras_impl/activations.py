"""Activations by the names of `Spec` and by Keras' own, exact in float64 on every backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from lstm_oracle.keras_impl.backends import BACKEND

Function = Callable[[Any], Any]


def _hard_sigmoid(z: Any, reciprocal_slope: int) -> Any:
    return ops.relu(1 - ops.relu(0.5 - z / reciprocal_slope))


@keras.saving.register_keras_serializable(package="lstm_oracle")
def hard_sigmoid_fifth(z: Any) -> Any:
    """max(0, min(1, z/5 + 1/2)): the hard sigmoid of Keras 2 and ONNX."""
    return _hard_sigmoid(z, 5)


def _hard_sigmoid_sixth(z: Any) -> Any:
    return _hard_sigmoid(z, 6)


def _leaky_relu(z: Any) -> Any:
    return ops.where(z > 0, z, 0.2 * z)


def clip(z: Any, bound: float) -> Any:
    """Limit z to [-bound, bound]; the derivative outside is 0.

    Not `keras.ops.clip`, which rounds the bound to float32 on PyTorch.
    """
    return ops.where(ops.abs(z) <= bound, z, bound * ops.sign(z))


# Keras' public functions that are not exact in float64 on some backend (measured with 3.15.1:
# tanh 9e-8 on JAX, leaky_relu 7e-9 on TensorFlow, the derivative of hard_sigmoid 3e-8 on PyTorch),
# and what is computed in their place.
_EXACT: dict[Function, Function] = {
    keras.activations.tanh: BACKEND.tanh,
    keras.activations.leaky_relu: _leaky_relu,
    keras.activations.hard_sigmoid: _hard_sigmoid_sixth,
}

_BY_SPEC_NAME: dict[str, Function] = {
    "sigmoid": keras.activations.sigmoid,
    "tanh": keras.activations.tanh,
    "hard_sigmoid_sixth": keras.activations.hard_sigmoid,
    "hard_sigmoid_fifth": hard_sigmoid_fifth,
    "hard_tanh": keras.activations.hard_tanh,
    "linear": keras.activations.linear,
    "relu": keras.activations.relu,
    "leaky_relu": keras.activations.leaky_relu,
    "elu": keras.activations.elu,
    "selu": keras.activations.selu,
    "softplus": keras.activations.softplus,
    "softsign": keras.activations.softsign,
    "silu": keras.activations.silu,
}


def resolve(identifier: Any) -> Function:
    """Function that a name of `Spec`, or anything `keras.activations.get` takes, stands for."""
    if isinstance(identifier, str) and identifier in _BY_SPEC_NAME:
        return _BY_SPEC_NAME[identifier]
    return keras.activations.get(identifier)


def exact(function: Function) -> Function:
    """Same function, computed in the dtype of its argument."""
    return _EXACT.get(function, function)


def spec_name(function: Function, owner: str) -> str:
    """Name of an activation in `Spec`.

    Raises
    ------
    ValueError
        For a function that `Spec` has no name for.
    """
    for name, known in _BY_SPEC_NAME.items():
        if function is known:
            return name
    raise ValueError(
        f"{owner}: the activation is {getattr(function, '__name__', function)!r}, expected one of "
        f"{tuple(_BY_SPEC_NAME)}. Only these have a description that others can check."
    )
