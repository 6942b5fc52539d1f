"""Cases and results as flat, named arrays: what a file of a test vector holds.

Names are the letters of the equations, with the path of the layer before them where there are
several ("0.forward.W"). The arrays of all gates are stacked along a first axis, in the order of
`Spec.gates` (peepholes: of `Spec.peepholes`): W (G, I, H), U (G, R, H), b (G, H).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Dropout,
    Reverse,
    Spec,
    Stack,
    output_shapes,
    param_shapes,
    state_shapes,
)
from lstm_oracle.reference.tree import flatten

Array = np.ndarray
Arrays = dict[str, Array]

_GATES = "ifgo"
_STACKED = ("W", "U", "b", "p", "gain_W", "gain_U")


def question(case: Case) -> Arrays:
    """What an implementation is given."""
    arrays = _stacked(case.params)
    arrays |= _named("x", case.x) | _named("d_y", case.d_y)
    arrays |= _named("{}_0", case.state) | _named("d_{}_T", case.d_state)
    arrays |= {_dropout_name(field): leaf for field, leaf in flatten(case.dropout).items()}
    if case.mask is not None:
        arrays["mask"] = case.mask.astype(np.uint8)
    return arrays


def answer(result: Result) -> Arrays:
    """What it has to compute; gradients only where there are any."""
    arrays = _named("y", result.y) | _named("{}_T", result.state)
    arrays |= _stacked(result.d_params, "d_") | _named("d_x", result.d_x)
    return arrays | _named("d_{}_0", result.d_state)


def read_case(identifier: str, architecture: Architecture, arrays: Mapping[str, Array]) -> Case:
    """The case whose `question` these arrays are.

    Raises
    ------
    ValueError
        For an array that is missing or has another shape.
    """
    take = _Taker(arrays)
    x = take.any_shape("x", 3)
    B, T = x.shape[:2]
    states = state_shapes(architecture, B)
    return Case(
        name=identifier,
        architecture=architecture,
        params=take.params(param_shapes(architecture)),
        x=x,
        state=take.tree("{}_0", states) if take.has("h_0") else None,
        mask=take.array("mask", (B, T)).astype(bool) if take.has("mask") else None,
        dropout=take.dropout(),
        d_y=take.tree("d_y", output_shapes(architecture, B, T)),
        d_state=take.tree("d_{}_T", states),
    )


def read_result(case: Case, arrays: Mapping[str, Array]) -> Result:
    """The result of a case whose `answer` these arrays are, forward only or with gradients.

    Raises
    ------
    ValueError
        For an array that is missing or has another shape.
    """
    take = _Taker(arrays)
    B, T = case.x.shape[:2]
    states = state_shapes(case.architecture, B)
    y = take.tree("y", output_shapes(case.architecture, B, T))
    state = take.tree("{}_T", states)
    if not any(_last(name).startswith("d_") for name in arrays):
        return Result(y, state)
    params = take.params(param_shapes(case.architecture), "d_")
    due = case.state is not None or take.has("d_h_0")  # of a state that was not given it may lack
    initial = take.tree("d_{}_0", states) if due else None
    return Result(y, state, params, take.array("d_x", case.x.shape), initial)


def blocks_of(name: str, architecture: Architecture) -> tuple[str, ...]:
    """The blocks of `Result.blocks` that an array of an answer holds, in its order.

    Examples
    --------
    >>> blocks_of("d_U", Spec(input_size=2, hidden_size=3, coupled=True))
    ('d_U_f', 'd_U_g', 'd_U_o')
    """
    path, last = _split(name)
    if last in ("h_T", "c_T"):
        return (f"state.{path}{last[0]}",)
    if last in ("d_h_0", "d_c_0"):
        return (f"d_state.{path}{last[2]}",)
    if last == "y":
        return (f"y.{path[:-1]}" if path else "y",)
    if last == "d_x":
        return ("d_x",)
    params = layer(architecture, path).param_shapes
    return tuple(f"d_{path}{param}" for param in params if _stack_name(param) == last[2:])


def layer(architecture: Architecture, path: str) -> Spec:
    """The Spec that a path such as "0.forward." leads to."""
    if isinstance(architecture, Spec):
        return architecture
    if isinstance(architecture, (Reverse, Chunks)):
        return layer(architecture.layer, path)
    first, _, rest = path.partition(".")
    if isinstance(architecture, Stack):
        return layer(architecture.layers[int(first)], rest)
    return layer(getattr(architecture, first), rest)


def describe(architecture: Architecture) -> dict[str, Any]:
    """An architecture as JSON."""
    kind = type(architecture).__name__
    fields = {f.name: getattr(architecture, f.name) for f in dataclasses.fields(architecture)}
    return {"kind": kind} | {name: _described(value) for name, value in fields.items()}


def _described(value: Any) -> Any:
    if isinstance(value, (Spec, Reverse, Bidirectional, Stack, Chunks)):
        return describe(value)
    return [describe(part) for part in value] if isinstance(value, tuple) else value


_KINDS: dict[str, type] = {
    kind.__name__: kind for kind in (Spec, Reverse, Bidirectional, Stack, Chunks)
}


def read_architecture(described: Any) -> Architecture:
    """The architecture of a description.

    Raises
    ------
    ValueError
        Where it is none.
    """
    if not isinstance(described, dict) or described.get("kind") not in _KINDS:
        raise ValueError(f"got {str(described)[:80]!r}, expected an architecture with its kind")
    fields = {
        name: _read(value) for name, value in described.items() if name != "kind"
    }  # fmt: skip
    try:
        architecture: Architecture = _KINDS[described["kind"]](**fields)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"not a {described['kind']}: {error}") from error
    return architecture


def _read(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(read_architecture(part) for part in value)
    return read_architecture(value) if isinstance(value, dict) else value


# --- names ----------------------------------------------------------------------------------------


def _split(name: str) -> tuple[str, str]:
    """ "0.forward.d_W" to ("0.forward.", "d_W")."""
    path, dot, last = name.rpartition(".")
    return path + dot, last


def _last(name: str) -> str:
    return _split(name)[1]


def _joined(path: str, pattern: str) -> str:
    """ "0.forward.h" with "d_{}_T" to "0.forward.d_h_T"; a path without a letter goes before."""
    if "{}" not in pattern:
        return f"{path}.{pattern}" if path else pattern
    before, letter = _split(path)
    return before + pattern.format(letter)


def _named(pattern: str, tree: Any) -> Arrays:
    return {_joined(path, pattern): leaf for path, leaf in flatten(tree).items()}


def _stacked(params: Any, prefix: str = "") -> Arrays:
    """Parameters, the gates' in one array each."""
    gathered: dict[str, list[Array]] = {}
    for path, leaf in flatten(params).items():
        gathered.setdefault(_stack_name(path, prefix), []).append(leaf)
    return {
        name: np.stack(arrays) if _is_stacked(name) else arrays[0]
        for name, arrays in gathered.items()
    }


def _stack_name(path: str, prefix: str = "") -> str:
    """ "0.forward.W_i" to "0.forward.W"; what belongs to no gate keeps its name."""
    before, last = _split(path)
    stem, _, k = last.rpartition("_")
    return before + prefix + (stem if stem and k in _GATES else last)


def _is_stacked(name: str) -> bool:
    return _last(name).removeprefix("d_") in _STACKED


class _Taker:
    """Arrays taken by name into an architecture's nesting, their shapes checked."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def has(self, last: str) -> bool:
        return any(_last(name) == last for name in self._arrays)

    def any_shape(self, name: str, axes: int) -> Array:
        if name not in self._arrays:
            raise ValueError(f"no array {name!r}, expected one: has {', '.join(self._arrays)}")
        array = self._arrays[name]
        if array.ndim != axes:
            raise ValueError(f"{name!r} has shape {array.shape}, expected {axes} axes")
        return array.astype(np.float64)

    def array(self, name: str, shape: tuple[int, ...]) -> Array:
        array = self.any_shape(name, len(shape))
        if array.shape != shape:
            raise ValueError(f"{name!r} has shape {array.shape}, expected {shape}")
        return array

    def tree(self, pattern: str, shapes: Any) -> Any:
        return _nested(shapes, lambda path, shape: self.array(_joined(path, pattern), shape))

    def params(self, shapes: Any, prefix: str = "") -> Any:
        names = [_stack_name(path, prefix) for path in _paths(shapes)]
        taken: dict[str, int] = {}

        def take(path: str, shape: tuple[int, ...]) -> Array:
            name = _stack_name(path, prefix)
            if not _is_stacked(name):
                return self.array(name, shape)
            index = taken[name] = taken.get(name, -1) + 1
            return self.array(name, (names.count(name), *shape))[index]

        return _nested(shapes, take)

    def dropout(self) -> Dropout | None:
        names = {field: _dropout_name(field) for field in Dropout._fields}
        found = {
            field: np.asarray(self._arrays[name], np.float64)
            for field, name in names.items()
            if name in self._arrays
        }
        return Dropout(**found) if found else None


def _dropout_name(field: str) -> str:
    return field if field.startswith("zoneout") else f"dropout_{field}"


def _nested(shapes: Any, take: Callable[[str, tuple[int, ...]], Array], path: str = "") -> Any:
    """Arrays in the nesting of shapes."""
    if isinstance(shapes, dict):
        return {name: take(_below(path, name), shape) for name, shape in shapes.items()}
    if all(isinstance(n, int) for n in shapes):
        return take(path, shapes)
    names = getattr(shapes, "_fields", None) or [str(n) for n in range(len(shapes))]
    parts = [
        _nested(part, take, _below(path, name))
        for name, part in zip(names, shapes, strict=True)
    ]  # fmt: skip
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _paths(shapes: Any) -> list[str]:
    paths: list[str] = []
    _nested(shapes, lambda path, shape: paths.append(path))  # type: ignore[arg-type,return-value]
    return paths
