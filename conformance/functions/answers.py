"""What a function gave back: outputs by name, and gradients by name.

Accepted for one layer: y; (y, h_T, c_T); (y, (h_T, c_T)); y alone or with either; a dict of them;
a dict of gradients at the end. Anything else is said with `returns=("y", "c", "h")`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lstm_oracle.conformance.functions.calling import NAMES, identifier
from lstm_oracle.conformance.functions.subject import BadSignature
from lstm_oracle.reference.spec import State

_OUTPUTS = {
    **dict.fromkeys(("y", "output", "outputs", "hs"), "y"),
    **dict.fromkeys(("h", "h_T", "hT", "h_n", "final_h", "Y_h"), "h"),
    **dict.fromkeys(("c", "c_T", "cT", "c_n", "final_c", "Y_c"), "c"),
    "Y": "y",
}
_ORDER = ("y", "h", "c")


def read_outputs(
    name: str, value: Any, *, single: bool, returns: Sequence[str] | None = None
) -> tuple[dict[str, Any], Any]:
    """Outputs by name (y, h, c; or y and state of layers put together), and the gradients.

    Raises
    ------
    TypeError
        Where what was returned cannot be read: with what was got, what was expected, and the fix.

    Examples
    --------
    >>> read_outputs("lstm", (1.0, (2.0, 3.0)), single=True)
    ({'y': 1.0, 'h': 2.0, 'c': 3.0}, None)
    """
    if not single:
        return _combined(name, value)
    if isinstance(value, Mapping):
        return _from_mapping(name, value)
    leaves = list(_leaves(value))
    rest = next((leaf for leaf in leaves if isinstance(leaf, Mapping)), None)
    arrays = [leaf for leaf in leaves if not isinstance(leaf, Mapping)]
    order = list(_ORDER) if returns is None else list(returns)
    _check_count(name, value, arrays, order, returns)
    named = {key: _squeezed(key, a) for key, a in zip(order, arrays, strict=False) if key != "_"}
    outputs = {key: named.pop(key) for key in _ORDER if key in named}
    return outputs, rest if rest is not None else (named or None)


def read_gradients(name: str, found: Any, arrays: Sequence[str]) -> dict[str, Any]:
    """The tree of gradients (x, weights, state), from a function's own names for them.

    Raises
    ------
    TypeError
        For a name that means nothing, and for what is no mapping.
    """
    if not isinstance(found, Mapping):
        raise BadSignature(
            f"{name} gave gradients as a {type(found).__name__}, expected a dict by name. Return "
            f"for example {{'d_x': …, 'd_h0': …, 'd_c0': …, 'd_{identifier(arrays[0])}': …}}."
            if arrays
            else f"{name} gave gradients as a {type(found).__name__}, expected a dict of x, "
            "weights and state, nested like the architecture."
        )
    if not arrays:
        return dict(found)
    known = _gradient_names(arrays)
    tree: dict[str, Any] = {"weights": {}}
    states: dict[str, Any] = {}
    for word, array in _unnested(found).items():
        if word not in known:
            raise BadSignature(
                f"{name} gave a gradient called {word!r}, expected d_ and one of "
                f"{', '.join(('x', 'h0', 'c0', *map(identifier, arrays)))}. Rename it."
            )
        kind = known[word]
        target = states if kind in ("h0", "c0") else tree if kind == "x" else tree["weights"]
        target[kind] = _squeezed("h", array) if kind in ("h0", "c0") else array
    if states:
        tree["state"] = State(states.get("h0"), states.get("c0"))
    return tree


def _combined(name: str, value: Any) -> tuple[dict[str, Any], Any]:
    if not isinstance(value, tuple) or len(value) not in (2, 3):
        raise BadSignature(
            f"{name} returned a {type(value).__name__}, expected (y, state) or (y, state, "
            "gradients), nested like the architecture."
        )
    return {"y": value[0], "state": value[1]}, value[2] if len(value) == 3 else None


def _from_mapping(name: str, value: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    known = {key: _OUTPUTS[key] for key in value if key in _OUTPUTS}
    outputs = {name: _squeezed(name, value[key]) for key, name in known.items()}
    if "state" in value:
        outputs |= {k: _squeezed(k, a) for k, a in zip("hc", value["state"], strict=True)}
    rest = {key: a for key, a in value.items() if key not in _OUTPUTS and key != "state"}
    if not outputs:
        raise BadSignature(
            f"{name} returned a dict of {', '.join(map(str, value))}, expected one with y, h or c. "
            "Rename the entries."
        )
    return {key: outputs[key] for key in _ORDER if key in outputs}, rest or None


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _leaves(part)]
    return [value]


def _check_count(
    name: str, value: Any, arrays: list[Any], order: list[str], returns: Sequence[str] | None
) -> None:
    if value is None or not arrays or any(a is None for a in arrays):
        raise BadSignature(
            f"{name} returned {'None' if value is None else 'a tuple with None'}, expected y, or "
            "y, h_T and c_T. Add the return statement, or leave out what there is not."
        )
    if len(arrays) > len(order) or (returns is not None and len(arrays) != len(order)):
        expected = "returns=" + repr(tuple(order)) if returns else "y, h_T, c_T at most"
        raise BadSignature(
            f"{name} returned {len(arrays)} arrays, expected {expected}. Say what they are with "
            "returns=('y', 'h', 'c', 'd_x', …), '_' for what does not matter."
        )


def _squeezed(key: str, array: Any) -> Any:
    """A final state as (B, H): PyTorch and ONNX put an axis of layers or directions before it."""
    shape: Any = getattr(array, "shape", ())
    return array[0] if key in ("h", "c") and len(shape) == 3 and shape[0] == 1 else array


def _unnested(found: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in found.items():
        if isinstance(value, Mapping):
            flat |= value
        elif key in ("state", "d_state"):
            flat |= zip(("h0", "c0"), value, strict=True)
        elif value is not None:
            flat[key] = value
    return flat


def _gradient_names(arrays: Sequence[str]) -> dict[str, str]:
    """Every word for a gradient; those of the weights come before what is also called so."""
    words = {alias: name for name in ("x", "h0", "c0") for alias in NAMES[name]}
    words |= {word: array for array in arrays for word in (array, identifier(array))}
    prefixes = ("d_", "d", "grad_")
    return words | {prefix + word: name for word, name in words.items() for prefix in prefixes}
