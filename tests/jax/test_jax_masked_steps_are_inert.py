"""What stands in the padding changes nothing: no output, no gradient, not by a bit."""

import jax
import numpy as np
import pytest

from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Bidirectional, Chunks, Spec, Stack, State

SPEC = Spec(input_size=3, hidden_size=4, peepholes="ifo", projection_size=2)
DEEP = Stack((Bidirectional(SPEC, SPEC), Chunks(Spec(input_size=4, hidden_size=4), 2, True)))


def with_padding(problem, value):
    x = np.where(problem.mask[:, :, None], problem.x, value)
    return problem.__class__(**{**vars(problem), "x": x})


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize(("spec", "mask"), [(SPEC, "holes"), (SPEC, "right"), (DEEP, "right")])
def test_poisoned_padding_gives_the_bits_that_zeros_give(room, spec, mask, poison):
    problem = room.random_problem(spec, mask=mask, dropout="step", B=3)
    poisoned = room.compiled_answer(with_padding(problem, poison))
    clean = room.compiled_answer(with_padding(problem, 0.0))
    for got, expected in zip(leaves(poisoned), leaves(clean), strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("mask", ["holes", "right"])
def test_a_masked_x_has_a_gradient_of_exactly_zero(room, mask):
    problem = room.random_problem(SPEC, mask=mask, dropout="step", B=3)
    d_x = np.asarray(room.compiled_answer(problem)["d_x"])
    assert (d_x[~problem.mask] == 0).all()
    assert (d_x[problem.mask] != 0).any()


def test_a_state_that_overflows_in_the_discarded_branch_leaves_gradients_finite(room):
    """f * c and o * c of a carried 1e200 are infinite; at a masked step nobody asks for them."""
    linear = {f"{place}_activation": "linear" for place in "ifgoc"}
    spec = Spec(input_size=3, hidden_size=4, **linear)
    problem = room.random_problem(spec, mask="empty")
    problem.state = State(*(1e200 * part for part in problem.state))
    answer = room.compiled_answer(problem)
    np.testing.assert_array_equal(answer["state"].c, problem.state.c)
    np.testing.assert_array_equal(answer["d_state"].c, problem.d_state.c)
    for d_param in leaves(answer["d_params"]):
        np.testing.assert_array_equal(d_param, 0)


def test_lengths_are_the_mask_of_the_first_steps(room):
    problem = room.random_problem(SPEC, B=3)
    lengths = np.array([4, 0, 2])
    mask = np.arange(4) < lengths[:, None]
    by_mask = lstm(problem.params, problem.x, problem.state, mask, spec=SPEC)
    by_lengths = lstm(problem.params, problem.x, problem.state, spec=SPEC, lengths=lengths)
    for got, expected in zip(leaves(by_lengths), leaves(by_mask), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(by_lengths.state.c[1], problem.state.c[1])


@pytest.mark.parametrize("masked_output", ["previous", "zero", "state"])
def test_what_a_masked_step_emits_is_the_option(room, masked_output):
    spec = Spec(input_size=3, hidden_size=4, masked_output=masked_output)
    problem = room.random_problem(spec)
    mask = np.array([[False, True, False, True], [True, True, False, False]])
    with jax.disable_jit():
        y = np.asarray(lstm(problem.params, problem.x, problem.state, mask, spec=spec).y)
    h0, zero = problem.state.h, np.zeros(4)
    expected = {
        "previous": (zero, y[0, 1], y[1, 1], y[1, 1]),
        "zero": (zero, zero, zero, zero),
        "state": (h0[0], y[0, 1], y[1, 1], y[1, 1]),
    }[masked_output]
    got = (y[0, 0], y[0, 2], y[1, 2], y[1, 3])
    np.testing.assert_array_equal(np.stack(got), np.stack(expected))


def test_chunks_that_begin_masked_emit_what_the_whole_sequence_does(room):
    spec = Spec(input_size=3, hidden_size=4)
    problem = room.random_problem(spec)
    mask = np.array([[True, True, False, True], [True, True, False, False]])
    arguments = (problem.params, problem.x, problem.state, mask)
    with jax.disable_jit():
        whole, chunked = (lstm(*arguments, spec=layer).y for layer in (spec, Chunks(spec, 2)))
    np.testing.assert_array_equal(chunked, whole)
