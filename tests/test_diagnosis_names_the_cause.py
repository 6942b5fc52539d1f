"""`diagnose` on small set-ups with one fault each, and on one without: the cause first, or none.

The bench in `benchmarks/faults` measures how often; these hold the way from `fit`'s arguments to a
finding, and that nothing of the user's is touched on it.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

BUDGET = 150.0  # seconds at most, for a machine that is busy; a quiet one needs a tenth


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, np.ndarray]:
    return drawn(400)


def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of three frequencies a noisy wave has, from any phase."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    t = np.arange(20)
    phase = rng.uniform(0, 2 * np.pi, n)
    x = np.sin(t * (0.3 + 0.4 * y[:, None]) + phase[:, None])
    return (x + 0.1 * rng.normal(size=x.shape)).astype("float32")[:, :, None], y


def wave_model(optimizer=None, units=16, head="softmax", width=3, loss=None, **layer):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((20, 1)),
            keras.layers.LSTM(units, **layer),
            keras.layers.Dense(width, activation=head),
        ]
    )
    model.compile(
        optimizer or keras.optimizers.Adam(1e-2), loss or "sparse_categorical_crossentropy"
    )
    return model


def diagnosed(model, x, y, **arguments):
    from lstm_oracle.diagnosis import diagnose

    return diagnose(model, x, y, **({"epochs": 20, "budget": BUDGET} | arguments))


def test_a_sound_training_has_no_error_and_no_warning(waves):
    diagnosis = diagnosed(wave_model(), *waves)
    assert diagnosis.healthy, str(diagnosis)


def test_a_rate_a_thousand_times_too_low_is_named(waves):
    diagnosis = diagnosed(wave_model(keras.optimizers.Adam(1e-5)), *waves)
    assert diagnosis.findings[0].cause == "learning-rate-low", str(diagnosis)
    assert diagnosis.findings[0].remedy.after > diagnosis.findings[0].remedy.before + 0.2


def test_two_faults_are_both_named_and_the_remedied_model_keeps_its_metrics(waves):
    x, y = waves
    model = wave_model(keras.optimizers.Adam(3.0))
    model.compile(model.optimizer, model.loss, metrics=["accuracy"])
    diagnosis = diagnosed(model, x * 1e4, y)
    named = {finding.cause for finding in diagnosis.findings if finding.severity == "error"}
    assert named == {"learning-rate-high", "data-scale"}, str(diagnosis)
    remedied = diagnosis.remedied()
    history = remedied.model.fit(remedied.x, remedied.y, epochs=8, verbose=0).history
    assert history["accuracy"][-1] > 0.9


def test_a_softmax_over_one_unit_is_named_with_its_arithmetic(waves):
    x, y = waves
    model = wave_model(head="softmax", width=1, loss="binary_crossentropy")
    diagnosis = diagnosed(model, x, (y > 0).astype("float32"))
    assert diagnosis.findings[0].cause == "output-loss-mismatch", str(diagnosis)
    assert "oftmax over one unit" in diagnosis.findings[0].summary


def test_the_remedied_model_trains(waves):
    x, y = waves
    diagnosis = diagnosed(wave_model(keras.optimizers.SGD(1e-4)), x, y)
    better = diagnosis.remedied()
    history = better.model.fit(better.x, better.y, verbose=0, **better.fit_arguments)
    assert history.history["loss"][-1] < 0.8 * history.history["loss"][0]


def test_targets_without_a_signal_are_no_bug(waves):
    x, _ = waves
    noise = np.random.default_rng(3).normal(size=(len(x), 1)).astype("float32")
    diagnosis = diagnosed(wave_model(head="linear", width=1, loss="mse"), x, noise)
    assert diagnosis.healthy, str(diagnosis)
    assert diagnosis.not_a_bug
    assert diagnosis.findings[0].cause == "no-signal"


def test_nan_in_the_data_is_found_without_training(waves):
    x, y = waves
    x = x.copy()
    x[7, 3, 0] = np.nan
    finding = diagnosed(wave_model(), x, y, budget=15.0).findings[0]
    assert (finding.cause, finding.severity) == ("data-quality", "error")
    assert "(7, 3, 0)" in finding.summary or "1 values" in finding.summary


def test_nothing_of_the_user_is_touched(waves):
    x, y = (a.copy() for a in waves)
    model = wave_model(dropout=0.1)
    model.fit(x[:64], y[:64], verbose=0)
    weights = [w.copy() for w in model.get_weights()]
    optimizer = [np.array(v) for v in model.optimizer.variables]
    kept = x.copy(), y.copy(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    diagnosed(model, x, y, budget=8.0)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    for before, after in zip(optimizer, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(before, np.array(after))
    np.testing.assert_array_equal(kept[0], x)
    np.testing.assert_array_equal(kept[1], y)
    assert kept[2] == random.getstate()
    np.testing.assert_array_equal(kept[3], np.random.get_state()[1])  # noqa: NPY002


def test_of_many_sequences_a_part_is_tried_and_all_are_given_back():
    x, y = drawn(6000)
    diagnosis = diagnosed(wave_model(keras.optimizers.Adam(1e-6)), x, y, epochs=4, budget=40.0)
    assert diagnosis.findings[0].cause == "learning-rate-low", str(diagnosis)
    remedied = diagnosis.remedied()
    assert len(remedied.x) == len(remedied.y) == 6000 - 6000 // 5
