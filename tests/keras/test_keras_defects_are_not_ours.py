"""Where keras.layers.LSTM 3.15.1 is wrong, on some backend or on all, ours is right on each."""

import keras
import numpy as np
import pytest

from lstm_oracle.keras_impl import LSTM, LSTMCell
from lstm_oracle.reference.spec import Dropout, Reverse, Spec

MASK = np.array([[0, 1, 1, 0, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]], bool)
SPEC = Spec(input_size=3, hidden_size=4)


def layer_of(problem, **options):
    layer = LSTM.from_spec(
        problem.spec, return_sequences=True, return_state=True, dtype="float64", **options
    )
    layer.set_gate_params(problem.params)
    return layer


def test_float64_is_computed_in_float64(room):
    problem = room.random_problem(SPEC, T=8)
    got = room.keras_answer(problem, layer_of(problem))
    assert {array.dtype for array in room.blocks(got).values()} == {np.dtype("float64")}
    room.assert_agree(got, room.oracle_answer(problem), 1e-14)


@pytest.mark.parametrize("options", [{}, {"unroll": True}, {"go_backwards": True}])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poisoned_padding_changes_no_bit_of_any_gradient(room, poison, options):
    problem = room.random_problem(SPEC, mask=MASK)
    layer = layer_of(problem, **options)
    clean = room.blocks(room.keras_answer(problem, layer))
    problem.x = np.where(MASK[..., None], problem.x, poison)
    poisoned = room.blocks(room.keras_answer(problem, layer))
    for name, array in clean.items():
        assert np.isfinite(array).all(), name
        np.testing.assert_array_equal(poisoned[name], array, err_msg=name)
    assert (poisoned["/d_x"][~MASK] == 0).all()


@pytest.mark.parametrize("zero", [False, True])
def test_a_masked_unrolled_backward_reading_layer_is_the_loop(room, zero):
    problem = room.random_problem(SPEC, mask=MASK)
    loop, unrolled = (
        room.keras_answer(
            problem,
            layer_of_keras_names(problem, zero_output_for_mask=zero, unroll=unroll),
        )
        for unroll in (False, True)
    )
    room.assert_agree(unrolled, loop, 1e-14)


def layer_of_keras_names(problem, **options):
    layer = LSTM(
        4, return_sequences=True, return_state=True, go_backwards=True, dtype="float64", **options
    )
    layer.build((None, None, 3))
    layer.set_gate_params(problem.params)
    return layer


@pytest.mark.parametrize("unroll", [False, True])
def test_before_the_first_real_step_the_output_is_zero_not_the_initial_state(room, unroll):
    problem = room.random_problem(SPEC, mask=MASK)
    y, *_ = layer_of(problem, unroll=unroll)(
        problem.x, initial_state=list(problem.state), mask=MASK
    )
    y = room.numpy(y)
    assert (y[0, 0] == 0).all()
    assert (y[2, :3] == 0).all()
    assert (y[1] != 0).all()


@pytest.mark.parametrize("unroll", [False, True])
def test_masked_bidirectional_halves_are_aligned(room, unroll):
    problem = room.random_problem(SPEC, mask=MASK)
    layer = keras.layers.Bidirectional(
        LSTM(4, return_sequences=True, unroll=unroll, dropout=0.5, dtype="float64"),
        merge_mode=None,
        dtype="float64",
    )
    layer.build((None, 5, 3))
    for half in (layer.forward_layer, layer.backward_layer):
        half.set_gate_params(problem.params)
    forward, backward = map(room.numpy, layer(problem.x, mask=MASK))
    problem.state = None
    zeroed = Spec(input_size=3, hidden_size=4, masked_output="zero")
    for got, architecture in ((forward, zeroed), (backward, Reverse(zeroed))):
        expected = room.oracle_outputs(problem, architecture)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("implementation", [1, 2])
@pytest.mark.parametrize("rates", [(0.4, 0.0), (0.4, 0.3), (0.0, 0.3)])
def test_dropout_trains_with_both_implementations(rates, implementation):
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype("float32")
    layer = LSTM(4, dropout=rates[0], recurrent_dropout=rates[1], implementation=implementation)
    model = keras.Sequential([keras.Input((5, 3)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    before = [np.array(w) for w in model.get_weights()]
    model.fit(x, x[:, 0, :1], verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()


@pytest.mark.parametrize("spec", [SPEC, Spec(input_size=3, hidden_size=4, coupled=True)])
@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.5},
        {"dropout": 0.5, "implementation": 1},
        {"dropout": 0.5, "recurrent_dropout": 0.4},
        {"recurrent_dropout": 0.4, "go_backwards": True},
    ],
)
def test_dropout_is_the_oracle_s_under_the_same_multipliers(room, monkeypatch, options, spec):
    problem = room.random_problem(spec, B=4, mask=None)
    layer = layer_of(problem, **options)
    rng = np.random.default_rng(5)
    gates = len(spec.gates) if layer.implementation == 1 else 1
    x, h = ((rng.random((4, gates, n)) < 0.5) * 2.0 for n in (3, 4))
    drawn = {
        "get_dropout_mask": x if options.get("dropout") else None,
        "get_recurrent_dropout_mask": h if options.get("recurrent_dropout") else None,
    }
    for name, masks in drawn.items():
        each = (
            None
            if masks is None
            else [keras.ops.convert_to_tensor(masks[:, k]) for k in range(gates)]
        )
        monkeypatch.setattr(LSTMCell, name, lambda self, array, each=each: each)
    # One multiplier per gate, for every step: (B, 1, G, N).
    full = {name: masks if masks is None else masks[:, None] for name, masks in drawn.items()}
    if gates == 1:
        full = {name: masks if masks is None else masks[:, 0, 0] for name, masks in full.items()}
    problem.dropout = Dropout(*full.values())
    architecture = Reverse(spec, "processing") if options.get("go_backwards") else spec
    got = room.keras_answer(problem, layer, training=True)
    room.assert_agree(got, room.oracle_answer(problem, architecture))


def test_dropout_draws_one_multiplier_per_gate_or_one_for_all():
    ones = keras.ops.ones((50, 30))
    per_gate = LSTMCell(4, dropout=0.5, implementation=1, seed=1).get_dropout_mask(ones)
    masks = [np.array(keras.ops.convert_to_numpy(mask)) for mask in per_gate]
    assert len(masks) == 4
    assert all((a != b).any() for n, a in enumerate(masks) for b in masks[:n])
    assert all(set(np.unique(mask)) == {0.0, 2.0} for mask in masks)
    assert (
        len(LSTMCell(4, coupled=True, recurrent_dropout=0.5).get_recurrent_dropout_mask(ones)) == 3
    )


def test_inference_drops_nothing(room):
    problem = room.random_problem(SPEC)
    layer = layer_of(problem, dropout=0.5, recurrent_dropout=0.5)
    room.assert_agree(room.keras_answer(problem, layer), room.oracle_answer(problem))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_half_precision_layer_builds_and_runs(room, dtype):
    problem = room.random_problem(SPEC)
    layer = LSTM(4, dtype=dtype)
    y = room.numpy(keras.ops.cast(layer(problem.x), "float32"))
    assert {keras.backend.standardize_dtype(w.dtype) for w in layer.weights} == {dtype}
    assert np.isfinite(y).all()
    U = room.numpy(keras.ops.cast(layer.cell.recurrent_kernel, "float32"))
    np.testing.assert_allclose(U @ U.T, np.eye(4), atol=0.05)


def test_cudnn_is_refused_with_one_clear_error():
    layer = LSTM(4, use_cudnn=True, name="encoder")
    with pytest.raises(ValueError, match="LSTM 'encoder': use_cudnn is True, expected 'auto'"):
        layer(np.zeros((2, 5, 3)))


def test_the_configuration_keeps_the_implementation():
    layer = LSTM.from_config(LSTM(4, implementation=1).get_config())
    assert layer.implementation == layer.cell.implementation == 1
