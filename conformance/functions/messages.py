"""What an isolated process answers: a JSON header and arrays, never code."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import IO, Any

import numpy as np

from lstm_oracle.conformance.case import Result
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
    state_shapes,
)

Array = np.ndarray
Message = tuple[dict[str, Any], dict[str, Array]]

_KINDS = {kind.__name__: kind for kind in (Spec, Reverse, Bidirectional, Stack, Chunks)}
_LENGTH = 8  # bytes


def write(stream: IO[bytes], header: dict[str, Any], arrays: dict[str, Array]) -> None:
    """Put a message into a stream."""
    text = json.dumps(header).encode()
    body = io.BytesIO()
    np.savez(body, allow_pickle=False, **{str(n): a for n, a in enumerate(arrays.values())})
    names = json.dumps(list(arrays)).encode()
    for part in (text, names, body.getvalue()):
        stream.write(len(part).to_bytes(_LENGTH, "big") + part)
    stream.flush()


def read(stream: IO[bytes]) -> Message | None:
    """Take a message out of a stream; None where it has ended."""
    parts = []
    for _ in range(3):
        length = stream.read(_LENGTH)
        if len(length) < _LENGTH:
            return None
        part = stream.read(int.from_bytes(length, "big"))
        parts.append(part)
    names = json.loads(parts[1])
    with np.load(io.BytesIO(parts[2]), allow_pickle=False) as found:
        return json.loads(parts[0]), {name: found[str(n)] for n, name in enumerate(names)}


def arrays_of(result: Result) -> Message:
    """A result as a message."""
    arrays: dict[str, Array] = {}
    kinds = {}
    fields = {"y": result.y, "state": result.state, "d_state": result.d_state}
    for name, tree in (*fields.items(), ("d_x", result.d_x), ("d_params", result.d_params)):
        kinds[name] = _describe(tree, name, arrays)
    return {"result": kinds}, arrays


def result_of(
    architecture: Architecture, header: dict[str, Any], arrays: dict[str, Array]
) -> Result:
    """The result of a message."""
    trees = {name: _tree(kind, arrays) for name, kind in header["result"].items()}
    template = state_shapes(architecture, 1)
    for name in ("state", "d_state"):
        trees[name] = _renamed(template, trees[name])
    if isinstance(trees["y"], tuple):
        trees["y"] = Directions(*trees["y"])
    return Result(trees["y"], trees["state"], trees["d_params"], trees["d_x"], trees["d_state"])


def architecture_as(architecture: Architecture) -> dict[str, Any]:
    """An architecture as JSON has it."""
    fields = {
        field.name: _field_as(getattr(architecture, field.name))
        for field in dataclasses.fields(architecture)
    }
    return {"kind": type(architecture).__name__, "fields": fields}


def architecture_of(found: dict[str, Any]) -> Architecture:
    """The architecture of JSON.

    Examples
    --------
    >>> both = Bidirectional(Spec(input_size=3, hidden_size=4), Spec(input_size=3, hidden_size=4))
    >>> architecture_of(architecture_as(both)) == both
    True
    """
    fields = {name: _field_of(value) for name, value in found["fields"].items()}
    architecture: Architecture = _KINDS[found["kind"]](**fields)
    return architecture


def _field_as(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_field_as(part) for part in value]
    return architecture_as(value) if type(value) in _KINDS.values() else value


def _field_of(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_field_of(part) for part in value)
    return architecture_of(value) if isinstance(value, dict) else value


def _describe(tree: Any, path: str, arrays: dict[str, Array]) -> Any:
    """The nesting, with names of arrays for leaves; they are collected in `arrays`."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {key: _describe(part, f"{path}.{key}", arrays) for key, part in tree.items()}
    if isinstance(tree, tuple):
        return [_describe(part, f"{path}.{n}", arrays) for n, part in enumerate(tree)]
    arrays[path] = np.asarray(tree)
    return path


def _tree(kind: Any, arrays: dict[str, Array]) -> Any:
    if isinstance(kind, dict):
        return {key: _tree(part, arrays) for key, part in kind.items()}
    if isinstance(kind, list):
        return tuple(_tree(part, arrays) for part in kind)
    return None if kind is None else arrays[kind]


def _renamed(template: Any, tree: Any) -> Any:
    """A nesting of plain tuples as that of a state."""
    if tree is None or all(isinstance(n, int) for n in template):
        return tree
    parts = [_renamed(shape, part) for shape, part in zip(template, tree, strict=True)]
    return type(template)(*parts) if isinstance(template, (State, Directions)) else tuple(parts)
