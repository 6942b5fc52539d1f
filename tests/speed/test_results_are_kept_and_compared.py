"""A result survives an interruption, is what its schema says, and tells what became slower."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from lstm_oracle.benchmarks.speed import kept
from lstm_oracle.benchmarks.speed.bench import measure
from lstm_oracle.benchmarks.speed.compare import compare
from tests.speed.samples import SMALL, own, plan

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "speed.schema.json").read_text(encoding="utf-8"))


def test_a_result_with_every_way_to_fail_is_what_the_schema_says(result):
    text = kept.text(result)
    jsonschema.validate(json.loads(text), SCHEMA)
    assert json.loads(text) == json.loads(json.dumps(result))


def test_the_schema_refuses_a_time_of_what_is_wrong(result):
    broken = copy.deepcopy(result)
    row = next(r for c in broken["cases"] for r in c["rows"] if r["status"] == "wrong")
    row["median_ms"] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, SCHEMA)


def test_an_interrupted_run_goes_on_where_it_was(importable, tmp_path):
    path, names = tmp_path / "kept.json", [own("right")]

    class Stop(Exception):
        pass

    def keep_and_stop(found):
        kept.write(path, found)
        if len(found["cases"]) == 3:
            raise Stop

    with pytest.raises(Stop):
        measure(plan(names), keep=keep_and_stop)
    old = kept.read(path)
    assert not old["finished"]
    again = kept.resumable(path, old["commit"], old["threads"])
    whole = measure(plan(names), old=again)
    assert whole["finished"]
    assert whole["cases"][:3] == old["cases"]
    assert [(c["workload"]["T"], c["mode"]) for c in whole["cases"]] == [
        (w.T, mode) for w in SMALL for mode in ("forward", "training")
    ]
    assert len(whole["contenders"]) == 1


def test_figures_of_two_commits_are_not_mixed(result, tmp_path):
    path = tmp_path / "kept.json"
    kept.write(path, result | {"finished": False})
    with pytest.raises(ValueError, match="is unfinished and has commit"):
        kept.resumable(path, "another", result["threads"])
    with pytest.raises(ValueError, match="is unfinished and has threads"):
        kept.resumable(path, result["commit"], 99)


def test_a_finished_result_is_measured_anew(result, tmp_path):
    path = tmp_path / "kept.json"
    kept.write(path, result)
    assert kept.resumable(path, "another", 99) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "is not JSON"),
        ("[]", "has format 'list', expected 'lstm-oracle bench'"),
        ('{"format": "lstm-oracle verify"}', "has format 'lstm-oracle verify'"),
        ('{"format": "lstm-oracle bench", "version": 2}', "has version 2 and no machine"),
    ],
)
def test_another_file_is_refused_with_what_it_is(content, said, tmp_path):
    path = tmp_path / "other.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        kept.read(path)


# --- comparison -----------------------------------------------------------------------------------


def changed(result, name, factor=None, **fields):
    """The result with one contender's rows changed."""
    new = copy.deepcopy(result)
    for case in new["cases"]:
        for row in case["rows"]:
            if row["contender"] != name:
                continue
            if factor is not None:
                row["median_ms"] *= factor
                row["quartiles_ms"] = [value * factor for value in row["quartiles_ms"]]
            row.update(fields)
    return new


@pytest.fixture
def steady(result):
    """The result with quartiles of 1 % around every median."""
    new = copy.deepcopy(result)
    for case in new["cases"]:
        for row in case["rows"]:
            if row["median_ms"] is not None:
                row["quartiles_ms"] = [0.995 * row["median_ms"], 1.005 * row["median_ms"]]
    return new


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, "same"), (1.03, "same"), (0.97, "same"), (1.2, "slower"), (0.8, "faster")],
)
def test_a_change_beyond_noise_has_a_direction(steady, factor, verdict):
    found = compare(steady, changed(steady, own("right"), factor))
    assert {c.verdict for c in found.changes if c.contender == own("right")} == {verdict}
    assert {c.verdict for c in found.changes if c.contender == "NumPy oracle"} == {"same"}
    assert bool(found.regressed) == (verdict == "slower")


def test_quartiles_that_overlap_are_noise(steady):
    loud = changed(steady, own("right"), quartiles_ms=[0.0, 1e6])
    slower = changed(loud, own("right"), 1.2)
    assert compare(loud, slower).regressed == []


def test_what_has_no_time_any_more_is_broken(steady):
    broken = changed(steady, own("right"), median_ms=None, status="wrong")
    assert {c.verdict for c in compare(steady, broken).regressed} == {"broken"}
    assert compare(broken, steady).regressed == []


def test_another_machine_is_said(steady):
    other = steady | {"machine": steady["machine"] | {"processor": "another"}}
    (said,) = compare(steady, other).differences
    assert said.endswith("and another")


def test_results_with_nothing_in_common_are_refused(steady):
    other = copy.deepcopy(steady)
    for case in other["cases"]:
        case["workload"]["T"] += 100
    with pytest.raises(ValueError, match="no contender at the same workload"):
        compare(steady, other)


def test_a_workload_is_read_back_as_it_was():
    for workload in (SMALL[0], replace(SMALL[0], layers=2, directions=2, masked=True)):
        assert type(workload).from_json(json.loads(json.dumps(workload.as_json()))) == workload
