"""Gradients are linear in the cotangents: nothing on the way clips, rescales or takes a mean."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.sequence import backward
from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_close, assert_identical
from tests.strategies import Problem, problems


@given(problems(), st.floats(-8, 8), st.sampled_from([-1, 1]))
def test_scaled_cotangents_give_scaled_gradients(problem: Problem, exponent: float, sign: int):
    scale = sign * 10**exponent
    _, tape = problem.forward()
    scaled = map_leaves(lambda a: scale * a, (problem.d_y, problem.d_state))
    expected = map_leaves(lambda a: scale * a, backward(tape, problem.d_y, problem.d_state))
    assert_close(backward(tape, *scaled), expected)


@given(problems(), st.integers(-27, 27))
def test_a_power_of_two_scales_gradients_without_any_rounding(problem: Problem, exponent: int):
    _, tape = problem.forward()
    scaled = map_leaves(lambda a: 2.0**exponent * a, (problem.d_y, problem.d_state))
    expected = map_leaves(lambda a: 2.0**exponent * a, backward(tape, problem.d_y, problem.d_state))
    got = backward(tape, *scaled)
    assert_identical(map_leaves(normal_numbers, got), map_leaves(normal_numbers, expected))


def normal_numbers(a: np.ndarray) -> np.ndarray:
    """Without what underflows in a saturated gate, where digits are lost at one scale first."""
    return np.where(np.abs(a) < 1e-280, 0, a)


@given(problems())
def test_gradients_of_y_and_of_the_final_state_add_up(problem: Problem):
    _, tape = problem.forward()
    of_y, of_state = backward(tape, problem.d_y), backward(tape, None, problem.d_state)
    both = backward(tape, problem.d_y, problem.d_state)
    assert_close(map_leaves(lambda a, b: a + b, of_y, of_state), both)
