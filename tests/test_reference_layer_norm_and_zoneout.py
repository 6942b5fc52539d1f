"""Layer normalization and zoneout do what their papers say, and nothing where they are off."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.reference import Dropout, Reverse, Spec, backward, forward, initializers
from tests.compare import assert_close, assert_identical
from tests.strategies import normal

B, T, I, H = 3, 5, 3, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def drawn(rng, spec):
    x = rng.standard_normal((B, T, I))
    return normal(rng, spec.param_shapes), x, normal(rng, ((B, H), (B, H)))


@pytest.mark.parametrize("letter", ["W", "U"])
def test_the_scale_of_normalized_weights_does_not_matter(rng, letter):
    spec = Spec(input_size=I, hidden_size=H, layer_norm=True, layer_norm_epsilon=1e-12)
    params, x, state = drawn(rng, spec)
    larger = {name: a * 7 if name.startswith(f"{letter}_") else a for name, a in params.items()}
    assert_close(forward(spec, larger, x, state)[0], forward(spec, params, x, state)[0], 1e-9)


def test_a_constant_added_to_all_gates_does_not_matter(rng):
    spec = Spec(input_size=I, hidden_size=H, layer_norm=True)
    params, x, state = drawn(rng, spec)
    shift = rng.standard_normal((I, 1))
    moved = {name: a + shift if name.startswith("W_") else a for name, a in params.items()}
    assert_close(forward(spec, moved, x, state)[0], forward(spec, params, x, state)[0])


def test_one_normalized_step_is_that_of_the_paper(rng):
    """Ba et al. 2016, equations 20 to 22, with their fused vectors of 4 H entries."""
    spec = Spec(input_size=I, hidden_size=H, layer_norm=True)
    params, x, (h, c) = drawn(rng, spec)
    fused = {
        name: np.concatenate([params[f"{name}_{k}"] for k in "fiog"], axis=-1)
        for name in ("W", "U", "b", "gain_W", "gain_U")
    }

    def norm(a):
        return (a - a.mean(-1, keepdims=True)) / np.sqrt(a.var(-1, keepdims=True) + 1e-5)

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    z = fused["gain_U"] * norm(h @ fused["U"]) + fused["gain_W"] * norm(x[:, 0] @ fused["W"])
    f, i, o, g = np.split(z + fused["b"], 4, axis=-1)
    new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    new_h = sigmoid(o) * np.tanh(params["gain_c"] * norm(new_c) + params["shift_c"])
    (y, final), _ = forward(spec, params, x[:, :1], (h, c))
    assert_close((y[:, 0], final.c), (new_h, new_c), 1e-13)


def test_gains_start_at_one_and_shifts_at_zero(rng):
    params = initializers.init(Spec(input_size=I, hidden_size=H, layer_norm=True), rng)
    gains = [name for name in params if name.startswith("gain")]
    assert len(gains) == 9
    assert all((params[name] == 1).all() for name in gains)
    assert not params["shift_c"].any()


def test_what_is_kept_is_kept_and_what_is_not_is_the_plain_layer(rng):
    zoned, plain = (Spec(input_size=I, hidden_size=H, zoneout_h=rate) for rate in (0.5, 0.0))
    params, x, state = drawn(rng, plain)
    none, all_ = np.zeros((B, H)), np.ones((B, H))
    updated = forward(zoned, params, x, state, dropout=Dropout(zoneout_h=none, zoneout_c=none))[0]
    assert_identical(updated, forward(plain, params, x, state)[0])
    (y, final), _ = forward(
        zoned, params, x, state, dropout=Dropout(zoneout_h=all_, zoneout_c=all_)
    )
    assert_identical(tuple(final), state)
    assert_identical(y, np.repeat(state[0][:, None], T, axis=1))


def test_without_masks_the_rate_is_the_mask(rng):
    spec = Spec(input_size=I, hidden_size=H, zoneout_h=0.1, zoneout_c=0.6)
    params, x, state = drawn(rng, spec)
    rates = Dropout(zoneout_h=np.full((B, 1, H), 0.1), zoneout_c=np.full((B, T, H), 0.6))
    (y, _), tape = forward(spec, params, x, state, dropout=rates)
    expected, expected_tape = forward(spec, params, x, state)
    assert_close(y, expected.y, 1e-15)
    assert_close(backward(tape, y), backward(expected_tape, y), 1e-13)


def test_the_output_sees_the_cell_before_zoneout(rng):
    """Krueger et al. 2017: h_t = m * h_{t-1} + (1 - m) * o * tanh(f * c_{t-1} + i * g)."""
    spec = Spec(input_size=I, hidden_size=H, zoneout_c=0.5)
    params, x, state = drawn(rng, spec)
    kept = forward(spec, params, x[:, :1], state, dropout=Dropout(zoneout_c=np.ones((B, H))))[0]
    plain = forward(Spec(input_size=I, hidden_size=H), params, x[:, :1], state)[0]
    assert_identical(kept.y, plain.y)
    assert_identical(kept.state.c, state[1])


def test_zoneout_masks_of_a_reversed_layer_belong_to_steps_of_x(rng):
    spec = Spec(input_size=I, hidden_size=H, zoneout_h=0.5)
    params, x, state = drawn(rng, spec)
    masks = rng.integers(0, 2, (B, T, H)).astype(float)
    got = forward(Reverse(spec), params, x, state, dropout=Dropout(zoneout_h=masks))[0]
    flipped = Dropout(zoneout_h=masks[:, ::-1])
    expected = forward(spec, params, x[:, ::-1], state, dropout=flipped)[0]
    assert_identical((got.y[:, ::-1], got.state), tuple(expected))


def test_zoneout_keeps_the_precision_of_its_arrays(rng):
    spec = Spec(input_size=I, hidden_size=H, zoneout_h=0.1, layer_norm=True)
    params, x, _ = drawn(rng, spec)
    params = {name: a.astype(np.float32) for name, a in params.items()}
    (y, state), tape = forward(spec, params, x.astype(np.float32))
    assert y.dtype == state.c.dtype == backward(tape, y).params["gain_c"].dtype == np.float32
