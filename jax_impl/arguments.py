"""The border of `lstm`: arguments checked against the architecture, then brought into one form.

Shapes, names and dtypes are known while a function is traced, so everything is checked there, once
per compilation. Only what JAX cannot take in at all, and the values of lengths, are looked at
before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.jax_impl.implementations import NAMES
from lstm_oracle.jax_impl.interface import Inputs, Options, accumulator
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Directions,
    Dropout,
    Spec,
    Stack,
    State,
)

_PRECISIONS = (None, "default", "high", "highest")

Leaf = Callable[[Spec, Any, str], Any]


def label(architecture: Architecture) -> str:
    """How messages call a layer: the name of a Spec, the kind of a combinator."""
    if isinstance(architecture, Spec):
        return f"lstm {architecture.name!r}"
    return f"lstm {type(architecture).__name__}"


# --- before tracing -------------------------------------------------------------------------------


def check_before_tracing(spec: Any, arrays: dict[str, Any], lengths: Any, options: Options) -> None:
    """Reject what is no architecture, no array, no option, and lengths outside 0 to T."""
    if not isinstance(spec, get_args(Architecture)):
        raise TypeError(
            f"lstm: spec is of type {type(spec).__name__}, expected a Spec, Reverse, "
            "Bidirectional, Stack or Chunks. Build one from lstm_oracle.reference.spec."
        )
    for name, tree in arrays.items():
        for leaf in jax.tree.leaves(tree):
            _check_is_array(f"{label(spec)}: {name}", leaf)
    _check_lengths(label(spec), lengths, arrays["x"])
    _check_options(label(spec), options)


def _check_is_array(name: str, value: Any) -> None:
    if isinstance(value, jax.Array):
        return
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(
            f"{name} holds a {type(value).__name__}, expected NumPy or JAX arrays. "
            "Convert it with jnp.asarray."
        )
    if value.dtype.kind == "O":
        raise TypeError(
            f"{name} holds an array of dtype object, expected numbers. "
            "Convert it with .astype(np.float32); rows of unequal length need padding and a mask."
        )


def _check_lengths(owner: str, lengths: Any, x: Any) -> None:
    # Inside somebody's jit the values are not known: they are then clipped to 0 and T, as
    # comparing them with the steps does.
    if lengths is None or isinstance(lengths, jax.core.Tracer) or np.ndim(x) != 3:
        return
    values, T = np.asarray(lengths), x.shape[1]
    if values.size and (values.min() < 0 or values.max() > T):
        raise ValueError(
            f"{owner}: lengths lie between {values.min()} and {values.max()}, expected between 0 "
            f"and T = {T}. Cut the lengths, or pad x to more steps."
        )


def _check_options(owner: str, options: Options) -> None:
    if isinstance(options.unroll, bool) or not isinstance(options.unroll, int):
        raise TypeError(
            f"{owner}: unroll is {options.unroll!r}, expected a whole number of steps. "
            "Pass unroll=1 for the plain loop."
        )
    if options.unroll < 1:
        raise ValueError(
            f"{owner}: unroll is {options.unroll}, expected at least 1. "
            "Pass unroll=1 for the plain loop."
        )
    _check_choice(owner, "implementation", options.implementation, NAMES)
    _check_choice(owner, "remat", options.remat, (None, "chunk"))
    if options.precision not in _PRECISIONS:
        raise ValueError(
            f"{owner}: precision is {options.precision!r}, expected one of {_PRECISIONS}. "
            "Pass precision='highest' for products in full float32."
        )


def _check_choice(owner: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(
            f"{owner}: {name} is {value!r}, expected one of {choices}. Choose one of the list."
        )


# --- while tracing --------------------------------------------------------------------------------


def prepared(
    architecture: Architecture,
    params: Any,
    x: Any,
    state: Any,
    mask: Any,
    lengths: Any,
    dropout: Any,
) -> Inputs:
    """Checked inputs with time leading, in one dtype, zeros for a state that is not given."""
    owner = label(architecture)
    # Under `jax.disable_jit` NumPy arrays come in as they are.
    params, x, state, mask, lengths, dropout = jax.tree.map(
        jnp.asarray, (params, x, state, mask, lengths, dropout)
    )
    _check_x(owner, x, architecture.input_size)
    B, T, _ = x.shape
    _nested(architecture, params, _check_params, f"{owner}: params")
    dtype = jnp.result_type(x, *jax.tree.leaves(params))

    def cast(a: jax.Array) -> jax.Array:
        return a.astype(dtype)

    def complete_state(spec: Spec, state: Any, path: str) -> State:
        return _complete_state(spec, state, path, B, dtype)

    def time_first_dropout(spec: Spec, dropout: Any, path: str) -> Dropout:
        return _time_first_dropout(spec, dropout, path, (B, T), dtype)

    return Inputs(
        params=jax.tree.map(cast, params),
        x=_time_first(cast(x)),
        state=_nested(architecture, state, complete_state, f"{owner}: state"),
        mask=_time_first_mask(owner, mask, lengths, (B, T)),
        dropout=_nested(architecture, dropout, time_first_dropout, f"{owner}: dropout"),
    )


def _nested(architecture: Architecture, tree: Any, leaf: Leaf, path: str) -> Any:
    """`leaf` of every Spec's part of a tree, nested like the architecture; None is all None."""
    if isinstance(architecture, Spec):
        return leaf(architecture, tree, path)
    if isinstance(architecture, Bidirectional):
        if tree is not None and not isinstance(tree, Directions):
            raise _nesting_error(path, tree, "Directions(forward, backward)")
        halves = tree or Directions(None, None)
        return Directions(
            _nested(architecture.forward, halves.forward, leaf, f"{path}.forward"),
            _nested(architecture.backward, halves.backward, leaf, f"{path}.backward"),
        )
    if isinstance(architecture, Stack):
        n = len(architecture.layers)
        if tree is not None and not (type(tree) is tuple and len(tree) == n):
            raise _nesting_error(path, tree, f"a tuple of {n}, one entry per layer")
        parts = zip(architecture.layers, tree or (None,) * n, strict=True)
        return tuple(
            _nested(layer, part, leaf, f"{path}[{number}]")
            for number, (layer, part) in enumerate(parts)
        )
    return _nested(architecture.layer, tree, leaf, path)


def _nesting_error(path: str, got: Any, expected: str) -> ValueError:
    size = f" of {len(got)}" if isinstance(got, (tuple, list, dict)) else ""
    return ValueError(
        f"{path} is a {type(got).__name__}{size}, expected {expected}. "
        "Nest it as lstm_oracle.reference.spec.param_shapes and state_shapes show."
    )


def _check_x(owner: str, x: Any, I: int) -> None:
    if not isinstance(x, jax.Array) or x.ndim != 3 or x.shape[-1] != I:
        got = f"shape {x.shape}" if isinstance(x, jax.Array) else f"type {type(x).__name__}"
        raise ValueError(
            f"{owner}: x has {got}, expected shape (batch, time, input_size) with input_size "
            f"{I}. For one sequence pass x[None]."
        )
    _check_floating(f"{owner}: x", x)


def _check_params(spec: Spec, params: Any, path: str) -> None:
    if not isinstance(params, dict):
        raise _nesting_error(path, params, f"a dict of {', '.join(spec.param_shapes)}")
    missing = [name for name in spec.param_shapes if name not in params]
    unknown = [name for name in params if name not in spec.param_shapes]
    if missing or unknown:
        raise ValueError(
            f"{path} lacks {missing} and has unknown {unknown}, expected exactly "
            f"{list(spec.param_shapes)}. Make them with init, or convert them with "
            "lstm_oracle.reference.layouts."
        )
    for name, shape in spec.param_shapes.items():
        _check_array(f"{path}[{name!r}]", params[name], shape)


def _check_array(name: str, a: Any, *shapes: tuple[int, ...]) -> None:
    if not isinstance(a, jax.Array) or a.shape not in shapes:
        got = f"shape {a.shape}" if isinstance(a, jax.Array) else f"type {type(a).__name__}"
        expected = " or ".join(str(shape) for shape in shapes)
        raise ValueError(
            f"{name} has {got}, expected shape {expected}. Axes are (batch, time, feature), "
            "matrices (inputs, outputs)."
        )
    _check_floating(name, a)


def _check_floating(name: str, a: jax.Array) -> None:
    if not jnp.issubdtype(a.dtype, jnp.floating):
        raise ValueError(
            f"{name} has dtype {a.dtype}, expected a floating one. "
            "Convert it, for example with .astype(jnp.float32)."
        )


def _complete_state(spec: Spec, state: Any, path: str, B: int, dtype: Any) -> State:
    if state is None:
        state = State(None, None)
    if not isinstance(state, State):
        raise _nesting_error(path, state, "State(h, c)")
    return State(
        _array_or_zeros(f"{path}.h", state.h, (B, spec.recurrent_size), dtype),
        _array_or_zeros(f"{path}.c", state.c, (B, spec.hidden_size), accumulator(dtype)),
    )


def _array_or_zeros(name: str, a: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    if a is None:
        return jnp.zeros(shape, dtype)
    _check_array(name, a, shape)
    return a.astype(dtype)


def _time_first_mask(owner: str, mask: Any, lengths: Any, shape: tuple[int, int]) -> Any:
    if mask is not None and lengths is not None:
        raise ValueError(
            f"{owner}: got both mask and lengths, expected at most one. "
            "Pass mask=mask & (jnp.arange(T) < lengths[:, None])."
        )
    if lengths is not None:
        return _mask_from_lengths(owner, lengths, shape)
    if mask is None:
        return None
    if not isinstance(mask, jax.Array) or mask.shape != shape or mask.dtype != bool:
        got = (
            f"shape {mask.shape} and dtype {mask.dtype}"
            if isinstance(mask, jax.Array)
            else f"type {type(mask).__name__}"
        )
        raise ValueError(
            f"{owner}: mask has {got}, expected (batch, time) = {shape} of bool, True at real "
            "steps. Pad x and mask together, convert with .astype(bool), or pass mask=None."
        )
    return mask.T


def _mask_from_lengths(owner: str, lengths: Any, shape: tuple[int, int]) -> jax.Array:
    B, T = shape
    if (
        not isinstance(lengths, jax.Array)
        or lengths.shape != (B,)
        or not jnp.issubdtype(lengths.dtype, jnp.integer)
    ):
        got = (
            f"shape {lengths.shape} and dtype {lengths.dtype}"
            if isinstance(lengths, jax.Array)
            else f"type {type(lengths).__name__}"
        )
        raise ValueError(
            f"{owner}: lengths has {got}, expected whole numbers of shape (batch,) = ({B},). "
            "Pass one length per sequence."
        )
    return jnp.arange(T)[:, None] < lengths


def _time_first_dropout(
    spec: Spec, dropout: Any, path: str, batch_and_time: tuple[int, int], dtype: Any
) -> Dropout:
    if dropout is None:
        dropout = Dropout()
    if not isinstance(dropout, Dropout):
        raise _nesting_error(path, dropout, "Dropout(x, h)")
    B, T = batch_and_time
    G = len(spec.gates)

    def time_first(name: str, multiplier: Any, N: int) -> Any:
        if multiplier is None:
            return None
        shapes = ((B, N), (B, T, N), (B, 1, N), (B, T, G, N), (B, 1, G, N))
        _check_array(f"{path}.{name}", multiplier, *shapes)
        whole = multiplier[:, None] if multiplier.ndim == 2 else multiplier
        return _time_first(whole.astype(dtype))

    def time_first_mask(name: str, mask: Any, N: int) -> Any:
        if mask is None:
            return None
        if not spec.zoneout:
            raise ValueError(
                f"{path}.{name} is given, expected None: the layer has no zoneout. "
                "Give its Spec a rate, zoneout_h or zoneout_c."
            )
        _check_array(f"{path}.{name}", mask, (B, N), (B, T, N), (B, 1, N))
        return _time_first((mask[:, None] if mask.ndim == 2 else mask).astype(dtype))

    return Dropout(
        time_first("x", dropout.x, spec.input_size),
        time_first("h", dropout.h, spec.recurrent_size),
        time_first_mask("zoneout_h", dropout.zoneout_h, spec.recurrent_size),
        time_first_mask("zoneout_c", dropout.zoneout_c, spec.hidden_size),
    )


def _time_first(a: jax.Array) -> jax.Array:
    return jnp.swapaxes(a, 0, 1)
