"""How often a script is about to train the same model: `for epoch in range(100): fit(...)`.

A diagnosis takes the place of the first call. The others would go on training, so that the epochs
of all of them count. They are read from the source, without running any of it: `for` loops over a
`range` whose bounds are numbers and names, up to the function that the call stands in.
"""

from __future__ import annotations

import ast
import linecache
import math
import operator
from collections.abc import Iterator
from types import FrameType
from typing import Any

_LOOPS = (ast.For, ast.While)
_RANGES = ("range", "trange")
_AROUND = ("tqdm", "enumerate", "list", "track")  # what leaves the number of passes as it is
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


def passes_of(frame: FrameType, method: str) -> tuple[int | None, int | None]:
    """How often a call that feeds parts is made, and how often all parts are passed over.

    None where a loop's length is not known. The second is the product of the loops outside of the
    outermost one that chooses what is fed. A function of the same script that makes the call is
    followed to where it is called.
    """
    loops, fed = _loops_around(frame, method)
    lengths = [_length(loop, names) for loop, names in loops]
    choosing = [n for n, (loop, _) in enumerate(loops) if fed & _given_by(loop)]
    outside = lengths[: min(choosing, default=len(loops))]
    return _product(lengths) if lengths else None, _product(outside)


def _product(lengths: list[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return math.prod(known) if len(known) == len(lengths) else None


def _loops_around(
    frame: FrameType, method: str
) -> tuple[list[tuple[Any, dict[str, Any]]], set[str]]:
    """The loops around a call, the outermost first, with what names stand for; and what is fed."""
    path = frame.f_code.co_filename
    found: list[tuple[Any, dict[str, Any]]] = []
    fed: set[str] = set()
    wanted: str | None = method
    at: FrameType | None = frame
    while at is not None and wanted is not None and at.f_code.co_filename == path:
        try:
            tree = ast.parse("".join(linecache.getlines(path)))
        except SyntaxError:
            break
        call = _call_at(tree, at.f_lineno, wanted)
        if call is None:
            break
        names = at.f_globals | at.f_locals
        found = [(loop, names) for loop in call[1]] + found
        fed |= _fed_names(call[0])
        wanted = None if at.f_code.co_name == "<module>" else at.f_code.co_name
        at = at.f_back
    return found, fed


def _fed_names(call: ast.Call) -> set[str]:
    return {name for a in (*call.args, *(k.value for k in call.keywords)) for name in _names(a)}


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
    if not isinstance(node, ast.Call):
        return False
    return method == getattr(node.func, "attr", getattr(node.func, "id", None))


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
    while isinstance(over, ast.Call) and _called(over) in _AROUND and over.args:
        over = over.args[0]  # tqdm(range(10))
    if not isinstance(over, ast.Call) or _called(over) not in _RANGES:
        return None
    try:
        return max(1, len(range(*(_whole_number(a, names) for a in over.args))))
    except (TypeError, ValueError, ZeroDivisionError):
        return None


def _called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _whole_number(node: ast.AST, names: dict[str, Any]) -> int:
    """A whole number of the source, or of a name in it, or what adds up from those.

    Attributes, entries and lengths of what names stand for are looked up.
    """
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        sides = (_whole_number(side, names) for side in (node.left, node.right))
        return int(_ARITHMETIC[type(node.op)](*sides))
    return operator.index(_value(node, names))


def _value(node: ast.AST, names: dict[str, Any]) -> Any:
    """What a constant, a name, or a part of what a name stands for is; nothing is called but len.

    Raises ValueError for anything else.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, names), node.attr, None)
    if isinstance(node, ast.Subscript):
        try:
            return _value(node.value, names)[_value(node.slice, names)]
        except (KeyError, IndexError) as error:
            raise ValueError(ast.dump(node)) from error
    if isinstance(node, ast.Call) and _called(node) == "len" and len(node.args) == 1:
        return len(_value(node.args[0], names))
    raise ValueError(f"not known: {ast.dump(node)}")
