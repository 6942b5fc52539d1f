"""Padding is told from content, whatever number it is; and masks that are lost or hide content."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import data_tests, examination, experiments, surgery  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions import data, network  # noqa: E402
from lstm_oracle.diagnosis.plain import plain  # noqa: E402
from lstm_oracle.diagnosis.task import padding_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

T = 12
LENGTHS = np.random.default_rng(1).integers(3, T + 1, 40)
BEHIND = np.arange(T) >= LENGTHS[:, None]


def padded(number=0.0, steps=BEHIND):
    x = np.random.default_rng(0).normal(size=(40, T, 2)).astype("float32")
    return np.where(steps[..., None], np.float32(number), x)


def words(number=0, steps=BEHIND):
    x = np.random.default_rng(0).integers(1, 9, (40, T)).astype("int32")
    return np.where(steps, np.int32(number), x)


def setup_with(x, *layers):
    names = x.ndim == 2
    model = keras.Sequential(
        [keras.Input(x.shape[1:], dtype="int32" if names else "float32"), *layers,
         keras.layers.Dense(1)]
    )  # fmt: skip
    model.compile("adam", "mse")
    y = np.random.default_rng(2).normal(size=(len(x), 1)).astype("float32")
    return setup_of(
        model, x, y, validation_data=(x, y), validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def lstm():
    return keras.layers.LSTM(3)


def embedding(mask_zero):
    return keras.layers.Embedding(20, 4, mask_zero=mask_zero)


def outputs(setup):
    return network._outputs(setup, setup.train.x[0])


@pytest.mark.parametrize("number", [0.0, -1.0, 7.5, -999.0])
@pytest.mark.parametrize("steps", [BEHIND, BEHIND[:, ::-1]], ids=["behind", "in front"])
def test_padding_is_found_whatever_its_number_and_side(number, steps):
    for x in (padded(number, steps), words(int(abs(number)) + 30, steps)):
        found = padding_of(x)
        np.testing.assert_array_equal(found.steps, steps)
        assert found.behind is (steps is BEHIND)


def test_a_number_that_occurs_between_the_others_is_content():
    rng = np.random.default_rng(3)
    x = padded()
    assert padding_of(np.maximum(rng.normal(size=x.shape), 0)[..., :1]) is None
    assert padding_of(rng.integers(0, 4, (40, T))) is None
    assert padding_of(np.eye(4)[rng.integers(0, 4, (40, T))]) is None
    assert padding_of(rng.normal(size=x.shape)) is None


@pytest.mark.parametrize("number", [0.0, -1.0, 4.0])
def test_a_mask_that_is_added_hides_padding_of_any_number(number):
    setup = network.add_mask(setup_with(padded(number), lstm()))
    assert not network.reads_padding(setup)
    assert network.deleted_content(setup) == 0
    named = network.add_mask(setup_with(words(abs(int(number)) and 15), embedding(False), lstm()))
    assert not network.reads_padding(named)


@pytest.mark.parametrize("x", [padded(-2.0), words(17)], ids=["numbers", "words"])
def test_padding_that_the_mask_does_not_know_is_made_what_it_looks_for(x):
    front = keras.layers.Masking(0.0) if x.ndim == 3 else embedding(True)
    setup = setup_with(x, front, lstm())
    assert network.reads_padding(setup)
    assert examination.suspicions(setup)["mark-padding"] > 1
    marked = network.mark_padding(setup)
    assert not network.reads_padding(marked)
    assert network.mark_padding(marked) is None


def test_words_change_places_with_the_number_of_padding_so_that_none_is_lost():
    x = words(17)
    x[:, 0] = 0
    marked = network.mark_padding(setup_with(x, embedding(True), lstm()))
    np.testing.assert_array_equal(marked.train.x[0] == 0, x == 17)
    np.testing.assert_array_equal(marked.train.x[0] == 17, x == 0)


def test_a_mask_lost_on_the_way_is_seen_by_moving_the_padding():
    kept = setup_with(words(), embedding(True), lstm())
    lost = setup_with(words(), embedding(True), keras.layers.Reshape((T, 4)), lstm())
    assert not network.reads_padding(kept)
    assert network.pad_in_front(kept) is None
    assert network.reads_padding(lost)
    assert examination.suspicions(lost)["pad-in-front"] > 1
    moved = network.pad_in_front(lost).train.x[0]
    np.testing.assert_array_equal(moved == 0, np.arange(T) < (T - LENGTHS)[:, None])
    for before, after in zip(words(), moved, strict=True):
        np.testing.assert_array_equal(before[before > 0], after[after > 0])


def test_a_mask_that_hides_content_is_suspected_and_the_reference_has_none():
    rng = np.random.default_rng(4)
    codes = rng.integers(0, 4, (40, T)).astype("int32")
    quiet = np.maximum(rng.normal(size=(40, T, 1)), 0).astype("float32")
    for x, front in ((codes, embedding(True)), (quiet, keras.layers.Masking(0.0))):
        setup = setup_with(x, front, lstm())
        assert network.deleted_content(setup) == pytest.approx((x == 0).mean())
        suspicion = examination.suspicions(setup)
        assert suspicion["remove-mask"] > 1
        assert not network.has_mask(experiments.repaired(setup, suspicion)[1].model)
        assert not network.has_mask(plain(setup).model)


def test_a_plain_network_masks_padding_of_any_number_and_nothing_else():
    for x in (padded(-3.0), words(17)):
        layers = (lstm(),) if x.ndim == 3 else (embedding(False), lstm())
        simple = plain(setup_with(x, *layers))
        assert network.has_mask(simple.model)
        blank = (
            simple.train.x[0] == 0 if x.ndim == 2 else (simple.fed(simple.train.x)[0] == 0).all(-1)
        )
        np.testing.assert_array_equal(blank, BEHIND)


@pytest.mark.parametrize("number", [0.0, -1.0])
def test_standardizing_leaves_padding_what_it_is_also_in_the_model(number):
    x = np.where(BEHIND[..., None], np.float32(number), 50 + 20 * padded())
    setup = data.standardize_inputs(setup_with(x, keras.layers.Masking(number), lstm()))
    fed = setup.fed(setup.train.x)[0]
    np.testing.assert_array_equal((fed == number).all(-1), BEHIND)
    assert np.abs(fed[~BEHIND].mean(0)).max() < 1e-3
    kept = network.with_normalization(setup)
    assert not kept.x_scale
    np.testing.assert_allclose(outputs(kept), outputs(setup), atol=1e-5)


def test_padding_far_from_all_values_stands_for_nothing_that_is_missing():
    steps = np.arange(T) >= np.where(np.arange(40) % 12 == 0, T - 2, T)[:, None]
    setup = setup_with(padded(-999.0, steps), keras.layers.Masking(-999.0), lstm())
    assert not list(data_tests._stand_in(setup))
    holed = padded(0.0, np.zeros_like(steps))
    holed[::12, 5, 0] = -999.0
    assert list(data_tests._stand_in(setup_with(holed, lstm())))


def test_the_head_that_sees_all_steps_keeps_the_weights():
    x = padded()
    setup = setup_with(x, keras.layers.LSTM(4, return_sequences=True), lstm())
    pooled = network.pool_all_steps(setup)
    for mine, theirs in zip(setup.model.weights, pooled.model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    steps = keras.Model(setup.model.inputs, setup.model.layers[0].output)(x)
    last = setup.model.layers[1]
    every = keras.layers.LSTM.from_config(last.get_config() | {"return_sequences": True})
    every.build(steps.shape)
    every.set_weights(last.get_weights())
    expected = setup.model.layers[2](np.asarray(every(steps)).max(1))
    np.testing.assert_allclose(outputs(pooled), expected, atol=1e-5)


@pytest.mark.parametrize("wrap", [lambda a: a, keras.layers.Bidirectional])
def test_what_sees_all_steps_already_is_not_changed(wrap):
    layer = wrap(keras.layers.LSTM(3, return_sequences=True))
    assert network.pool_all_steps(setup_with(padded(), layer, keras.layers.Flatten())) is None
    pooled = network.pool_all_steps(setup_with(padded(), wrap(lstm())))
    assert network.pool_all_steps(pooled) is None
    kinds = {type(a).__name__ for a in surgery.all_layers(pooled.model)}
    assert "GlobalMaxPooling1D" in kinds
