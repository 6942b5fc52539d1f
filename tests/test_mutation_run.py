"""The mutation run makes the changes that it says, and leaves alone what no test can see."""

import ast
import json

import pytest

from lstm_oracle.benchmarks import mutation


def made(source):
    return {ast.unparse(mutant.tree).strip() for mutant in mutation.mutants(source)}


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
    ],
)
def test_what_no_test_can_see_is_left_alone(source):
    assert made(source) == set()


def test_the_source_itself_is_not_changed():
    source = "def f(a, b):\n    return a * b + 1\n"
    before = ast.dump(ast.parse(source))
    keys = [mutant.key("m") for mutant in mutation.mutants(source)]
    assert ast.dump(ast.parse(source)) == before
    assert len(keys) == len(set(keys)) == 3


def test_every_survivor_that_is_kept_is_explained():
    explained = json.loads(mutation.EXPLAINED.read_text())
    for file in mutation.RESULTS.glob("*.*.json"):
        for key, row in json.loads(file.read_text())["mutants"].items():
            assert row["result"] != "survived" or explained[key], (file.name, row)
