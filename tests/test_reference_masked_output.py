"""What is emitted at masked steps is the named choice, and its gradient belongs to it."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.reference import (
    Bidirectional,
    Chunks,
    Output,
    Reverse,
    Spec,
    State,
    backward,
    forward,
    gradcheck,
    mask_from_lengths,
)
from tests.compare import assert_close
from tests.strategies import normal

MASK = np.array(
    [
        [False, True, False, True, False],  # holes, and nothing real at first
        [True, True, False, False, False],
        [False, False, False, False, False],
    ]
)
RULES = ("previous", "zero", "state")


def problem(rule: str):
    spec = Spec(input_size=2, hidden_size=3, masked_output=rule)
    rng = np.random.default_rng(0)
    params, x = normal(rng, spec.param_shapes), rng.standard_normal((3, 5, 2))
    state = State(*rng.standard_normal((2, 3, 3)))
    return spec, params, x, state


def emitted(rule: str):
    spec, params, x, state = problem(rule)
    (y, _), tape = forward(spec, params, x, state, MASK)
    return y, tape.trace().r, state.h


@pytest.mark.parametrize("rule", RULES)
def test_real_steps_emit_the_state(rule):
    y, r, _ = emitted(rule)
    np.testing.assert_array_equal(y[MASK], r[MASK])


def test_previous_repeats_the_last_output_and_is_zero_before_the_first():
    y, _, _ = emitted("previous")
    assert not y[0, 0].any()
    np.testing.assert_array_equal(y[0, 2], y[0, 1])
    np.testing.assert_array_equal(y[0, 4], y[0, 3])
    np.testing.assert_array_equal(y[1, 4], y[1, 1])
    assert not y[2].any()


def test_zero_is_zero_at_every_masked_step():
    y, _, _ = emitted("zero")
    assert not y[~MASK].any()


def test_state_is_the_initial_one_before_the_first_real_step():
    y, _, h = emitted("state")
    np.testing.assert_array_equal(y[0, 0], h[0])
    np.testing.assert_array_equal(y[0, 2], y[0, 1])
    np.testing.assert_array_equal(y[2], np.broadcast_to(h[2], (5, 3)))


@pytest.mark.parametrize("rule", RULES)
def test_without_a_mask_the_rules_do_not_differ(rule):
    spec, params, x, state = problem(rule)
    plain, *_ = problem("previous")
    got, expected = forward(spec, params, x, state)[0], forward(plain, params, x, state)[0]
    np.testing.assert_array_equal(got.y, expected.y)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("wrap", [lambda s: s, Reverse, lambda s: Chunks(s, 2)])
def test_gradients_of_outputs_at_masked_steps_are_those_of_the_complex_step(rule, wrap):
    spec, params, x, state = problem(rule)
    layer = wrap(spec)
    d_y = np.random.default_rng(1).standard_normal((3, 5, 3)) * ~MASK[:, :, None]
    _, tape = forward(layer, params, x, state, MASK)
    exact = gradcheck.complex_step(
        lambda arrays: forward(layer, arrays[0], x, arrays[1], MASK)[0],
        (params, state),
        cotangent=Output(d_y, None),
    )
    gradients = backward(tape, d_y)
    assert_close((gradients.params, gradients.state), exact)
    assert not gradients.x[~MASK].any()


def test_previous_in_chunks_remembers_outputs_of_earlier_chunks():
    spec, params, x, state = problem("previous")
    whole, chunks = (forward(a, params, x, state, MASK)[0] for a in (spec, Chunks(spec, 2)))
    assert_close(chunks, whole, 1e-14)
    assert whole.y[1, 4].any()


def test_lengths_become_masks_of_leading_steps():
    np.testing.assert_array_equal(
        mask_from_lengths([0, 2, 3], 3),
        [[False, False, False], [True, True, False], [True, True, True]],
    )


def test_a_sequence_of_length_zero_keeps_its_state():
    spec, params, x, state = problem("previous")
    (_, final), _ = forward(spec, params, x, state, mask_from_lengths([5, 0, 1], 5))
    np.testing.assert_array_equal(final.h[1], state.h[1])
    np.testing.assert_array_equal(final.c[1], state.c[1])
    assert (final.h[[0, 2]] != state.h[[0, 2]]).all()


MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}


@pytest.mark.parametrize("merge", MERGES)
def test_merging_joins_the_outputs_of_one_step_of_x(merge):
    spec, params, x, state = problem("zero")
    others = normal(np.random.default_rng(5), spec.param_shapes)
    (y, _), _ = forward(Bidirectional(spec, spec, merge), (params, others), x, (state, state), MASK)
    ahead, _ = forward(spec, params, x, state, MASK)
    back, _ = forward(spec, others, x[:, ::-1], state, MASK[:, ::-1])
    np.testing.assert_array_equal(y, MERGES[merge](ahead.y, back.y[:, ::-1]))
    (pair, _), _ = forward(Bidirectional(spec, spec, None), (params, others), x, (state,) * 2, MASK)
    np.testing.assert_array_equal(y, MERGES[merge](*pair))
