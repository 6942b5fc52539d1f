"""Whatever the layer, shapes, masks, values: the inside of an LSTM is what derivatives say."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from lstm_oracle.reference import State, backward, forward, gradcheck, internals
from tests.strategies import Problem, problems, sizes, specs

each = settings(max_examples=60)
layers = problems(architecture=specs(), batch=sizes(2), max_steps=4)


def without_dropout(problem: Problem) -> Problem:
    return problem.differ(dropout=None)


@each
@given(layers)
def test_the_temporal_jacobian_is_the_complex_step(problem: Problem):
    problem = without_dropout(problem)
    _, tape = problem.forward()
    [scan] = internals.scans(tape)
    jacobians, by_x = internals.step_jacobians(scan)
    T = problem.x.shape[1]
    whole = internals.temporal_jacobian(jacobians, 0, T)
    for n in range(whole.shape[1]):

        def entry(arrays, n=n):
            state, x = arrays
            spec, params, mask = problem.architecture, problem.params, problem.mask
            (_, final), _ = forward(spec, params, x, State(*state), mask)
            return np.concatenate(final, axis=-1)[:, n].sum()

        (d_h, d_c), d_x = gradcheck.complex_step(entry, (tuple(problem.state), problem.x))
        row = np.concatenate([d_h, d_c], axis=-1)
        close(whole[:, n], row)
        for t in range(T):
            after = internals.temporal_jacobian(jacobians, t + 1, T)
            close(np.einsum("bn,bni->bi", after[:, n], by_x[:, t]), d_x[:, t])


@each
@given(layers)
def test_an_error_at_the_last_cell_alone_reaches_the_first_as_the_jacobian_says(problem: Problem):
    problem = without_dropout(problem)
    _, tape = problem.forward()
    [scan] = internals.scans(tape)
    jacobians, _ = internals.step_jacobians(scan)
    gradients = backward(tape, None, problem.d_state)
    error = np.concatenate(problem.d_state, axis=-1)
    whole = internals.temporal_jacobian(jacobians, 0, problem.x.shape[1])
    expected = np.einsum("bn,bnm->bm", error, whole)
    close(np.concatenate(gradients.state, axis=-1), expected)


@each
@given(layers)
def test_gradients_of_single_sequences_add_up(problem: Problem):
    problem = without_dropout(problem)
    _, tape = problem.forward()
    whole = backward(tape, problem.d_y, problem.d_state).params
    real = np.ones(problem.x.shape[:2], bool) if problem.mask is None else problem.mask
    alone = internals.per_sequence_gradients(
        problem.architecture, problem.params, problem.x, problem.state, real, problem.d_y,
        problem.d_state,
    )  # fmt: skip
    for name, d in whole.items():
        close(alone[name].sum(axis=0), d)


def close(got: np.ndarray, expected: np.ndarray) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10 * scale)
