"""Gates, gradient paths, Jacobians and all the rest by JAX's autodiff are those of the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from lstm_oracle.jax_impl import init, internals, lstm
from lstm_oracle.reference.spec import Spec, Stack
from tests.internals_agreement import SPECS, B, H, I, Problem, T, disagreements, problems, still


@settings(max_examples=60)
@given(problems())
def test_every_quantity_agrees(problem: Problem):
    assert disagreements(problem, internals.measure(*problem)) == {}


@pytest.mark.parametrize("name", ["d_c_cell", "lyapunov", "effective_rank"])
def test_a_quantity_that_is_off_by_a_millionth_is_seen(name):
    rng = np.random.default_rng(0)
    params = {n: rng.standard_normal(s) for n, s in SPECS[0].param_shapes.items()}
    x = rng.standard_normal((B, T, I))
    problem = Problem(SPECS[0], params, x, None, None, rng.standard_normal((B, T, H)), None)
    theirs = internals.measure(*problem)
    theirs[name] = theirs[name] * (1 + 1e-6)
    assert list(disagreements(problem, theirs)) == [name]


def test_a_layer_in_which_nothing_happens_has_the_same_answers():
    # Its Jacobians are singular: which direction takes the place of a lost one is arbitrary.
    assert disagreements(still(), internals.measure(*still()), but="lyapunov") == {}


def test_the_traced_layer_is_the_layer():
    import jax

    spec = Spec(input_size=I, hidden_size=H, peepholes="o", projection_size=2)
    params = init(jax.random.key(0), spec)
    x = np.random.default_rng(0).standard_normal((B, T, I))
    np.testing.assert_allclose(
        internals.trace(params, x, spec=spec).r, lstm(params, x, spec=spec).y, rtol=0, atol=1e-15
    )


def test_update_to_weight_is_that_of_the_oracle():
    from lstm_oracle.reference import internals as reference

    rng = np.random.default_rng(0)
    before = {"W_i": rng.standard_normal((2, 3)), "b_i": np.zeros(3)}
    after = {name: a + 0.1 for name, a in before.items()}
    ours, theirs = (m.update_to_weight(before, after) for m in (reference, internals))
    np.testing.assert_allclose(list(theirs.values()), list(ours.values()), rtol=1e-14)


def test_several_layers_are_refused():
    spec = SPECS[0]
    with pytest.raises(TypeError, match="expected a Spec"):
        internals.trace((), np.ones((B, T, I)), spec=Stack((spec,)))
