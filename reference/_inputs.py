"""The border: arguments checked, zeros filled in, one common dtype.

Every error says what was got, what was expected, and what to do. Values are not looked at: a NaN
in x goes through the equations like any other number.
"""

from __future__ import annotations

from typing import Any, get_args

import numpy as np

from lstm_oracle.reference.passes import Mask
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    output_shapes,
    param_shapes,
    state_shapes,
)
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray


def mask_from_lengths(lengths: Any, steps: int) -> Array:
    """The mask (B, T) whose row b is True at its first lengths[b] steps; a length may be 0.

    Raises
    ------
    ValueError
        Where a length is negative, beyond T, or not a whole number.

    Examples
    --------
    >>> mask_from_lengths([2, 0], 3)
    array([[ True,  True, False],
           [False, False, False]])
    """
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths has shape {lengths.shape} and dtype {lengths.dtype}, expected whole numbers "
            "of shape (batch,). Pass one length per sequence."
        )
    if lengths.size and (lengths.min() < 0 or lengths.max() > steps):
        raise ValueError(
            f"lengths lie between {lengths.min()} and {lengths.max()}, expected between 0 and "
            f"T = {steps}. Cut the lengths, or pad x to more steps."
        )
    return np.arange(steps) < lengths[:, None]


def checked(
    architecture: Architecture, params: Any, x: Any, state: Any, mask: Any, dropout: Any
) -> tuple[Any, Array, Any, Mask | None, Any]:
    """Params, x, state, mask and dropout as `sequence` wants them, in one dtype."""
    if not isinstance(architecture, get_args(Architecture)):
        raise TypeError(
            f"architecture is of type {type(architecture).__name__}, expected a Spec, Reverse, "
            "Bidirectional, Stack or Chunks. Describe the layer with lstm_oracle.reference.Spec."
        )
    name = name_of(architecture)
    x = _array(f"{name}: x", x)
    if x.ndim != 3 or 0 in x.shape:
        raise ValueError(
            f"{name}: x has shape {x.shape}, expected (batch, time, input_size) with at least one "
            "of each. Add the missing axis, for one sequence x[None]."
        )
    if x.shape[-1] != architecture.input_size:
        raise ValueError(
            f"{name}: x has shape {x.shape}, expected input_size {architecture.input_size} in its "
            "last axis. Axes are (batch, time, feature)."
        )
    B, T, _ = x.shape
    params = _fit(f"{name}: params", params, param_shapes(architecture))
    state = _fit(f"{name}: state", state, state_shapes(architecture, B), fill=True)
    mask = _checked_mask(name, mask, (B, T))
    dropout = _checked_dropout(architecture, dropout, (B, T), f"{name}: dropout")
    dtype = np.result_type(x, *flatten(params).values(), *flatten(state).values())
    params, x, state, dropout = map_leaves(
        lambda a: a.astype(dtype, copy=False), (params, x, state, dropout)
    )
    return params, x, state, mask, dropout


def check_is_double(architecture: Architecture, *dtypes: np.dtype) -> None:
    """Only float64 numbers are two halves of a number of 106 digits."""
    for dtype in dtypes:
        if dtype != np.float64:
            raise TypeError(
                f"{name_of(architecture)}: arrays are {dtype}, expected float64 for precise=True. "
                "Convert them with .astype(np.float64), or pass precise=False."
            )


def checked_cotangents(
    architecture: Architecture, shape: tuple[int, int], dtype: Any, d_y: Any, d_state: Any
) -> tuple[Any, Any]:
    """d_y and d_state as `sequence` wants them: zeros where nothing was given."""
    name = name_of(architecture)
    d_y = _fit(f"{name}: d_y", d_y, output_shapes(architecture, *shape), fill=True)
    d_state = _fit(f"{name}: d_state", d_state, state_shapes(architecture, shape[0]), fill=True)
    return map_leaves(lambda a: a.astype(np.result_type(a, dtype), copy=False), (d_y, d_state))


def checked_direction(architecture: Architecture, at: Any, along: Any) -> tuple[Any, Any, Any]:
    """A direction in which params, x and state move, zeros where nothing was given."""
    name = name_of(architecture)
    d_params, d_x, d_state = along
    d_params = map_leaves(np.zeros_like, at[0]) if d_params is None else d_params
    B, _, _ = at[1].shape
    direction = (
        _fit(f"{name}: d_params", d_params, param_shapes(architecture)),
        _fit(f"{name}: d_x", d_x, at[1].shape, fill=True),
        _fit(f"{name}: d_state", d_state, state_shapes(architecture, B), fill=True),
    )
    dtype = at[1].dtype
    d_params, d_x, d_state = map_leaves(
        lambda a: a.astype(np.result_type(a, dtype), copy=False), direction
    )
    return d_params, d_x, d_state


def name_of(architecture: Any) -> str:
    """How messages call a layer: its kind, and the name of a Spec."""
    if isinstance(architecture, Spec):
        return f"LSTM {architecture.name!r}"
    return type(architecture).__name__


def _array(name: str, value: Any) -> Array:
    array = np.asanyarray(value)
    if array.dtype.kind not in "fc":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected a floating or complex one. "
            "Convert it, for example with np.asarray(…, dtype=np.float64)."
        )
    return array


def _fit(name: str, value: Any, shapes: Any, *, fill: bool = False) -> Any:
    """The tree `value` in the nesting of `shapes`, its arrays checked.

    With `fill`, None stands for zeros: of float16, which every other dtype overrules.
    """
    if _is_shape(shapes):
        return _fit_array(name, value, shapes, fill)
    if isinstance(shapes, dict):
        return _fit_dict(name, value, shapes)
    if value is None and fill:
        value = (None,) * len(shapes)
    fields = getattr(shapes, "_fields", None) or tuple(str(n) for n in range(len(shapes)))
    if not isinstance(value, (tuple, list)) or len(value) != len(shapes):
        raise ValueError(
            f"{name} is {_describe(value)}, expected a tuple of {len(shapes)} "
            f"({', '.join(fields)}). Nest it like the architecture."
        )
    parts = [
        _fit(f"{name}.{field}", part, shape, fill=fill)
        for field, part, shape in zip(fields, value, shapes, strict=True)
    ]
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def _fit_array(name: str, value: Any, shape: tuple[int, ...], fill: bool) -> Array:
    if value is None and fill:
        return np.zeros(shape, np.float16)
    array = _array(name, value)
    if array.shape != shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected {shape}. "
            "See spec.param_shapes and spec.state_shapes for what a layer needs."
        )
    return array


def _fit_dict(name: str, value: Any, shapes: dict[str, Any]) -> dict[str, Array]:
    got = set(value) if isinstance(value, dict) else None
    if got != set(shapes):
        missing = sorted(set(shapes) - (got or set()))
        unknown = sorted(map(str, (got or set()) - set(shapes)))
        raise ValueError(
            f"{name} is {_describe(value)}, expected a dict of {', '.join(shapes)}. "
            f"Missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}."
        )
    return {k: _fit_array(f"{name}[{k!r}]", value[k], shape, False) for k, shape in shapes.items()}


def _checked_mask(name: str, mask: Any, shape: tuple[int, int]) -> Mask | None:
    if mask is None:
        return None
    mask = np.asarray(mask)
    if mask.dtype != np.bool_:
        raise TypeError(
            f"{name}: mask has dtype {mask.dtype}, expected bool (True is a real step). "
            "Compare instead of casting, for example mask = lengths > step."
        )
    if mask.shape != shape:
        raise ValueError(
            f"{name}: mask has shape {mask.shape}, expected (batch, time) = {shape}. "
            "Pad x and mask together, or pass mask=None."
        )
    return Mask(mask, np.zeros(len(mask), bool))


def _checked_dropout(
    architecture: Architecture, dropout: Any, shape: tuple[int, int], name: str
) -> Any:
    """Dropout multipliers in the nesting of the architecture, None where there is none."""
    if isinstance(architecture, Spec):
        return _fit_dropout(architecture, dropout, shape, name)
    if isinstance(architecture, (Reverse, Chunks)):
        return _checked_dropout(architecture.layer, dropout, shape, name)
    layers = _layers(architecture)
    if dropout is None:
        dropout = (None,) * len(layers)
    if not isinstance(dropout, (tuple, list)) or len(dropout) != len(layers):
        raise ValueError(
            f"{name} is {_describe(dropout)}, expected a tuple of {len(layers)}. "
            "Nest it like the architecture, with Dropout(x, h) or None for every layer."
        )
    parts = (
        _checked_dropout(layer, part, shape, f"{name}.{n}")
        for n, (layer, part) in enumerate(zip(layers, dropout, strict=True))
    )
    return Directions(*parts) if isinstance(architecture, Bidirectional) else tuple(parts)


def _layers(architecture: Bidirectional | Stack) -> tuple[Architecture, ...]:
    if isinstance(architecture, Stack):
        return architecture.layers
    return architecture.forward, architecture.backward


def _fit_dropout(spec: Spec, dropout: Any, shape: tuple[int, int], name: str) -> Dropout:
    if dropout is None:
        return Dropout()
    if not isinstance(dropout, (tuple, list)) or len(dropout) not in (2, 4):
        raise ValueError(
            f"{name} is {_describe(dropout)}, expected Dropout(x, h) or None. "
            "Import it from lstm_oracle.reference."
        )
    dropout = Dropout(*dropout)
    G, R = len(spec.gates), spec.recurrent_size
    return Dropout(
        _multiplier(f"{name}.x", dropout.x, shape, G, spec.input_size),
        _multiplier(f"{name}.h", dropout.h, shape, G, R),
        _zoneout_mask(spec, f"{name}.zoneout_h", dropout.zoneout_h, shape, R),
        _zoneout_mask(spec, f"{name}.zoneout_c", dropout.zoneout_c, shape, spec.hidden_size),
    )


def _zoneout_mask(
    spec: Spec, name: str, value: Any, shape: tuple[int, int], N: int
) -> Array | None:
    """A mask as (B, T or 1, N)."""
    if value is None:
        return None
    if not spec.zoneout:
        raise ValueError(
            f"{name} is {_describe(value)}, expected None: the layer has no zoneout. Give its Spec "
            "a rate, zoneout_h or zoneout_c."
        )
    value = _array(name, value)
    B, T = shape
    if value.shape == (B, N):
        return value[:, None]
    if value.shape not in ((B, 1, N), (B, T, N)):
        raise ValueError(
            f"{name} has shape {value.shape}, expected {(B, N)} or {(B, T, N)}, where T may be 1. "
            "Draw the masks for this batch."
        )
    return value


def _multiplier(name: str, value: Any, shape: tuple[int, int], G: int, N: int) -> Array | None:
    """A multiplier as (B, T or 1, N) or (B, T or 1, G, N)."""
    if value is None:
        return None
    value = _array(name, value)
    B, T = shape
    if value.shape == (B, N):
        return value[:, None]
    steps = value.shape[1] if value.ndim in (3, 4) else 0
    if steps not in (1, T) or value.shape not in ((B, steps, N), (B, steps, G, N)):
        raise ValueError(
            f"{name} has shape {value.shape}, expected {(B, N)}, {(B, T, N)} or {(B, T, G, N)}, "
            "where T may be 1. Draw the multipliers for this batch."
        )
    return value


def _is_shape(value: Any) -> bool:
    return type(value) is tuple and all(isinstance(n, int) for n in value)


def _describe(value: Any) -> str:
    """A value in a message: never a whole array."""
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    shape = getattr(value, "shape", None)
    return type(value).__name__ + ("" if shape is None else f" of shape {shape}")
