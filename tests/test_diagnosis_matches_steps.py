"""Where targets have steps and outputs have none, or the other way, the last LSTM is changed."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")


def matched(last, y):
    """The model of two recurrent layers after the change."""
    from lstm_oracle.diagnosis.intake import setup_of
    from lstm_oracle.diagnosis.interventions.network import match_steps

    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            # Its name is part of the last layer's.
            keras.layers.LSTM(3, return_sequences=True, name="read"),
            last,
            keras.layers.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(0).normal(size=(64, 5, 2)).astype("float32")
    found = setup_of(
        model, x, y, validation_data=None, validation_split=0.25, batch_size=32, epochs=5,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    changed = match_steps(found)
    return None if changed is None else changed.model


@pytest.mark.parametrize("both", [False, True], ids=["one direction", "both directions"])
@pytest.mark.parametrize("per_step", [False, True], ids=["per sequence", "per step"])
def test_the_last_recurrent_layer_alone_is_changed(both, per_step):
    layer = keras.layers.LSTM(4, return_sequences=not per_step, name="reader")
    layer = keras.layers.Bidirectional(layer, name="read_twice") if both else layer
    model = matched(layer, np.zeros((64, 5, 1) if per_step else (64, 1), "float32"))
    assert model.output_shape == ((None, 5, 1) if per_step else (None, 1))
    first, last = model.layers[:2]
    assert first.return_sequences
    assert last.return_sequences is per_step


def test_what_fits_is_left_alone():
    assert matched(keras.layers.LSTM(4), np.zeros((64, 1), "float32")) is None
