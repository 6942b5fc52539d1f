"""Tangents are the derivative of the outputs, and the transpose of the gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

from lstm_oracle.reference import Bidirectional, Spec, backward, forward, gradcheck
from lstm_oracle.reference.passes import Output
from lstm_oracle.reference.spec import param_shapes
from lstm_oracle.reference.tangent import tangent
from lstm_oracle.reference.tree import flatten, map_leaves
from tests.compare import assert_close
from tests.strategies import Problem, normal, problems, specs

# Relative to the sum of the absolute values of the products that both sides are sums of, as the
# sums may cancel. Measured: 2.3e-15 at most over 1500 problems.
ADJOINT = 1e-14


def tangent_of(problem: Problem, direction: tuple[Any, Any, Any]) -> tuple[Output, Output]:
    d_params, d_x, d_state = direction
    return tangent(
        problem.architecture,
        *problem.differentiable,
        problem.mask,
        d_params=d_params,
        d_x=d_x,
        d_state=d_state,
        dropout=problem.dropout,
    )


def random_direction(problem: Problem, seed: int = 0) -> tuple[Any, Any, Any]:
    shapes = map_leaves(np.shape, problem.differentiable)
    return normal(np.random.default_rng(seed), shapes)


def inner(a: Any, b: Any) -> tuple[float, float]:
    """<a, b>, and the sum of absolute products: what rounding errors are relative to."""
    theirs = flatten(b)
    products = [np.ravel(leaf * theirs[path]) for path, leaf in flatten(a).items()]
    together = np.concatenate(products)
    return float(together.sum()), float(np.abs(together).sum())


@given(problems())
def test_tangents_are_the_transpose_of_the_gradients(problem: Problem):
    direction = random_direction(problem)
    _, d_output = tangent_of(problem, direction)
    gradients = problem.backward()
    forwards, size = inner(Output(problem.d_y, problem.d_state), d_output)
    backwards, other_size = inner(tuple(gradients)[:3], direction)
    assert abs(forwards - backwards) <= ADJOINT * max(size, other_size)


@given(problems(architecture=specs()))
def test_tangents_are_the_complex_step_of_the_outputs(problem: Problem):
    direction = random_direction(problem)
    output, d_output = tangent_of(problem, direction)
    step = gradcheck.COMPLEX_STEP
    moved = map_leaves(lambda a, v: a + 1j * step * v, problem.differentiable, direction)
    expected = map_leaves(lambda a: a.imag / step, problem.output(moved))
    assert_close(output, problem.forward()[0])
    assert_close(d_output, expected)


def test_no_direction_is_no_tangent():
    spec = Spec(input_size=2, hidden_size=3)
    params, x = normal(np.random.default_rng(0), (spec.param_shapes, (2, 4, 2)))
    output, d_output = tangent(spec, params, x)
    assert_close(output, forward(spec, params, x)[0])
    assert not any(leaf.any() for leaf in flatten(d_output).values())


def test_a_direction_of_another_shape_is_refused():
    spec = Spec(input_size=2, hidden_size=3)
    params, x = normal(np.random.default_rng(0), (spec.param_shapes, (2, 4, 2)))
    with pytest.raises(ValueError, match=r"d_x has shape \(2, 4, 1\), expected \(2, 4, 2\)"):
        tangent(spec, params, x, d_x=x[..., :1])
    with pytest.raises(ValueError, match=r"d_params is a dict of W_i"):
        tangent(spec, params, x, d_params={"W_i": params["W_i"]})


@pytest.mark.parametrize("seed", range(3))
def test_the_first_order_remainder_vanishes_quadratically(seed):
    spec = Spec(input_size=2, hidden_size=4, peepholes="ifo", layer_norm=True, zoneout_c=0.3)
    rng = np.random.default_rng(seed)
    at = normal(rng, (spec.param_shapes, (2, 8, 2)), 0.5)
    direction = normal(rng, (spec.param_shapes, (2, 8, 2)), 0.5)
    (y, _), tape = forward(spec, *at)
    d_y = rng.standard_normal(y.shape)
    gradients = backward(tape, d_y)
    rate = gradcheck.taylor_rate(
        lambda a: forward(spec, *a)[0].y, at, (gradients.params, gradients.x), direction,
        cotangent=d_y, steps=(1e-4, 5e-5, 2.5e-5, 1.25e-5),
    )  # fmt: skip
    assert rate >= 1.99


def test_a_tangent_comes_with_the_output_whatever_stands_in_masked_steps():
    layer = Spec(input_size=2, hidden_size=3)
    both = Bidirectional(layer, layer)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 2))
    mask = np.array([[True, True, False, False], [True, True, True, True]])
    params = normal(rng, param_shapes(both))
    for poison in (np.nan, np.inf):  # inf - inf would warn
        poisoned = np.where(mask[..., None], x, poison)
        output, d_output = tangent(both, params, poisoned, mask=mask, d_x=x)
        assert_close(output, forward(both, params, x, None, mask)[0])
        assert all(np.isfinite(leaf).all() for leaf in flatten(d_output).values())
