"""What is wrong, breaks, dies or hangs has no time, says why, and takes nobody with it."""

import numpy as np
import pytest

from lstm_oracle.benchmarks.speed.contender import cells
from lstm_oracle.benchmarks.speed.on_numpy import oracle
from lstm_oracle.benchmarks.speed.truth import Truth, checked_case, in_float32, make_case
from lstm_oracle.benchmarks.speed.workload import Workload
from lstm_oracle.conformance import textbook
from lstm_oracle.conformance.sampled_yardstick import Sampled
from lstm_oracle.conformance.yardstick import Deviation
from tests.speed.samples import SMALL, own


def rows(result, name, mode=None):
    return [
        row
        for case in result["cases"]
        if mode in (None, case["mode"])
        for row in case["rows"]
        if row["contender"] == own(name)
    ]


def test_what_is_right_is_timed_in_every_case(result):
    found = rows(result, "right")
    assert len(found) == 2 * len(SMALL)
    for row in found:
        assert row["status"] == "ok"
        assert row["quartiles_ms"][0] <= row["median_ms"] <= row["quartiles_ms"][1]
        assert len(row["rounds_ms"]) == 2
        assert row["error_ratio"] <= 1


def test_a_wrong_output_is_wrong_in_both_modes(result):
    for row in rows(result, "wrong_output"):
        assert row["status"] == "wrong"
        assert "y" in row["message"]
        assert row["median_ms"] is None
        assert row["rounds_ms"] == []


def test_a_wrong_entry_of_one_gradient_is_wrong_in_training_alone(result):
    assert {row["status"] for row in rows(result, "wrong_gradient", "forward")} == {"ok"}
    for row in rows(result, "wrong_gradient", "training"):
        assert row["status"] == "wrong"
        assert "d_U_f" in row["message"]
        assert row["median_ms"] is None


def test_what_raises_says_what(result):
    for row in rows(result, "raises"):
        assert (row["status"], row["message"]) == (
            "error", "raised FloatingPointError: it had a bad day",
        )  # fmt: skip


def test_a_process_that_dies_is_started_again_for_the_next_case(result):
    first, last = rows(result, "crashes")[:2], rows(result, "crashes")[2:]
    for row in first:
        assert row["status"] == "crash"
        assert "ended with code 3: about to go" in row["message"]
    assert {row["status"] for row in last} == {"ok"}


def test_one_that_hangs_is_given_up_and_started_again(result):
    first, last = rows(result, "hangs")[:2], rows(result, "hangs")[2:]
    assert {(row["status"], row["message"]) for row in first} == {
        ("timeout", "no answer within 8 s")
    }
    assert {row["status"] for row in last} == {"ok"}


def test_one_that_does_not_start_is_listed_with_the_reason(result):
    (entry,) = [e for e in result["contenders"] if e["name"] == own("cannot_start")]
    assert entry["unavailable"] == "ImportError: no such library as libnothing.so"
    assert rows(result, "cannot_start") == []


# --- the check at full size, on some sequences ----------------------------------------------------


@pytest.fixture(scope="module")
def large():
    """A workload of which the oracle runs some sequences only."""
    workload = Workload(6, 64, 3, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lstm_oracle.benchmarks.speed.truth.AFFORDABLE_PRODUCTS", 1.0)
        return workload, Truth.measured(workload)


def test_the_checked_sequences_are_spread_over_the_batch(large):
    assert large[1].rows.tolist() == [0, 9, 18, 27, 36, 45, 54, 63]


def test_the_oracle_at_full_size_agrees_with_itself_on_some(large):
    workload, truth = large
    case = checked_case(make_case(workload), truth.rows)
    prepared = oracle().prepare(workload, "training")
    answer = prepared.result(case, prepared.run(prepared.place(case)))
    assert truth.judge(case, answer, "training").status == "agree"


@pytest.mark.parametrize("name", ["W_i", "U_g", "b_o"])
def test_a_wrong_entry_is_seen_on_some_sequences_too(large, name):
    workload, truth = large
    case = checked_case(make_case(workload), truth.rows)
    prepared = oracle().prepare(workload, "training")
    answer = prepared.result(case, prepared.run(prepared.place(case)))
    gradient = cells(answer.d_params)[0][name]
    gradient.flat[3] += 1e-3 * np.abs(gradient).max()
    report = truth.judge(case, answer, "training")
    assert report.status == "disagree"
    assert f"d_{name}" in report.message


@pytest.mark.parametrize(("longer", "status"), [(4.0, "agree"), (1.5, "disagree")])
def test_what_two_witnesses_refuse_by_a_little_is_judged_by_more_runs(
    large, monkeypatch, longer, status
):
    workload, truth = large
    case = checked_case(make_case(workload), truth.rows)
    answer = textbook.run(in_float32(case))
    (allowed,) = (
        block.tolerance
        for block in truth.judge(case, answer, "training").blocks
        if block.block == "d_b_o"
    )
    gradient = cells(answer.d_params)[0]["b_o"]
    gradient[0] += 3 * allowed * np.abs(gradient).max()
    half = longer * allowed / 2  # a tolerance is twice the yardstick
    more = Sampled({name: Deviation(half, half) for name in truth.yardstick}, sequences=1)
    monkeypatch.setattr(
        "lstm_oracle.benchmarks.speed.truth.sampled_yardstick",
        lambda part, **_: more,
    )
    assert truth.judge(case, answer, "training").status == status
