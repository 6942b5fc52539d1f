"""Hand-derived gradients equal the complex step, whatever the architecture, shapes and masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from lstm_oracle.reference import gradcheck
from lstm_oracle.reference.passes import Output
from lstm_oracle.reference.tree import flatten, map_leaves, replace
from tests.compare import assert_close
from tests.strategies import Problem, architectures, problems, sizes, specs


@given(problems(architecture=specs(), batch=sizes(2), max_steps=3))
def test_every_entry_of_every_gradient_of_a_layer_is_that_of_the_complex_step(problem: Problem):
    expected = gradcheck.complex_step(
        problem.output, problem.differentiable, cotangent=Output(problem.d_y, problem.d_state)
    )
    assert_close(tuple(problem.backward())[:3], expected)


@given(problems(architecture=architectures(truncate=False)))
def test_every_block_of_nested_layers_has_the_slope_of_the_complex_step(problem: Problem):
    rng = np.random.default_rng(0)
    cotangent = Output(problem.d_y, problem.d_state)
    still = map_leaves(np.zeros_like, problem.differentiable)
    got, expected = {}, {}
    for path, gradient in flatten(tuple(problem.backward())[:3]).items():
        direction = rng.uniform(0.5, 1.5, gradient.shape)
        got[path] = np.vdot(direction, gradient)
        expected[path] = gradcheck.directional(
            problem.output,
            problem.differentiable,
            replace(still, {path: direction}),
            cotangent=cotangent,
        )
    assert_close(got, {path: np.asarray(slope) for path, slope in expected.items()})
