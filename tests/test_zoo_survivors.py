"""The kept fates of the zoo's bugs are whole, and each bug's smallest input shows it."""

from __future__ import annotations

import json
from itertools import takewhile

import pytest

from lstm_oracle.benchmarks import survivors
from lstm_oracle.conformance.zoo import BUGS, bug

KEPT = json.loads(survivors.KEPT.read_text())
ROWS = KEPT["bugs"]


def recipe(one):
    return survivors.recipe_of(f"{ROWS[one.id]['recipe']}, float64")


def test_every_bug_has_a_fate_under_every_check():
    assert set(ROWS) == {one.id for one in BUGS}
    checks = survivors.checks_run(KEPT)
    assert {"oracle", "torch", "jax-x64", "jax-float32", "onnx", "keras"} <= set(checks)
    for row in ROWS.values():
        assert {row[name] for name in checks} <= {"caught", "survives", "cannot be asked"}
        assert row["oracle"] == "caught"


def test_every_smallest_input_shows_its_bug():
    for one in BUGS:
        sizes, draw = ROWS[one.id]["smallest"]
        assert survivors.shows(one, survivors.small_case(recipe(one), sizes, draw)), one.id


@pytest.mark.parametrize(
    "identifier", ["h-for-previous-h", "truncated-after-20-steps", "one-unit-broadcast"]
)
def test_nothing_smaller_shows_it(identifier):
    one, (sizes, _) = bug(identifier), ROWS[identifier]["smallest"]
    for smaller in takewhile(lambda found: found != tuple(sizes), survivors.grid()):
        assert not survivors.shows(one, survivors.small_case(recipe(one), smaller))


def test_the_unchanged_textbook_shows_nothing():
    for one in BUGS[::10]:
        sizes, draw = ROWS[one.id]["smallest"]
        case = survivors.small_case(recipe(one), sizes, draw)
        assert not survivors.shows(survivors.NO_BUG, case)


def test_the_table_is_the_kept_one(tmp_path, monkeypatch):
    monkeypatch.setattr(survivors, "TABLE", tmp_path / "survivors.md")
    kept = json.loads(survivors.KEPT.read_text())
    survivors.write_table(kept)
    page = survivors.ROOT / "docs" / "survivors.md"
    assert (tmp_path / "survivors.md").read_text() == page.read_text()
