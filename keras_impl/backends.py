"""What differs between TensorFlow, JAX and PyTorch, in one table; nothing else here knows them.

`BACKEND` is the row of the framework that Keras runs on (the environment variable
`KERAS_BACKEND`, read once, when Keras is imported).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from lstm_oracle.reference.spec import State

Step = Callable[[State, Sequence[Any]], State]


class Backend(NamedTuple):
    """One framework.

    `scan(step, state, inputs, keep)` runs `state = step(state, inputs_t)` over the leading axis of
    every array in `inputs` and returns the last state and, where `keep`, every `state.h`, stacked.
    `tanh` is the framework's own. `differentiate(function, arrays)` returns the value and the
    auxiliary value of `function(arrays) -> (scalar, auxiliary)` and the scalar's gradients.
    """

    scan: Callable[[Step, State, Sequence[Any], bool], tuple[State, Any]]
    tanh: Callable[[Any], Any]
    differentiate: Callable[[Callable[[Any], tuple[Any, Any]], Any], tuple[Any, Any, Any]]


def unrolled(step: Step, state: State, inputs: Sequence[Any], keep: bool) -> tuple[State, Any]:
    """Loop in Python: the result of `Backend.scan` on every framework, for a known length."""
    kept = []
    for inputs_t in zip(*(ops.unstack(array) for array in inputs), strict=True):
        state = step(state, inputs_t)
        kept.append(state.h)
    return state, ops.stack(kept) if keep else None


def _tensorflow() -> Backend:
    import tensorflow as tf

    def scan(step: Step, state: State, inputs: Sequence[Any], keep: bool) -> tuple[State, Any]:
        length = inputs[0].shape[0] or tf.shape(inputs[0])[0]
        steps = [tf.TensorArray(array.dtype, size=length).unstack(array) for array in inputs]
        kept = [tf.TensorArray(state.h.dtype, size=length, element_shape=state.h.shape)]

        def body(t: Any, state: State, kept: Any) -> tuple[Any, State, Any]:
            new = step(State(*state), [array.read(t) for array in steps])
            # An unknown batch size may hide in one operand only; the loop's must not change.
            for before, after in zip(state, new, strict=True):
                after.set_shape(before.shape)
            return t + 1, new, [array.write(t, new.h) for array in kept]

        _, state, kept = tf.while_loop(
            lambda t, *_: t < length,
            body,
            (0, state, kept if keep else []),
            # XLA allocates the tape of the backward loop from this bound.
            maximum_iterations=length,
            swap_memory=True,
        )
        return State(*state), kept[0].stack() if keep else None

    def differentiate(function: Any, arrays: Any) -> tuple[Any, Any, Any]:
        flat = keras.tree.flatten(arrays)
        with tf.GradientTape() as tape:
            tape.watch(flat)
            value, auxiliary = function(arrays)
        # Zeros where the value does not depend on an array.
        gradients = tape.gradient(value, flat, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return value, auxiliary, keras.tree.pack_sequence_as(arrays, gradients)

    return Backend(scan, tf.tanh, differentiate)


def _jax() -> Backend:
    import jax

    def scan(step: Step, state: State, inputs: Sequence[Any], keep: bool) -> tuple[State, Any]:
        def body(state: State, inputs_t: Sequence[Any]) -> tuple[State, Any]:
            new = step(state, inputs_t)
            return new, new.h if keep else None

        return jax.lax.scan(body, state, tuple(inputs))

    def differentiate(function: Any, arrays: Any) -> tuple[Any, Any, Any]:
        (value, auxiliary), gradients = jax.value_and_grad(function, has_aux=True)(arrays)
        return value, auxiliary, gradients

    # keras.ops.tanh computes float64 in float32 here (keras#23704).
    return Backend(scan, jax.numpy.tanh, differentiate)


def _torch() -> Backend:
    import torch

    def differentiate(function: Any, arrays: Any) -> tuple[Any, Any, Any]:
        flat = [array.detach().requires_grad_() for array in keras.tree.flatten(arrays)]
        value, auxiliary = function(keras.tree.pack_sequence_as(arrays, flat))
        gradients = torch.autograd.grad(value, flat, allow_unused=True)
        filled = [
            torch.zeros_like(array) if gradient is None else gradient
            for array, gradient in zip(flat, gradients, strict=True)
        ]
        return value, auxiliary, keras.tree.pack_sequence_as(arrays, filled)

    return Backend(unrolled, torch.tanh, differentiate)


_BACKENDS = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}


def _running() -> Backend:
    name = keras.backend.backend()
    if name not in _BACKENDS:
        raise ValueError(
            f"lstm_oracle.keras_impl: Keras runs on the backend {name!r}, expected one of "
            f"{tuple(_BACKENDS)}. Set the environment variable KERAS_BACKEND before Keras is "
            "imported."
        )
    return _BACKENDS[name]()


BACKEND = _running()
