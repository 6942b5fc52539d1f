"""Weights in a function's own layout, whatever the architecture, and its gradients read back.

Rows of `reference.layouts`, and two more that need no framework: "fused" has W (I, 4H), U (R, 4H)
and b (4H,) with the gates i, f, g, o side by side, as the equations are mostly written; "gates" has
every gate's own `W_i`, `U_i`, `b_i`, ….
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_oracle.reference.layouts import (
    LAYOUTS,
    Block,
    Layout,
    gradients_from_layout,
    to_layout,
)
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    param_shapes,
)

Array = np.ndarray
Params = dict[str, Array]

_CELL_NORM = (Block("gain_c", ("gain_c",)), Block("shift_c", ("shift_c",)))

OWN: dict[str, Layout] = {
    "fused": Layout(
        "ifgo",
        (
            Block("W", ("W",)),
            Block("U", ("U",)),
            Block("b", ("b",)),
            Block("p_{k}", ("p",)),
            Block("V", ("V",)),
            Block("gain_W", ("gain_W",)),
            Block("gain_U", ("gain_U",)),
            *_CELL_NORM,
        ),
    ),
    "gates": Layout(
        "ifgo",
        (
            Block("W_{k}", ("W",)),
            Block("U_{k}", ("U",)),
            Block("b_{k}", ("b",)),
            Block("p_{k}", ("p",)),
            Block("V", ("V",)),
            Block("gain_W_{k}", ("gain_W",)),
            Block("gain_U_{k}", ("gain_U",)),
            *_CELL_NORM,
        ),
    ),
}


def row_of(layout: str | Layout) -> Layout:
    """The row of a layout's name.

    Raises
    ------
    TypeError, ValueError
        For what is no layout.

    Examples
    --------
    >>> row_of("fused").gates
    'ifgo'
    """
    if isinstance(layout, Layout):
        return layout
    rows = OWN | LAYOUTS
    if not isinstance(layout, str):
        raise TypeError(
            f"layout is of type {type(layout).__name__}, expected a name ({', '.join(rows)}) or a "
            "Layout. Choose a name from the list, or describe yours with reference.layouts.Layout."
        )
    if layout not in rows:
        raise ValueError(
            f"layout is {layout!r}, expected one of {', '.join(rows)}. "
            "Choose a name from the list, or describe yours with reference.layouts.Layout."
        )
    return rows[layout]


def array_names(row: Layout, architecture: Architecture) -> tuple[str, ...]:
    """Names of the weights' arrays of one layer; none for layers put together."""
    spec = single(architecture)
    if spec is None:
        return ()
    return tuple(stored(row, spec, _zeros(spec)))


def single(architecture: Architecture) -> Spec | None:
    """The Spec of an architecture that is one layer, in either direction."""
    if isinstance(architecture, (Reverse, Chunks)):
        return single(architecture.layer)
    return architecture if isinstance(architecture, Spec) else None


def stored(row: Layout, architecture: Architecture, params: Any) -> Any:
    """The arrays by name, nested like the architecture.

    Where there are two biases, every other unit's bias stands in the second one, so that neither
    can be left out unseen; their sum is exact.
    """
    return _by_spec(architecture, lambda spec, own: _stored(row, spec, own), params)


def gradients(row: Layout, architecture: Architecture, arrays: Any) -> Any:
    """Canonical gradients from a function's, of those arrays that it gives."""
    return _by_spec(architecture, lambda spec, own: _gradients(row, spec, own), arrays)


def _stored(row: Layout, spec: Spec, params: Params) -> Params:
    second = _second_first(row)
    if second is None or not spec.use_bias:
        return to_layout(row, spec, params)
    odd = np.arange(spec.hidden_size) % 2 == 1
    first = {n: np.where(odd, 0, a) if n.startswith("b_") else a for n, a in params.items()}
    rest = {n: np.where(odd, a, 0) if n.startswith("b_") else 0 * a for n, a in params.items()}
    one, other = to_layout(row, spec, first), to_layout(second, spec, rest)
    return {name: array + other[name] for name, array in one.items()}


def _gradients(row: Layout, spec: Spec, arrays: Mapping[str, Array]) -> Params:
    every = stored(row, spec, _zeros(spec))
    filled = {name: arrays.get(name, zeros) for name, zeros in every.items()}
    present = {
        name: np.full(np.shape(zeros), float(name in arrays)) for name, zeros in every.items()
    }
    values = _read(row, spec, filled)
    known = _read(row, spec, present)
    return {name: value for name, value in values.items() if known[name].all()}


def _read(row: Layout, spec: Spec, arrays: Params) -> Params:
    """All gradients, those of a second bias as b2_<gate>."""
    found = gradients_from_layout(row, spec, arrays)
    second = _second_first(row)
    if second is not None and spec.use_bias:
        again = gradients_from_layout(second, spec, arrays)
        found |= {n.replace("b_", "b2_"): a for n, a in again.items() if n.startswith("b_")}
    return found


def _second_first(row: Layout) -> Layout | None:
    """The row with both biases exchanged; None where there is one."""
    if not any("b2" in block.parts for block in row.blocks):
        return None
    other = {"b": "b2", "b2": "b"}
    blocks = tuple(
        dataclasses.replace(block, parts=tuple(other.get(part, part) for part in block.parts))
        for block in row.blocks
    )
    return dataclasses.replace(row, blocks=blocks)


def _zeros(spec: Spec) -> Params:
    return {name: np.zeros(shape) for name, shape in param_shapes(spec).items()}


def _by_spec(architecture: Architecture, function: Callable[[Spec, Any], Any], tree: Any) -> Any:
    """A tree in the architecture's nesting, made layer by layer."""
    if isinstance(architecture, Spec):
        return function(architecture, tree)
    if isinstance(architecture, Bidirectional):
        halves = (architecture.forward, architecture.backward)
        pairs = zip(halves, tree, strict=True)
        return Directions(*(_by_spec(half, function, part) for half, part in pairs))
    if isinstance(architecture, Stack):
        pairs = zip(architecture.layers, tree, strict=True)
        return tuple(_by_spec(layer, function, part) for layer, part in pairs)
    return _by_spec(architecture.layer, function, tree)
