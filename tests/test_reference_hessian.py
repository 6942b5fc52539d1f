"""Hessian-vector products are right to 1e-12, by two ways that share nothing with them.

One is 50-digit arithmetic: differences of textbook gradients, of which 30 digits are right. The
other never runs a backward pass: the derivative along u of <w, J v> is u^T H v.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given

from lstm_oracle.reference import Spec, gradcheck
from lstm_oracle.reference.hessian import hessian_vector_product
from lstm_oracle.reference.passes import Output
from lstm_oracle.reference.spec import State, state_shapes
from lstm_oracle.reference.tangent import tangent
from lstm_oracle.reference.tree import flatten, map_leaves
from tests import fifty_digits
from tests.strategies import Problem, architectures, normal, problems

EXACT = 1e-12
# Far below what the third derivative, and far above what 50 digits would show.
STEP = mpmath.mpf(10) ** -15

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "peepholes, projection": {"peepholes": "ifo", "projection_size": 2},
    "coupled, no bias": {"coupled": True, "use_bias": False},
    "layer normalization": {"layer_norm": True, "layer_norm_epsilon": 0.1},
    "zoneout": {"zoneout_h": 0.1, "zoneout_c": 0.6},
    "other activations": {
        "i_activation": "softsign",
        "f_activation": "silu",
        "g_activation": "softplus",
        "c_activation": "elu",
    },
}


def product(problem: Problem, direction: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    v_params, v_x, v_state = direction
    found = hessian_vector_product(
        problem.architecture,
        *problem.differentiable,
        problem.mask,
        d_y=problem.d_y,
        d_state=problem.d_state,
        v_params=v_params,
        v_x=v_x,
        v_state=v_state,
        dropout=problem.dropout,
    )
    return tuple(found)[:3]


def by_tangents(problem: Problem, u: Any, v: Any) -> float:
    """u^T H v, without a backward pass."""

    def slope(at: Any) -> Any:
        _, d_output = tangent(
            problem.architecture,
            *at,
            problem.mask,
            d_params=v[0],
            d_x=v[1],
            d_state=v[2],
            dropout=problem.dropout,
        )
        return d_output

    cotangent = Output(problem.d_y, problem.d_state)
    return gradcheck.directional(slope, problem.differentiable, u, cotangent=cotangent)


def by_fifty_digits(problem: Problem, v: Any) -> tuple[Any, Any, Any]:
    def gradient(sign: int) -> fifty_digits.Exact:
        def moved(a: np.ndarray, v: np.ndarray) -> np.ndarray:
            return fifty_digits.exact(a) + sign * STEP * fifty_digits.exact(v)

        params, x, (h, c) = map_leaves(moved, problem.differentiable, v)
        cotangents = (fifty_digits.exact(a[0]) for a in (problem.d_y, *problem.d_state))
        return fifty_digits.unrounded(problem.architecture, params, x[0], h[0], c[0], *cotangents)

    with mpmath.workdps(fifty_digits.DIGITS):
        above, below = gradient(1), gradient(-1)
        found = map_leaves(lambda a, b: (a - b) / (2 * STEP), above, below)
        rounded = map_leaves(fifty_digits.round_off, found)
    return rounded.d_params, rounded.d_x[None], State(rounded.d_h[None], rounded.d_c[None])


@pytest.mark.parametrize("variant", VARIANTS)
def test_products_are_those_of_fifty_digits(variant):
    spec = Spec(input_size=2, hidden_size=3, **VARIANTS[variant])
    rng = np.random.default_rng(len(variant))
    states = state_shapes(spec, 1)
    at, v, d_state = (
        normal(rng, shapes) for shapes in (*2 * [(spec.param_shapes, (1, 12, 2), states)], states)
    )
    d_y = rng.standard_normal((1, 12, spec.output_size))
    problem = Problem(spec, *at, None, None, d_y, d_state)
    got, expected = flatten(product(problem, v)), flatten(by_fifty_digits(problem, v))
    assert got.keys() == expected.keys()
    for path, exact in expected.items():
        error = np.linalg.norm(got[path] - exact)
        assert error <= EXACT * np.linalg.norm(exact), path


@given(problems(architecture=architectures(truncate=False)))
def test_products_are_those_of_tangents(problem: Problem):
    rng = np.random.default_rng(0)
    shapes = map_leaves(np.shape, problem.differentiable)
    u, v = normal(rng, shapes), normal(rng, shapes)
    found = flatten(product(problem, v))
    terms = np.concatenate([np.ravel(a * found[path]) for path, a in flatten(u).items()])
    scale = np.abs(terms).sum()
    assert abs(terms.sum() - by_tangents(problem, u, v)) <= EXACT * max(scale, 1e-100)


def test_single_precision_is_taken_in_double():
    spec = Spec(input_size=2, hidden_size=3)
    params, x = normal(np.random.default_rng(0), (spec.param_shapes, (2, 4, 2)))
    params, x = map_leaves(lambda a: a.astype(np.float32), (params, x))
    found = hessian_vector_product(spec, params, x, d_y=np.ones((2, 4, 3)), v_x=x)
    assert all(leaf.dtype == np.float64 and leaf.any() for leaf in found.params.values())


def test_complex_arrays_are_refused():
    spec = Spec(input_size=2, hidden_size=3)
    params, x = normal(np.random.default_rng(0), (spec.param_shapes, (2, 4, 2)))
    with pytest.raises(TypeError, match="expected real numbers"):
        hessian_vector_product(spec, params, x + 0j, d_y=np.ones((2, 4, 3)), v_x=x)
