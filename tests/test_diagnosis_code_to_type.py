"""The code of a remedy is of the user's own layers, and runs."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis import typed  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6, 2)).astype("float32")
LABELS = RNG.integers(1, 4, 40)


def setup(layers, y=LABELS, optimizer="adam", loss="sparse_categorical_crossentropy", **options):
    model = keras.Sequential([keras.Input((6, 2)), *layers])
    model.compile(optimizer, loss)
    defaults = {
        "validation_data": None, "validation_split": 0.25, "batch_size": 8, "epochs": 2,
        "class_weight": None, "sample_weight": None, "shuffle": True, "seed": 0,
    }  # fmt: skip
    return setup_of(model, X, y, **{**defaults, **options})


def code(made, key):
    return typed.difference(made, iv.BY_KEY[key].apply(made))


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        (keras.layers.Dense(3), "keras.layers.Dense(3)"),
        (keras.layers.Embedding(50, 8, mask_zero=True), "Embedding(50, 8, mask_zero=True)"),
        (
            keras.layers.LSTM(4, kernel_regularizer=keras.regularizers.L2(0.01), dropout=0.5),
            "LSTM(4, kernel_regularizer=keras.regularizers.L2(l2=0.01), dropout=0.5)",
        ),
        (keras.layers.TimeDistributed(keras.layers.Dense(2, "relu")),
         'TimeDistributed(keras.layers.Dense(2, activation="relu"))'),
        (keras.layers.Bidirectional(keras.layers.LSTM(4)), "Bidirectional(keras.layers.LSTM(4))"),
        (
            keras.layers.Bidirectional(
                keras.layers.LSTM(4),
                backward_layer=keras.layers.LSTM(4, go_backwards=True, dropout=0.2),
            ),
            "Bidirectional(keras.layers.LSTM(4), "
            "backward_layer=keras.layers.LSTM(4, dropout=0.2, go_backwards=True))",
        ),
        (keras.layers.RNN(keras.layers.LSTMCell(4)), "RNN(keras.layers.LSTMCell(4))"),
        (
            keras.layers.RNN([keras.layers.LSTMCell(4), keras.layers.LSTMCell(2)]),
            "StackedRNNCells([keras.layers.LSTMCell(4), keras.layers.LSTMCell(2)]))",
        ),
    ],
)  # fmt: skip
def test_a_layer_is_written_as_it_is_typed(layer, written):
    made = typed.call(layer)
    assert made.endswith(written)
    again = eval(made, {"keras": keras})  # what was written here is what is evaluated
    assert typed.call(again) == made


def test_a_repaired_head_is_written_with_its_labels_and_loss():
    made = setup([keras.layers.LSTM(4), keras.layers.Dense(1, activation="softmax")])
    text = code(made, "repair-head")
    assert 'Dense(3, activation="softmax")   # was Dense(1, activation="softmax")' in text
    assert "np.unique(y_train, return_inverse=True)" in text


def test_one_hot_labels_are_numbered_for_a_sparse_loss():
    made = setup(
        [keras.layers.LSTM(4), keras.layers.Dense(3)], y=np.eye(3)[LABELS - 1],
        loss="categorical_crossentropy",
    )  # fmt: skip
    text = code(made, "repair-head")
    assert "argmax(-1)" in text
    assert 'compile(optimizer=model.optimizer, loss="sparse_categorical_crossentropy")' in text


def test_an_optimizer_is_written_with_the_loss_that_stays():
    made = setup([keras.layers.LSTM(4), keras.layers.Dense(4, "softmax")], optimizer="sgd")
    assert code(made, "adam") == (
        "model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.003), "
        'loss="sparse_categorical_crossentropy")'
    )


def test_an_activation_is_written_with_what_it_was():
    layers = [keras.layers.LSTM(4, activation="relu"), keras.layers.Dense(4, "softmax")]
    text = code(setup(layers), "gate-activations")
    assert text == 'keras.layers.LSTM(4)   # was LSTM(4, activation="relu")'


def test_longer_training_is_written_with_its_epochs():
    made = setup([keras.layers.LSTM(4), keras.layers.Dense(4, "softmax")])
    assert typed.difference(made, made.changed(epochs=60)) == (
        "model.fit(x_train, y_train, epochs=60)"
    )


def test_a_change_of_the_data_alone_is_not_written_here():
    made = setup([keras.layers.LSTM(4), keras.layers.Dense(4, "softmax")])
    assert typed.difference(made, made.changed(train=made.held_out)) == ""
