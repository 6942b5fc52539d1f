"""Models written as classes: a second is made of them, and their code is opened to its layers."""

from __future__ import annotations

import threading

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import intake, surgery  # noqa: E402
from lstm_oracle.diagnosis.intake_checks import CannotDiagnose  # noqa: E402
from lstm_oracle.diagnosis.subclassed import again, opened  # noqa: E402

# Keras on JAX and PyTorch, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T = 12, 5


class Net(keras.Model):
    """A constructor that takes layers has no configuration."""

    def __init__(self, lstm, **others):
        super().__init__()
        self.lstm = lstm
        self.others = others
        self.out = keras.layers.Dense(1)

    def call(self, x):
        return self.out(self.lstm(x))


class Otherwise(Net):
    def train_step(self, *arguments):
        return super().train_step(*arguments)


class InTraining(Net):
    def call(self, x, training=False):
        return self.out(self.lstm(2 * x if training else x))


class NoSymbols(Net):
    def call(self, x):
        return self.out(self.lstm(x)) if float(keras.ops.sum(x)) < 1e9 else x


class Dropping(Net):
    def call(self, x, training=False):
        return self.out(self.others["drop"](self.lstm(x), training=training))


class Scale(keras.layers.Layer):
    """Holds a weight and an array, and has no configuration."""

    def __init__(self, by, **named):
        super().__init__(**named)
        self.by = by
        self.times = self.scaled

    def build(self, shape):
        self.factor = self.add_weight(name="factor", shape=(shape[-1],), initializer="ones")

    def scaled(self, x):
        return x * self.factor

    def call(self, x):
        return self.times(x) * self.by


class Encoder(keras.layers.Layer):
    """Holds an LSTM."""

    def __init__(self, units):
        super().__init__()
        self.lstms = [keras.layers.LSTM(units, return_sequences=True), keras.layers.LSTM(units)]

    def call(self, x):
        for lstm in self.lstms:
            x = lstm(x)
        return x


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(N, T, 2)).astype("float32")


def setup(model, x):
    model.compile("adam", "mse")
    return intake.setup_of(
        model, x, x[:, -1, :1], validation_data=None, validation_split=0.0, batch_size=4, epochs=1,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def values(model, x):
    return keras.ops.convert_to_numpy(model(x))


def names(model):
    return [type(layer).__name__ for layer in model.layers]


def test_a_class_without_a_configuration_is_opened_to_its_layers(x):
    model = Net(keras.layers.LSTM(3))
    found = setup(model, x).model
    assert names(found) == ["InputLayer", "LSTM", "Dense"]
    assert not model.built


def test_the_second_has_the_weights_and_shares_none(x):
    model = Net(keras.layers.LSTM(3))
    before = values(model, x)
    second = setup(model, x).model
    np.testing.assert_allclose(values(second, x), before, rtol=1e-6)
    assert not {id(w) for w in model.weights} & {id(w) for w in second.weights}
    second.set_weights([w + 1 for w in second.get_weights()])
    np.testing.assert_array_equal(values(model, x), before)


@pytest.mark.parametrize("kind", [Otherwise, InTraining, NoSymbols])
def test_what_a_graph_would_lose_stays_code(kind, x):
    model = kind(keras.layers.LSTM(3))
    before = values(model, x)
    found = setup(model, x).model
    assert type(found) is kind
    np.testing.assert_allclose(values(found, x), before, rtol=1e-6)


def test_layers_are_told_whether_they_train(x):
    model = Dropping(keras.layers.LSTM(3), drop=keras.layers.Dropout(0.9))
    values(model, x)
    found = setup(model, x).model
    assert "Dropout" in names(found)
    resting, training = (keras.ops.convert_to_numpy(found(x, training=t)) for t in (False, True))
    assert not np.allclose(resting, training)


def test_an_lstm_within_a_layer_is_found_and_opened(x):
    inputs = keras.Input((T, 2))
    model = keras.Model(inputs, keras.layers.Dense(1)(Encoder(3)(inputs)))
    assert sum(isinstance(a, keras.layers.LSTM) for a in surgery.all_layers(model)) == 2
    before = values(model, x)
    found = setup(model, x).model
    assert names(found) == ["InputLayer", "LSTM", "LSTM", "Dense"]
    np.testing.assert_allclose(values(found, x), before, rtol=1e-6)


def test_a_layer_with_weights_of_its_own_is_made_again(x):
    inputs = keras.Input((T, 2))
    scale = Scale(np.float32(3))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.LSTM(3)(scale(inputs))))
    scale.set_weights([np.array([2.0, 0.5], "float32")])
    before = values(model, x)
    second = surgery.twin(model)
    scale.set_weights([np.zeros(2, "float32")])
    np.testing.assert_allclose(values(second, x), before, rtol=1e-6)


def test_attributes_of_every_kind_are_made_again():
    layer = Scale(np.float32(3))
    layer.held = {"a": (1, [np.ones(2)]), "b": {3}}
    layer.metric = keras.metrics.Mean()
    layer.same = layer
    second = again(layer)
    assert second.times.__self__ is second
    assert second.same is second
    assert second.metric is not layer.metric
    assert second.held["a"][1][0] is not layer.held["a"][1][0]
    assert second.held["b"] == {3}


def test_a_copy_of_a_copy_is_no_other():
    layer = Scale(np.float32(3))
    layer.supports_masking = True
    third = again(again(layer))
    assert third.by == 3
    assert third.supports_masking


class Assigned(Net):
    """Says which layers it has in another order than it gives them."""

    def __init__(self, lstm, **others):
        super().__init__(None, **others)
        self.more = [keras.layers.LSTM(2), keras.layers.LSTM(2)]
        self.lstm = lstm

    def call(self, x):
        return self.out(self.lstm(x) + self.more[0](x) * self.more[1](x))


def test_weights_are_not_exchanged_between_layers_of_a_shape(x):
    model = Assigned(keras.layers.LSTM(2))
    before = values(model, x)
    np.testing.assert_allclose(values(setup(model, x).model, x), before, rtol=1e-6)


def test_a_function_that_holds_a_layer_is_not_shared(x):
    lstm = keras.layers.LSTM(3)
    model = Net(lstm, function=lambda x: lstm(x))
    with pytest.raises(CannotDiagnose, match="holds a layer"):
        setup(model, x)


class Normalized(Net):
    def call(self, x):
        return self.out(self.others["norm"](self.lstm(x), training=False))


class Louder(Net):
    def call(self, x, training=False):
        return self.out(self.lstm(x) * (0.1 if training else 2.0))


def test_a_graph_that_would_train_otherwise_is_not_taken(x):
    frozen = Normalized(keras.layers.LSTM(3), norm=keras.layers.BatchNormalization())
    for model in (frozen, Louder(keras.layers.LSTM(3))):
        values(model, x)
        assert type(setup(model, x).model) is type(model)


class Pool(keras.layers.Layer):
    """Reads the real steps."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True
        self.lstm = keras.layers.LSTM(3)

    def call(self, x, mask=None):
        return self.lstm(x, mask=mask)


def test_a_mask_goes_where_it_went(x):
    x[6:, 2:] = 0
    model = keras.Sequential(
        [keras.Input((T, 2)), keras.layers.Masking(), Pool(), keras.layers.Dense(1)]
    )
    before = values(model, x)
    found = setup(model, x).model
    assert "LSTM" in names(found)
    np.testing.assert_allclose(values(found, x), before, rtol=1e-5)


def test_what_cannot_be_made_again_is_refused(x):
    model = Net(keras.layers.LSTM(3), lock=threading.Lock())
    with pytest.raises(CannotDiagnose, match="lock"):
        setup(model, x)


def test_a_graph_of_plain_layers_is_not_opened(x):
    model = keras.Sequential([keras.Input((T, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    assert opened(model, (x,)) is None


class Named(Net):
    def call(self, x):
        return {"answer": self.out(self.lstm(x))}


class ByName(Net):
    def call(self, x):
        return self.out(self.lstm(x["steps"]))


@pytest.mark.parametrize(("kind", "said"), [(Named, "gives a dictionary"), (ByName, "raised")])
def test_what_is_called_by_names_is_refused(kind, said, x):
    with pytest.raises(CannotDiagnose, match=said):
        setup(kind(keras.layers.LSTM(3)), x)
