"""What stands out in a set-up that trains is a note with what undoing it gains, never a fault."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import smells  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Run  # noqa: E402
from lstm_oracle.diagnosis.outcome import Outcome  # noqa: E402

SUSPICION = {"stateless": 2.0, "gate-activations": 2.0, "batch-smaller": 0.5}


def run(skill):
    skills = np.array([skill])
    return Run(np.ones(30), np.array([30]), skills, skills, 1e3)


@pytest.fixture(scope="module")
def carrying():
    """A stateful layer with ReLU, with a default shuffle."""
    rng = np.random.default_rng(0)
    model = keras.Sequential([
        keras.Input(batch_shape=(8, 5, 2)),
        keras.layers.LSTM(4, stateful=True, activation="relu"), keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    x, y = rng.normal(size=(400, 5, 2)).astype("f"), rng.normal(size=(400, 1)).astype("f")
    return setup_of(
        model, x, y, validation_data=(x[:80], y[:80]), validation_split=0.0, batch_size=8,
        epochs=2, class_weight=None, sample_weight=None, shuffle=True, seed=0, steps_per_epoch=None,
    )  # fmt: skip


def noted(setup, skill, reference, **told):
    outcome = Outcome(run(skill), run(reference), 30, **told)
    return smells.without_effect(setup, SUSPICION, outcome)


def test_what_a_reference_gains_nothing_by_is_a_note_without_effect(carrying):
    found = noted(carrying, 0.80, 0.83)
    assert {(f.cause, f.severity) for f in found} == {("wiring", "info"), ("activation", "info")}
    assert all("gains +0.03" in f.summary for f in found)


def test_a_set_up_that_gets_there_more_slowly_is_told_by_how_much(carrying):
    found = noted(carrying, 0.30, 0.83, patient=True)
    assert len(found) == 2
    assert all("ahead by +0.53 after 30 updates" in f.summary for f in found)


@pytest.mark.parametrize(
    ("skill", "reference"),
    [(0.30, 0.83), (0.02, 0.03)],
    ids=["the reference is ahead", "nothing is learnt"],
)
def test_nothing_is_said_to_be_without_effect_where_that_was_not_measured(
    carrying, skill, reference
):
    assert noted(carrying, skill, reference) == []
