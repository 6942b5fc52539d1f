"""A training with the monitor is the training without it, to the last bit, on every backend."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

from lstm_oracle import reference
from lstm_oracle.diagnosis import Monitor, look
from lstm_oracle.keras_impl.watch import Watch
from lstm_oracle.reference.tree import flatten

N, T, I, CLASSES = 24, 7, 3, 2
# Float32 gradients of layers as small as these.
FLOAT32 = 5e-6


def relative_error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


class Counting(keras.Sequential):
    """Counts how often its training step is traced (run, on a backend that does not trace)."""

    traced = 0

    def train_step(self, *arguments, **named):
        type(self).traced += 1
        return super().train_step(*arguments, **named)


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, T, I)).astype("float32")
    x[: N // 2, T - 2 :] = 0
    return x, (x.sum((1, 2)) > 0).astype("int32")


def model():
    keras.utils.set_random_seed(7)
    built = Counting(
        [
            keras.Input((T, I), dtype="float32"),
            keras.layers.Masking(),
            keras.layers.Bidirectional(
                keras.layers.LSTM(4, return_sequences=True, dropout=0.2, seed=3, dtype="float32")
            ),
            keras.layers.BatchNormalization(),
            keras.layers.LSTM(3, dtype="float32"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    built.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return built


def trained(callbacks):
    x, y = data()
    one = model()
    Counting.traced = 0
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what the test is about
    history = one.fit(x, y, batch_size=8, epochs=3, verbose=0, shuffle=False, callbacks=callbacks)
    state = (random.random(), float(np.random.random()))  # noqa: NPY002
    return one, history.history, state, Counting.traced


def everything(one):
    return [*one.get_weights(), *(keras.ops.convert_to_numpy(v) for v in one.optimizer.variables)]


@pytest.fixture(scope="module")
def pair():
    """The same training without a monitor, and with one that looks at every second batch."""
    x, y = data()
    monitor = Monitor(x, y, every=2, verbose=False)
    return trained([]), trained([monitor]), monitor


def test_weights_optimizer_and_random_states_are_bit_identical(pair):
    (plain, _, state, _), (watched, _, state_watched, _), _ = pair
    assert state == state_watched
    for a, b in zip(everything(plain), everything(watched), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_training_step_is_compiled_no_second_time(pair):
    (_, _, _, traced), (_, _, _, traced_watched), _ = pair
    assert traced == traced_watched > 0


def test_the_losses_are_the_same_and_the_values_stand_beside_them(pair):
    (_, history, _, _), (_, history_watched, _, _), monitor = pair
    assert history["loss"] == history_watched["loss"]
    assert len(monitor.samples_taken) == 5  # before updates 0, 2, 4, 6, 8
    added = set(history_watched) - set(history)
    for part in ("saturated_f", "gradient", "reach", "update"):
        assert f"bidirectional/backward_lstm/{part}" in added or any(
            key.endswith(part) for key in added
        )
    assert all(len(v) == 3 and np.isfinite(v).all() for v in history_watched.values())


def test_the_gradients_are_the_framework_s_own(pair):
    _, (watched, _, _, _), _ = pair
    x, y = data(1)
    glance = Watch(watched, x, y)()
    assert len(glance.captures) == 3
    for call in glance.captures:
        tape = reference.forward(
            call.architecture, call.params, call.x.astype("float64"), call.state, call.mask
        )[1]
        ours = flatten(reference.backward(tape, call.d_y, call.d_final_state).params)
        theirs = flatten(call.d_params)
        for name, gradient in ours.items():
            assert relative_error(theirs[name], gradient) < FLOAT32, (call.layer_path, name)


def test_the_update_ratio_is_that_of_one_update():
    x, y = data()
    one = keras.Sequential(
        [keras.Input((T, I)), keras.layers.LSTM(4, name="encoder"), keras.layers.Dense(CLASSES)]
    )
    one.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = one.get_weights()
    monitor = Monitor(x, y, every=1000, verbose=False)
    one.fit(x, y, batch_size=N, epochs=1, verbose=0, callbacks=[monitor])
    change = [(a - b) for a, b in zip(one.get_weights()[:3], before[:3], strict=True)]
    size = np.sqrt(sum((b**2).sum() for b in before[:3]))
    expected = np.sqrt(sum((d**2).sum() for d in change)) / size
    [sample] = monitor.samples_taken
    assert sample.updates["encoder"] == pytest.approx(expected, rel=1e-5)


def test_the_microscope_agrees_with_the_framework_and_changes_nothing():
    x, y = data()
    one = model()
    before = everything(one)
    views = look(one, x, y)
    assert [view.hidden_size for view in views] == [4, 4, 3]
    assert all(view.agreement.agrees for view in views)
    for a, b in zip(before, everything(one), strict=True):
        np.testing.assert_array_equal(a, b)
