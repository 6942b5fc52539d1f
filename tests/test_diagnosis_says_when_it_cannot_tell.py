"""Nothing is called healthy that was not found so: what is undecided, and what swings, is said."""

from __future__ import annotations

import json

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import Diagnosis, examination  # noqa: E402
from lstm_oracle.diagnosis.generalization import _settled  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions import head  # noqa: E402
from lstm_oracle.diagnosis.lab import Run, _near_the_end  # noqa: E402
from lstm_oracle.diagnosis.outcome import Outcome  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def run(steps, skill, held_out=None):
    skill = np.asarray(skill, float)
    held_out = skill if held_out is None else np.asarray(held_out, float)
    return Run(np.zeros(steps[-1]), np.asarray(steps), skill, held_out, 100.0)


def setup_with(model, x, y):
    return setup_of(
        model, x, y, validation_data=None, validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def test_what_is_undecided_is_not_healthy_and_says_so_in_json_and_junit():
    undecided = Diagnosis((), "Cannot tell.", undecided="Cannot tell. More time would.")
    assert not undecided.healthy
    assert Diagnosis((), "Healthy.").healthy
    assert json.loads(undecided.to_json())["undecided"] == undecided.undecided
    assert 'skipped message="Cannot tell. More time would."' in undecided.to_junit()


def test_a_skill_that_swings_is_judged_by_the_mean_of_its_end():
    swinging = run([1, 50, 85, 93, 100], [0.0, 0.9, 0.2, 0.4, 0.9])
    assert swinging.fitted == pytest.approx(0.5)
    assert swinging.generalized == pytest.approx(0.5)


def test_a_long_training_is_looked_at_three_times_near_its_end():
    at = _near_the_end(200)
    looked_at = run([1, 100, *at], [0.0, 0.1, 0.3, 0.6, 0.9])
    assert at[-1] == 200
    assert looked_at.end.tolist() == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("skill", "settled"),
    [
        ([0.0, 0.5, 0.97, 1.0, 1.0, 1.0], 30),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 1),
        ([0.0, 0.1, 0.2, 1.0, 1.0, 1.0], 85),
        ([0.0, 1.0, 0.5, 1.0, 1.0, 1.0], 85),  # it moved again
    ],
)
def test_a_training_has_settled_where_skill_no_longer_moves(skill, settled):
    assert _settled(run([1, 10, 30, 85, 93, 100], skill), held_out=1000) == settled


def test_a_baseline_that_no_network_reaches_leaves_a_gap_that_is_not_learnable():
    behind = Outcome(run([50], [0.1]), run([50], [0.1]), 50, easy=0.6)
    assert behind.gap == pytest.approx(0.5)
    assert not behind.learnable


@pytest.mark.parametrize(("columns", "wrong"), [(1, False), (2, True), (3, True)])
def test_one_number_against_several_targets_is_a_contradiction(columns, wrong):
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4, 2)), rng.normal(size=(40, columns))
    setup = setup_with(model, x.astype("float32"), y.astype("float32"))
    assert bool(head.head_is_wrong(setup)) is wrong
    if wrong:
        assert head.repair_head(setup).model.output_shape == (None, columns)


def test_one_number_per_step_fits_targets_of_as_many_columns_as_steps():
    model = keras.Sequential(
        [keras.Input((4, 2)), keras.layers.LSTM(3, return_sequences=True), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4, 2)), rng.normal(size=(40, 4))
    assert not head.head_is_wrong(setup_with(model, x.astype("float32"), y.astype("float32")))


@pytest.mark.parametrize(("values", "said"), [(2, True), (5, False), (40, False)])
def test_a_table_of_which_hardly_a_row_is_used_is_noted(values, said):
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Embedding(40, 4), keras.layers.LSTM(3),
         keras.layers.Dense(1)]
    )  # fmt: skip
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x = rng.integers(0, values, (200, 6)).astype("int32")
    found = examination.hardly_used_table(setup_with(model, x, rng.normal(size=(200, 1))))
    assert bool(found) is said
    if said:
        assert found[0].cause == "input-encoding"
        assert f"{values} of the 40 rows" in found[0].summary
