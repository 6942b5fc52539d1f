"""A disagreement says which block, which gate and which step."""

import dataclasses

import numpy as np
import pytest

from lstm_oracle.conformance import compare, matrix, run_oracle
from lstm_oracle.conformance.known_defects import explain
from lstm_oracle.conformance.report import BlockError, CaseReport
from lstm_oracle.conformance.yardstick import Deviation
from lstm_oracle.conformance.zoo import bug, nearest_bug


def _case(start):
    return next(case for case in matrix.cases() if case.name.startswith(start))


PLAIN = _case("plain, float64")


@pytest.fixture
def right():
    return run_oracle(PLAIN)


def test_the_oracle_agrees_with_itself(right):
    report = compare(PLAIN, right, ours=True)
    assert report.status == "agree"
    assert len(report.blocks) == 18
    assert report.message == ""


def test_the_message_names_block_and_gate(right):
    d_params = right.d_params | {"U_f": right.d_params["U_f"] * 1.01}
    message = compare(PLAIN, dataclasses.replace(right, d_params=d_params)).message
    assert "1 of 18 blocks are wrong, most of all d_U_f" in message
    assert "only of gate f (forget)" in message


def test_the_message_names_the_first_wrong_step_of_y(right):
    y = right.y.copy()
    y[0, 3:, 1] += 1e-3
    message = compare(PLAIN, dataclasses.replace(right, y=y)).message
    assert "y is wrong at 2 of 5 steps, first at step 3" in message


def test_the_message_names_the_last_wrong_step_of_d_x(right):
    d_x = right.d_x.copy()
    d_x[1, :2] += 1e-3
    message = compare(PLAIN, dataclasses.replace(right, d_x=d_x)).message
    assert "d_x is wrong at 2 of 5 steps, last at step 1" in message


def test_a_single_wrong_entry_is_seen(right):
    for name in ("W_i", "U_o", "b_g"):
        array = right.d_params[name].copy()
        array.flat[-1] += 1e-12 * np.abs(array).max()
        changed = dataclasses.replace(right, d_params=right.d_params | {name: array})
        assert compare(PLAIN, changed).status == "disagree", name


def test_nan_is_a_disagreement(right):
    d_params = right.d_params | {"b_i": right.d_params["b_i"] * np.nan}
    report = compare(PLAIN, dataclasses.replace(right, d_params=d_params))
    assert report.status == "disagree"
    assert report.worst.block == "d_b_i"
    assert report.worst.ratio == np.inf


def test_a_wrong_shape_is_a_disagreement(right):
    report = compare(PLAIN, dataclasses.replace(right, y=right.y[:, :-1]))
    assert report.status == "disagree"
    assert report.message == "y has shape (2, 4, 4), expected (2, 5, 4)"


def test_a_missing_block_is_a_disagreement(right):
    d_params = {name: a for name, a in right.d_params.items() if name != "b_o"}
    report = compare(PLAIN, dataclasses.replace(right, d_params=d_params))
    assert report.message == "no d_b_o in the result"


def test_a_forward_pass_alone_is_compared_alone(right):
    forward = dataclasses.replace(right, d_params=None, d_x=None, d_state=None)
    report = compare(PLAIN, forward)
    assert report.status == "agree"
    assert {block.block for block in report.blocks} == {"y", "state.h", "state.c"}


def test_no_gradient_is_due_of_a_state_that_was_not_given():
    case = _case("plain, no initial state")
    assert compare(case, dataclasses.replace(run_oracle(case), d_state=None)).status == "agree"


def test_our_own_promise_is_held_whatever_the_yardstick(right):
    wrong = dataclasses.replace(right, y=right.y * (1 + 2e-13))
    generous = dict.fromkeys(right.blocks(), Deviation(1e-3, 1e-3))
    assert compare(PLAIN, wrong, generous).status == "agree"
    assert compare(PLAIN, wrong, generous, ours=True).status == "disagree"


@pytest.mark.parametrize(
    ("identifier", "start"),
    [
        ("carry-dropped", "plain, float64"),
        ("final-c-cotangent-ignored", "plain, float64"),
        ("u-transposed", "plain, float32"),
        ("nan-leaks", "mask right, NaN in the padding, float64"),
        ("masked-output-initial", "mask left, float64"),
        ("output-peephole-sees-previous-cell", "peepholes ifo, float64"),
        ("silently-float32", "plain, float64"),
        ("gate-order-W-gfio", "plain, float32"),
    ],
)
def test_the_nearest_bug_is_the_bug_itself(identifier, start):
    case, one = _case(start), bug(identifier)
    result = one.run(case)
    report = compare(case, result)
    assert report.status == "disagree"
    assert nearest_bug(case, result) == f"{one.id}: {one.sentence}"


def test_a_result_like_no_bug_has_no_nearest_one(right):
    rng = np.random.default_rng(0)
    noise = dataclasses.replace(right, y=right.y + rng.normal(size=right.y.shape))
    assert nearest_bug(PLAIN, noise) == ""


def test_a_known_defect_does_not_explain_a_larger_error():
    versions = {"keras": "3.15.1"}
    block = BlockError("y", 1e-7, 1e-16, 1e-15, 1e8)
    for error, explained in ((1e-7, True), (0.5, False)):
        report = CaseReport(
            "plain", "disagree", "float64", (dataclasses.replace(block, error=error),)
        )
        found = explain("keras.layers.LSTM on jax", "jax", versions, PLAIN, report)
        assert bool(found) == explained
        assert ("keras#23223" in found) == explained


def test_a_defect_is_not_excused_in_versions_where_it_was_not_seen():
    for version in ("3.15.0", "3.16.0", "4"):
        versions = {"keras": version}
        assert explain("keras.layers.LSTM on jax", "jax", versions, PLAIN) == ""


def test_what_is_ours_has_no_excuse():
    versions = {"keras": "3.15.1", "jax": "0.10.2"}
    for case in matrix.cases():
        assert explain("lstm_oracle.keras_impl on jax", "jax", versions, case) == ""
