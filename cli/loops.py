"""How often a script is about to call `fit` on the same model: `for epoch in range(100): fit(...)`.

A diagnosis takes the place of the first call. The others would go on training, so that the epochs
of all of them count. They are read from the source, without running any of it: `for` loops over a
`range` whose bounds are numbers and names, up to the function that the call stands in.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from types import FrameType
from typing import Any

_LOOPS = (ast.For, ast.While)
_COUNTING = ("epochs", "initial_epoch", "verbose", "callbacks")  # may differ from pass to pass
_ARITHMETIC = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}


def calls_of(frame: FrameType) -> int:
    """How often the call that a frame is at is made for one model; 1 where that is not known."""
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return 1
    found = _call_at(tree, frame.f_lineno)
    if found is None:
        return 1
    call, loops = found
    same = _names(call.func)
    for argument in (*call.args, *(k.value for k in call.keywords if k.arg not in _COUNTING)):
        same |= _names(argument)
    names = frame.f_globals | frame.f_locals
    times = 1
    for loop in reversed(loops):  # the innermost first
        if same & _assigned(loop):
            break  # another model each time, or other data: it compares, validates, or feeds parts
        times *= _passes(loop, names)
    return times


def _call_at(tree: ast.AST, line: int) -> tuple[ast.Call, list[Any]] | None:
    """The call of a `fit` that spans a line, and the loops of its function around it."""

    def look(node: Any, loops: list[Any]) -> Iterator[tuple[ast.Call, list[Any]]]:
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            loops = []
        if _is_fit(node) and node.lineno <= line <= (node.end_lineno or line):
            yield node, loops
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, _LOOPS) and child in node.body
            yield from look(child, [*loops, node] if inside else loops)

    return next(look(tree, []), None)


def _is_fit(node: ast.AST) -> Any:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "fit"
    )


def _names(node: ast.AST) -> set[str]:
    """The names in an expression."""
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _assigned(loop: ast.AST) -> set[str]:
    """The names that a loop gives values to."""
    return {
        node.id
        for node in ast.walk(loop)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }


def _passes(loop: ast.AST, names: dict[str, Any]) -> int:
    """How often a loop over a range goes round; 1 for any other."""
    over = getattr(loop, "iter", None)
    if not (
        isinstance(over, ast.Call)
        and isinstance(over.func, ast.Name)
        and over.func.id == "range"
        and not over.keywords
    ):
        return 1
    try:
        return max(1, len(range(*(_whole_number(a, names) for a in over.args))))
    except (TypeError, ValueError, ZeroDivisionError):
        return 1


def _whole_number(node: ast.AST, names: dict[str, Any]) -> int:
    """A whole number of the source, or of a name in it, or what adds up from those."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        sides = (_whole_number(side, names) for side in (node.left, node.right))
        return int(_ARITHMETIC[type(node.op)](*sides))
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(node, ast.Name):
        value = names.get(node.id)
    if not isinstance(value, int):
        raise ValueError(f"not a whole number: {ast.dump(node)}")
    return value
