"""Mutation run: is every line of the oracle and of the checks held by a test?

A mutant is a module with one small change: an operator, a comparison, a number, a condition, a
dropped statement, exchanged arguments, a shifted slice. Each runs in a forked process of its own,
without any file being written: the changed module is put in place before anything imports it, and
the tests that know the module run until the first one fails. A mutant that no test kills survives.

    python benchmarks/mutation.py                    every module, taken up where it was left
    python benchmarks/mutation.py reference.cell     one module
    python benchmarks/mutation.py --seconds 500      stop after a while

Results are kept in benchmarks/results/mutation, a file per module; why a mutant survives, in
benchmarks/results/mutation/explained.json.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import pickle
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mutation"
EXPLAINED = RESULTS / "explained.json"

# The tests that are run for a module: those that hold it, the fastest first.
_GRADIENTS = [
    "tests/test_vectors_hold_the_oracle.py",
    "tests/test_reference_fifty_digits.py",
    "tests/test_reference_masked_output.py",
    "tests/test_reference_trace.py",
    "tests/test_reference_dropout.py",
    "tests/test_reference_activations.py",
]
_INPUTS = ["tests/test_reference_bad_input.py", "tests/test_reference_layouts.py"]
_CHECKS = [
    "tests/test_conformance_compare.py",
    "tests/test_conformance_yardstick.py",
    "tests/test_conformance_matrix.py",
    "tests/test_zoo.py",
]
TESTS: dict[str, list[str]] = {
    "reference.cell": _GRADIENTS,
    "reference.gate_product": _GRADIENTS,
    "reference.masked_output": _GRADIENTS,
    "reference.scan": _GRADIENTS,
    "reference.carry": _GRADIENTS,
    "reference.normalize": _GRADIENTS,
    "reference.combinators": _GRADIENTS,
    "reference.passes": _GRADIENTS,
    "reference.activations": ["tests/test_reference_activations.py", *_GRADIENTS],
    "reference.tree": ["tests/test_reference_tree.py", *_GRADIENTS],
    "reference.sequence": [*_GRADIENTS, *_INPUTS],
    "reference.spec": [*_INPUTS, *_GRADIENTS],
    "reference._inputs": [*_INPUTS, *_GRADIENTS],
    "reference.layouts": ["tests/test_reference_layouts.py"],
    "reference.gradcheck": ["tests/test_reference_gradcheck.py"],
    "reference.initializers": ["tests/test_reference_initializers.py"],
    "conformance.compare": _CHECKS,
    "conformance.yardstick": _CHECKS,
    "conformance.rounding": _CHECKS,
    "conformance.case": _CHECKS,
    "conformance.textbook": ["tests/test_vectors_hold_the_oracle.py", *_CHECKS],
    "conformance.vectors.digits": ["tests/test_vectors.py"],
    "conformance.vectors.names": ["tests/test_vectors.py"],
    "conformance.vectors.safetensors": ["tests/test_vectors.py"],
    "conformance.vectors.judge": ["tests/test_vectors.py"],
}
PASSES = ("cell", "gate_product", "masked_output", "scan", "carry", "normalize", "combinators",
          "passes", "activations")  # fmt: skip
SECONDS_PER_MUTANT = 120


class Mutant(NamedTuple):
    """One change of a module's syntax tree."""

    line: int
    what: str
    tree: ast.Module

    def key(self, module: str) -> str:
        """The same as long as the module's changed text is."""
        text = ast.unparse(self.tree)
        return hashlib.sha256(f"{module}\n{text}".encode()).hexdigest()[:16]


# --- mutants --------------------------------------------------------------------------------------

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
    elif isinstance(node, ast.Call) and len(node.args) >= 2 and not _starred(node):
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


def _starred(node: ast.Call) -> bool:
    return any(isinstance(argument, ast.Starred) for argument in node.args)


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


def _mutable(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes whose change can show: not messages of errors, annotations, imports or `__all__`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)):
            continue
        if isinstance(node, ast.Assign) and _is_type(node.value):
            continue
        if isinstance(node, ast.AnnAssign):
            waiting += [node.value] if node.value is not None else []
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef):
            waiting += [*node.args.defaults, *filter(None, node.args.kw_defaults), *node.body]
            continue
        if isinstance(node, ast.ClassDef):  # its decorators say frozen=True, which refuses misuse
            waiting += [*node.bases, *node.body]
            continue
        yield node
        waiting += list(ast.iter_child_nodes(node))


def _is_type(value: ast.expr) -> bool:
    """An alias such as Gates = dict[str, Array]: used in annotations alone."""
    names = ("Array", "Callable", "dict", "Literal")
    text = ast.unparse(value)
    return text == "np.ndarray" or any(text.startswith(f"{name}[") for name in names)


def mutants(source: str) -> list[Mutant]:
    """All of a module, in the order of its lines."""
    tree = ast.parse(source)
    found = []
    lines = source.splitlines()
    for node in _mutable(tree):
        line = getattr(node, "lineno", 0)
        if line and "pragma: no cover" in lines[line - 1]:
            continue
        changes = (*_operators(node), *_expressions(node), *_statements(node))
        for what, replacement in changes:
            mutated = _Replace(node, ast.copy_location(replacement, node)).visit(tree)
            found.append(Mutant(line, what, ast.fix_missing_locations(mutated)))
    return sorted(found, key=lambda mutant: mutant.line)


# --- running one ----------------------------------------------------------------------------------


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed module in place of the file's."""

    def __init__(self, name: str, path: Path, code: Any) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code, module.__dict__)


_ANSWERS = """
import pickle, sys
from lstm_oracle.conformance.vectors.cases import vectors
from lstm_oracle.conformance.vectors.digits import run_exactly
chosen = [vector.case for vector in list(vectors())[::7]]
sys.stdout.buffer.write(pickle.dumps([(case, run_exactly(case).blocks()) for case in chosen]))
"""


def exact_answers() -> bytes:
    """Every seventh test vector and its exact answer, from a process that no mutant is in."""
    command = [sys.executable, "-c", _ANSWERS]
    return subprocess.run(command, check=True, capture_output=True).stdout


def _answers_right(answers: bytes) -> bool:
    """What test_vectors_hold_the_oracle asserts, without pytest: most mutants fall here."""
    from lstm_oracle.conformance.case import run_oracle

    for case, true in pickle.loads(answers):
        got = run_oracle(case).blocks()
        if list(got) != list(true):
            return False
        for name, block in true.items():
            if not abs(got[name] - block).max() <= 5e-14 * abs(block).max():
                return False
    return True


def _child(module: str, path: Path, mutant: Mutant | None, answers: bytes) -> int:
    """The exit status of pytest with the mutant in place: 1 where a test failed."""
    import pytest

    if mutant is not None:
        name = f"lstm_oracle.{module}"
        code = compile(mutant.tree, str(path), "exec")
        sys.meta_path.insert(0, _Finder(name, path, code))
        if module.startswith("reference.") and not _answers_right(answers):
            return 1
    os.chdir(ROOT)
    options = ["-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        # One file after the other: most mutants fall to the first.
        return next((1 for test in TESTS[module] if pytest.main([*options, test]) != 0), 0)


def run(module: str, path: Path, mutant: Mutant | None, answers: bytes) -> str:
    """ "killed", "survived" or "timeout", from a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            status = _child(module, path, mutant, answers)
        except BaseException:
            status = 3  # the mutant cannot even be imported: seen
        os._exit(0 if status == 0 else 1)
    deadline = time.monotonic() + SECONDS_PER_MUTANT
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return "survived" if status == 0 else "killed"
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "timeout"


# --- the run --------------------------------------------------------------------------------------


def main() -> int:
    """Run what has not been run."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    arguments = parser.parse_args()
    stop = time.monotonic() + arguments.seconds
    # Imported once, before any fork: what every test needs and no mutant is.
    import hypothesis  # noqa: F401
    import mpmath  # noqa: F401
    import pytest  # noqa: F401

    RESULTS.mkdir(exist_ok=True)
    answers = exact_answers()
    finished = [_run_module(module, stop, answers) for module in arguments.modules]
    return _report(arguments.modules) if all(finished) else 3


def _run_module(module: str, stop: float, answers: bytes) -> bool:
    import numpy as np

    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    source = path.read_text("utf-8")
    every = {mutant.key(module): mutant for mutant in mutants(source)}
    file = RESULTS / f"{module}.json"
    old = json.loads(file.read_text())["mutants"] if file.exists() else {}
    rows = {key: row for key, row in old.items() if key in every}
    todo = [key for key in every if rows.get(key, {"result": "survived"})["result"] == "survived"]
    if todo and run(module, path, None, answers) != "survived":
        raise SystemExit(f"{module}: its tests fail without any mutant.")
    environment = {"python": platform.python_version(), "numpy": np.__version__}
    for key in todo:
        if time.monotonic() > stop:
            return False
        mutant = every[key]
        text = source.splitlines()[mutant.line - 1].strip() if mutant.line else ""
        rows[key] = {"line": mutant.line, "text": text, "what": mutant.what,
                     "result": run(module, path, mutant, answers)}  # fmt: skip
        if rows[key]["result"] != "killed":
            print(
                f"{module}:{mutant.line}: {rows[key]['result']}: {mutant.what}: {text}", flush=True
            )
        kept = {"environment": environment, "mutants": rows}
        file.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    return True


def _report(modules: list[str]) -> int:
    """The score, and what survives without an explanation; 1 where that is too much."""
    explained = json.loads(EXPLAINED.read_text()) if EXPLAINED.exists() else {}
    total = killed = equivalent = 0
    open_ones = []
    for module in modules:
        rows = json.loads((RESULTS / f"{module}.json").read_text())["mutants"]
        survivors = {key: row for key, row in rows.items() if row["result"] == "survived"}
        told = [key for key in survivors if key in explained]
        open_ones += [
            f"{module}:{row['line']} {row['what']}: {row['text']} ({key})"
            for key, row in survivors.items()
            if key not in explained
        ]
        dead = len(rows) - len(survivors)
        print(f"{module:32} {dead:5} of {len(rows):5} killed, {len(told)} explained")
        total, killed, equivalent = total + len(rows), killed + dead, equivalent + len(told)
    score = killed / max(1, total - equivalent)
    print(f"{killed} of {total} mutants killed, {equivalent} equivalent: score {score:.2%}")
    print("\n".join(open_ones))
    in_passes = [line for line in open_ones if line.split(".")[1].split(":")[0] in PASSES]
    return int(score < 0.98 or bool(in_passes))


if __name__ == "__main__":
    raise SystemExit(main())
