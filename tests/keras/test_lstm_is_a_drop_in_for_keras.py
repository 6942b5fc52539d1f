"""Whoever uses keras.layers.LSTM can put `LSTM` in its place: weights, files, policies."""

import keras
import numpy as np
import pytest
from keras import layers

from lstm_oracle.keras_impl import LSTM, LSTMCell, PerGate
from lstm_oracle.reference.spec import Spec

# JAX always compiles; torch.compile needs a C++ compiler and half a minute for an LSTM.
COMPILES = {"tensorflow": [False, True], "jax": [True], "torch": [False]}[keras.backend.backend()]


def data(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def assert_same(got, expected, atol=1e-6):
    got, expected = keras.tree.flatten(got), keras.tree.flatten(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(numpy(a), numpy(b), rtol=1e-5, atol=atol)


OPTIONS = [
    {},
    {"use_bias": False, "return_sequences": True},
    {"go_backwards": True, "return_state": True},
    {"unroll": True, "return_sequences": True, "return_state": True},
    {"activation": "relu", "recurrent_activation": "hard_sigmoid", "implementation": 1},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_weights_move_both_ways_and_outputs_agree(options):
    x = data(3, 5, 4)
    theirs, ours = layers.LSTM(6, **options), LSTM(6, **options)
    theirs.build(x.shape)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    assert_same(ours(x), theirs(x))
    fresh = [w + 0.1 for w in ours.get_weights()]
    ours.set_weights(fresh)
    theirs.set_weights(ours.get_weights())
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize(
    "options",
    [
        {"bias_initializer": keras.initializers.RandomNormal(seed=3)},
        {"unit_forget_bias": False, "bias_initializer": "ones"},
        {"kernel_initializer": "he_normal", "recurrent_initializer": "glorot_normal"},
    ],
)
def test_a_seed_gives_the_initial_weights_that_keras_gives(options):
    weights = []
    for layer_class in (layers.LSTM, LSTM):
        keras.utils.set_random_seed(7)
        layer = layer_class(5, **options)
        layer.build((None, None, 3))
        weights.append(layer.get_weights())
    for theirs, ours in zip(*weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_seed_gives_the_dropout_that_keras_gives():
    x = data(3, 5, 4)
    options = {"dropout": 0.4, "recurrent_dropout": 0.3, "seed": 11}
    theirs, ours = layers.LSTM(6, use_cudnn=False, **options), LSTM(6, **options)
    theirs.build(x.shape)
    ours.build(x.shape)
    ours.set_weights(theirs.get_weights())
    for _ in range(2):
        assert_same(ours(x, training=True), theirs(x, training=True))


def test_weight_files_move_both_ways(tmp_path):
    x = data(2, 4, 3)
    models = [
        keras.Sequential([keras.Input((4, 3)), layer_class(5), layers.Dense(2)])
        for layer_class in (layers.LSTM, LSTM)
    ]
    path = tmp_path / "model.weights.h5"
    for source, target in (models, models[::-1]):
        source.set_weights([w + 0.1 for w in source.get_weights()])
        source.save_weights(path)
        target.load_weights(path)
        assert_same(target(x), source(x))


FULL = {
    "activation": "softsign",
    "recurrent_activation": "hard_sigmoid",
    "f_activation": "hard_sigmoid_fifth",
    "c_activation": "elu",
    "peepholes": "fo",
    "coupled": True,
    "projection_size": 3,
    "cell_clip": 2.0,
    "activation_clip": 4.0,
    "per_gate_initialization": True,
    "peephole_initializer": "glorot_uniform",
    "peephole_regularizer": keras.regularizers.L2(0.1),
    "projection_constraint": keras.constraints.MaxNorm(1.0),
    "kernel_regularizer": "l1",
    "kernel_constraint": "non_neg",
    "dropout": 0.1,
    "implementation": 1,
    "seed": 5,
    "masked_output": "state",
    "return_sequences": True,
    "activity_regularizer": "l2",
}


PLAIN = (
    "activation",
    "recurrent_activation",
    "peepholes",
    "coupled",
    "projection_size",
    "cell_clip",
    "activation_clip",
    "per_gate_initialization",
    "dropout",
    "implementation",
    "seed",
    "masked_output",
    "return_sequences",
)


def test_the_configuration_is_complete():
    layer = LSTM(5, **FULL)
    config = layer.get_config()
    again = LSTM.from_config(config)
    assert again.get_config() == config
    missing = [name for name in FULL if name not in config]
    assert not missing
    plain = {name: value for name, value in FULL.items() if name in PLAIN}
    assert {name: config[name] for name in plain} == plain
    assert again.cell.own_activations == layer.cell.own_activations
    assert [again.masked_output, again.coupled, again.peepholes] == ["state", True, "fo"]


def test_a_saved_model_with_every_option_loads_again(tmp_path):
    x = data(2, 4, 3)
    inputs = keras.Input((4, 3))
    y = LSTM(5, **FULL)(inputs)
    y = layers.Bidirectional(LSTM(3, peepholes="i", return_sequences=True))(y)
    y = layers.RNN([LSTMCell(4, projection_size=2), LSTMCell(3, coupled=True)])(y)
    model = keras.Model(inputs, y)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert_same(again(x), model(x), atol=0)
    assert again.layers[1].spec == model.layers[1].spec


@pytest.mark.parametrize("jit_compile", COMPILES)
def test_it_trains_in_a_functional_model_with_masks(jit_compile):
    keras.utils.set_random_seed(1)
    tokens = np.random.default_rng(0).integers(0, 9, size=(32, 7))
    tokens[:, 5:] = 0
    target = (tokens[:, 0] > 4).astype("float32")[:, None]
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            layers.Embedding(10, 6, mask_zero=True),
            layers.Bidirectional(LSTM(8, return_sequences=True, dropout=0.1)),
            LSTM(8, peepholes="ifo", projection_size=4),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.03), "binary_crossentropy", jit_compile=jit_compile)
    history = model.fit(tokens, target, batch_size=16, epochs=15, verbose=0, shuffle=False)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]


def test_compiled_and_eager_predictions_agree():
    x = data(4, 6, 3)
    model = keras.Sequential([keras.Input((None, 3)), LSTM(5, go_backwards=True)])
    model.compile(jit_compile=COMPILES[-1])
    assert_same(model.predict(x, verbose=0), model(x))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policies_hold(policy):
    layer = LSTM(4, dtype=policy, return_state=True, stateful=True)
    outputs = layer(data(2, 5, 3))
    policy = keras.dtype_policies.get(policy)
    assert {keras.backend.standardize_dtype(y.dtype) for y in outputs} == {policy.compute_dtype}
    kept = {keras.backend.standardize_dtype(w.dtype) for w in layer.weights}
    assert kept == {policy.variable_dtype}
    expected = LSTM(4)
    expected.build((2, 5, 3))
    expected.set_weights(layer.get_weights()[:3])
    assert_same(keras.ops.cast(outputs[0], "float32"), expected(data(2, 5, 3)), atol=0.03)


def test_a_stateful_layer_carries_its_state_and_resets():
    x = data(2, 6, 3)
    layer = LSTM(4, stateful=True, return_sequences=True)
    first, second = layer(x[:, :2]), layer(x[:, 2:])
    whole = LSTM(4, return_sequences=True)
    whole.build(x.shape)
    whole.set_weights(layer.get_weights()[:3])
    assert_same(keras.ops.concatenate([first, second], 1), whole(x))
    layer.reset_state()
    assert_same(layer(x[:, :2]), first, atol=0)


def test_a_stateful_layer_trains():
    model = keras.Sequential(
        [keras.Input(batch_shape=(4, 3, 2)), LSTM(4, stateful=True), layers.Dense(1)]
    )
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(data(8, 3, 2), data(8, 1), batch_size=4, epochs=2, verbose=0, shuffle=False)
    assert all((a != b).any() for a, b in zip(before[:3], model.get_weights()[:3], strict=True))


def test_it_works_inside_time_distributed_and_a_subclassed_model():
    class Video(keras.Model):
        def __init__(self):
            super().__init__()
            self.per_clip = layers.TimeDistributed(LSTM(4))
            self.over_clips = LSTM(3, return_state=True)

        def call(self, x, training=False):
            return self.over_clips(self.per_clip(x), training=training)

    x = data(2, 3, 5, 4)
    model = Video()
    y, h, c = model(x)
    clips = numpy(model.per_clip.layer(x.reshape(6, 5, 4))).reshape(2, 3, 4)
    assert_same([y, h, c], model.over_clips(clips))


def test_in_rnn_and_in_a_stack_the_cell_is_the_layer():
    x = data(3, 5, 4)
    cells = [LSTMCell(4, peepholes="ifo", peephole_initializer="ones"), LSTMCell(3, coupled=True)]
    stacked = layers.RNN(cells, return_sequences=True)
    got = stacked(x)
    y = x
    for cell in cells:
        layer = LSTM(
            cell.units, peepholes=cell.peepholes, coupled=cell.coupled, return_sequences=True
        )
        layer.build(y.shape)
        layer.set_weights([numpy(w) for w in cell.weights])
        y = layer(y)
    assert_same(got, y)


def test_regularizers_and_constraints_reach_every_weight():
    layer = LSTM(
        4,
        peepholes="io",
        projection_size=2,
        kernel_regularizer="l2",
        recurrent_regularizer="l2",
        bias_regularizer="l2",
        peephole_regularizer="l2",
        projection_regularizer="l2",
        recurrent_constraint="unit_norm",
        projection_constraint="non_neg",
    )
    layer.build((None, 5, 3))
    assert len(layer.losses) == 6
    constrained = [w.name for w in layer.weights if w.constraint is not None]
    assert constrained == ["recurrent_kernel", "projection_kernel"]


def test_per_gate_initialization_initializes_each_gate_by_itself():
    layer = LSTM(64, per_gate_initialization=True)
    layer.build((None, None, 64))
    params = layer.gate_params()
    for k in "ifgo":
        U = params[f"U_{k}"]
        np.testing.assert_allclose(U.T @ U, np.eye(64), atol=1e-5)
        # Glorot & Bengio 2010: sqrt(6 / (64 + 64)), not sqrt(6 / (64 + 256)) of the fused matrix.
        assert 0.20 < np.abs(params[f"W_{k}"]).max() <= np.sqrt(6 / 128)
    gates = [params[f"W_{k}"] for k in "ifgo"]
    assert all((a != b).any() for n, a in enumerate(gates) for b in gates[:n])


def test_per_gate_serves_keras_own_layer_too_and_refuses_what_does_not_divide():
    initializer = PerGate("orthogonal", gates=4)
    layer = layers.LSTM(6, recurrent_initializer=initializer)
    layer.build((None, None, 3))
    U = layer.get_weights()[1][:, 6:12]
    np.testing.assert_allclose(U.T @ U, np.eye(6), atol=1e-5)
    again = keras.initializers.get(keras.initializers.serialize(initializer))
    assert again.get_config() == initializer.get_config()
    with pytest.raises(ValueError, match=r"PerGate: shape is \(3, 10\), expected a last axis"):
        initializer((3, 10))


def test_gate_params_round_trip_and_from_spec_builds_what_the_spec_says():
    spec = Spec(
        input_size=3,
        hidden_size=4,
        peepholes="fo",
        coupled=True,
        projection_size=2,
        masked_output="zero",
        o_activation="hard_sigmoid_sixth",
    )
    layer = LSTM.from_spec(spec, name="lstm")
    assert layer.spec == spec
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape) for name, shape in spec.param_shapes.items()}
    layer.set_gate_params(params)
    for name, array in layer.gate_params().items():
        np.testing.assert_array_equal(array, params[name].astype("float32"))
    cell = LSTMCell.from_spec(spec)
    cell.set_gate_params(params)
    assert cell.gate_params().keys() == params.keys()


X = np.zeros((2, 5, 3), "float32")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: LSTM(0), "hidden_size is 0, expected at least 1"),
        (lambda: LSTM(4, peepholes="x"), "peepholes is 'x', expected letters of 'ifo'"),
        (lambda: LSTM(4, coupled=True, peepholes="i"), "expected letters of 'fo'"),
        (lambda: LSTM(4, cell_clip=-1.0), "cell_clip is -1.0, expected a positive finite"),
        (lambda: LSTM(4, projection_size=0), "projection_size is 0, expected at least 1"),
        (lambda: LSTM(4, dropout=1.0), "dropout is 1.0, expected 0 <= dropout < 1"),
        (lambda: LSTM(4, recurrent_dropout=-0.1), "recurrent_dropout is -0.1, expected"),
        (lambda: LSTM(4, implementation=3), "implementation is 3, expected 1 or 2"),
        (lambda: LSTM(4, masked_output="raw"), "masked_output is 'raw', expected one of"),
        (lambda: LSTM(4, name="a")(X, mask=np.ones((2, 4))), r"'a': mask has shape \(2, 4\), exp"),
        (
            lambda: LSTM(4)(X, initial_state=[X[:, 0], X[:, 0]]),
            r"initial_state has shapes \[\(2, 3\), \(2, 3\)\], expected \[h, c\]",
        ),
        (lambda: LSTM(4).spec, "has no input size yet, expected a built cell"),
        (lambda: LSTMCell(4).gate_params(), "has no input size yet, expected a built cell"),
    ],
)
def test_bad_arguments_are_one_clear_error(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_an_unknown_argument_is_refused():
    with pytest.raises((TypeError, ValueError), match="peephole_initialiser"):
        LSTM(4, peephole_initialiser="zeros")


def test_a_configuration_of_keras_own_layer_builds_ours_and_back():
    theirs = layers.LSTM(4, zero_output_for_mask=True, dropout=0.2, go_backwards=True)
    ours = LSTM.from_config(theirs.get_config())
    assert (ours.masked_output, ours.dropout, ours.go_backwards) == ("zero", 0.2, True)
    shared = {
        name: ours.get_config()[name]
        for name in layers.LSTM(4).get_config()
        if name in ours.get_config()
    }
    again = layers.LSTM.from_config(shared)
    assert again.get_config()["dropout"] == 0.2


def test_a_mask_of_ones_and_zeros_is_a_mask():
    x, mask = data(2, 5, 3), np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1]])
    layer = LSTM(4, return_sequences=True)
    assert_same(layer(x, mask=mask), layer(x, mask=mask.astype(bool)), atol=0)
