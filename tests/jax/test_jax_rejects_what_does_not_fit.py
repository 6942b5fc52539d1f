"""Bad input: one error that says what was got, what was expected, and the fix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import (
    Bidirectional,
    Directions,
    Dropout,
    Spec,
    Stack,
    State,
    param_shapes,
)

SPEC = Spec(input_size=3, hidden_size=4, name="encoder")
BOTH = Bidirectional(SPEC, SPEC)
STACK = Stack((SPEC, Spec(input_size=4, hidden_size=4)))
X = np.ones((2, 5, 3))


def params_of(spec):
    def is_shape(v):
        return type(v) is tuple and type(v[0]) is int

    return jax.tree.map(np.ones, param_shapes(spec), is_leaf=is_shape)


def without(name):
    return {k: v for k, v in params_of(SPEC).items() if k != name}


PARAMS = params_of(SPEC)
H, C = np.ones((2, 4)), np.ones((2, 4))

BAD = {
    "x of rank 2": ({"x": X[0]}, ValueError, r"x has shape \(5, 3\), expected shape \(batch"),
    "x of another width": ({"x": X[..., :2]}, ValueError, r"\(2, 5, 2\).*input_size 3"),
    "x of integers": ({"x": X.astype(int)}, ValueError, "x has dtype int64, expected a floating"),
    "x of complex": ({"x": X + 0j}, ValueError, "x has dtype complex128, expected a floating"),
    "x of objects": ({"x": X.astype(object)}, TypeError, "x holds an array of dtype object"),
    "x of strings": ({"x": "x"}, TypeError, "x holds a str, expected NumPy or JAX"),
    "x a list": ({"x": X.tolist()}, TypeError, "x holds a float, expected NumPy or JAX"),
    "x None": ({"x": None}, ValueError, "x has type NoneType"),
    "a parameter missing": ({"params": without("U_f")}, ValueError, r"lacks \['U_f'\]"),
    "a parameter too many": ({"params": PARAMS | {"V": H}}, ValueError, r"unknown \['V'\]"),
    "a parameter's shape": (
        {"params": PARAMS | {"U_f": np.ones((4, 3))}},
        ValueError,
        r"'encoder': params\['U_f'\] has shape \(4, 3\), expected shape \(4, 4\)",
    ),
    "a parameter's dtype": ({"params": PARAMS | {"b_i": np.ones(4, int)}}, ValueError, "int64"),
    "params of one for two directions": ({"spec": BOTH}, ValueError, "is a dict of 12, expected D"),
    "params of a stack in a list": (
        {"spec": STACK, "params": list(params_of(STACK))},
        ValueError,
        "is a list of 2, expected a tuple of 2",
    ),
    "params deep down": (
        {"spec": Stack((BOTH,)), "params": (Directions(PARAMS, without("b_o")),)},
        ValueError,
        r"params\[0\]\.backward lacks \['b_o'\]",
    ),
    "a state in Flax's order and type": ({"state": (C, H)}, ValueError, r"expected State\(h, c\)"),
    "a state's shape": ({"state": State(H[:1], C)}, ValueError, r"state.h has shape \(1, 4\)"),
    "a mask's shape": (
        {"mask": np.ones((2, 4), bool)},
        ValueError,
        r"'encoder': mask has shape \(2, 4\) .* expected \(batch, time\) = \(2, 5\)",
    ),
    "a mask of numbers": ({"mask": np.ones((2, 5))}, ValueError, "dtype float64, expected"),
    "mask and lengths": (
        {"mask": np.ones((2, 5), bool), "lengths": np.array([1, 2])},
        ValueError,
        "both mask and lengths",
    ),
    "lengths beyond T": ({"lengths": np.array([1, 6])}, ValueError, "between 1 and 6, .* T = 5"),
    "negative lengths": ({"lengths": np.array([-1, 2])}, ValueError, "between -1 and 2"),
    "fractional lengths": ({"lengths": np.array([1.5, 2])}, ValueError, "dtype float64, expected"),
    "lengths of another batch": ({"lengths": np.array([1])}, ValueError, r"shape \(1,\)"),
    "dropout's shape": (
        {"dropout": Dropout(h=np.ones((2, 3)))},
        ValueError,
        r"dropout.h has shape \(2, 3\), expected shape \(2, 4\) or \(2, 5, 4\)",
    ),
    "dropout a rate": ({"dropout": 0.5}, TypeError, "dropout holds a float"),
    "unroll zero": ({"unroll": 0}, ValueError, "unroll is 0, expected at least 1"),
    "unroll a flag": ({"unroll": True}, TypeError, "unroll is True, expected a whole number"),
    "an unknown precision": ({"precision": "best"}, ValueError, "precision is 'best', expected"),
    "no architecture": ({"spec": "lstm"}, TypeError, "spec is of type str, expected a Spec"),
}


@pytest.mark.parametrize(("change", "error", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(change, error, message):
    arguments = {"params": PARAMS, "x": X, "spec": SPEC} | change
    with pytest.raises(error, match=message):
        lstm(**arguments)


def test_lengths_inside_a_jit_count_as_T_beyond_T():
    run = jax.jit(lambda lengths: lstm(PARAMS, X, spec=SPEC, lengths=lengths).y)
    np.testing.assert_array_equal(run(jnp.array([9, 2])), run(jnp.array([5, 2])))


def test_a_state_given_in_part_is_zero_in_the_rest():
    given = lstm(PARAMS, X, State(H, None), spec=SPEC)
    written_out = lstm(PARAMS, X, State(H, 0 * C), spec=SPEC)
    np.testing.assert_array_equal(given.y, written_out.y)


def test_no_steps_leave_the_state_alone():
    y, state = lstm(PARAMS, X[:, :0], State(H, C), spec=SPEC)
    assert y.shape == (2, 0, 4)
    np.testing.assert_array_equal(state.c, C)
