"""Faults of the data are found by baselines, and the search goes on with the data put right."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")


def setup(x, y, held_out=None, *, loss="mse", width=1, activation=None, steps=None):
    from lstm_oracle.diagnosis.intake import setup_of

    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((steps or x.shape[1], x.shape[2])),
            keras.layers.LSTM(4),
            keras.layers.Dense(width, activation=activation),
        ]
    )
    model.compile("adam", loss)
    return setup_of(
        model, x, y, validation_data=held_out, validation_split=0.0, batch_size=32, epochs=5,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def found(test, given):
    return [(f.finding.cause, f.repaired) for f in test(given)]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_targets_two_places_late_are_put_in_step(rng):
    from lstm_oracle.diagnosis.alignment import _misaligned

    x = rng.normal(size=(300, 8, 2)).astype("float32")
    y = x[:, -1, 0] - x[:, 0, 1]
    late = np.concatenate([y[-2:], y[:-2]])
    train, held_out = (x[:220], late[:220]), (x[220:], late[220:])
    [(cause, repaired)] = found(_misaligned, setup(*train, held_out))
    assert cause == "data-quality"
    for part, first in ((repaired.train, 0), (repaired.held_out, 220)):
        np.testing.assert_array_equal(part.x[0], x[first : first + len(part)])
        np.testing.assert_allclose(part.y[0].ravel(), y[first : first + len(part)])


def test_windows_of_noise_are_not_out_of_step_with_the_next_value(rng):
    from lstm_oracle.diagnosis.alignment import _misaligned

    series = rng.normal(size=400).astype("float32")
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 10)[:, :, None]
    y = series[10:]
    assert found(_misaligned, setup(x[:300], y[:300], (x[300:], y[300:]))) == []


def test_windows_are_made_longer_where_the_past_that_matters_is_not_in_them(rng):
    from lstm_oracle.diagnosis.alignment import _code, _short_window

    series = np.zeros(600, "float32")
    noise = rng.normal(size=600)
    for n in range(9, 600):
        series[n] = 0.9 * series[n - 9] + noise[n] * 0.3
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 4)[:, :, None]
    y = series[4:]
    [(cause, repaired)] = found(_short_window, setup(x[:450], y[:450], (x[450:], y[450:])))
    assert cause == "window"
    length = repaired.train.x[0].shape[1]
    assert length >= 9
    assert repaired.model.input_shape[1] == length
    first = length - 4
    np.testing.assert_array_equal(repaired.train.x[0][:, -4:], x[first:450])
    typed = {"np": np, "x": x[:450], "y": y[:450]}
    exec(_code(first), typed)  # what is to be typed gives what was tried
    np.testing.assert_array_equal(typed["x"], repaired.train.x[0])
    np.testing.assert_array_equal(typed["y"], repaired.train.y[0].ravel())
    np.testing.assert_array_equal(repaired.train.y[0].ravel(), y[first:450])


def lagged(rng, lag, n=600):
    """A series that follows its own value `lag` steps back."""
    series = rng.normal(size=n).astype("float32")
    for t in range(lag, n):
        series[t] = 0.95 * series[t - lag] + 0.3 * series[t]
    return series


def test_windows_that_a_random_split_took_out_are_put_back_to_see_a_longer_past(rng):
    """Without validation data every fifth window is held out: none of the parts is a series."""
    from lstm_oracle.diagnosis.alignment import _in_order, _short_window

    series = lagged(rng, 9)
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 4)[:, :, None]
    y = series[4:]
    given = setup(x, y)
    whole, training = _in_order(given)
    np.testing.assert_array_equal(whole.x[0], x)
    np.testing.assert_array_equal(whole.y[0], y)
    np.testing.assert_array_equal(x[training], given.train.x[0])
    [(cause, repaired)] = found(_short_window, given)
    assert cause == "window"
    assert repaired.train.x[0].shape[1] >= 9
    for part in (repaired.train, repaired.held_out):
        ends = part.x[0][:, -1, 0]
        rows = [int(np.flatnonzero(x[:, -1, 0] == end)[0]) for end in ends]
        np.testing.assert_array_equal(part.y[0], y[rows])


@pytest.mark.parametrize("apart", [2, 5])
def test_signs_after_windows_of_noise_some_steps_apart_are_in_step(rng, apart):
    from lstm_oracle.diagnosis.alignment import _misaligned

    series = rng.normal(size=2000).astype("float32")
    starts = np.arange(0, 1900, apart)[:360]
    x = np.stack([series[at : at + 10] for at in starts])[:, :, None]
    y = (series[starts + 10] > 0).astype("int32")  # those before it stand in the window
    assert found(_misaligned, setup(x, y)) == []


@pytest.mark.parametrize("shown", [0.0, 0.02, 1.0])
def test_sequences_of_their_own_are_not_taken_for_one_series(rng, shown):
    from lstm_oracle.diagnosis.alignment import _of_one_series

    events = rng.normal(size=(300, 12, 2)) * (rng.random((300, 12, 2)) < shown)
    assert not _of_one_series(events.astype("float32"))


def test_sequences_that_do_not_continue_one_another_are_left_as_they_are(rng):
    from lstm_oracle.diagnosis.alignment import _in_order

    x, y = rng.normal(size=(100, 4, 1)).astype("float32"), rng.normal(size=(100, 1))
    given = setup(x[:70], y[:70], (x[70:], y[70:]))
    whole, training = _in_order(given)
    assert whole is given.train
    assert training.all()


@pytest.mark.parametrize("whole_numbers", [False, True])
def test_single_steps_whose_target_is_a_mean_of_the_last_three_need_a_window(rng, whole_numbers):
    from lstm_oracle.diagnosis.alignment import _short_window

    series = rng.integers(0, 10, 600) if whole_numbers else rng.normal(size=600).astype("float32")
    y = np.convolve(series, np.ones(3) / 3)[:600]
    [(cause, repaired)] = found(_short_window, setup(series[:, None, None], y))
    assert cause == "window"
    assert repaired.train.x[0].shape[1] == 4


def test_single_steps_with_a_label_each_need_a_window_too(rng):
    from lstm_oracle.diagnosis.alignment import _short_window

    kind = rng.integers(0, 4, 800)
    x = (np.eye(4)[kind] + 0.1 * rng.normal(size=(800, 4))).astype("float32")[:, None]
    y = np.eye(4, dtype="float32")[np.roll(kind, 1)][:, None]
    given = labelling(x, y)
    assert given.tasks[0].per_step
    assert found(_short_window, given) == [("window", None)]


def labelling(x, y):
    from lstm_oracle.diagnosis.intake import setup_of

    model = keras.Sequential([
        keras.Input(x.shape[1:]), keras.layers.LSTM(4, return_sequences=True),
        keras.layers.Dense(y.shape[-1], activation="softmax"),
    ])  # fmt: skip
    model.compile("adam", "categorical_crossentropy")
    return setup_of(
        model, x, y, validation_data=None, validation_split=0.2, batch_size=32, epochs=5,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(("target", "named"), [("word", True), ("length", False), ("half", False)])
def test_words_predicted_as_quantities_get_a_unit_each(rng, target, named):
    from lstm_oracle.diagnosis.data_tests import _names_as_quantities
    from lstm_oracle.diagnosis.intake import setup_of

    x = rng.integers(1, 40, (300, 8))
    y = {"word": x[:, 3], "length": 100 + x.sum(1), "half": x[:, 3] + 0.5}[target]
    model = keras.Sequential([
        keras.Input((8,)), keras.layers.Embedding(40, 4), keras.layers.LSTM(4),
        keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    given = setup_of(
        model, x, y, validation_data=None, validation_split=0.2, batch_size=32, epochs=5,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    seen = found(_names_as_quantities, given)
    assert [cause for cause, _ in seen] == ["output-loss-mismatch"] * named
    for _, repaired in seen:
        assert repaired.model.output_shape == (None, len(np.unique(y)))
        assert repaired.train.y[0].max() == len(np.unique(y)) - 1
        assert repaired.loss == "sparse_categorical_crossentropy"


def test_single_steps_in_the_order_of_their_classes_need_no_window(rng):
    """The rows before tell as much as the rows after: what they share is the class."""
    from lstm_oracle.diagnosis.alignment import _short_window

    y = np.tile(np.repeat(np.arange(3), 50), 4)
    x = (0.4 * y[:, None, None] + rng.normal(size=(600, 1, 2))).astype("float32")
    options = {"loss": "sparse_categorical_crossentropy", "width": 3, "activation": "softmax"}
    assert found(_short_window, setup(x, y, **options)) == []


def test_a_forecast_is_in_step_though_its_window_tells_more_of_a_later_value(rng):
    from lstm_oracle.diagnosis.alignment import _misaligned

    series = lagged(rng, 5)
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 3)[:, :, None]
    y = series[3:]  # y[n + 2] follows x[n, -1], y[n] nothing in x[n]
    assert found(_misaligned, setup(x, y)) == []


def test_a_held_out_part_of_classes_never_trained_on_is_named_and_drawn_anew(rng):
    from lstm_oracle.diagnosis.alignment import _unlike

    y = np.sort(rng.integers(0, 4, 400))
    x = (rng.normal(size=(400, 6, 2)) + y[:, None, None]).astype("float32")
    given = setup(
        x[:300], y[:300], (x[300:], y[300:]), loss="sparse_categorical_crossentropy", width=4,
        activation="softmax",
    )  # fmt: skip
    [(cause, repaired)] = found(_unlike, given)
    assert cause == "data-split"
    assert set(np.unique(repaired.train.y[0])) == {0, 1, 2, 3}
    assert repaired.tasks[0].class_count == 4
    mixed = np.random.default_rng(1).permutation(400)
    x, y = x[mixed], y[mixed]
    even = setup(
        x[:300], y[:300], (x[300:], y[300:]), loss="sparse_categorical_crossentropy", width=4,
        activation="softmax",
    )  # fmt: skip
    assert found(_unlike, even) == []


def test_targets_that_lie_a_thousand_times_off_are_left_out(rng):
    from lstm_oracle.diagnosis.data_tests import _outlying_targets

    x = rng.normal(size=(400, 6, 1)).astype("float32")
    y = x.mean((1, 2)) + 0.01 * rng.normal(size=400)
    assert found(_outlying_targets, setup(x[:300], y[:300], (x[300:], y[300:]))) == []
    far = rng.permutation(300)[:4]
    y[far] = [900, -700, 1200, 800]
    [(cause, repaired)] = found(_outlying_targets, setup(x[:300], y[:300], (x[300:], y[300:])))
    assert cause == "data-quality"
    assert len(repaired.train) == 296
    assert np.abs(repaired.train.y[0]).max() < 10


@pytest.mark.parametrize("padded", [False, True])
def test_normalization_kept_in_the_model_gives_what_the_search_trained_with(rng, padded):
    from lstm_oracle.diagnosis import surgery
    from lstm_oracle.diagnosis.interventions import data, network
    from lstm_oracle.diagnosis.lab import predictions

    x = (rng.normal(size=(60, 7, 2)) * [300, 0.01] + [2000, 5]).astype("float32")
    if padded:
        x[::2, 4:] = 0
    given = data.standardize_inputs(setup(x, rng.normal(size=60)))
    searched = predictions(given.model, given, given.train)[0]
    kept = network.with_normalization(given)
    assert not kept.x_scale
    np.testing.assert_array_equal(kept.train.x[0], given.train.x[0])
    np.testing.assert_allclose(
        predictions(surgery.twin(kept.model), kept, kept.train)[0], searched, atol=2e-5
    )


def test_values_that_float32_cannot_tell_apart_are_standardized_before_they_are_fed(rng):
    from lstm_oracle.diagnosis.interventions import data, network

    given = setup(rng.normal(size=(60, 7, 1)).astype("float32"), rng.normal(size=60))
    stamps = 1.7e9 + np.cumsum(rng.uniform(1, 3, (60, 7, 1)), axis=1)
    given = given.changed(train=type(given.train)((stamps,), given.train.y[:1]))
    scaled = data.standardize_inputs(given.changed(held_out=given.train))
    kept = network.with_normalization(scaled)
    assert kept.model is scaled.model
    assert abs(float(kept.train.x[0].std()) - 1) < 1e-3


@pytest.mark.parametrize("name", ["jitter", "scaling", "slicing", "warping"])
def test_augmented_copies_stand_beside_the_originals_with_their_labels(rng, name):
    from lstm_oracle.diagnosis.interventions import augmentation

    y = rng.integers(0, 3, 90)
    waves = np.sin(np.arange(20) * (0.2 + 0.3 * y[:, None])).astype("float32")[:, :, None]
    given = setup(waves, y, loss="sparse_categorical_crossentropy", width=3, activation="softmax")
    change = getattr(augmentation, name)
    more = augmentation.augmented(change, any_target=False)(given)
    n = len(given.train)
    assert len(more.train) == 4 * n
    np.testing.assert_array_equal(more.train.x[0][:n], given.train.x[0])
    np.testing.assert_array_equal(
        more.train.y[0].reshape(4, n), np.tile(given.train.y[0].ravel(), (4, 1))
    )
    for copy in more.train.x[0].reshape(4, n, 20, 1)[1:]:
        distance = np.abs(copy - given.train.x[0]).mean(axis=(1, 2))
        assert distance.max() > 1e-3
        assert distance.mean() < 0.8  # still the same waves: strangers differ by about 0.8
    assert more.held_out is given.held_out


def test_quantities_are_never_scaled_or_warped(rng):
    from lstm_oracle.diagnosis.interventions import augmentation

    given = setup(rng.normal(size=(50, 10, 1)).astype("float32"), rng.normal(size=50))
    assert augmentation.augmented(augmentation.warping, any_target=False)(given) is None
    assert augmentation.augmented(augmentation.jitter, any_target=True)(given) is not None


def test_outliers_are_found_where_the_last_value_forecasts_as_well_with_them(rng):
    from lstm_oracle.diagnosis.data_tests import _outlying_targets

    series = np.cumsum(rng.normal(size=500)).astype("float32")
    x = np.lib.stride_tricks.sliding_window_view(series[:-1], 6)[:, :, None]
    y = series[6:].copy()
    y[rng.permutation(len(y))[:5]] *= 1000
    [(cause, repaired)] = found(_outlying_targets, setup(x, y))
    assert cause == "data-quality"
    assert np.abs(repaired.train.y[0]).max() < 500


@pytest.mark.parametrize("codes", [False, True], ids=["quantities", "codes"])
def test_a_plain_network_gives_numbers_for_a_sequence_of_padding_alone(rng, codes):
    from lstm_oracle.diagnosis.intake import setup_of
    from lstm_oracle.diagnosis.plain import plain

    x = rng.integers(1, 5, (60, 7)) if codes else rng.normal(size=(60, 7, 2)).astype("float32")
    x[:, 4:] = 0
    x[0] = 0
    layers = [keras.layers.Embedding(5, 3)] if codes else []
    model = keras.Sequential(
        [keras.Input(x.shape[1:]), *layers, keras.layers.LSTM(3), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    given = setup_of(
        model, x, rng.normal(size=60), validation_data=None, validation_split=0.0, batch_size=32,
        epochs=5, class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip
    assert np.isfinite(np.asarray(plain(given).model(x))).all()
