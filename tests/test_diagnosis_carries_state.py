"""A stateful model is fed as it has to be: in its own batches, in order, from a clean start."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis import lab, surgery  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.setup import Data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")

X = np.random.default_rng(0).normal(size=(50, 3, 2)).astype("float32")
Y = X.sum((1, 2))


def stateful(size=4):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input(batch_shape=(size, 3, 2)), keras.layers.LSTM(5, stateful=True),
        keras.layers.Dense(1),
    ])  # fmt: skip
    model.compile("adam", "mse")
    return model


def setup(model, shuffle=False, **options):
    defaults = {
        "validation_data": None, "validation_split": 0.0, "batch_size": 4, "epochs": 2,
        "class_weight": None, "sample_weight": None, "seed": 0,
    }  # fmt: skip
    return setup_of(model, X, Y, shuffle=shuffle, **{**defaults, **options})


def test_predictions_go_on_from_batch_to_batch_and_leave_the_state():
    model = stateful()
    made = setup(model)
    expected = [np.asarray(model.predict_on_batch(X[n : n + 4])) for n in (0, 4)]
    after = [keras.ops.convert_to_numpy(state).copy() for state in model.layers[0].states]
    [got] = lab.predictions(model, made, Data((X[:7],), (Y[:7],)))
    np.testing.assert_allclose(got, np.concatenate(expected)[:7], rtol=1e-5, atol=1e-6)
    for kept, state in zip(after, model.layers[0].states, strict=True):
        np.testing.assert_array_equal(kept, keras.ops.convert_to_numpy(state))


def test_a_stateful_model_trains_and_is_judged():
    made = setup(stateful())
    run = lab.Lab(1e3).train(made, steps=40)
    assert run.complete
    assert np.isfinite(run.train_skill).all()
    assert (run.train_skill > -1).all()


def test_what_is_held_out_follows_what_is_trained_on():
    made = setup(stateful())
    np.testing.assert_array_equal(made.train.x[0], X[:40])
    np.testing.assert_array_equal(made.held_out.x[0], X[40:])


def test_batches_of_another_size_are_not_tried_with_state():
    made = setup(stateful())
    assert iv.optimization.batch_larger(made) is None
    assert iv.optimization.batch_smaller(made.changed(batch_size=100)) is None


def test_state_is_told_from_its_absence():
    assert surgery.carries_state(stateful())
    assert not surgery.carries_state(keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(2)]))


def test_shuffled_batches_are_put_in_order_where_a_state_is_carried():
    made = setup(stateful(), shuffle=True)
    assert not iv.KEEP_ORDER.apply(made).shuffle
    assert iv.KEEP_ORDER.apply(setup(stateful())) is None
    without = keras.Sequential([keras.Input((3, 2)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    without.compile("adam", "mse")
    assert iv.KEEP_ORDER.apply(setup(without, shuffle=True)) is None
