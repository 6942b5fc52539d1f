"""Windows that overlap, drawn at random: what is known again is not what is learnt."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import generalization, recordings  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab  # noqa: E402

# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

T, F, COUNT = 12, 3, 20


def cut(step=3, count=COUNT, length=45):
    """Windows of recordings that each have a level and a class of their own."""
    rng = np.random.default_rng(0)
    windows, classes, numbers = [], [], []
    for number in range(count):
        recording = rng.normal(size=(1, F)) * 2 + 0.5 * rng.normal(size=(length, F))
        for start in range(0, length - T + 1, step):
            windows.append(recording[start : start + T])
            classes.append(number % 2)
            numbers.append(number)
    return np.array(windows, "float32"), np.array(classes), np.array(numbers)


def setup(x, y, validation=None):
    model = keras.Sequential(
        [keras.Input((T, F)), keras.layers.LSTM(8), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    return setup_of(
        model, x, y, validation_data=validation, validation_split=0.0, batch_size=16, epochs=8,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("step", [1, 3, 9])
def test_overlapping_windows_are_put_to_their_recordings(step):
    x, _, numbers = cut(step)
    order = np.random.default_rng(1).permutation(len(x))
    found = recordings.recordings(x[order])
    pairs = found[:, None] == found
    np.testing.assert_array_equal(pairs, numbers[order][:, None] == numbers[order])


@pytest.mark.parametrize("step", [11, 12, 30])
def test_windows_that_hardly_overlap_are_nobody_s(step):
    assert recordings.recordings(cut(step)[0]) is None


def test_padding_is_no_overlap():
    x, _, _ = cut(12)
    x[:, 5:] = 0
    assert recordings.recordings(x) is None


def test_whole_recordings_are_held_out():
    x, y, _ = cut()
    given = setup(x, y)
    apart = recordings.held_apart(given, seed=0)
    both = recordings.of_both_parts(apart)
    mine, theirs = both[: len(apart.train)], both[len(apart.train) :]
    assert not set(mine) & set(theirs)
    assert len(apart.train) + len(apart.held_out) == len(x)


def test_a_split_by_recording_is_left_alone():
    x, y, numbers = cut()
    out = numbers >= 15
    given = setup(x[~out], y[~out], (x[out], y[out]))
    assert recordings.held_apart(given, seed=0) is None
    assert generalization._other_split(Lab(60), given, None, 1, 0, 0.0) is None


def test_one_long_series_is_left_to_other_tests():
    x, y, _ = cut(count=1, length=400)
    assert recordings.held_apart(setup(x, y), seed=0) is None


def test_what_is_known_again_is_told():
    x, y, _ = cut()
    given = setup(x, y)
    lab = Lab(60)
    run = lab.train(given, steps=given.total_steps)
    (finding,) = generalization.on_new_recordings(lab, given, run, seed=0, reserve=0.1)
    assert (finding.id, finding.cause) == ("LSTM031", "data-split")
    assert run.generalized > 0.8


def test_windows_of_a_text_are_alike_by_chance():
    letters = np.eye(5, dtype="float32")[np.random.default_rng(0).integers(0, 5, 600) // 2]
    x = np.stack([letters[n : n + T] for n in range(0, 580, 4)])
    assert recordings.recordings(x) is None


def test_classes_that_were_never_trained_on_say_nothing():
    x, _, numbers = cut()
    given = setup(x, numbers % 2)
    assert recordings._new_classes(given.tasks[0], given.train, given.train) is False
    one = given.train.take(np.flatnonzero(given.train.y[0] == 1))
    assert recordings._new_classes(given.tasks[0], given.train, one)
    both = given.held_out
    assert recordings._new_classes(given.tasks[0], one, both)
