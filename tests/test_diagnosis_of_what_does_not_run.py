"""Where the first update raises, the reason is told, and what can be repaired is."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import diagnose  # noqa: E402
from lstm_oracle.diagnosis.first_update import does_not_run, repairs  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

X = np.random.default_rng(0).normal(size=(40, 6, 2)).astype("float32")
EACH = (X[:, :, :1] > 0).astype("float32")


def test_one_output_against_a_label_for_each_step_is_told_as_that():
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    model.compile("adam", "binary_crossentropy")
    made = setup_of(
        model, X, EACH, validation_data=None, validation_split=0.2, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    *_, both = repairs(made)
    finding = does_not_run(made, ValueError("shapes differ"), both)
    assert finding.cause == "output-loss-mismatch"
    assert "time axis" in finding.summary
    assert "return_sequences=True" in finding.remedy.code
    assert 'activation="sigmoid"' in finding.remedy.code


def test_an_index_outside_of_the_table_of_a_model_not_built_yet_is_named():
    model = keras.Sequential(
        [keras.layers.Embedding(4, 3), keras.layers.LSTM(2), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(0).integers(0, 9, (40, 5))
    x[0] = 8
    diagnosis = diagnose(model, x, x.mean(1), epochs=1, budget=30)
    [finding] = diagnosis.findings
    assert (finding.cause, finding.severity) == ("input-encoding", "error")
    assert "Embedding(9, 3)" in finding.remedy.code
