"""Which forms of an input are suspected, from the arrays alone."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("keras")

from lstm_oracle.diagnosis import encoding

RNG = np.random.default_rng(0)
T, F = 30, 6
PHASE = RNG.uniform(0, 6, (40, 1, F))
SMOOTH = (np.sin(np.arange(T)[None, :, None] * 0.3 + PHASE)).astype("float32")
WORDS = RNG.integers(0, 3000, (200, 20)).astype("float32")


def suspected(x):
    data = SimpleNamespace(x=(x,))
    return [one.key for one in encoding.suspects(SimpleNamespace(train=data, tasks=(None,)))]


def test_smooth_sequences_are_not_suspected():
    assert suspected(SMOOTH) == []


def test_axes_exchanged_by_reshape_are_suspected_and_put_right():
    scrambled = np.swapaxes(SMOOTH, 1, 2).reshape(len(SMOOTH), T, F)
    assert "transpose-axes" in suspected(scrambled)
    restored = scrambled.reshape(-1, F, T).transpose(0, 2, 1)
    np.testing.assert_array_equal(restored, SMOOTH)


@pytest.mark.parametrize("x", [WORDS, WORDS[:, :, None], WORDS[:, :, None] / 3000])
def test_numbers_of_words_as_quantities_are_suspected_where_they_are_whole(x):
    assert suspected(x) == ([] if x.max() <= 1 else ["integer-encoding"])


@pytest.mark.parametrize(("apart", "named"), [(0.0, False), (1.0, False), (300.0, True)])
def test_levels_that_hide_what_happens_within_a_sequence_are_suspected(apart, named):
    levels = RNG.normal(size=(len(SMOOTH), 1, F)).astype("float32")
    assert ("feed-changes" in suspected(SMOOTH + apart * levels)) is named


def test_padded_sequences_are_on_no_levels():
    padded = SMOOTH + 300 * RNG.normal(size=(len(SMOOTH), 1, F)).astype("float32")
    padded[::2, 20:] = 0
    assert "feed-changes" not in suspected(padded)
