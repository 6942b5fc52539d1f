"""Nested parameters, states and gradients: the nesting of an architecture, walked in one place.

A tree is an array (or None) at the leaves, and dicts, NamedTuples and tuples inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every (path, leaf) in order; a path is the names joined by dots, as in `0.forward.W_i`."""
    children = _children(tree)
    if children is None:
        yield path, tree
        return
    for name, child in children:
        yield from leaves(child, f"{path}.{name}" if path else name)


def flatten(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by path, those that are None left out.

    Examples
    --------
    >>> flatten(({"W_i": 1.0}, {"W_i": 2.0}))
    {'0.W_i': 1.0, '1.W_i': 2.0}
    """
    return {path: leaf for path, leaf in leaves(tree) if leaf is not None}


def map_leaves(function: Callable[..., Any], *trees: Any) -> Any:
    """The tree of `function(leaf, …)` over trees of the same nesting; None stays None."""
    first = trees[0]
    if first is None:
        return None
    if isinstance(first, dict):
        return {k: map_leaves(function, *(tree[k] for tree in trees)) for k in first}
    if isinstance(first, tuple):
        parts = [map_leaves(function, *parts) for parts in zip(*trees, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    return function(*trees)


def replace(tree: Any, leaves_by_path: dict[str, Any]) -> Any:
    """The tree with the leaves at the given paths exchanged."""
    paths = iter([path for path, leaf in leaves(tree) if leaf is not None])
    return map_leaves(lambda leaf: leaves_by_path.get(next(paths), leaf), tree)


def _children(tree: Any) -> list[tuple[str, Any]] | None:
    if isinstance(tree, dict):
        return list(tree.items())
    if isinstance(tree, tuple):
        names = getattr(tree, "_fields", None) or [str(n) for n in range(len(tree))]
        return list(zip(names, tree, strict=True))
    return None
