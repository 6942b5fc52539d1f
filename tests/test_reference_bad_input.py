"""What cannot be a layer or its input is refused in one sentence: got, expected, fix."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.reference import (
    Bidirectional,
    Chunks,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
    backward,
    forward,
    mask_from_lengths,
)
from lstm_oracle.reference.tree import map_leaves

B, T, I, H, R = 2, 5, 3, 4, 2
SPEC = Spec(input_size=I, hidden_size=H, projection_size=R, peepholes="o", name="encoder")
BOTH = Bidirectional(Spec(input_size=I, hidden_size=H), Spec(input_size=I, hidden_size=H))
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape)


PARAMS = {name: draw(*shape) for name, shape in SPEC.param_shapes.items()}
X = draw(B, T, I)


def without(name):
    return {key: value for key, value in PARAMS.items() if key != name}


def run(x=X, params=PARAMS, state=None, mask=None, dropout=None, spec=SPEC):
    return forward(spec, params, x, state, mask, dropout=dropout)


def differentiate(d_y=None, d_state=None):
    _, tape = run()
    return backward(tape, d_y, d_state)


def spec(**changes):
    return Spec(**{"input_size": I, "hidden_size": H} | changes)


def zoneout(**masks):
    zoned = spec(zoneout_h=0.1)
    params = {name: draw(*shape) for name, shape in zoned.param_shapes.items()}
    return run(params=params, spec=zoned, dropout=Dropout(**masks))


CASES = {
    # x
    "x of rank 2": (lambda: run(draw(B, T)), "(2, 5)"),
    "x of rank 4": (lambda: run(draw(1, B, T, I)), "(1, 2, 5, 3)"),
    "x a number": (lambda: run(np.float64(1)), "()"),
    "x without samples": (lambda: run(draw(0, T, I)), "(0, 5, 3)"),
    "x without steps": (lambda: run(draw(B, 0, I)), "(2, 0, 3)"),
    "x with other features": (lambda: run(draw(B, T, I + 1)), "input_size 3"),
    "x of int": (lambda: run(np.ones((B, T, I), int)), "int64"),
    "x of bool": (lambda: run(np.ones((B, T, I), bool)), "bool"),
    "x of object": (lambda: run(X.astype(object)), "object"),
    "x of text": (lambda: run(np.full((B, T, I), "a")), "<U1"),
    "x None": (lambda: run(None), "object"),
    # params
    "params None": (lambda: run(params=None), "dict"),
    "params an array": (lambda: run(params=draw(I, H)), "dict"),
    "params missing one": (lambda: run(params=without("U_f")), "Missing: U_f"),
    "params with an unknown one": (lambda: run(params=PARAMS | {"W_z": draw(1)}), "unknown: W_z"),
    "params of another shape": (lambda: run(params=PARAMS | {"W_i": draw(H, I)}), "(4, 3)"),
    "params transposed": (lambda: run(params=PARAMS | {"V": PARAMS["V"].T}), "(2, 4)"),
    "params of int": (lambda: run(params=PARAMS | {"b_f": np.zeros(H, int)}), "int64"),
    "params for one direction": (lambda: run(params=PARAMS, spec=BOTH), "a tuple of 2"),
    # state
    "state an array": (lambda: run(state=draw(B, H)), "a tuple of 2"),
    "state of three": (lambda: run(state=(draw(B, R), draw(B, H), draw(B, H))), "a tuple of 2"),
    "state h of width H": (lambda: run(state=State(draw(B, H), None)), "(2, 2)"),
    "state of another batch": (lambda: run(state=State(None, draw(B + 1, H))), "(3, 4)"),
    "state of int": (lambda: run(state=State(np.zeros((B, R), int), None)), "int64"),
    # mask
    "mask of float": (lambda: run(mask=np.ones((B, T))), "float64"),
    "mask of int": (lambda: run(mask=np.ones((B, T), int)), "int64"),
    "mask with other steps": (lambda: run(mask=np.ones((B, T + 1), bool)), "(2, 6)"),
    "mask of rank 3": (lambda: run(mask=np.ones((B, T, 1), bool)), "(2, 5, 1)"),
    "mask of rank 1": (lambda: run(mask=np.ones(T, bool)), "(5,)"),
    # lengths
    "lengths beyond T": (lambda: mask_from_lengths([1, T + 1], T), "6"),
    "lengths below 0": (lambda: mask_from_lengths([1, -1], T), "-1"),
    "lengths with fractions": (lambda: mask_from_lengths([1.5, 2.0], T), "float64"),
    "lengths of rank 2": (lambda: mask_from_lengths([[1, 2]], T), "(1, 2)"),
    "lengths of bool": (lambda: mask_from_lengths([True, False], T), "bool"),
    # dropout
    "dropout an array": (lambda: run(dropout=draw(B, I)[:, 0]), "Dropout"),
    "dropout a rate": (lambda: run(dropout=0.5), "Dropout"),
    "dropout x with other steps": (lambda: run(dropout=Dropout(draw(B, T - 1, I))), "(2, 4, 3)"),
    "dropout x with other gates": (lambda: run(dropout=Dropout(draw(B, T, 3, I))), "(2, 5, 3, 3)"),
    "dropout h of width H": (lambda: run(dropout=Dropout(None, draw(B, H))), "(2, 4)"),
    "dropout of int": (lambda: run(dropout=Dropout(np.ones((B, I), int))), "int64"),
    # cotangents
    "d_y of rank 2": (lambda: differentiate(draw(B, R)), "(2, 2)"),
    "d_y of width H": (lambda: differentiate(draw(B, T, H)), "(2, 5, 4)"),
    "d_y of int": (lambda: differentiate(np.ones((B, T, R), int)), "int64"),
    "d_state an array": (lambda: differentiate(None, draw(B, H)), "a tuple of 2"),
    "d_state of another batch": (lambda: differentiate(None, State(draw(3, R), None)), "(3, 2)"),
    "a tape that is none": (lambda: backward(PARAMS, X), "dict"),
    # Spec
    "hidden_size 0": (lambda: spec(hidden_size=0), "0"),
    "hidden_size below 0": (lambda: spec(hidden_size=-4), "-4"),
    "hidden_size with a fraction": (lambda: spec(hidden_size=4.0), "4.0"),
    "hidden_size True": (lambda: spec(hidden_size=True), "True"),
    "hidden_size text": (lambda: spec(hidden_size="4"), "'4'"),
    "input_size None": (lambda: spec(input_size=None), "None"),
    "projection_size 0": (lambda: spec(projection_size=0), "0"),
    "unknown activation": (lambda: spec(g_activation="tanhh"), "'tanhh'"),
    "ambiguous activation": (lambda: spec(i_activation="hard_sigmoid"), "'hard_sigmoid'"),
    "activation a function": (lambda: spec(o_activation=np.tanh), "tanh"),
    "unknown peephole": (lambda: spec(peepholes="ig"), "'ig'"),
    "peephole of the coupled gate": (lambda: spec(peepholes="i", coupled=True), "'i'"),
    "activation of the coupled gate": (lambda: spec(i_activation="relu", coupled=True), "'relu'"),
    "use_bias None": (lambda: spec(use_bias=None), "None"),
    "cell_clip 0": (lambda: spec(cell_clip=0), "0"),
    "cell_clip below 0": (lambda: spec(cell_clip=-1.0), "-1.0"),
    "activation_clip NaN": (lambda: spec(activation_clip=float("nan")), "nan"),
    "activation_clip Inf": (lambda: spec(activation_clip=float("inf")), "inf"),
    "activation_clip text": (lambda: spec(activation_clip="3"), "'3'"),
    "unknown masked_output": (lambda: spec(masked_output="last"), "'last'"),
    "layer_norm 1e-5": (lambda: spec(layer_norm=1e-5), "1e-05"),
    "layer_norm_epsilon 0": (lambda: spec(layer_norm_epsilon=0), "0"),
    "layer_norm_epsilon infinite": (lambda: spec(layer_norm_epsilon=np.inf), "inf"),
    "layer_norm_epsilon text": (lambda: spec(layer_norm_epsilon="small"), "'small'"),
    "zoneout of everything": (lambda: spec(zoneout_c=1.0), "1.0"),
    "zoneout below 0": (lambda: spec(zoneout_h=-0.1), "-0.1"),
    "zoneout True": (lambda: spec(zoneout_h=True), "True"),
    "zoneout masks without zoneout": (
        lambda: run(dropout=Dropout(zoneout_h=np.ones((B, R)))),
        "no zoneout",
    ),
    "zoneout mask of another width": (lambda: zoneout(zoneout_h=np.ones((B, H + 1))), "(2, 5)"),
    "zoneout mask per gate": (lambda: zoneout(zoneout_c=np.ones((B, T, 4, H))), "(2, 5, 4, 4)"),
    "zoneout mask of bool": (lambda: zoneout(zoneout_c=np.ones((B, H), bool)), "bool"),
    # combinators
    "unknown merge": (lambda: Bidirectional(spec(), spec(), merge="max"), "'max'"),
    "halves of two inputs": (lambda: Bidirectional(spec(), spec(input_size=9)), "9"),
    "halves of two widths": (lambda: Bidirectional(spec(), spec(hidden_size=9), "sum"), "9"),
    "unknown order": (lambda: Reverse(spec(), "backwards"), "'backwards'"),
    "an empty stack": (lambda: Stack(()), "no layers"),
    "layers that do not fit": (lambda: Stack((spec(), spec())), "4"),
    "a pair below a layer": (
        lambda: Stack((Bidirectional(spec(), spec(), None), spec(input_size=2 * H))),
        "merge=None",
    ),
    "chunks of length 0": (lambda: Chunks(spec(), 0), "0"),
    "chunks of a reversed layer": (lambda: Chunks(Reverse(spec()), 2), "backwards"),
    "a layer that is none": (lambda: run(spec="lstm"), "str"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_with_got_expected_and_fix(name):
    call, got = CASES[name]
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    message = str(caught.value)
    assert got in message
    assert "expect" in message
    assert message.endswith("."), "the fix is a sentence of its own"
    assert len(message) < 400
    assert "\n" not in message, "never a whole array"


def test_a_message_names_the_layer():
    with pytest.raises(ValueError, match="LSTM 'encoder': mask has shape"):
        run(mask=np.ones((B, T + 1), bool))


def test_what_is_refused_differs_from_what_is_taken():
    """The same calls with the right arguments run: the table tests what it says it tests."""
    output, tape = run(
        X,
        PARAMS,
        State(draw(B, R), draw(B, H)),
        np.ones((B, T), bool),
        Dropout(draw(B, T, 4, I), draw(B, R)),
    )
    gradients = backward(tape, draw(B, T, R), State(draw(B, R), None))
    assert output.y.shape == (B, T, R)
    assert map_leaves(np.shape, gradients.params) == SPEC.param_shapes
    assert mask_from_lengths([0, T], T).sum() == T
