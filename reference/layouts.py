r"""Weights to and from every framework's arrays, as one table.

A row says how a framework stores one direction of one layer: the order of its gates, which of our
parameters stand in which array, and whether matrices are transposed. The map from our parameters
to a framework's arrays is linear (and a constant, where a framework adds one at run time), so that
the same row carries the framework's gradients back.

A second bias, as PyTorch, cuDNN and ONNX have it, is written as zeros and added when read; its
gradient is equal to that of the first and is left out.

References
----------
Keras 3 `keras.layers.LSTM.get_weights`; PyTorch `torch.nn.LSTM`, section Variables. Each row is
tested by running that framework where it is installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_oracle.reference.spec import Spec

Array = np.ndarray


@dataclass(frozen=True)
class Block:
    """One array of a framework, or one per gate where its name holds `{k}`.

    `parts` are the letters of our parameters ("W", "U", "b", "p", "V"), stacked in this order along
    the first axis; "b2" is a second bias. The gates stand side by side along the last axis.
    """

    name: str
    parts: tuple[str, ...]

    @property
    def per_gate(self) -> bool:
        """Whether every gate has an array of its own."""
        return "{k}" in self.name


@dataclass(frozen=True)
class Layout:
    """One row: how a framework stores the weights of one direction of one layer."""

    gates: str  # their order, in our letters
    blocks: tuple[Block, ...]
    transposed: bool = False  # matrices are (out, in)
    forget_bias: float = 0.0  # added to z_f at run time, so missing in the stored bias


LAYOUTS: dict[str, Layout] = {
    "keras": Layout(
        "ifgo",
        (
            Block("kernel", ("W",)),
            Block("recurrent_kernel", ("U",)),
            Block("bias", ("b",)),
            Block("peephole_{k}", ("p",)),
            Block("projection_kernel", ("V",)),
        ),
    ),
    "torch": Layout(
        "ifgo",
        (
            Block("weight_ih", ("W",)),
            Block("weight_hh", ("U",)),
            Block("bias_ih", ("b",)),
            Block("bias_hh", ("b2",)),
            Block("weight_hr", ("V",)),
        ),
        transposed=True,
    ),
}


def to_layout(layout: str | Layout, spec: Spec, params: dict[str, Array]) -> dict[str, Array]:
    """The framework's arrays by name, in its own order.

    Parameters
    ----------
    layout : name of a row of `LAYOUTS`, or a row.
    params : {"W_i": (I, H), …}, exactly those of `spec.param_shapes`.

    Raises
    ------
    ValueError
        Where the framework has no place for a parameter of the Spec, or params do not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = {name: np.zeros(shape) for name, shape in spec.param_shapes.items()}
    >>> {name: a.shape for name, a in to_layout("torch", spec, params).items()}
    {'weight_ih': (16, 3), 'weight_hh': (16, 4), 'bias_ih': (16,), 'bias_hh': (16,)}
    """
    row = _row(layout)
    _check_holds(row, layout, spec)
    _check_shapes("params", params, spec.param_shapes)
    return {
        name: _oriented(row, np.concatenate([_write(row, params, part) for part in parts]))
        for name, parts in _arrays(row, spec)
    }


def from_layout(layout: str | Layout, spec: Spec, arrays: dict[str, Array]) -> dict[str, Array]:
    """Our parameters {"W_i": (I, H), …} from the framework's arrays by name.

    Raises
    ------
    ValueError
        Where an array is missing, unknown, or of the wrong shape.
    """
    row = _row(layout)
    params = _read(row, layout, spec, arrays)
    for k in spec.gates:
        second, name = params.pop(f"b2_{k}", None), f"b_{k}"
        if second is not None:
            params[name] = params[name] + second
        if k == "f" and row.forget_bias and name in params:
            params[name] = params[name] + row.forget_bias
    return {name: params[name] for name in spec.param_shapes}


def gradients_from_layout(
    layout: str | Layout, spec: Spec, arrays: dict[str, Array]
) -> dict[str, Array]:
    """Gradients of our parameters from the framework's gradients of its arrays."""
    gradients = _read(_row(layout), layout, spec, arrays)
    return {name: gradients[name] for name in spec.param_shapes}


def _row(layout: str | Layout) -> Layout:
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise ValueError(
            f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}. "
            "Choose a name from the list, or pass a Layout of your own."
        )
    return LAYOUTS[layout]


Parts = tuple[tuple[str, ...], ...]  # of an array: its parts, each the names it holds side by side


def _arrays(row: Layout, spec: Spec) -> Iterator[tuple[str, Parts]]:
    """Every array that this Spec needs, and the names of the parameters in it."""
    for block in row.blocks:
        gates = [k for k in row.gates if k in spec.gates]
        for group in [[k] for k in gates] if block.per_gate else [gates]:
            parts = tuple(_names(spec, part, group) for part in block.parts)
            if all(parts):
                yield block.name.replace("{k}", group[0]), parts


def _names(spec: Spec, part: str, gates: list[str]) -> tuple[str, ...]:
    names = ("V",) if part == "V" else tuple(f"{part}_{k}" for k in gates)
    return tuple(name for name in names if name.replace("b2", "b") in spec.param_shapes)


def _write(row: Layout, params: dict[str, Array], names: tuple[str, ...]) -> Array:
    return np.concatenate([_stored(row, params, name) for name in names], axis=-1)


def _stored(row: Layout, params: dict[str, Array], name: str) -> Array:
    if name.startswith("b2"):
        return np.zeros_like(params[name.replace("b2", "b")])
    return params[name] - row.forget_bias if name == "b_f" and row.forget_bias else params[name]


def _oriented(row: Layout, array: Array) -> Array:
    return array.T if row.transposed else array


def _read(
    row: Layout, layout: str | Layout, spec: Spec, arrays: dict[str, Array]
) -> dict[str, Array]:
    """Every parameter and second bias, cut out of the framework's arrays."""
    shapes = spec.param_shapes
    templates = {name: np.broadcast_to(0.0, shape) for name, shape in shapes.items()}
    _check_shapes(f"{layout} arrays", arrays, _shapes(to_layout(row, spec, templates)))
    params: dict[str, Array] = {}
    for array_name, parts in _arrays(row, spec):
        rest = _oriented(row, np.asarray(arrays[array_name]))
        for names in parts:
            rows = shapes[names[0].replace("b2", "b")][0] if rest.ndim == 2 else len(rest)
            block, rest = rest[:rows], rest[rows:]
            params |= zip(names, np.split(block, len(names), axis=-1), strict=True)
    return params


def _shapes(arrays: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _check_holds(row: Layout, layout: str | Layout, spec: Spec) -> None:
    held = {name for _, parts in _arrays(row, spec) for names in parts for name in names}
    homeless = [name for name in spec.param_shapes if name not in held]
    if homeless:
        raise ValueError(
            f"LSTM {spec.name!r}: layout {layout!r} has no place for {', '.join(homeless)}, "
            f"expected only parameters that it stores. Drop the variant, or use another layout."
        )
    if row.forget_bias and not spec.use_bias:
        raise ValueError(
            f"LSTM {spec.name!r}: layout {layout!r} adds {row.forget_bias} to z_f at run time, "
            "expected a layer with bias. Use use_bias=True, with biases of zero."
        )


def _check_shapes(what: str, got: dict[str, Any], expected: dict[str, tuple[int, ...]]) -> None:
    if _shapes(got) != expected:
        raise ValueError(
            f"{what} have shapes {_shapes(got)}, expected {expected}. "
            "Pass every array under its name, and no others."
        )
