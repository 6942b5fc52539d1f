"""An input that no output depends on is found, and one that an output reads is not blamed."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis.examination import certain_findings  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402

RNG = np.random.default_rng(0)
QUESTIONS, ANSWERS = (RNG.normal(size=(40, 5, 3)).astype("float32") for _ in range(2))
TARGETS = RNG.integers(0, 3, (40, 5))


def findings(connected):
    questions = keras.Input((5, 3), name="questions")
    answers = keras.Input((5, 3), name="answers")
    states = keras.layers.LSTM(4, return_state=True)(questions)[1:]
    decoder = keras.layers.LSTM(4, return_sequences=True)
    steps = decoder(answers, initial_state=states) if connected else decoder(answers)
    model = keras.Model([questions, answers], keras.layers.Dense(3, "softmax")(steps))
    model.compile("adam", "sparse_categorical_crossentropy")
    made = setup_of(
        model, [QUESTIONS, ANSWERS], TARGETS, validation_data=None, validation_split=0.2,
        batch_size=8, epochs=2, class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    return certain_findings(made)


def test_an_encoder_whose_states_are_not_passed_on_is_named():
    [finding] = findings(connected=False)
    assert (finding.cause, finding.severity) == ("wiring", "error")
    assert "'questions'" in finding.summary


def test_inputs_that_are_read_are_not_named():
    assert findings(connected=True) == []
