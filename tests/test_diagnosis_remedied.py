"""What `remedied()` gives: new inputs are prepared, and predictions restored, as in the search."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import alignment, data_tests, encoding  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.remedied import remedied  # noqa: E402

N = 60


def setup(x, y, *front):
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), *front, keras.layers.LSTM(3), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return setup_of(
        model, x, y, validation_data=(x[:30], y[:30]), validation_split=0.0, batch_size=16,
        epochs=1, class_weight=None, sample_weight=None, shuffle=True, seed=0, steps_per_epoch=None,
    )  # fmt: skip


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, 10, 3)).astype("float32")


@pytest.fixture
def y(x):
    return 40 + 5 * x[:, -1, :1] + x[:, 0, 1:2]


def padded(x, value):
    """Sequences of 5 to 8 steps, filled up behind."""
    lengths = 5 + np.arange(len(x)) % 4
    return np.where(np.arange(10)[:, None] < lengths[:, None, None], x, value).astype("float32")


def swapped(x, y):
    smooth = np.cumsum(x, axis=2)
    given = setup(smooth, y)
    (exchange,) = (c for c in encoding.suspects(given) if c.key == "swap-axes")
    return given, exchange.apply(given)


def marked(x, y):
    given = setup(padded(x, -7.0), y, keras.layers.Masking(0.0))
    return given, iv.network.mark_padding(given)


def moved(x, y):
    given = setup(padded(x, 0.0), y)
    return given, iv.network.pad_in_front(given)


def filled(x, y):
    holed = x.copy()
    holed[::9, 2, 1] = -9999.0
    given = setup(holed, y)
    [(_, repaired)] = data_tests._stand_in(given)
    return given, repaired


def far_from_zero(x, y):
    """In units that float32 cannot tell apart any more, so that the data are scaled beforehand."""
    far = x.astype("float64") + 1e6
    given = setup(far, y)
    return given, iv.data.standardize_inputs(given)


@pytest.mark.parametrize("change", [swapped, marked, moved, filled, far_from_zero])
def test_new_inputs_are_prepared_as_the_training_inputs_were(change, x, y):
    given, changed = change(x, y)
    made = remedied(changed, given, given, seed=0)
    ours = made.prepared(given.train.x[0])
    np.testing.assert_array_equal(ours, made.x)
    assert not np.array_equal(ours, given.train.x[0])
    assert made.predict(given.train.x[0][:5]).shape[0] == 5


def test_inputs_that_the_model_normalizes_itself_are_given_as_they_are(x, y):
    given = setup(300 * x, y)
    made = remedied(iv.data.standardize_inputs(given), given, given, seed=0)
    np.testing.assert_array_equal(made.prepared(300 * x), 300 * x)


def test_predictions_of_scaled_targets_come_in_the_users_units(x, y):
    given = setup(x, y)
    made = remedied(iv.data.standardize_targets(given), given, given, seed=0)
    raw = made.model.predict(x, verbose=0)
    np.testing.assert_allclose(made.predict(x), raw * y.std() + y.mean(), rtol=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("fed", ["levels", "changes"])
def test_predicted_changes_are_added_to_the_last_value(x, y, scaled, fed):
    given = setup(x, y)
    start = iv.data.standardize_targets(given) if scaled else given
    changed = iv.data.difference_targets(start, feature=2)
    if fed == "changes":
        changed = changed.with_inputs(iv.data.steps_between)
    made = remedied(changed, given, given, seed=0)
    np.testing.assert_allclose(made.y, y - x[:, -1, 2:], rtol=1e-5)
    raw = made.model.predict(made.prepared(x), verbose=0)
    np.testing.assert_allclose(made.predict(x), raw + x[:, -1, 2:], rtol=1e-5)


def test_a_window_that_is_too_short_for_the_remedied_model_is_refused():
    series = np.cos(np.arange(400, dtype="float32") / 3)[:, None]
    x = np.lib.stride_tricks.sliding_window_view(series[:, 0], 2)[:-8, :, None].copy()
    given = setup(x, series[9 : 9 + len(x)])
    longer = alignment._with_longer_windows(given, 8)
    made = remedied(longer, given, given, seed=0)
    assert made.predict(made.x[:4]).shape == (4, 1)
    with pytest.raises(ValueError, match="windows of 2 steps, expected 8"):
        made.predict(x)
