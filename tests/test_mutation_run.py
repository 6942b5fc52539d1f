"""The mutation run makes the changes that it says and sees what tests see; its kept score holds."""

import ast
import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from lstm_oracle.benchmarks import mutation, mutation_engine
from lstm_oracle.benchmarks.mutants import mutants


def made(source):
    return {mutant.text for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "changed"),
    [
        ("a + b", {"a - b"}),
        ("a @ b.T", {"a @ b"}),
        ("-a", {"a"}),
        ("a < b", {"a <= b", "a >= b"}),
        ("a is None", {"a is not None"}),
        ("f(a, b, c)", {"pass", "f(b, a, c)"}),
        ("x = a[3:]", {"pass", "x = a[4:]", "x = a[1:]"}),
        ("x = b if a else c", {"pass", "x = c if a else b"}),
        ("if a and b:\n    f()", {"if not (a and b):\n    f()", "if a or b:\n    f()",
                                 "if a and b:\n    pass"}),
        ("x += 1", {"x -= 1", "x += 2", "pass"}),
    ],
)  # fmt: skip
def test_every_operator_makes_its_changes(source, changed):
    assert made(source) | {"pass"} == changed | {"pass"}


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "import a",
        "raise ValueError(f'{a + 1}')",
        "def f(a: int = b) -> int | None:\n    x: int",
        "Gates = dict[str, Array]",
        "if TYPE_CHECKING:\n    import a",
        "return zip(a, strict=True)",
        "return min(a, b)",
    ],
)
def test_what_no_test_can_see_is_left_alone(source):
    assert made(source) == set()


def test_the_source_itself_is_not_changed():
    source = "def f(a, b):\n    return a * b + 1\n"
    before = ast.dump(ast.parse(source))
    keys = [mutant.key("m") for mutant in mutants(source)]
    assert ast.dump(ast.parse(source)) == before
    assert len(keys) == len(set(keys)) == 3


def test_a_mutant_keeps_its_key_when_another_part_of_the_module_changes():
    function = "\n\ndef f(a):\n    return a[1:] + 2\n"
    alone = {mutant.key("m") for mutant in mutants(function)}
    longer = {mutant.key("m") for mutant in mutants("b = 7" + function)}
    assert len(alone) == 4
    assert alone < longer
    assert alone.isdisjoint(mutant.key("another") for mutant in mutants(function))


def test_a_module_is_held_by_files_or_by_single_tests_with_whatever_parameters():
    task = mutation_engine.Task("m", mutation.ROOT, ["a.py", "b.py::test_one"])
    held = ["a.py::test_two", "a.py::test_one[3]", "b.py::test_one", "b.py::test_one[x::y]"]
    assert all(map(task.has, held))
    assert not any(map(task.has, ["b.py::test_two", "b.py::test_one_more", "c.py::test_one"]))


SOURCE = """
import functools

LIMIT = 3

@functools.lru_cache
def f(x):
    return [y + 1 for y in range(x)]

class A:
    @property
    def size(self):
        return LIMIT * 2

def g(x=5):
    return lambda: x - 1
"""


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "mutated_for_a_test.py"
    path.write_text(SOURCE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("mutated_for_a_test", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return path, loaded


def changes(path, text, replacement):
    old = compile(SOURCE, str(path), "exec")
    assert SOURCE.count(text) == 1
    return mutation_engine.changed_functions(
        old, compile(SOURCE.replace(text, replacement), str(path), "exec")
    )


@pytest.mark.parametrize(
    ("text", "replacement", "name", "answers"),
    [
        ("y + 1", "y - 1", "f", lambda m: m.f(2) == [-1, 0]),
        ("LIMIT * 2", "LIMIT / 2", "A.size", lambda m: m.A().size == 1.5),
        ("x - 1", "x + 1", "g", lambda m: m.g()() == 6),
    ],
)
def test_a_function_in_memory_gets_the_changed_body(module, text, replacement, name, answers):
    path, loaded = module
    changed = changes(path, text, replacement)
    assert [place[1] for place in changed] == [name]
    live = mutation_engine.live_functions(path)
    for place, code in changed.items():
        for function in live[place]:
            function.__code__ = code
    assert answers(loaded)


@pytest.mark.parametrize(
    ("text", "replacement"),
    [("LIMIT = 3", "LIMIT = 4"), ("x=5", "x=6"), ("@functools.lru_cache", "@functools.cache")],
)
def test_what_changes_an_import_needs_a_new_one(module, text, replacement):
    assert changes(module[0], text, replacement) == {}


# In a process of its own: the one that runs the tests may have started JAX, which warns of forks.
FORKS = """
import time
from lstm_oracle.benchmarks import mutation_engine

mutation_engine.SECONDS_AT_LEAST = 0

def fail():
    raise MemoryError

def spin():
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass

for work in (lambda: None, lambda: "test_it", fail, spin):
    print(*mutation_engine.in_a_fork(work))
"""


def test_a_fork_says_what_became_of_a_mutant():
    done = subprocess.run(
        [sys.executable, "-c", FORKS], check=True, capture_output=True, text=True, timeout=120
    )
    outcomes = [line.split() for line in done.stdout.splitlines()]
    assert outcomes == [["survived"], ["killed", "test_it"], ["killed"], ["timeout"]]


def test_every_module_is_mutated_or_left_out_for_a_reason():
    for room in ("reference", "conformance"):
        for path in (mutation.ROOT / room).rglob("*.py"):
            module = ".".join(path.relative_to(mutation.ROOT).with_suffix("").parts)
            left_out = [name for name in mutation.LEFT_OUT if f"{module}.".startswith(f"{name}.")]
            package = path.name == "__init__.py"
            assert (module in mutation.TESTS) + len(left_out) == 1 or package, module


def test_every_module_that_has_tests_has_kept_results_or_is_said_to_have_none():
    for module, tests in mutation.TESTS.items():
        assert mutation.source_of(module).exists(), module
        for test in tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (mutation.ROOT / file).read_text("utf-8"), test
        assert (mutation.score([module]).run > 0) == (module not in mutation.NOT_YET), module
    assert set(mutation.NOT_YET) <= set(mutation.TESTS)
    assert set(mutation.PASSES) <= set(mutation.TESTS) - set(mutation.NOT_YET)


def test_the_kept_score_is_what_is_asked_for():
    assert mutation.score(mutation.TESTS).value >= mutation.GOAL


def test_no_mutant_of_the_passes_survives_without_a_reason():
    assert [line for module in mutation.PASSES for line in mutation.unexplained(module)] == []


def test_a_sample_is_of_the_smallest_keys_and_spreads_over_the_lines(monkeypatch):
    every = mutation.every("reference.combinators")
    assert list(every) == sorted(every)
    monkeypatch.setitem(mutation.SAMPLED, "reference.combinators", 40)
    chosen = mutation.of("reference.combinators")
    assert list(chosen) == list(every)[:40]
    middle = np.median([mutant.line for mutant in every.values()])
    assert 10 <= sum(mutant.line < middle for mutant in chosen.values()) <= 30


def test_the_interval_is_wilsons():
    low, high = mutation.Score(killed=98, survived=2, equivalent=5).interval()
    assert (low, high) == (pytest.approx(0.9300, abs=5e-5), pytest.approx(0.9945, abs=5e-5))
