"""Parameters and dropout masks: shapes, statistics, reproducible from the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import dropout_masks, init
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    param_shapes,
)

SPEC = Spec(input_size=64, hidden_size=48, peepholes="ifo", projection_size=32)
NESTED = Stack(
    (
        Bidirectional(Spec(input_size=3, hidden_size=2), Spec(input_size=3, hidden_size=2)),
        Reverse(Spec(input_size=4, hidden_size=2, coupled=True)),
        Chunks(Spec(input_size=2, hidden_size=2, use_bias=False), 2),
    )
)
SPEC4 = Spec(input_size=4, hidden_size=4)
KEY = 7


def key():
    return jax.random.key(KEY)


def test_params_are_nested_and_shaped_as_the_spec_says():
    params = init(key(), NESTED)
    assert jax.tree.map(lambda a: a.shape, params) == param_shapes(NESTED)


def test_every_gate_has_its_own_glorot_limit_and_fills_it():
    params = init(key(), SPEC)
    limit = np.sqrt(6 / (64 + 48))
    for k in "ifgo":
        assert 0.98 * limit < np.abs(params[f"W_{k}"]).max() <= limit


def test_every_gate_has_an_orthogonal_recurrent_block():
    params = init(key(), SPEC)
    for k in "ifgo":
        U = np.asarray(params[f"U_{k}"])
        np.testing.assert_allclose(U @ U.T, np.eye(32), atol=1e-12)


def test_the_forget_bias_is_one_and_other_biases_and_peepholes_zero():
    params = init(key(), SPEC)
    assert (params["b_f"] == 1).all()
    assert all((params[name] == 0).all() for name in ("b_i", "b_g", "b_o", "p_i", "p_f", "p_o"))
    assert (init(key(), SPEC, forget_bias=0.5)["b_f"] == 0.5).all()


def test_no_two_draws_are_alike():
    params = init(key(), Stack((SPEC4, SPEC4, Bidirectional(SPEC4, SPEC4))))
    drawn = [np.asarray(a) for a in jax.tree.leaves(params) if a.ndim == 2]
    assert len(drawn) == 4 * 8
    for n, a in enumerate(drawn):
        assert not any(np.array_equal(a, b) for b in drawn[:n])


def test_the_same_key_gives_the_same_params():
    first, second = init(key(), SPEC4), init(key(), SPEC4)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_an_initializer_of_ones_own_is_called_per_gate():
    shapes = []

    def ones(key, shape, dtype):
        shapes.append(shape)
        return jnp.ones(shape, dtype)

    params = init(key(), SPEC, U=ones)
    assert shapes == 4 * [(32, 48)]
    assert (params["U_g"] == 1).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16, jnp.float16])
def test_params_have_the_dtype_asked_for(dtype):
    assert {a.dtype for a in jax.tree.leaves(init(key(), SPEC4, dtype=dtype))} == {jnp.dtype(dtype)}


def test_the_default_dtype_follows_x64():
    assert init(key(), SPEC4)["U_i"].dtype == jnp.float64
    with jax.enable_x64(False):
        assert init(key(), SPEC4)["U_i"].dtype == jnp.float32


def test_a_dtype_that_is_no_float_is_rejected():
    with pytest.raises(ValueError, match="int32, expected a floating"):
        init(key(), SPEC4, dtype=jnp.int32)


def test_dropout_drops_at_its_rate_and_keeps_the_mean():
    mask = np.asarray(dropout_masks(key(), SPEC, 1000, rate_x=0.3).x)
    assert set(np.unique(mask)) == {0, 1 / 0.7}
    # Five standard deviations of the mean of 64,000 draws.
    assert abs((mask == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / mask.size)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 32)),
        ({"time_steps": 5}, (2, 5, 32)),
        ({"per_gate": True}, (2, 1, 4, 32)),
        ({"per_gate": True, "time_steps": 5}, (2, 5, 4, 32)),
    ],
)
def test_dropout_masks_have_the_shape_of_their_option(options, shape):
    masks = dropout_masks(key(), SPEC, 2, rate_h=0.5, **options)
    assert masks.x is None
    assert masks.h.shape == shape


def test_gains_start_at_one_and_shifts_at_zero():
    params = init(key(), Spec(input_size=3, hidden_size=4, layer_norm=True))
    gains = [name for name in params if name.startswith("gain")]
    assert len(gains) == 9
    assert all((params[name] == 1).all() for name in gains)
    assert not params["shift_c"].any()


def test_zoneout_masks_keep_values_at_the_rates_of_the_spec():
    spec = Spec(input_size=3, hidden_size=40, projection_size=20, zoneout_h=0.1, zoneout_c=0.6)
    masks = dropout_masks(key(), spec, 40, time_steps=40)
    assert masks.zoneout_h.shape == (40, 40, 20)
    assert masks.zoneout_c.shape == (40, 40, 40)
    for mask, rate in ((masks.zoneout_h, 0.1), (masks.zoneout_c, 0.6)):
        assert set(np.unique(mask)) == {0, 1}
        # Five standard deviations of the mean.
        assert abs(mask.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / mask.size)


def test_zoneout_masks_need_the_number_of_steps():
    spec = Spec(input_size=3, hidden_size=4, zoneout_c=0.5)
    assert dropout_masks(key(), spec, 2, time_steps=5).zoneout_h is None
    with pytest.raises(ValueError, match="time_steps is None, expected T"):
        dropout_masks(key(), spec, 2)


def test_dropout_masks_are_nested_like_params():
    masks = dropout_masks(key(), NESTED, 2, rate_x=0.5, rate_h=0.5)
    assert type(masks) is tuple
    assert type(masks[0]) is Directions
    assert type(masks[0].forward) is type(masks[1]) is type(masks[2]) is Dropout
    assert (masks[0].backward.x.shape, masks[1].x.shape) == ((2, 3), (2, 4))


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_zero_to_one_is_rejected(rate):
    with pytest.raises(ValueError, match="expected at least 0 and below 1"):
        dropout_masks(key(), SPEC4, 2, rate_h=rate)
