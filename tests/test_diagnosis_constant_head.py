"""A head that gives one number whatever the weights is a fault by arithmetic, not by training."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import examination  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402

X = np.random.default_rng(0).normal(size=(40, 5, 2)).astype("float32")
Y = (X.sum((1, 2)) > 0).astype("int64")


def setup(activation, loss, y=Y):
    model = keras.Sequential(
        [keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dense(1, activation=activation)]
    )
    model.compile("adam", loss)
    return setup_of(
        model, X, y, validation_data=None, validation_split=0.2, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "loss", "y"),
    [("softmax", "binary_crossentropy", Y), ("softmax", "binary_crossentropy", 2 * Y - 1),
     ("softmax", "mse", X.sum((1, 2))), ("sigmoid", "categorical_crossentropy", Y)],
)  # fmt: skip
def test_what_is_constant_is_a_fault_with_code_that_repairs_it(activation, loss, y):
    made = setup(activation, loss, y)
    [finding] = [f for f in examination.certain_findings(made) if f.id == "LSTM070"]
    assert (finding.cause, finding.severity) == ("output-loss-mismatch", "error")
    assert "keras.layers.Dense" in finding.remedy.code or "compile" in finding.remedy.code
    assert iv.head.gives_a_constant(iv.head.repair_head(made)) == ""


@pytest.mark.parametrize("loss", ["binary_crossentropy", "mse"])
def test_a_sigmoid_unit_is_not_constant(loss):
    assert iv.head.gives_a_constant(setup("sigmoid", loss)) == ""


def test_a_loss_of_the_users_own_is_not_judged_by_its_name():
    def weighted_crossentropy(y_true, y_pred):
        return keras.ops.mean(keras.losses.binary_crossentropy(y_true, y_pred))

    assert iv.head.gives_a_constant(setup("sigmoid", weighted_crossentropy)) == ""
