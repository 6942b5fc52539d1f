"""Below the last value a forecast is never said to be as good as it."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import generalization  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab, Run  # noqa: E402
from lstm_oracle.diagnosis.outcome import Outcome  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

WALK = np.cumsum(np.random.default_rng(0).normal(size=400)).astype("float32")
X = np.stack([WALK[n : n + 5] for n in range(395)])[..., None]


@pytest.fixture(scope="module")
def setup():
    model = keras.Sequential([keras.Input((5, 1)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return setup_of(
        model, X, WALK[5:], validation_data=None, validation_split=0.0, batch_size=32, epochs=1,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def learnt(setup, skill, steps):
    run = Run(np.ones(steps), np.array([steps]), np.array([skill]), np.array([skill]), 10.0)
    return generalization._naive(Lab(1e3), setup, run, Outcome(run, run, steps), 0.97, 0)


def test_at_the_end_it_is_a_warning(setup):
    found = learnt(setup, 0.05, setup.total_steps)
    [finding] = found.findings
    assert finding.severity == "warning"
    assert "not found even that" in finding.summary
    assert found.not_a_bug == []


def test_before_the_end_nothing_is_said(setup):
    found = learnt(setup, 0.05, 2)
    assert (found.findings, found.not_a_bug) == ([], [])


def test_what_equals_the_last_value_is_no_bug(setup):
    found = learnt(setup, 0.96, setup.total_steps)
    assert [finding.severity for finding in found.findings] == ["info"]
    assert "random walk" in found.not_a_bug[0]
