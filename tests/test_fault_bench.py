"""The fault bench holds what it promises: enough cases of every cause, each of which builds."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter

import numpy as np
import pytest

from lstm_oracle.diagnosis.findings import CAUSES

SAMPLE = (
    "raw-units-elnino-1", "holes-sine-1", "padding-unmasked-text-1", "stateful-shuffled-adding-1",
    "one-unit-for-two-weather-1", "closed-forget-gate-recall-1", "penalty-vowels-1",
    "hasty-schedule-labelling-1", "level-forecast-co2-1", "frozen-names-1",
)  # fmt: skip


@pytest.fixture(scope="module")
def bench(repository):
    """The bench's modules by name; they are scripts and lie in no package."""
    folder = str(repository / "benchmarks" / "faults")
    sys.path.insert(0, folder)
    try:
        names = ("tasks", "faults", "healthy", "later", "parts", "rivals", "run_bench",
                 "check_faults")  # fmt: skip
        yield {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_six_cases_over_four_tasks_two_of_them_on_real_data(bench, cause):
    cases = [case for case in bench["faults"].CASES if case.cause == cause]
    assert len(cases) >= 6
    assert len({case.task for case in cases}) >= 4
    assert sum(case.real for case in cases) >= 2


def test_no_case_has_a_cause_that_users_cannot_be_told(bench):
    for case in bench["faults"].CASES:
        assert {case.cause, *case.also_right} <= set(CAUSES), case.name
    assert bench["rivals"].CAUSES == CAUSES
    assert set(bench["rivals"].REMEDIES) == set(CAUSES)


def test_there_are_eight_tasks_three_of_them_on_real_data(bench):
    recipes = [make() for make in bench["tasks"].TASKS.values()]
    assert len(recipes) >= 8
    assert sum(recipe.real for recipe in recipes) >= 3
    assert {recipe.task for recipe in recipes if recipe.real} == set(bench["faults"].REAL)


def test_there_are_two_hundred_healthy_runs_and_twenty_that_are_no_bug(bench):
    assert len(bench["healthy"].HEALTHY) >= 200
    assert len(bench["healthy"].NOT_A_BUG) >= 20


def test_names_are_unique(bench):
    healthy = bench["healthy"]
    later = bench["later"]
    names = [x.name for x in (*bench["faults"].CASES, *healthy.HEALTHY, *healthy.NOT_A_BUG,
                              *later.LATER, *later.LATER_HEALTHY)]  # fmt: skip
    assert max(Counter(names).values()) == 1


def test_the_split_is_drawn_once_and_never_moves_a_case(bench):
    parts = bench["parts"]
    kept = parts.drawn()
    strata = parts.strata()
    assert parts.assign(kept, strata) == kept
    strata["masking"] = [*strata["masking"], "a-new-fault-1", "a-new-fault-2"]
    grown = parts.assign(kept, strata)
    assert {name: grown[name] for name in kept} == kept
    assert {grown["a-new-fault-1"], grown["a-new-fault-2"]} == {"develop", "measure"}


def test_what_was_added_later_is_for_development_and_the_measured_part_stays(bench):
    later = {item.name for item in (*bench["later"].LATER, *bench["later"].LATER_HEALTHY)}
    drawn, parts = bench["parts"].drawn(), bench["parts"].load()
    assert not later & set(drawn)
    assert {parts[name] for name in later} == {"develop"}
    assert {name for name in parts if parts[name] == "measure"} == {
        name for name in drawn if drawn[name] == "measure"
    }


def test_both_parts_have_cases_of_every_cause(bench):
    kept = bench["parts"].drawn()
    for cause in CAUSES:
        found = Counter(kept[case.name] for case in bench["faults"].CASES if case.cause == cause)
        assert min(found["develop"], found["measure"]) >= 3, cause


def test_a_recipe_holds_the_same_data_each_time(bench):
    for case in bench["faults"].CASES[::9]:
        first, second = case.broken_recipe(), case.broken_recipe()
        np.testing.assert_array_equal(first.x, second.x)
        np.testing.assert_array_equal(first.y, second.y)


def test_a_perfect_forecast_has_skill_one_and_a_constant_has_none(bench):
    tasks = bench["tasks"]
    for make in tasks.TASKS.values():
        recipe = make()
        assert tasks.score(recipe, recipe.truth) == pytest.approx(1.0)
        if recipe.persistence is None:
            values = recipe.truth if recipe.kind.endswith("regression") else np.zeros(1, int)
            constant = np.full_like(recipe.truth, values.mean())
            assert tasks.score(recipe, constant) == pytest.approx(0.0, abs=1e-6)


def test_a_prediction_that_is_not_finite_has_the_worst_skill(bench):
    recipe = bench["tasks"].sine()
    assert bench["tasks"].score(recipe, np.full_like(recipe.truth, np.nan)) == -1.0


def test_checked_cases_are_kept_only_where_the_fix_gains(bench):
    path = bench["check_faults"].CASES_JSON
    for line in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        gained = line["gain"] is not None and line["gain"] >= bench["check_faults"].GAIN
        assert line["kept"] <= gained, line["name"]


def test_the_kept_cases_alone_are_six_of_every_cause_over_four_tasks_two_on_real_data(bench):
    path = bench["check_faults"].CASES_JSON
    lines = json.loads(path.read_text(encoding="utf-8"))["cases"]
    decidable = {case.name for case in bench["faults"].CASES if case.decidable}
    for cause in CAUSES:
        kept = [
            line
            for line in lines
            if line["kept"] and line["cause"] == cause and line["name"] in decidable
        ]
        assert len(kept) >= 6, cause
        assert len({line["task"] for line in kept}) >= 4, cause
        assert sum(line["real"] for line in kept) >= 2, cause


def test_wilson_intervals_agree_with_published_values(bench):
    """Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    share = bench["run_bench"].Share
    assert share(81, 263).interval() == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert share(0, 20).interval() == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_a_case_that_leaves_no_trace_is_not_asked(bench):
    unseen = {case.name for case in bench["faults"].CASES if not case.decidable}
    assert "short-window-names-1" in unseen
    for part in ("develop", "measure"):
        options = argparse.Namespace(part=part, only=None, skip=0, limit=None)
        assert not unseen & set(bench["run_bench"].chosen(options))


def test_a_case_that_names_an_equivalent_cause_is_right(bench):
    item = next(case for case in bench["faults"].CASES if case.name == "bottleneck-digits-1")
    line = {
        "findings": [
            {"cause": "batch-size", "severity": "info"},
            {"cause": "too-small", "severity": "warning"},
        ]
    }
    assert bench["run_bench"].right_among(item, line, 1)
    assert not bench["run_bench"].right_among(item, {"findings": line["findings"][:1]}, 3)


def test_the_verdict_that_inputs_tell_nothing_answers_where_nothing_else_is_named(bench):
    item = next(case for case in bench["faults"].CASES if case.name == "useless-input-digits-1")
    verdict = {"cause": "no-signal", "severity": "info"}
    other = {"cause": "batch-size", "severity": "warning"}
    assert bench["run_bench"].right_among(item, {"findings": [verdict]}, 1)
    assert not bench["run_bench"].right_among(item, {"findings": [other, verdict]}, 3)
    assert not bench["run_bench"].right_among(item, {"findings": []}, 3)


BUILD = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from faults import CASES
from healthy import HEALTHY, NOT_A_BUG
wanted = set(sys.argv[2:])
cases = [case for case in CASES if case.name in wanted]
assert len(cases) == len(wanted)
for item in (*cases, HEALTHY[3], HEALTHY[7], NOT_A_BUG[0]):
    for make in (item.build, getattr(item, "fixed", item.build)):
        model, fit = make()
        rows = fit["batch_size"]
        output = np.asarray(model(fit["x"][:rows]))
        assert output.ndim >= 2 and model.compiled, item.name
        assert len(fit["x"]) == len(fit["y"]), item.name
print("built", len(cases))
"""


def test_a_sample_of_the_cases_builds_and_compiles(repository, run_python):
    done = run_python(
        BUILD, str(repository / "benchmarks" / "faults"), *SAMPLE,
        KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == f"built {len(SAMPLE)}"
