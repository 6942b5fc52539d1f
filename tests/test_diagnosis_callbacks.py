"""Callbacks that stop a training or cut its rate do in a diagnosis what they do in `fit`."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.callbacks import (  # noqa: E402
    rate_cut_on_plateaus,
    rate_of_epoch,
    stops_after,
)
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Run, _held_out_loss, _OnPlateau, _schedule  # noqa: E402
from lstm_oracle.diagnosis.setup import Plateau  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

PER_EPOCH = 3


def losses_of(case):
    """Falling, swinging and level stretches, a mean loss for each of twelve epochs."""
    rng = np.random.default_rng(case)
    steps = rng.choice([-0.4, -0.05, 0.0, 0.2], 12)
    return 3 + np.cumsum(steps)


class Told:
    """As much of a model as a callback asks for."""

    def __init__(self, rate=0.1):
        self.optimizer = keras.optimizers.SGD(rate)
        self.stop_training = False
        self.metrics = []
        self.loss = "mse"
        self._compile_metrics = None

    def get_weights(self):
        return []


def epochs_in_keras(callback, losses):
    """After how many epochs Keras ends, and the rate after each of them."""
    model = Told()
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses):
        logs = {"loss": loss, "val_loss": loss, "accuracy": -loss, "val_accuracy": -loss}
        callback.on_epoch_end(epoch, logs)
        rates.append(float(model.optimizer.learning_rate))
        if model.stop_training:
            return epoch + 1, rates
    return np.inf, rates


def run_of(losses):
    each = np.repeat(losses, PER_EPOCH)
    at = PER_EPOCH * np.arange(1, len(losses) + 1)
    return Run(each, at, -losses, -losses, 100.0)


@pytest.mark.parametrize("monitor", ["loss", "accuracy", "val_accuracy"])
@pytest.mark.parametrize(
    "told",
    [{"patience": 0}, {"patience": 2}, {"patience": 1, "min_delta": 0.3},
     {"patience": 0, "start_from_epoch": 4}],
    ids=str,
)  # fmt: skip
def test_a_training_is_stopped_when_keras_stops_it(monitor, told):
    for case in range(12):
        stopper = keras.callbacks.EarlyStopping(
            monitor, mode="min" if monitor == "loss" else "max", **told
        )
        expected, _ = epochs_in_keras(stopper, losses_of(case))
        assert stops_after(stopper, run_of(losses_of(case)), PER_EPOCH) == expected


@pytest.mark.parametrize(
    "told",
    [{"patience": 0}, {"patience": 2, "cooldown": 2}, {"patience": 1, "factor": 0.5},
     {"patience": 1, "min_delta": 0.3, "min_lr": 0.02}, {"patience": 0, "cooldown": 1}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("monitor", ["loss", "val_loss"])
def test_a_rate_is_cut_when_keras_cuts_it(told, monitor):
    for case in range(12):
        callback = keras.callbacks.ReduceLROnPlateau(monitor, **told)
        losses = losses_of(case)
        _, expected = epochs_in_keras(callback, losses)
        setup = SimpleNamespace(steps_per_epoch=PER_EPOCH, plateau=rate_cut_on_plateaus([callback]))
        optimizer = keras.optimizers.SGD(0.1)
        cut, seen, rates = _OnPlateau(optimizer, setup), [], []
        for loss in np.repeat(losses, PER_EPOCH):
            seen.append(float(loss))
            cut.look(
                seen if monitor == "loss" else [0.0] * len(seen), partial(seen.__getitem__, -1)
            )
            rates.append(float(optimizer.learning_rate))
        np.testing.assert_allclose(rates[PER_EPOCH - 1 :: PER_EPOCH], expected, rtol=1e-6)


def test_what_watches_something_else_is_left_out():
    assert rate_cut_on_plateaus([keras.callbacks.ReduceLROnPlateau("val_accuracy")]) is None
    assert rate_cut_on_plateaus(()) is None


@pytest.mark.parametrize(("units", "loss"), [(1, "mse"), (3, "sparse_categorical_crossentropy")])
def test_the_loss_that_is_watched_on_held_out_data_is_keras_own(units, loss):
    x = np.random.default_rng(0).normal(size=(40, 5, 2)).astype("float32")
    y = np.arange(40) % 3 if units > 1 else x[:, -1, :1]
    head = keras.layers.Dense(units, activation="softmax" if units > 1 else None)
    penalized = keras.layers.LSTM(3, kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((5, 2)), penalized, head])
    model.compile("adam", loss)
    given = setup_of(
        model, x, y, validation_data=(x[:20], y[:20]), validation_split=0.0, batch_size=16,
        epochs=1, class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    expected = model.evaluate(x[:20], y[:20], verbose=0)
    assert _held_out_loss(model, given) == pytest.approx(expected, rel=1e-5)


def test_a_rate_that_is_cut_can_be_kept_and_the_reference_keeps_its_own():
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.zeros((20, 4, 2), "float32"), np.arange(20.0)
    setup = setup_of(
        model, x, y, validation_data=None, validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    ).changed(plateau=Plateau(0.05, 0))  # fmt: skip
    kept = iv.optimization.constant_rate(setup)
    assert kept.plateau is None
    assert iv.optimization.constant_rate(kept) is None
    assert iv.optimization.reference_optimizer(setup).plateau is None


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (lambda epoch, rate: rate * 0.5, [0.05, 0.025, 0.0125]),
        (lambda epoch: 0.1 / (1 + epoch), [0.1, 0.05, 0.1 / 3]),
    ],
    ids=["of the rate", "of the epoch"],
)
def test_a_rate_is_set_when_keras_sets_it(schedule, expected):
    made = rate_of_epoch([keras.callbacks.LearningRateScheduler(schedule)])
    setup = SimpleNamespace(steps_per_epoch=PER_EPOCH, rate_of_epoch=made)
    optimizer, rates = keras.optimizers.SGD(0.1), []
    for done in range(3 * PER_EPOCH):
        _schedule(optimizer, setup, done)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, np.repeat(expected, PER_EPOCH), rtol=1e-6)


def test_without_a_scheduler_no_rate_is_set():
    assert rate_of_epoch([keras.callbacks.TerminateOnNaN()]) is None
    assert rate_of_epoch(()) is None
