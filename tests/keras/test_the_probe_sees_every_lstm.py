"""`capture` finds every LSTM of a model; oracle and framework agree on each; nothing changes."""

import keras
import numpy as np
import pytest
from keras import layers

from lstm_oracle import reference
from lstm_oracle.keras_impl import LSTM, LSTMCell, Unsupported, capture
from lstm_oracle.keras_impl.backends import BACKEND
from lstm_oracle.reference.spec import Reverse, Spec, Stack

pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
# float32 through up to six layers; the loss's cotangents are exact inputs to both sides.
CLOSE = 3e-5


class Block(keras.Layer):
    """A user's own layer with an LSTM in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = layers.LSTM(3, return_sequences=True, name="inner")

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x)


def everything():
    x = keras.Input((5, 4))
    shared = layers.LSTM(4, return_sequences=True, name="shared")
    a = shared(shared(layers.Masking()(x)))
    bidirectional = LSTM(3, dropout=0.2, return_sequences=True, peepholes="fo", name="lstm")
    b = layers.Bidirectional(bidirectional, name="both_ways")(a)
    encoder = LSTM(6, return_state=True, return_sequences=True, go_backwards=True, name="encoder")
    sequence, h, c = encoder(b)
    cells = [layers.LSTMCell(5), LSTMCell(6, projection_size=3)]
    r = layers.RNN(cells, return_sequences=True, name="stack")(sequence)
    plain = layers.RNN(layers.LSTMCell(2, activation="relu"), name="one_cell")(r)
    decoder = layers.LSTM(6, name="decoder", kernel_regularizer="l2")(r, initial_state=[h, c])
    inside = keras.Sequential(
        [keras.Input((5, 3)), layers.LSTM(2, recurrent_dropout=0.3, name="deep")], name="inside"
    )
    sliced = layers.TimeDistributed(layers.LSTM(2, name="per_slice"), name="slices")
    t = layers.GRU(2, name="gru")(sliced(layers.Reshape((5, 3, 1))(r)))
    e = layers.GlobalAveragePooling1D()(Block(name="block")(r))
    out = layers.Dense(1)(layers.Concatenate()([decoder, inside(r), plain, t, e]))
    model = keras.Model(x, out, name="model")
    # Eagerly: compiling this model takes longer than all the tests here.
    model.compile("adam", "mse", metrics=["mae"], run_eagerly=True)
    return model


def batch(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 5, 4)).astype("float32")
    x[0, 3:] = x[1, 2] = 0  # masked: at the end, and a hole
    return x, rng.normal(size=(3, 1)).astype("float32")


@pytest.fixture(scope="module")
def model():
    """As after training: an optimizer and metrics with something to lose."""
    model = everything()
    model.optimizer.build(model.trainable_variables)
    for n, variable in enumerate([*model.optimizer.variables, *model.metrics_variables]):
        variable.assign(keras.ops.full(variable.shape, n, dtype=variable.dtype))
    return model


@pytest.fixture(scope="module")
def captures(model):
    return capture(model, *batch())


def named(captures):
    return {(one.layer_path, getattr(one, "call_index", None)): one for one in captures}


def test_every_layer_is_found_with_the_way_to_it(captures):
    assert set(named(captures)) == {
        ("model/shared", 0),
        ("model/shared", 1),
        ("model/both_ways/forward_lstm", 0),
        ("model/both_ways/backward_lstm", 0),
        ("model/encoder", 0),
        ("model/stack", 0),
        ("model/one_cell", 0),
        ("model/decoder", 0),
        ("model/inside/deep", 0),
        ("model/slices/per_slice", 0),
        ("model/block/inner", 0),
        ("model/gru", None),
    }


def test_what_each_layer_is(captures):
    by_name = named(captures)
    assert isinstance(by_name["model/shared", 0].architecture, Spec)
    backward = by_name["model/both_ways/backward_lstm", 0].architecture
    assert isinstance(backward, Reverse)
    assert backward.layer.peepholes == "fo"
    assert backward.layer.masked_output == "zero"
    assert isinstance(by_name["model/stack", 0].architecture, Stack)
    assert by_name["model/one_cell", 0].architecture.c_activation == "relu"
    assert not by_name["model/decoder", 0].return_sequences
    gru = by_name["model/gru", None]
    assert isinstance(gru, Unsupported)
    assert "GRU is not one of the LSTM classes" in gru.reason


def check_against_the_oracle(one, close=CLOSE):
    output, tape = reference.forward(one.architecture, one.params, one.x, one.state, one.mask)
    gradients = reference.backward(tape, one.d_y, one.d_final_state)
    pairs = [(one.y, one.emitted(output.y)), (one.d_x, gradients.x)]
    nested = [(one.d_params, gradients.params), (one.d_state, gradients.state)]
    if one.final_state is not None:
        nested.append((one.final_state, output.state))
    for got, expected in nested:
        pairs += zip(keras.tree.flatten(got), keras.tree.flatten(expected), strict=True)
    for got, expected in pairs:
        assert got.shape == expected.shape
        assert np.linalg.norm(got - expected) <= close * np.linalg.norm(expected)


def test_the_oracle_agrees_with_the_framework_on_every_call(captures):
    for one in captures:
        if not isinstance(one, Unsupported):
            assert np.linalg.norm(one.d_y) > 0
            assert one.cotangent == "loss"
            check_against_the_oracle(one)


def test_the_loss_is_the_models_own(model, captures):
    expected = model.evaluate(*batch(), verbose=0, return_dict=True)["loss"]
    assert captures[0].loss == pytest.approx(expected, rel=1e-5)


def test_weight_gradients_of_a_shared_layer_add_up_to_the_frameworks(model, captures):
    layer = model.get_layer("shared")
    x, y = map(keras.ops.convert_to_tensor, batch())

    def loss(weights):
        mapping = [(v, v.value) for v in model.variables]
        mapping += list(zip(layer.trainable_variables, weights, strict=True))
        with keras.StatelessScope(mapping):
            predicted = model(x, training=False)
            return keras.ops.mean((predicted - y) ** 2), 0

    weights = [keras.ops.convert_to_tensor(v.numpy()) for v in layer.trainable_variables]
    _, _, expected = BACKEND.differentiate(loss, weights)
    first, second = (one for one in captures if one.layer_path == "model/shared")
    got = np.concatenate([first.d_params[f"U_{k}"] + second.d_params[f"U_{k}"] for k in "ifgo"], 1)
    np.testing.assert_allclose(got, keras.ops.convert_to_numpy(expected[1]), rtol=1e-4, atol=1e-7)
    assert np.abs(first.d_params["U_i"]).max() > 0
    assert (first.d_params["U_i"] != second.d_params["U_i"]).any()


def snapshot(model):
    kept = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    assert any("seed" in variable.path for variable in kept)
    return {variable.path: np.array(keras.ops.convert_to_numpy(variable)) for variable in kept}


def assert_untouched(model, before):
    after = snapshot(model)
    assert before.keys() <= after.keys()
    for path, old in before.items():
        np.testing.assert_array_equal(after[path], old, err_msg=path)


def python_state(model):
    return [
        (layer.path, "call" in vars(layer), len(layer._losses), set(layer._loss_ids))
        for layer in model._flatten_layers()
    ]


@pytest.mark.parametrize("training", [False, True])
def test_the_model_comes_out_as_it_went_in(model, training):
    before, objects = snapshot(model), python_state(model)
    capture(model, *batch(), training=training, layers=["deep", "stack"])
    assert_untouched(model, before)
    assert python_state(model) == objects


def test_a_pass_that_fails_leaves_no_trace_either(model):
    before, objects = snapshot(model), python_state(model)
    with pytest.raises(ValueError, match="incompatible with the layer"):
        capture(model, batch()[0][:, :, :2], batch()[1])
    assert_untouched(model, before)
    assert python_state(model) == objects
    check_against_the_oracle(capture(model, *batch(), layers="decoder")[0])


def test_without_targets_the_cotangent_is_random_seeded_and_said_so(model):
    x, _ = batch()
    a, b, other = (capture(model, x, layers="decoder", seed=seed)[0] for seed in (1, 1, 2))
    assert a.cotangent == "random"
    np.testing.assert_array_equal(a.d_y, b.d_y)
    assert (a.d_y != other.d_y).any()
    check_against_the_oracle(a)


def test_a_stateful_layer_starts_from_its_state_and_keeps_it():
    model = keras.Sequential(
        [keras.Input(batch_shape=(2, 3, 4)), layers.LSTM(3, stateful=True, name="carried")]
    )
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("float32")
    model(x)
    [one] = capture(model, x)
    state = [np.array(keras.ops.convert_to_numpy(v)) for v in model.layers[0].states]
    np.testing.assert_array_equal(one.state.h, state[0])
    assert np.abs(one.state.c).max() > 0
    check_against_the_oracle(one)


def test_a_subclassed_model_with_several_outputs_is_probed():
    class TwoHeads(keras.Model):
        def __init__(self):
            super().__init__(name="two_heads")
            self.body = layers.LSTM(3, return_sequences=True, name="body")
            self.head = LSTM(2, coupled=True, name="head")

        def call(self, x):
            y = self.body(x)
            return {"sequence": y, "last": self.head(y)}

    model = TwoHeads()
    model.compile("sgd", {"sequence": "mse", "last": "mae"})
    rng = np.random.default_rng(0)
    x, s, last = (rng.normal(size=n).astype("float32") for n in ((2, 4, 3), (2, 4, 3), (2, 2)))
    with pytest.raises(ValueError, match=r"'two_heads' is not built, .* Call it on a batch"):
        capture(model, x)
    model(x)
    for one in capture(model, x, {"sequence": s, "last": last}):
        check_against_the_oracle(one)


def test_mixed_precision_is_captured_in_float32():
    model = keras.Sequential(
        [keras.Input((4, 3)), LSTM(5, dtype="mixed_bfloat16", return_sequences=True, name="half")]
    )
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    [one] = capture(model, x)
    assert one.dtype == "bfloat16"
    assert one.y.dtype == one.d_y.dtype == np.float32
    check_against_the_oracle(one, close=0.1)


def test_a_layer_that_the_pass_does_not_reach_is_named():
    class Idle(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.idle = layers.LSTM(2, name="used"), layers.LSTM(2, name="idle")

        def build(self, shape):
            self.used.build(shape)
            self.idle.build(shape)

        def call(self, x):
            return self.used(x)

    model = Idle()
    model.build((2, 4, 3))
    _, idle = capture(model, np.ones((2, 4, 3), "float32"))
    assert isinstance(idle, Unsupported)
    assert "not called" in idle.reason


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (lambda: type("Mine", (layers.LSTMCell,), {"call": layers.LSTMCell.call})(2), "Mine"),
        (lambda: layers.GRUCell(2), "GRUCell is not one of the LSTM classes"),
        (lambda: layers.LSTMCell(2, activation="gelu"), "the activation is 'gelu'"),
    ],
)
def test_a_cell_without_a_description_is_named_with_the_reason(cell, reason):
    model = keras.Sequential([keras.Input((4, 3)), layers.RNN(cell())])
    [one] = capture(model, np.ones((2, 4, 3), "float32"))
    assert isinstance(one, Unsupported)
    assert reason in one.reason


def test_a_convolutional_lstm_is_named_with_the_reason():
    model = keras.Sequential([keras.Input((2, 3, 3, 1)), layers.ConvLSTM2D(1, 2)])
    [one] = capture(model, np.ones((1, 2, 3, 3, 1), "float32"))
    assert isinstance(one, Unsupported)
    assert "ConvLSTM2D is not one of the LSTM classes" in one.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": "nobody"}, "layers names 'nobody', expected recurrent layers of model"),
        ({"y": np.ones((2, 2), "float32")}, "y was given, but model .* has no loss. Compile"),
    ],
)
def test_bad_arguments_are_one_clear_error(arguments, message):
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2)])
    with pytest.raises(ValueError, match=message):
        capture(model, np.ones((2, 4, 3), "float32"), **arguments)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"model is of type LSTM, expected a keras.Model"):
        capture(layers.LSTM(2), np.ones((2, 4, 3), "float32"))
