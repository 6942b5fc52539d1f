"""What a target needs at the start of long sequences: found by reading them from the end."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import examination  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions import network  # noqa: E402
from lstm_oracle.diagnosis.plain import plain  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

T = 16


def setup_with(*layers, steps=T, per_step=False, batch=None):
    inputs = keras.Input((steps, 2), batch_size=batch)
    model = keras.Sequential([inputs, *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, steps, 2)).astype("float32")
    y = rng.normal(size=(40, steps, 1) if per_step else (40, 1)).astype("float32")
    return setup_of(
        model, x, y, validation_data=None, validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def first_step_only():
    return (
        keras.layers.LSTM(3, return_sequences=True),
        keras.layers.Cropping1D((0, T - 1)),
        keras.layers.Flatten(),
    )


def test_read_from_the_end_a_model_gives_what_it_gave_for_turned_sequences():
    setup = setup_with(keras.layers.LSTM(3, return_sequences=True), keras.layers.LSTM(2))
    turned = network.from_the_end(setup)
    x = setup.train.x[0]
    np.testing.assert_allclose(
        turned.model(x, training=False), setup.model(x[:, ::-1], training=False), atol=1e-6
    )


@pytest.mark.parametrize(
    "setup",
    [
        setup_with(keras.layers.Bidirectional(keras.layers.LSTM(3))),
        setup_with(keras.layers.LSTM(3, go_backwards=True)),
        setup_with(keras.layers.LSTM(3), steps=4),
        setup_with(keras.layers.LSTM(3, return_sequences=True), per_step=True),
    ],
    ids=["both ways", "backwards", "few steps", "a target per step"],
)
def test_what_is_near_either_end_already_is_not_turned(setup):
    assert network.from_the_end(setup) is None
    assert network.seeing_all_steps(setup) is None


def test_an_output_taken_at_the_first_step_misses_the_end_and_is_no_matter_of_memory():
    setup = setup_with(*first_step_only())
    assert network.misses_the_end(setup)
    assert network.from_the_end(setup) is None
    assert network.seeing_all_steps(setup) is not None
    assert examination.suspicions(setup)["see-all-steps"] == 3.0


def test_an_output_taken_at_the_last_step_does_not_miss_the_end():
    assert not network.misses_the_end(setup_with(keras.layers.LSTM(3)))


def test_a_model_bound_to_its_batch_is_not_asked_with_another():
    assert not network.misses_the_end(setup_with(keras.layers.LSTM(3, stateful=True), batch=20))


@pytest.mark.parametrize("bias", [-3.0, 1.0, 4.0])
def test_what_gates_forget_is_their_product_over_the_steps(bias):
    layer = keras.layers.LSTM(3)
    setup = setup_with(layer)
    forget = next(w for w in setup.model.weights if w.shape == (12,))
    forget.assign(np.array([9.0] * 3 + [bias] * 3 + [-9.0] * 6))
    product = (1 / (1 + np.exp(-bias))) ** T
    assert network.forgetting(setup) == pytest.approx(-np.log10(product), rel=1e-6)
    suspected = examination.suspicions(setup)["from-the-end"]
    assert suspected == pytest.approx(min(3.0, np.log(product) / np.log(2.0**-23)), rel=1e-6)


def test_a_plain_network_has_a_short_way_from_the_first_step():
    """At the start, the first step moves its output about as much as the last one does."""
    setup = setup_with(keras.layers.LSTM(3), steps=60)
    model = plain(setup).model
    x = np.zeros((1, 60, 2), "float32")

    def moved(step):
        other = x.copy()
        other[:, step] = 1.0
        return float(abs(np.asarray(model(other)) - np.asarray(model(x))).max())

    assert moved(0) > 0.05 * moved(59)
