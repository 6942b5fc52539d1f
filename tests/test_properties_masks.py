"""Masked steps are inert: what stands there changes nothing, and no gradient goes there."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from lstm_oracle.reference.passes import Output
from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_close, assert_identical
from tests.strategies import Problem, architectures, forwards, problems
from tests.test_properties_chunks import cut_dropout


@given(problems(masked=True), st.sampled_from([np.nan, np.inf, -np.inf, 1e300]))
def test_whatever_stands_in_masked_steps_changes_no_bit(problem: Problem, poison: float):
    masked = ~problem.mask[:, :, None]
    poisoned = problem.differ(x=np.where(masked, poison, problem.x))
    clean = problem.differ(x=np.where(masked, 0, problem.x))
    assert_identical(poisoned.forward()[0], clean.forward()[0])
    gradients = poisoned.backward()
    assert_identical(gradients, clean.backward())
    assert not gradients.x[~problem.mask].any()


@given(problems(architecture=forwards(), batch=st.just(1), masked=True))
def test_deleting_masked_steps_changes_neither_state_nor_gradients(problem: Problem):
    assume(problem.mask.any())
    real = problem.mask[0]
    shorter = problem.differ(
        x=problem.x[:, real],
        mask=None,
        dropout=map_leaves(lambda m: cut_dropout(m, len(real), real), problem.dropout),
        d_y=problem.d_y[:, real],
    )
    # Only real steps are compared, so only they have a cotangent.
    masked = problem.differ(d_y=np.where(real[:, None], problem.d_y, 0))
    (long_y, long_state), _ = masked.forward()
    assert_close(shorter.forward()[0], Output(long_y[:, real], long_state))
    got, expected = shorter.backward(), masked.backward()
    assert_close(got, expected._replace(x=expected.x[:, real]))


@given(problems(architecture=architectures(truncate=False)))
def test_a_fully_masked_sequence_keeps_its_state_and_gives_parameters_no_gradient(problem):
    masked = problem.differ(mask=np.zeros(problem.x.shape[:2], bool), d_y=None)
    assert_identical(masked.forward()[0].state, problem.state)
    gradients = masked.backward()
    assert_identical(gradients.state, problem.d_state)
    assert_identical(gradients.params, map_leaves(np.zeros_like, problem.params))
    assert_identical(gradients.x, np.zeros_like(problem.x))


@given(problems())
def test_a_mask_of_real_steps_only_is_no_mask(problem: Problem):
    whole = problem.differ(mask=None)
    full = problem.differ(mask=np.ones(problem.x.shape[:2], bool))
    # Close, not identical: the mask copies x, and BLAS rounds by the layout in memory.
    assert_close(full.forward()[0], whole.forward()[0])
    assert_close(full.backward(), whole.backward())
