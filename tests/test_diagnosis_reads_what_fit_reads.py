"""Outputs by name, batches of any length and axes left out are read as `fit` reads them."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import intake  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.baselines import of_outputs  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab  # noqa: E402
from lstm_oracle.diagnosis.plain import plain  # noqa: E402
from lstm_oracle.diagnosis.remedied import remedied  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

N = 80
HOW = {
    "validation_data": None, "validation_split": 0.25, "batch_size": 16, "epochs": 1,
    "class_weight": None, "sample_weight": None, "shuffle": True, "seed": 0,
}  # fmt: skip


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, 6, 2)).astype("float32")


def two_outputs(**compiled):
    inputs = keras.Input((6, 2))
    steps = keras.layers.LSTM(4)(inputs)
    size = keras.layers.Dense(1, name="first")(steps)
    kind = keras.layers.Dense(3, activation="softmax", name="second")(steps)
    model = keras.Model(inputs, {"size": size, "kind": kind})
    model.compile("adam", {"size": "mse", "kind": "sparse_categorical_crossentropy"}, **compiled)
    return model


@pytest.fixture
def named(x):
    return {"size": 500 + 90 * x[:, -1, 0], "kind": np.digitize(x[:, 0, 0], [-0.4, 0.4])}


def test_outputs_by_name_are_trained_with_their_own_losses(x, named):
    model = two_outputs(loss_weights={"size": 0.5, "kind": 2.0}, metrics={"kind": ["accuracy"]})
    setup = intake.setup_of(model, x, named, **HOW)
    assert [task.kind for task in setup.tasks] == ["multiclass", "regression"]
    assert (setup.loss, setup.loss_weights) == (
        ["sparse_categorical_crossentropy", "mse"], [2.0, 0.5],
    )  # fmt: skip
    assert Lab(60.0).train(setup, steps=3).complete
    made = remedied(setup, setup, setup, seed=0)
    made.model.fit(made.x, made.y, epochs=1, verbose=0)
    assert [guess.shape for guess in made.predict(x[:5])] == [(5, 3), (5, 1)]


def test_of_several_outputs_the_quantities_are_scaled_and_the_classes_stay(x, named):
    setup = intake.setup_of(two_outputs(), x, named, **HOW)
    scaled = iv.data.standardize_targets(setup)
    np.testing.assert_array_equal(scaled.train.y[0], setup.train.y[0])
    assert abs(scaled.train.y[1].mean()) < 1e-5
    made = remedied(scaled, setup, setup, seed=0)
    kind, size = made.predict(x)
    assert np.allclose(kind.sum(1), 1, atol=1e-5)
    assert 300 < size.mean() < 700


def test_the_baseline_of_several_outputs_is_the_mean_over_them(x, named):
    setup = intake.setup_of(two_outputs(), x, named, **HOW)
    (skill,) = of_outputs(setup.tasks, setup.train, setup.held_out).skills.values()
    assert 0.5 < skill <= 1.0


def tagger(features=2, width=3, loss="sparse_categorical_crossentropy", activation="softmax"):
    model = keras.Sequential([
        keras.Input((None, features)), keras.layers.LSTM(4, return_sequences=True),
        keras.layers.Dense(width, activation=activation),
    ])  # fmt: skip
    model.compile("adam", loss)
    return model


def test_batches_of_their_own_lengths_are_filled_up_with_steps_that_weigh_nothing():
    rng = np.random.default_rng(1)
    lengths = (5, 9, 7)
    batches = [
        (rng.normal(size=(16, T, 2)).astype("f"), rng.integers(0, 3, (16, T))) for T in lengths
    ]
    setup = intake.setup_of(tagger(), iter(batches), None, **HOW)
    assert setup.train.x[0].shape[1:] == (9, 2)
    assert setup.train.weight.shape[1] == 9
    real = setup.train.weight.sum(1)
    assert set(real) <= set(map(float, lengths))
    blank = setup.train.weight == 0
    assert (setup.train.x[0][blank] == 0).all()
    assert Lab(60.0).train(setup, steps=3).complete


def test_batches_of_named_inputs_are_read_by_their_names(x):
    inputs = [keras.Input((6, 2), name="early"), keras.Input((6, 2), name="late")]
    steps = [keras.layers.LSTM(3)(one) for one in inputs]
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(steps)))
    model.compile("adam", "mse")
    batches = [({"late": x + 9, "early": x}, x[:, 0, :1])]
    setup = intake.setup_of(model, iter(batches), None, **HOW)
    assert [round(float(a.mean())) for a in setup.train.x] == [0, 9]
    made = remedied(setup, setup, setup, seed=0)
    given = made.prepared({"late": x + 9, "early": x})
    assert [round(float(a.mean())) for a in given] == [0, 9]


@pytest.mark.parametrize(("given", "other"), [((N, 1), (20,)), ((N,), (20, 1))])
def test_validation_targets_may_lack_the_last_axis_or_have_one_more(x, given, other):
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    y = x[:, 0, 0]
    validation = (x[:20], y[:20].reshape(other))
    setup = intake.setup_of(model, x, y.reshape(given), **HOW | {"validation_data": validation})
    assert setup.train.y[0].shape[1:] == setup.held_out.y[0].shape[1:]


def test_quantities_of_the_steps_may_lack_the_last_axis(x):
    model = tagger(width=1, loss="mse", activation=None)
    setup = intake.setup_of(model, x, 300 + x[:, :, 0], **HOW)
    assert setup.train.y[0].shape[1:] == (6, 1)
    assert setup.tasks[0].per_step
    assert iv.data.standardize_targets(setup).y_scale[0][0].shape == (1,)


def test_one_long_sequence_is_held_out_from_itself_whatever_the_axes_of_its_targets(x):
    model = tagger(width=1, loss="mse", activation=None)
    whole = x.reshape(1, -1, 2)
    setup = intake.setup_of(model, whole, whole[:, :, 0], **HOW | {"validation_split": 0.0})
    assert setup.held_out is setup.train
    assert setup.train.y[0].shape == (1, 6 * N, 1)


def test_validation_sequences_may_be_longer(x):
    model = tagger(width=1, loss="mse", activation=None)
    longer = np.concatenate([x, x], axis=1)
    validation = (longer[:20], longer[:20, :, :1])
    setup = intake.setup_of(model, x, x[:, :, :1], **HOW | {"validation_data": validation})
    assert of_outputs(setup.tasks, setup.train, setup.held_out).best[1] >= 0
    assert Lab(60.0).train(plain(setup), steps=3).complete


def test_a_loss_from_logits_is_known_as_one_however_it_is_named(x):
    inputs = keras.Input((6, 2))
    model = keras.Model(inputs, keras.layers.Dense(3, name="kind")(keras.layers.LSTM(3)(inputs)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"kind": loss})
    setup = intake.setup_of(model, x, np.arange(N) % 3, **HOW)
    assert iv.head.head_is_wrong(setup) == ""
