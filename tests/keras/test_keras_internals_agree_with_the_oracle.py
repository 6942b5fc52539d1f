"""Gates, gradient paths, Jacobians and all the rest by Keras' backend are those of the oracle."""

from __future__ import annotations

import keras
import numpy as np
from hypothesis import given, settings

from lstm_oracle.keras_impl import LSTM, internals
from lstm_oracle.reference import internals as reference
from lstm_oracle.reference.spec import Spec
from tests.internals_agreement import B, H, I, Problem, T, disagreements, problems, still


@settings(max_examples=8)
@given(problems())
def test_every_quantity_agrees(problem: Problem):
    assert disagreements(problem, internals.measure(*problem)) == {}


def test_a_layer_in_which_nothing_happens_has_the_same_answers():
    # Its Jacobians are singular: which direction takes the place of a lost one is arbitrary.
    assert disagreements(still(), internals.measure(*still()), but="lyapunov") == {}


def test_the_traced_layer_is_the_layer():
    layer = LSTM(H, return_sequences=True, dtype="float64")
    x = np.random.default_rng(0).standard_normal((B, T, I))
    y = keras.ops.convert_to_numpy(layer(x))
    problem = internals._problem(layer.cell.spec, layer.cell.gate_params(), x, *[None] * 4)
    _, steps = internals._run(problem, None, False)
    found = np.stack([internals._array(step.carried.h) for step in steps], axis=1)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-15)


def test_update_to_weight_is_that_of_the_oracle():
    rng = np.random.default_rng(0)
    before = {"W_i": rng.standard_normal((2, 3)), "b_i": np.zeros(3)}
    after = {name: a + 0.1 for name, a in before.items()}
    ours, theirs = (m.update_to_weight(before, after) for m in (reference, internals))
    np.testing.assert_allclose(list(theirs.values()), list(ours.values()), rtol=1e-14)


def test_one_sequence_has_no_noise_scale():
    spec = Spec(input_size=I, hidden_size=H)
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(shape) for name, shape in spec.param_shapes.items()}
    x, d_y = rng.standard_normal((1, T, I)), np.ones((1, T, H))
    assert np.isnan(internals.measure(spec, params, x, d_y=d_y)["noise_scale"])
