"""Classes of steps are weighed as classes of sequences are: by n / (K n_k) of the real steps."""

from types import SimpleNamespace

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import typed  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.interventions.data import class_weights  # noqa: E402

X = np.random.default_rng(0).normal(size=(50, 10, 2)).astype("float32")
RARE = (np.arange(500).reshape(50, 10) % 10 == 3).astype("int64")


def setup(y, width, activation, loss, weight=None):
    model = keras.Sequential([
        keras.Input((10, 2)), keras.layers.LSTM(3, return_sequences=True),
        keras.layers.Dense(width, activation=activation),
    ])  # fmt: skip
    model.compile("adam", loss)
    return setup_of(
        model, X, y, validation_data=(X[:4], y[:4]), validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=weight, shuffle=True, seed=0,
    )  # fmt: skip


def test_every_class_of_steps_weighs_the_same():
    made = class_weights(setup(RARE, 2, "softmax", "sparse_categorical_crossentropy"))
    weight = made.train.weight
    assert weight.shape == (50, 10)
    assert weight[RARE == 1].sum() == pytest.approx(weight[RARE == 0].sum())
    assert weight.mean() == pytest.approx(1)


def test_steps_that_weigh_nothing_are_not_counted():
    mask = np.ones((50, 10))
    mask[:, 4:] = 0
    made = class_weights(setup(RARE[..., None], 1, "sigmoid", "binary_crossentropy", mask))
    weight = made.train.weight
    assert (weight[:, 4:] == 0).all()
    assert weight[:, 3].sum() == pytest.approx(weight[:, :3].sum())


def test_blank_one_hot_steps_are_not_counted():
    y = np.eye(2)[RARE]
    y[:, 4:] = 0
    weight = class_weights(setup(y, 2, "softmax", "categorical_crossentropy")).train.weight
    assert (weight[:, 4:] == 0).all()
    assert weight[:, 3].sum() == pytest.approx(weight[:, :3].sum())


def test_steps_of_equal_classes_are_left_as_they_are():
    even = np.arange(500).reshape(50, 10) % 2
    assert class_weights(setup(even, 2, "softmax", "sparse_categorical_crossentropy")) is None


@pytest.mark.parametrize("coding", ["numbers", "a column", "one-hot"])
def test_the_code_to_type_gives_these_weights(coding):
    y = {"numbers": RARE, "a column": RARE[..., None].astype("float32"), "one-hot": np.eye(2)[RARE]}
    loss = "categorical_crossentropy" if coding == "one-hot" else "sparse_categorical_crossentropy"
    made = setup(y[coding], 2, "softmax", loss)
    weighted = class_weights(made)
    given = {}
    model = SimpleNamespace(fit=lambda *_, sample_weight: given.update(weight=sample_weight))
    names = {"np": np, "model": model, "x_train": X, "y_train": y[coding]}
    exec(typed.difference(made, weighted), names)  # what was written here is what runs
    np.testing.assert_allclose(given["weight"], weighted.train.weight, rtol=1e-6)
