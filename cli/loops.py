"""How often a script is about to call `fit` on the same model: `for epoch in range(100): fit(...)`.

A diagnosis takes the place of the first call. The others would go on training, so that the epochs
of all of them count. They are read from the source, without running any of it: `for` loops over a
`range` whose bounds are numbers and names, up to the function that the call stands in.
"""

from __future__ import annotations

import ast
import linecache
import math
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


def passes_of(frame: FrameType, method: str) -> tuple[int | None, int]:
    """How often a call that feeds parts is made, and how often all parts are passed over.

    None for the first where a loop's length is not known; the second is the product of the loops
    outside of the outermost one that chooses what is fed.
    """
    source = "".join(linecache.getlines(frame.f_code.co_filename))
    try:
        found = _call_at(ast.parse(source), frame.f_lineno, method)
    except SyntaxError:
        return None, 1
    if found is None:
        return None, 1
    call, loops = found
    names = frame.f_globals | frame.f_locals
    lengths = [_length(loop, names) for loop in loops]
    fed = set().union(*(_names(a) for a in (*call.args, *(k.value for k in call.keywords))))
    choosing = [n for n, loop in enumerate(loops) if fed & _given_by(loop)]
    outside = lengths[: min(choosing, default=len(loops))]
    total = None if None in lengths or not loops else math.prod(n or 1 for n in lengths)
    return total, math.prod(n or 1 for n in outside)


def _given_by(loop: Any) -> set[str]:
    """The names that a loop gives values to, those of the loops in it apart."""
    inner = {
        name
        for node in ast.walk(loop)
        if isinstance(node, _LOOPS) and node is not loop
        for name in _assigned(node)
    }
    return _assigned(loop) - inner


def _call_at(tree: ast.AST, line: int, method: str = "fit") -> tuple[ast.Call, list[Any]] | None:
    """The call of a method that spans a line, and the loops of its function around it."""

    def look(node: Any, loops: list[Any]) -> Iterator[tuple[ast.Call, list[Any]]]:
        if isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            loops = []
        if _calls(node, method) and node.lineno <= line <= (node.end_lineno or line):
            yield node, loops
        for child in ast.iter_child_nodes(node):
            inside = isinstance(node, _LOOPS) and child in node.body
            yield from look(child, [*loops, node] if inside else loops)

    return next(look(tree, []), None)


def _calls(node: ast.AST, method: str) -> Any:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
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
    return _length(loop, names) or 1


def _length(loop: ast.AST, names: dict[str, Any]) -> int | None:
    """How often a loop over a range goes round; None where that is not known."""
    over = getattr(loop, "iter", None)
    if not (
        isinstance(over, ast.Call)
        and isinstance(over.func, ast.Name)
        and over.func.id == "range"
        and not over.keywords
    ):
        return None
    try:
        return max(1, len(range(*(_whole_number(a, names) for a in over.args))))
    except (TypeError, ValueError, ZeroDivisionError):
        return None


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
