"""What is given is completed: to one dtype, to zeros, to a mask of bool, to a direction."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lstm_oracle.conformance.case import Result
from lstm_oracle.conformance.vectors.cases import vectors
from lstm_oracle.conformance.vectors.digits import run_exactly
from lstm_oracle.reference import Bidirectional, Dropout, Spec, Stack, backward, forward
from lstm_oracle.reference.spec import Directions, State, param_shapes, state_shapes
from lstm_oracle.reference.tangent import tangent
from lstm_oracle.reference.tree import flatten, map_leaves
from tests.compare import assert_close, assert_identical
from tests.strategies import normal

B, T, I, H = 2, 3, 2, 4
SPEC = Spec(input_size=I, hidden_size=H, name="only")
PAIR = Bidirectional(SPEC, Spec(input_size=I, hidden_size=1))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, architecture=SPEC):
    x = rng.standard_normal((B, T, I))
    return normal(rng, param_shapes(architecture)), x, normal(rng, state_shapes(architecture, B))


@pytest.mark.parametrize("widest", range(3))
def test_everything_is_computed_in_the_widest_dtype_given(rng, widest):
    arrays = [map_leaves(lambda a: a.astype(np.float32), tree) for tree in drawn(rng)]
    arrays[widest] = map_leaves(lambda a: a.astype(np.longdouble), arrays[widest])
    (y, state), tape = forward(SPEC, *arrays)
    gradients = backward(tape, np.ones((B, T, H), np.float32))
    blocks = flatten((y, state, gradients.params, gradients.x, gradients.state))
    assert {a.dtype for a in blocks.values()} == {np.dtype(np.longdouble)}


def test_narrow_inputs_are_widened_before_anything_is_computed(rng):
    zoned = Spec(input_size=I, hidden_size=H, zoneout_h=0.1)
    params, x, _ = drawn(rng, zoned)
    narrow = x.astype(np.float32)
    for precise in (False, True):
        got = forward(zoned, params, narrow, precise=precise)[0]
        assert_identical(got, forward(zoned, params, narrow.astype(np.float64), precise=precise)[0])


def test_cotangents_may_be_wider_than_the_layer(rng):
    _, tape = forward(SPEC, *map_leaves(lambda a: a.astype(np.float32), drawn(rng)))
    d_y = rng.standard_normal((B, T, H))
    assert backward(tape, d_y).x.dtype == np.float64
    assert backward(tape, d_y.astype(np.float32)).x.dtype == np.float32


def test_precise_arithmetic_asks_for_float64(rng):
    arrays = drawn(rng)
    single = map_leaves(lambda a: a.astype(np.float32), arrays)
    with pytest.raises(TypeError, match=r"^LSTM 'only': arrays are float32, expected float64"):
        forward(SPEC, *single, precise=True)
    output, _ = forward(SPEC, *arrays, precise=True)
    assert_close(output, forward(SPEC, *arrays)[0], 1e-14)


def test_precise_gradients_ask_for_float64_and_are_rounded_once(rng):
    case = max((v.case for v in vectors(("plain",))), key=lambda case: case.x.size)
    drawn_anew = (normal(rng, map_leaves(np.shape, tree)) for tree in (case.d_y, case.d_state))
    case = dataclasses.replace(case, **dict(zip(("d_y", "d_state"), drawn_anew, strict=True)))
    arrays = (case.architecture, case.params, case.x, case.state, case.mask)
    (y, state), tape = forward(*arrays, precise=True)
    with pytest.raises(TypeError, match=r"arrays are .*, expected float64 for precise"):
        backward(tape, case.d_y.astype(np.complex128), case.d_state)
    gradients = backward(tape, case.d_y, case.d_state)
    got = Result(y, state, gradients.params, gradients.x, gradients.state).blocks()
    for name, block in run_exactly(case).blocks().items():
        np.testing.assert_array_equal(got[name], block, err_msg=name)


def test_a_mask_may_be_a_list(rng):
    mask = [[True, False, True], [True, True, False]]
    arrays = drawn(rng)
    assert_identical(forward(SPEC, *arrays, mask)[0], forward(SPEC, *arrays, np.array(mask))[0])


def test_arrays_and_states_may_be_lists(rng):
    params, x, state = drawn(rng)
    assert_identical(forward(SPEC, params, x.tolist(), list(state))[0],
                     forward(SPEC, params, x, state)[0])  # fmt: skip
    pair = drawn(rng, PAIR)
    listed = (list(pair[0]), pair[1], [list(half) for half in pair[2]])
    assert_identical(forward(PAIR, *listed)[0], forward(PAIR, *pair)[0])


def test_a_state_may_be_given_in_part(rng):
    params, x, (h, c) = drawn(rng)
    got = forward(SPEC, params, x, State(None, c))[0]
    assert_identical(got, forward(SPEC, params, x, State(np.zeros_like(h), c))[0])
    pair, x, state = drawn(rng, PAIR)
    zero = map_leaves(np.zeros_like, state)
    got = forward(PAIR, pair, x, Directions(None, state.backward))[0]
    assert_identical(got, forward(PAIR, pair, x, Directions(zero.forward, state.backward))[0])


@pytest.mark.parametrize("architecture", [SPEC, PAIR], ids=["layer", "pair"])
def test_what_is_left_out_of_a_direction_does_not_move(rng, architecture):
    at = drawn(rng, architecture)
    along = normal(rng, map_leaves(np.shape, at))
    zero = map_leaves(np.zeros_like, at)
    for n, name in enumerate(("d_params", "d_x", "d_state")):
        rest = {"d_params": zero[0], "d_x": zero[1], "d_state": zero[2]} | {name: along[n]}
        _, alone = tangent(architecture, *at, **{name: along[n]})
        assert_identical(alone, tangent(architecture, *at, **rest)[1])
        assert any(a.any() for a in flatten(alone).values())


def test_a_direction_of_narrow_numbers_does_not_narrow_the_tangent(rng):
    at = drawn(rng)
    ones = np.ones((B, T, I), np.float32)
    assert tangent(SPEC, *at, d_x=ones)[1].y.dtype == np.float64
    single = map_leaves(lambda a: a.astype(np.float32), at)
    assert tangent(SPEC, *single, d_x=ones)[1].y.dtype == np.float32
    assert tangent(SPEC, *single, d_x=ones.astype(np.float64))[1].y.dtype == np.float64


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("d_x", np.ones((B, T, I + 1))),
        ("d_state", State(np.ones((B, H)), np.ones((B + 1, H)))),
        ("d_params", {"W_i": np.ones((I, H))}),
    ],
)
def test_a_direction_of_another_shape_is_refused_by_name(rng, name, wrong):
    with pytest.raises(ValueError, match=rf"^LSTM 'only': {name}"):
        tangent(SPEC, *drawn(rng), **{name: wrong})


@pytest.mark.parametrize("architecture", [SPEC, PAIR], ids=["layer", "pair"])
def test_no_weight_may_be_none(rng, architecture):
    params, x, _ = drawn(rng, architecture)
    one = params if architecture is SPEC else params[0]
    one["U_f"] = None
    with pytest.raises(TypeError, match=r"params.*\['U_f'\] has dtype object"):
        forward(architecture, params, x)
    with pytest.raises(ValueError, match=r"params is NoneType, expected"):
        forward(architecture, None, x)


def test_three_layers_have_outputs_states_and_dropout_of_their_own(rng):
    stack = Stack((SPEC, Spec(input_size=H, hidden_size=5), Spec(input_size=5, hidden_size=3)))
    arrays = drawn(rng, stack)
    (y, state), tape = forward(stack, *arrays)
    assert y.shape == (B, T, 3)
    assert [h.shape[1] for h, _ in state] == [H, 5, 3]
    assert backward(tape, np.ones((B, T, 3))).x.shape == (B, T, I)
    with pytest.raises(ValueError, match=r"d_y has shape \(2, 3, 5\), expected \(2, 3, 3\)"):
        backward(tape, np.ones((B, T, 5)))
    dropped = forward(stack, *arrays, dropout=(None, None, Dropout(np.zeros((B, 5)))))[0]
    assert_identical(dropped.state[:2], state[:2])
    assert (dropped.y != y).any()


def test_dropout_may_be_a_plain_tuple_of_two_or_four(rng):
    zoned = Spec(input_size=I, hidden_size=H, zoneout_h=0.5)
    arrays = drawn(rng, zoned)
    masks = (np.full((B, I), 2.0), np.full((B, H), 0.5))
    for given in (masks, (*masks, np.ones((B, H)), None)):
        assert_identical(
            forward(zoned, *arrays, dropout=given)[0],
            forward(zoned, *arrays, dropout=Dropout(*given))[0],
        )
    for wrong in (masks[:1], (*masks, None), ()):
        with pytest.raises(ValueError, match=rf"^LSTM 'lstm': dropout is a tuple of {len(wrong)}"):
            forward(zoned, *arrays, dropout=wrong)


def test_a_message_tells_the_shape_of_an_array_and_the_type_of_anything_else(rng):
    params, x, _ = drawn(rng)
    with pytest.raises(ValueError, match=r"state is ndarray of shape \(2, 4\), expected"):
        forward(SPEC, params, x, np.zeros((B, H)))
    with pytest.raises(ValueError, match=r"state is int, expected"):
        forward(SPEC, params, x, 3)
    with pytest.raises(ValueError, match=r"state is a dict of h, c, expected"):
        forward(SPEC, params, x, {"h": None, "c": None})
