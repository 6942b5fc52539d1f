"""What registries share: a row found by its name or made for one's own, and what it starts."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

Row = TypeVar("Row")


def find(
    name: str, rows: Mapping[str, Row], own: Callable[[str], Row], *, kind: str, made: str
) -> Row:
    """The row of a name, or `own(name)` where the name is a "module:callable".

    Raises
    ------
    ValueError
        For a name that is neither; `kind` says what it was to name, `made` what the callable makes.

    Examples
    --------
    >>> find("mine:fast", {"slow": 1}, len, kind="implementation", made="one")
    9
    """
    if name in rows:
        return rows[name]
    module, _, attribute = name.partition(":")
    if module and attribute:
        return own(name)
    raise ValueError(
        f"{kind} is {name!r}, expected one of {', '.join(rows)}. "
        f"Choose a name from the list, or give 'module:callable' for {made} of your own."
    )


def absent(modules: Iterable[str]) -> list[str]:
    """Those of the modules that are not installed."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def start(factory: str) -> Any:
    """What a "module:callable" gives; this imports the module."""
    module, _, attribute = factory.partition(":")
    return getattr(importlib.import_module(module), attribute)()
