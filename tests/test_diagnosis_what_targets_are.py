"""Targets with several numbers: classes, classes with padding, labels of their own, a horizon."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions.head import fitting, head_is_wrong  # noqa: E402
from lstm_oracle.diagnosis.interventions.network import steps_do_not_match  # noqa: E402
from lstm_oracle.diagnosis.task import task_of  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6, 2)).astype("float32")
SEVERAL = (RNG.random((40, 5)) < 0.4).astype("int64")
PADDED = np.eye(3)[RNG.integers(0, 3, (40, 6))]
PADDED[:, 4:] = 0


def setup(y, loss, head, per_step=False, **options):
    model = keras.Sequential(
        [keras.Input((6, 2)), keras.layers.LSTM(3, return_sequences=per_step), head]
    )
    model.compile("adam", loss)
    defaults = {
        "validation_data": None, "validation_split": 0.25, "batch_size": 8, "epochs": 2,
        "class_weight": None, "sample_weight": None, "shuffle": True, "seed": 0,
    }  # fmt: skip
    return setup_of(model, X, y, **{**defaults, **options})


def test_several_labels_of_one_sequence_are_no_fault():
    made = setup(SEVERAL, "binary_crossentropy", keras.layers.Dense(5, activation="sigmoid"))
    assert head_is_wrong(made) == ""
    assert steps_do_not_match(made) == ""
    assert not made.tasks[0].per_step
    assert made.tasks[0].skill(SEVERAL, SEVERAL) == 1.0
    assert made.tasks[0].skill(SEVERAL, np.tile(made.tasks[0].mean, (40, 1))) <= 0.0


def test_softmax_over_several_labels_is_a_fault():
    made = setup(SEVERAL, "binary_crossentropy", keras.layers.Dense(5, activation="softmax"))
    assert "softmax" in head_is_wrong(made)


def test_whole_numbers_for_a_horizon_are_no_steps():
    made = setup(RNG.integers(0, 4, (40, 5)), "mse", keras.layers.Dense(5))
    assert made.tasks[0].kind == "regression"
    assert steps_do_not_match(made) == ""


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "binary_crossentropy"])
def test_one_hot_targets_that_are_blank_where_padded_are_classes(loss):
    made = setup(PADDED, loss, keras.layers.Dense(3, activation="softmax"), per_step=True)
    task = made.tasks[0]
    assert (task.kind, task.coding, task.per_step) == ("multiclass", "one-hot", True)
    wrong_in_padding = PADDED.copy()
    wrong_in_padding[:, 4:, 2] = 1
    assert task.skill(PADDED, wrong_in_padding) == 1.0


def test_blank_targets_have_no_weight_where_classes_are_numbered():
    made = setup(
        PADDED, "categorical_crossentropy", keras.layers.Dense(3, activation="softmax"),
        per_step=True,
    )  # fmt: skip
    fit = fitting(made)
    assert fit.train.y[0].shape == (30, 6)
    assert (fit.train.weight[:, 4:] == 0).all()
    assert (fit.train.weight[:, :4] == 1).all()


def test_blank_targets_of_independent_units_are_no_padding():
    made = setup(PADDED, "binary_crossentropy", keras.layers.Dense(3, activation="sigmoid"), True)
    assert made.tasks[0].kind == "regression"


def test_a_weight_for_each_sequence_holds_for_all_of_its_steps():
    y = RNG.integers(0, 2, (4, 6, 1))
    task = task_of(y, "binary_crossentropy", 1, output_shape=(None, 6, 1))
    guess = y.copy()
    guess[0] = 1 - guess[0]
    assert task.skill(y, guess, np.array([0, 1, 1, 1])) == 1.0


def test_one_sequence_with_a_target_for_each_step_is_trained_and_judged_on():
    y = np.eye(3)[RNG.integers(0, 3, (40, 6))]
    model = keras.Sequential([
        keras.Input((6, 2)), keras.layers.LSTM(3, return_sequences=True),
        keras.layers.Dense(3, "softmax"),
    ])  # fmt: skip
    model.compile("adam", "categorical_crossentropy")
    made = setup_of(
        model, X[:1], y[:1], validation_data=None, validation_split=0.0, batch_size=32, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    assert made.held_out is made.train
    assert made.total_steps == 2
