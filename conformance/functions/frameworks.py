"""Arrays of NumPy, PyTorch, JAX and TensorFlow: there, back, and differentiated.

Nothing is imported before it is asked for. A `Framework` turns trees of float64 arrays into
tensors of a dtype, and differentiates a function of such a tree where it can.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lstm_oracle.conformance.functions.subject import BrokenContract
from lstm_oracle.reference.tree import flatten, map_leaves, replace

Array = np.ndarray
Function = Callable[[Any], Any]  # from the tree of inputs to the tree of outputs

_NUMPY = {"bfloat16": "float32"}  # NumPy has none: its numbers travel as float32


class NumPy:
    """Arrays as they are; gradients are the function's own business."""

    name = "numpy"
    differentiates = False

    def __init__(self, dtype: str) -> None:
        """Take the dtype of all arrays."""
        self.dtype = dtype

    def put(self, array: Array) -> Any:
        """A tensor of a float64 array."""
        return np.array(array, _NUMPY.get(self.dtype, self.dtype))

    def plain(self, array: Array) -> Any:
        """A tensor of booleans or whole numbers."""
        return np.array(array)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """What everything has to happen in."""
        return contextlib.nullcontext()

    def vjp(self, function: Function, given: Any, cotangents: Any) -> tuple[Any, Any]:
        """Outputs, and the gradient of <cotangents, outputs> as a tree like `given`."""
        raise NotImplementedError


class Torch(NumPy):
    """Tensors on the CPU, differentiated by `torch.autograd`."""

    name = "torch"
    differentiates = True

    def put(self, array: Array) -> Any:
        """A tensor of a float64 array."""
        import torch

        return torch.tensor(array, dtype=getattr(torch, self.dtype))

    def plain(self, array: Array) -> Any:
        """A tensor of booleans or whole numbers."""
        import torch

        return torch.tensor(array)

    def vjp(self, function: Function, given: Any, cotangents: Any) -> tuple[Any, Any]:
        """By one call of `torch.autograd.grad`."""
        import torch

        sources = map_leaves(_watched, given)
        outputs = function(sources)
        flat: dict[str, Any] = dict(flatten(outputs))
        d_flat = flatten(cotangents)
        active = [path for path, tensor in flat.items() if tensor.requires_grad]
        leaves = flatten(sources)
        found = torch.autograd.grad(
            [flat[path] for path in active],
            list(leaves.values()),
            # Of the output's own dtype and shape, whatever was asked for.
            grad_outputs=[_like_torch(d_flat[path], flat[path]) for path in active],
            allow_unused=True,
        )
        filled = {
            path: torch.zeros_like(leaf) if d is None else d
            for (path, leaf), d in zip(leaves.items(), found, strict=True)
        }
        return outputs, replace(sources, filled)


class Jax(NumPy):
    """JAX arrays, differentiated by `jax.vjp`; float64 is switched on where it is asked for."""

    name = "jax"
    differentiates = True

    def put(self, array: Array) -> Any:
        """A JAX array of a float64 array."""
        import jax.numpy as jnp

        return jnp.asarray(array, jnp.dtype(self.dtype))

    def plain(self, array: Array) -> Any:
        """A JAX array of booleans or whole numbers."""
        import jax.numpy as jnp

        return jnp.asarray(array)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Float64 for as long as the function runs, whatever the process has chosen."""
        import jax

        scope: contextlib.AbstractContextManager[Any] = jax.enable_x64(self.dtype == "float64")
        return scope

    def vjp(self, function: Function, given: Any, cotangents: Any) -> tuple[Any, Any]:
        """By `jax.vjp`."""
        import jax

        # Trees of ours, None inside, are trees of JAX.
        outputs, pull_back = jax.vjp(function, given)
        d_outputs = jax.tree.map(
            lambda d, a: d.astype(a.dtype).reshape(a.shape), cotangents, outputs
        )
        return outputs, pull_back(d_outputs)[0]


class TensorFlow(NumPy):
    """Eager tensors, differentiated by a `GradientTape`."""

    name = "tensorflow"
    differentiates = True

    def put(self, array: Array) -> Any:
        """A tensor of a float64 array."""
        import tensorflow as tf

        return tf.constant(array, dtype=tf.as_dtype(self.dtype))

    def plain(self, array: Array) -> Any:
        """A tensor of booleans or whole numbers."""
        import tensorflow as tf

        return tf.constant(array)

    def vjp(self, function: Function, given: Any, cotangents: Any) -> tuple[Any, Any]:
        """By `GradientTape.gradient`."""
        import tensorflow as tf

        leaves = flatten(given)
        with tf.GradientTape() as tape:
            tape.watch(list(leaves.values()))
            outputs = function(given)
        flat, d_flat = flatten(outputs), flatten(cotangents)
        found = tape.gradient(
            list(flat.values()),
            list(leaves.values()),
            output_gradients=[
                tf.reshape(tf.cast(d_flat[path], tensor.dtype), tensor.shape)
                for path, tensor in flat.items()
            ],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return outputs, replace(given, dict(zip(leaves, found, strict=True)))


FRAMEWORKS: dict[str, type[NumPy]] = {kind.name: kind for kind in (NumPy, Torch, Jax, TensorFlow)}
_ROOTS = {"numpy": "numpy", "torch": "torch", "jax": "jax", "tensorflow": "tensorflow"}


def framework(name: str, dtype: str) -> NumPy:
    """The framework of that name; "keras" is the one that Keras runs on in this process.

    Raises
    ------
    ValueError
        For any other name.
    """
    if name == "keras":
        import keras

        name = keras.backend.backend()
    if name not in FRAMEWORKS:
        raise ValueError(
            f"framework is {name!r}, expected one of {', '.join(FRAMEWORKS)}, keras. Choose the "
            "one whose arrays the function takes."
        )
    return FRAMEWORKS[name](dtype)


def framework_of(function: Callable[..., Any]) -> str:
    """The framework that a function's own code speaks of; NumPy where it speaks of none.

    Examples
    --------
    >>> framework_of(lambda x: np.tanh(x))
    'numpy'
    """
    found = [_ROOTS[root] for root in _roots(function) if root in _ROOTS]
    return next((name for name in found if name != "numpy"), "numpy")


def _roots(function: Callable[..., Any]) -> Iterator[str]:
    """The packages that a function, and the functions of its module that it calls, mention."""
    waiting, seen = [function], set()
    while waiting:
        plain = inspect.unwrap(waiting.pop())
        plain = getattr(plain, "__func__", plain)
        code, names = getattr(plain, "__code__", None), getattr(plain, "__globals__", {})
        if code is None or code in seen:
            continue
        seen.add(code)
        for value in (*map(names.get, _words(code)), *_enclosed(plain)):
            if inspect.ismodule(value):
                yield value.__name__.partition(".")[0]
            elif callable(value) and getattr(value, "__module__", "") == plain.__module__:
                waiting.append(value)


def _enclosed(function: Any) -> Iterator[Any]:
    """What a function inside another one has of it."""
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # not filled yet
            yield cell.cell_contents


def _words(code: Any) -> Iterator[str]:
    """Global names in a function's code, and in that of the functions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _words(constant)


def to_numpy(value: Any) -> Array:
    """A copy of any framework's array, as float64 or float32.

    Raises
    ------
    BrokenContract
        For what is no array of numbers.
    """
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    if "bfloat16" in str(getattr(detached, "dtype", "")):
        detached = _widened(detached)
    array = np.array(detached)
    if array.dtype.kind not in "fiu":
        raise BrokenContract(
            f"got a {type(value).__name__} of dtype {array.dtype} back, expected an array of real "
            "numbers"
        )
    return array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)


def _widened(tensor: Any) -> Any:
    """A bfloat16 tensor as float32: NumPy knows no bfloat16."""
    if hasattr(tensor, "float"):  # PyTorch
        return tensor.float()
    return np.asarray(tensor).astype(np.float32)


def _watched(tensor: Any) -> Any:
    return tensor.requires_grad_(True)


def _like_torch(cotangent: Any, output: Any) -> Any:
    return cotangent.to(output.dtype).reshape(output.shape)
