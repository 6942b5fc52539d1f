"""Mutants of a module: the same text with one small change.

An operator, a comparison, a number, a condition, a dropped statement, exchanged arguments, a
shifted slice. What no test can see is left alone: messages of errors, annotations, imports,
`frozen=True` of a dataclass and `strict=True` of a zip (which refuse misuse that an earlier check
has refused), `copy=False` of astype (which spares a copy), the order of the arguments of
min, max, np.result_type, and of sums and products of two numbers.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """One change of a module's syntax tree."""

    line: int
    what: str
    tree: ast.Module
    text: str  # of the changed statement of the module: a function, a class, an assignment

    def key(self, module: str) -> str:
        """The same for as long as that statement is; the rest of the module may change."""
        return hashlib.sha256(f"{module}\n{self.text}".encode()).hexdigest()[:16]


_BINARY: dict[type, tuple[type, ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.Pow: (ast.Mult,), ast.MatMult: (), ast.Mod: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,), ast.BitAnd: (ast.BitOr,),
}  # fmt: skip
_COMPARE: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip


_SYMMETRIC = ("min", "max", "np.minimum", "np.maximum", "np.result_type", "_two_sum",
              "_two_product", "_add", "_multiply")  # fmt: skip
_SPARED = ("strict", "copy")


def _operators(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Another operator, or none."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        for other in _BINARY.get(type(node.op), ()):
            yield f"{type(node.op).__name__} to {other.__name__}", _with(node, op=other())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield f"{type(node.op).__name__} left out", node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in _COMPARE.get(type(node.ops[0]), ()):
            what = f"{type(node.ops[0]).__name__} to {other.__name__}"
            yield what, _with(node, ops=[other()])
    elif isinstance(node, ast.BoolOp):
        other = ast.And if isinstance(node.op, ast.Or) else ast.Or
        yield f"to {other.__name__}", _with(node, op=other())


def _expressions(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Numbers, branches, arguments and transposes."""
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.IfExp):
        yield "branches exchanged", _with(node, body=node.orelse, orelse=node.body)
    elif isinstance(node, ast.Call) and len(node.args) >= 2 and _ordered(node):
        first, second, *rest = node.args
        yield "arguments exchanged", _with(node, args=[second, first, *rest])
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield ".T left out", node.value


def _statements(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Conditions negated, statements left out."""
    if isinstance(node, (ast.If, ast.While)):
        yield "condition negated", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, (ast.Assign, ast.AugAssign)) or _is_call(node):
        yield f"{type(node).__name__} left out", ast.Pass()


def _constants(node: ast.Constant) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node.value, bool):
        yield f"{node.value} negated", ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)):
        yield f"{node.value} plus 1", ast.Constant(node.value + 1)
        if node.value not in (0, 1):
            yield f"{node.value} to 1", ast.Constant(1)


def _is_call(node: Any) -> bool:
    """An expression that is a statement, and no docstring."""
    return isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)


def _ordered(node: ast.Call) -> bool:
    """Its arguments can be exchanged, and that makes a difference."""
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    return not starred and ast.unparse(node.func) not in _SYMMETRIC


def _with(node: Any, **fields: Any) -> Any:
    values = {name: getattr(node, name, None) for name in node._fields}
    return ast.copy_location(type(node)(**(values | fields)), node)


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, replacement: ast.AST) -> None:
        self.target, self.replacement = target, replacement

    def visit(self, node: ast.AST) -> Any:
        return self.replacement if node is self.target else super().generic_visit(_copy(node))


def _copy(node: ast.AST) -> ast.AST:
    fields = {
        name: list(value) if isinstance(value, list) else value
        for name, value in ast.iter_fields(node)
    }
    return ast.copy_location(type(node)(**fields), node)


def _mutable(statement: ast.stmt) -> Iterator[ast.AST]:
    """Nodes whose change can show."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.AnnAssign):
            waiting += [node.value] if node.value is not None else []
        elif isinstance(node, ast.FunctionDef):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
        elif isinstance(node, ast.ClassDef):  # without its decorators
            waiting += [*node.bases, *node.body]
        elif not _is_silent(node):
            yield node
            waiting += list(ast.iter_child_nodes(node))


def _is_silent(node: ast.AST) -> bool:
    return (
        isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr))
        or (isinstance(node, ast.keyword) and node.arg in _SPARED)
        or (isinstance(node, ast.Assign) and _is_type(node.value))
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    )


def _is_type(value: ast.expr) -> bool:
    """An alias such as Gates = dict[str, Array]: used in annotations alone."""
    names = ("Array", "Callable", "dict", "Literal")
    text = ast.unparse(value)
    return text == "np.ndarray" or any(text.startswith(f"{name}[") for name in names)


def mutants(source: str) -> list[Mutant]:
    """All of a module, in the order of its lines."""
    statements = ast.parse(source).body
    lines = source.splitlines()
    found = []
    for n, statement in enumerate(statements):
        original = ast.unparse(statement)
        for node in _mutable(statement):
            line = getattr(node, "lineno", 0)
            if line and "pragma: no cover" in lines[line - 1]:
                continue
            for what, replacement in (*_operators(node), *_expressions(node), *_statements(node)):
                replaced = _Replace(node, ast.copy_location(replacement, node)).visit(statement)
                changed = ast.fix_missing_locations(replaced)
                tree = ast.Module([*statements[:n], changed, *statements[n + 1 :]], [])
                text = ast.unparse(changed)
                if text != original:  # two arguments that are the same, exchanged
                    found.append(Mutant(line, what, tree, text))
    return sorted(found, key=lambda mutant: mutant.line)
