"""A change that cannot be made or trained is told, and does not end the diagnosis."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import experiments, surgery  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab, Run  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

X = np.random.default_rng(0).normal(size=(40, 5, 2)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, (40, 5))


@pytest.fixture(scope="module")
def setup():
    steps = keras.layers.TimeDistributed(keras.layers.Dense(6, activation="relu"))
    head = keras.layers.TimeDistributed(keras.layers.Dense(3, activation="softmax"))
    lstm = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    model = keras.Sequential([keras.Input((5, 2)), lstm, steps, head])
    model.compile("adam", "sparse_categorical_crossentropy")
    return setup_of(
        model, X, Y, validation_data=None, validation_split=0.2, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def test_layers_inside_wrappers_are_built_for_what_comes_before_them(setup):
    wider = iv.network.wider(setup)
    assert wider.model.layers[1].layer.kernel.shape[0] == 2 * 16
    assert wider.model(X[:2]).shape == (2, 5, 3)


def test_a_change_that_does_not_run_is_noted_with_its_error(setup, monkeypatch):
    lab = Lab(1e3)
    run = Run(np.ones(2), np.array([2]), np.zeros(1), np.zeros(1), 10.0)
    outcome = experiments.Outcome(run, run, 2)
    monkeypatch.setattr(lab, "train", lambda *_, **__: 1 / 0)
    tried = experiments.attempt(lab, setup, setup, outcome, iv.BY_KEY["wider"], 0, 0.0)
    assert tried is None
    assert outcome.failed == {"wider": "ZeroDivisionError: division by zero"}


def test_a_clone_is_built_for_its_own_shapes(setup):
    again = surgery.clone(setup.model)
    assert [w.shape for w in again.weights] == [w.shape for w in setup.model.weights]
