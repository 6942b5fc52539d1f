"""Outputs, states and every gradient of `LSTM` are the oracle's, in float64, to 1e-13 a block."""

import dataclasses

import keras
import numpy as np
import pytest

from lstm_oracle.keras_impl import LSTM
from lstm_oracle.reference.spec import ACTIVATIONS, Dropout, Reverse, Spec

VARIANTS = {
    "plain": {},
    "no bias": {"use_bias": False},
    "peepholes": {"peepholes": "ifo"},
    "peephole of o": {"peepholes": "o"},
    "coupled": {"coupled": True},
    "coupled with peepholes": {"coupled": True, "peepholes": "fo"},
    "projection": {"projection_size": 2},
    "wide projection": {"projection_size": 6},
    "cell clip": {"cell_clip": 0.4},
    "activation clip": {"activation_clip": 0.5},
    "layer normalization": {"layer_norm": True},
    "layer normalization of a coupled layer": {
        "layer_norm": True,
        "layer_norm_epsilon": 0.1,
        "coupled": True,
        "peepholes": "fo",
        "projection_size": 3,
        "use_bias": False,
    },
    "zoneout in expectation": {"zoneout_h": 0.1, "zoneout_c": 0.6, "projection_size": 3},
    "everything": {
        "peepholes": "fo",
        "coupled": True,
        "projection_size": 3,
        "cell_clip": 0.7,
        "activation_clip": 0.9,
        "f_activation": "hard_sigmoid_fifth",
        "g_activation": "softsign",
        "o_activation": "hard_sigmoid_sixth",
        "c_activation": "elu",
    },
}
# A row per pattern: padded on the right, on the left, with holes, not at all, and fully masked.
MASK = np.array(
    [
        [1, 1, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1],
        [1, 0, 1, 0, 1],
        [0, 1, 0, 1, 0],
        [1, 1, 1, 1, 1],
        [0, 0, 0, 0, 0],
    ],
    bool,
)


def layer_of(problem, **options):
    layer = LSTM.from_spec(
        problem.spec, return_sequences=True, return_state=True, dtype="float64", **options
    )
    layer.set_gate_params(problem.params)
    return layer


def spec_of(**variant):
    return Spec(input_size=3, hidden_size=4, **variant)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_agrees(room, variant):
    problem = room.random_problem(spec_of(**VARIANTS[variant]), seed=len(variant))
    got = room.keras_answer(problem, layer_of(problem))
    room.assert_agree(got, room.oracle_answer(problem))


def test_zoneout_masks_are_drawn_for_every_step_at_the_rates(room):
    layer = layer_of(room.random_problem(spec_of(zoneout_h=0.3, zoneout_c=0.6)))
    masks = layer.cell.zoneout_masks(np.zeros((200, 8, 16)), training=True)
    for mask, rate in zip(map(room.numpy, masks), (0.3, 0.6), strict=True):
        assert mask.shape == (200, 8, 4)
        assert set(np.unique(mask)) == {0, 1}
        # Five standard deviations of the mean.
        assert abs(mask.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / mask.size)


def test_the_masks_of_zoneout_agree(room):
    spec = spec_of(zoneout_h=0.3, zoneout_c=0.6, projection_size=3, layer_norm=True)
    rng = np.random.default_rng(5)
    h, c = (rng.integers(0, 2, (8, 5, N)).astype(float) for N in (3, 4))
    problem = dataclasses.replace(
        room.random_problem(spec, seed=5, B=8, mask=MASK),
        dropout=Dropout(zoneout_h=h, zoneout_c=c),
    )
    layer = layer_of(problem)
    time_first = [keras.ops.convert_to_tensor(np.swapaxes(mask, 0, 1)) for mask in (h, c)]
    layer.cell.zoneout_masks = lambda like, training: time_first if training else []
    got = room.keras_answer(problem, layer, training=True)
    room.assert_agree(got, room.oracle_answer(problem))


def test_the_variants_survive_serialization():
    variants = {"layer_norm": True, "layer_norm_epsilon": 0.1, "zoneout_h": 0.1, "zoneout_c": 0.2}
    layer = LSTM(4, **variants, gain_initializer="random_normal", shift_constraint="non_neg")
    again = LSTM.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert {name: getattr(again, name) for name in variants} == variants


@pytest.mark.parametrize("variant", ["plain", "everything"])
def test_without_a_mask_implementation_1_agrees(room, variant):
    problem = room.random_problem(spec_of(**VARIANTS[variant]), seed=1)
    got = room.keras_answer(problem, layer_of(problem, implementation=1))
    room.assert_agree(got, room.oracle_answer(problem))


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("go_backwards", [False, True])
@pytest.mark.parametrize("masked_output", ["previous", "zero", "state"])
def test_every_mask_agrees(room, masked_output, go_backwards, unroll):
    spec = spec_of(masked_output=masked_output)
    problem = room.random_problem(spec, seed=3, B=8, mask=MASK)
    layer = layer_of(problem, go_backwards=go_backwards, unroll=unroll)
    architecture = Reverse(spec, output_order="processing") if go_backwards else spec
    room.assert_agree(room.keras_answer(problem, layer), room.oracle_answer(problem, architecture))


@pytest.mark.parametrize("masked_output", ["previous", "zero", "state"])
def test_the_last_output_alone_is_the_last_of_the_sequence(room, masked_output):
    problem = room.random_problem(spec_of(masked_output=masked_output), seed=4, B=8, mask=MASK)
    layer = LSTM.from_spec(problem.spec, dtype="float64")
    layer.set_gate_params(problem.params)
    got = layer(problem.x, initial_state=list(problem.state), mask=problem.mask)
    np.testing.assert_allclose(
        room.numpy(got), room.oracle_answer(problem)["y"][:, -1], rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_agrees_at_every_place(room, activation):
    spec = spec_of(**{f"{k}_activation": activation for k in "ifgoc"})
    problem = room.random_problem(spec, seed=5, scale=0.7)
    got = room.keras_answer(problem, layer_of(problem))
    room.assert_agree(got, room.oracle_answer(problem))


@pytest.mark.parametrize("size", [(1, 1, 1, 1), (1, 7, 2, 1), (4, 1, 1, 3), (2, 12, 5, 8)])
def test_every_size_agrees(room, size):
    B, T, I, H = size
    problem = room.random_problem(Spec(input_size=I, hidden_size=H, peepholes="if"), 6, B, T)
    got = room.keras_answer(problem, layer_of(problem))
    room.assert_agree(got, room.oracle_answer(problem))


def test_saturated_gates_agree(room):
    problem = room.random_problem(spec_of(), seed=7, scale=4.0)
    got = room.keras_answer(problem, layer_of(problem))
    room.assert_agree(got, room.oracle_answer(problem))
