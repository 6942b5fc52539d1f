"""Dropout multiplies what goes into the gates, by the multipliers given, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.reference import (
    Bidirectional,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    backward,
    forward,
)
from lstm_oracle.reference.spec import param_shapes
from tests.compare import assert_close, assert_identical
from tests.strategies import normal

B, T, I, H, G = 2, 4, 3, 2, 4
SPEC = Spec(input_size=I, hidden_size=H)
ABOVE = Spec(input_size=H, hidden_size=3)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def params(rng):
    return normal(rng, SPEC.param_shapes)


@pytest.fixture
def x(rng):
    return rng.standard_normal((B, T, I))


def test_dropping_inputs_is_multiplying_x(rng, params, x):
    for shape in ((B, I), (B, 1, I), (B, T, I)):
        m = rng.choice([0.0, 2.0], shape)
        per_step = m[:, None] if m.ndim == 2 else m
        (y, _), tape = forward(SPEC, params, x, dropout=Dropout(m))
        (expected, _), plain = forward(SPEC, params, x * per_step)
        assert_close(y, expected)
        got, wanted = backward(tape, np.ones_like(y)), backward(plain, np.ones_like(y))
        assert_close((got.params, got.x), (wanted.params, wanted.x * per_step))


def test_one_multiplier_in_every_shape_is_the_same_dropout(rng, params, x):
    m_x, m_h = rng.choice([0.0, 2.0], (B, I)), rng.choice([0.0, 2.0], (B, H))

    def spread(m, steps):
        return np.broadcast_to(m[:, None, None], (B, steps, G, m.shape[-1]))

    expected = forward(SPEC, params, x, dropout=Dropout(m_x, m_h))[0]
    for steps in (1, T):
        per_gate = Dropout(spread(m_x, steps), spread(m_h, steps))
        assert_close(forward(SPEC, params, x, dropout=per_gate)[0], expected)
        per_step = Dropout(spread(m_x, steps)[:, :, 0], spread(m_h, steps)[:, :, 0])
        assert_close(forward(SPEC, params, x, dropout=per_step)[0], expected)


@pytest.mark.parametrize("gate", range(G))
def test_a_gate_of_its_own_multiplier_reads_x_without_what_was_dropped(gate, rng, params, x):
    m = np.ones((B, T, G, I))
    m[:, :, gate, 1] = 0
    k = SPEC.gates[gate]
    deaf = params | {f"W_{k}": params[f"W_{k}"] * np.array([[1.0], [0.0], [1.0]])}
    got = forward(SPEC, params, x, dropout=Dropout(m))[0]
    assert_close(got, forward(SPEC, deaf, x)[0])


def test_a_dropped_state_still_leaves_the_layer(rng, params, x):
    (y, _), _ = forward(SPEC, params, x, dropout=Dropout(h=np.zeros((B, H))))
    without_recurrence = params | {f"U_{k}": np.zeros((H, H)) for k in SPEC.gates}
    (expected, _), _ = forward(SPEC, without_recurrence, x)
    assert_close(y, expected)
    assert y.all()


def test_multipliers_of_a_reversed_layer_belong_to_steps_of_x(rng, params, x):
    m = rng.choice([0.0, 2.0], (B, T, I))
    got = forward(Reverse(SPEC), params, x, dropout=Dropout(m))[0]
    assert_close(got, forward(Reverse(SPEC), params, x * m)[0])


def test_layers_and_directions_have_dropout_of_their_own(rng, x):
    architecture = Stack((Bidirectional(SPEC, SPEC, "sum"), ABOVE))
    params = normal(rng, param_shapes(architecture))
    m = rng.choice([0.0, 2.0], (B, H))
    none = forward(architecture, params, x)[0]
    empty = (Directions(Dropout(), None), None)
    assert_identical(forward(architecture, params, x, dropout=empty)[0], none)
    above = forward(architecture, params, x, dropout=(None, Dropout(m)))[0]
    assert_identical(above.state[0], none.state[0])
    assert (above.y != none.y).any()


@pytest.mark.parametrize("wrong", [Dropout(), (None,), "half"])
def test_dropout_of_another_nesting_is_refused(wrong, rng, x):
    architecture = Stack((SPEC, ABOVE, Spec(input_size=3, hidden_size=1)))
    params = normal(rng, param_shapes(architecture))
    with pytest.raises(ValueError, match=r"Stack: dropout is .*, expected a tuple of 3"):
        forward(architecture, params, x, dropout=wrong)
