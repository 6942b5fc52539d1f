"""A budget is read from the clock that is given, and not spent on compiling twice."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import diagnose  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions import head  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab, _architecture  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def model_of(units=3, activation="linear", **lstm):
    layers = [
        keras.Input((4, 2), name="x"),
        keras.layers.LSTM(units, name="lstm", **lstm),
        keras.layers.Dense(1, activation=activation, name="head"),
    ]
    model = keras.Sequential(layers, name="model")
    model.compile(keras.optimizers.Adam(name="adam"), "mse")
    return model


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 4, 2)).astype("float32"), rng.normal(size=(40, 1))


def setup_with(model, x, y):
    return setup_of(
        model, x, y, validation_data=(x, y), validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


class Ticking:
    """A clock that goes on by a second with every look."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


def test_what_is_left_is_read_from_the_clock_that_is_given():
    lab = Lab(10.0, clock=Ticking())
    assert [lab.left for _ in range(3)] == [9.0, 8.0, 7.0]


def test_a_diagnosis_ends_when_the_clock_that_is_given_says_so(data):
    clock = Ticking()
    diagnosis = diagnose(model_of(), *data, budget=5.0, clock=clock)
    assert diagnosis.seconds["examine"] >= 1
    assert clock.now < 500  # a minute and more of the wall clock, were each look a training


def test_a_training_that_is_out_of_time_says_that_it_is_incomplete(data):
    lab = Lab(20.0, clock=Ticking())
    run = lab.train(setup_with(model_of(), *data), steps=1000)
    assert not run.complete
    assert len(run.losses) < 20


@pytest.mark.parametrize(
    "change", [{"kernel_initializer": "zeros"}, {"unit_forget_bias": False}, {}], ids=str
)
def test_models_that_differ_in_how_weights_are_drawn_are_one_architecture(change):
    assert _architecture(model_of(**change)) == _architecture(model_of())


@pytest.mark.parametrize(
    "change",
    [{"units": 4}, {"activation": "tanh"}, {"recurrent_activation": "relu"}, {"dropout": 0.1}],
    ids=str,
)
def test_models_that_compute_something_else_are_another_architecture(change):
    assert _architecture(model_of(**change)) != _architecture(model_of())


def test_a_frozen_layer_makes_another_architecture():
    frozen = model_of()
    frozen.layers[0].trainable = False
    assert _architecture(frozen) != _architecture(model_of())


def test_models_of_one_architecture_keep_their_own_weights(data):
    lab = Lab(1e6)
    ordinary, zeros = (
        model_of(),
        model_of(kernel_initializer="zeros", recurrent_initializer="zeros"),
    )
    losses = [
        lab.train(setup_with(model, *data), steps=2).losses
        for model in (ordinary, zeros, ordinary, zeros)
    ]
    np.testing.assert_array_equal(losses[0], losses[2])
    np.testing.assert_array_equal(losses[1], losses[3])
    assert losses[0][0] != losses[1][0]
    assert len(lab._benches) == 1


@pytest.mark.parametrize(
    ("activation", "y", "lost"),
    [
        ("tanh", [-3.5, 3.5], 2.5**2 / 3.5**2),
        ("sigmoid", [0.0, 0.5, 0.5, 1.0], 0.0),
        ("sigmoid", [-1.5, 1.5], (1.5**2 + 0.5**2) / (2 * 1.5**2)),
        ("relu", [-0.5, 1.5], 0.5**2 / 2),
        ("linear", [-9.5, 9.5], 0.0),
    ],
)
def test_what_a_head_cannot_reach_is_arithmetic(data, activation, y, lost):
    targets = np.resize(y, (40, 1))
    setup = setup_with(model_of(activation=activation), data[0], targets)
    assert head.out_of_reach(setup) == pytest.approx(lost, abs=1e-6)
