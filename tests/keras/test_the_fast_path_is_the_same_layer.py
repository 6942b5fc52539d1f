"""`LSTM(implementation="fused")` is the same layer on JAX, and an error elsewhere."""

import keras
import numpy as np
import pytest

from lstm_oracle.keras_impl import LSTM
from lstm_oracle.reference.spec import Reverse, Spec

SPEC = Spec(input_size=3, hidden_size=4)
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="runs on JAX")
elsewhere = pytest.mark.skipif(keras.backend.backend() == "jax", reason="not on JAX")


def layer_of(problem, **options):
    layer = LSTM.from_spec(
        problem.spec, return_sequences=True, return_state=True, dtype="float64", **options
    )
    layer.set_gate_params(problem.params)
    return layer


@on_jax
@pytest.mark.parametrize("implementation", ["fused", "auto"])
@pytest.mark.parametrize("go_backwards", [False, True])
def test_outputs_states_and_gradients_are_the_oracles(room, implementation, go_backwards):
    problem = room.random_problem(SPEC, seed=1, mask=MASK)
    problem.x[0, 3:] = np.nan
    layer = layer_of(problem, implementation=implementation, go_backwards=go_backwards)
    architecture = Reverse(SPEC, "processing") if go_backwards else SPEC
    room.assert_agree(room.keras_answer(problem, layer), room.oracle_answer(problem, architecture))


@on_jax
def test_a_variant_that_fused_lacks_is_refused_and_auto_computes_it(room):
    problem = room.random_problem(Spec(input_size=3, hidden_size=4, peepholes="ifo"))
    with pytest.raises(ValueError, match="no peepholes='ifo'"):
        layer_of(problem, implementation="fused")(problem.x)
    got = room.keras_answer(problem, layer_of(problem, implementation="auto"))
    room.assert_agree(got, room.oracle_answer(problem))


@on_jax
def test_layer_normalization_and_zoneout_are_those_of_the_oracle(room):
    problem = room.random_problem(
        Spec(input_size=3, hidden_size=4, projection_size=2, layer_norm=True, zoneout_c=0.3)
    )
    got = room.keras_answer(problem, layer_of(problem, implementation="auto"))
    room.assert_agree(got, room.oracle_answer(problem))


@on_jax
def test_it_emits_what_the_layers_own_loop_emits():
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    for options in ({}, {"return_sequences": True}, {"go_backwards": True}):
        fast = LSTM(4, implementation="fused", dtype="float64", **options)
        own = LSTM(4, dtype="float64", **options)
        fast.build(x.shape), own.build(x.shape)
        own.set_weights(fast.get_weights())
        np.testing.assert_allclose(fast(x), own(x), rtol=1e-13)


@on_jax
@pytest.mark.parametrize("rates", [(0.5, 0.0), (0.0, 0.5)])
def test_dropout_trains_the_same_way(rates):
    """Recurrent dropout draws a mask per gate, which "auto" gives to the scan."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    arguments = {"dropout": rates[0], "recurrent_dropout": rates[1], "dtype": "float64"}
    fast = LSTM(4, implementation="auto", seed=1, **arguments)
    own = LSTM(4, implementation=1 if rates[1] else 2, seed=1, **arguments)
    fast.build(x.shape), own.build(x.shape)
    own.set_weights(fast.get_weights())
    np.testing.assert_allclose(fast(x, training=True), own(x, training=True), rtol=1e-13)
    assert np.abs(np.asarray(fast(x, training=True)) - np.asarray(fast(x))).max() > 1e-3


@on_jax
def test_it_is_saved_and_trained_by_name(tmp_path):
    rng = np.random.default_rng(0)
    x, target = rng.normal(size=(8, 5, 3)), rng.normal(size=(8, 4))
    model = keras.Sequential([keras.Input((5, 3)), LSTM(4, implementation="fused")])
    model.compile("sgd", "mse")
    model.fit(x, target, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.layers[0].implementation == "fused"
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


@on_jax
def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="'fastest', expected 1, 2 or one of"):
        LSTM(4, implementation="fastest")


@elsewhere
def test_another_backend_refuses_it_by_name():
    with pytest.raises(ValueError, match="expected 1 or 2: those with a name run on JAX only"):
        LSTM(4, implementation="fused")
