"""float32, bfloat16 and float16: errors of the size that the dtype itself makes, wide sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Spec

PLAIN = Spec(input_size=3, hidden_size=4)
EVERYTHING = Spec(input_size=3, hidden_size=4, peepholes="ifo", projection_size=2)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_is_within_twice_that_of_rounding_what_comes_in(room, dtype, seed):
    """The yardstick: how far the exact answer moves when the numbers are rounded to the dtype.

    The implementation is asked about the rounded numbers, so that its error is its own.
    """
    problem = room.random_problem(EVERYTHING, seed, B=3, T=12)
    rounded = problem.cast(dtype)
    expected = room.oracle_answer(rounded.cast(np.float64))
    yardstick = room.errors(room.oracle_answer(problem), expected)
    errors = room.errors(room.compiled_answer(rounded), expected)
    typical = np.median(list(yardstick.values()))
    too_large = {
        block: (error, yardstick[block])
        for block, error in errors.items()
        if error > 2 * max(yardstick[block], typical)
    }
    assert too_large == {}
    assert max(errors.values()) > 0  # else it did not run in that dtype


def test_sixteen_bits_come_out_with_a_cell_of_thirty_two(room):
    problem = room.random_problem(EVERYTHING).cast(jnp.bfloat16)
    y, state = jax.eval_shape(lambda: lstm(problem.params, problem.x, spec=EVERYTHING))
    assert (y.dtype, state.h.dtype, state.c.dtype) == (jnp.bfloat16, jnp.bfloat16, jnp.float32)


def test_every_matrix_product_of_sixteen_bits_is_summed_in_thirty_two(room):
    problem = room.random_problem(EVERYTHING).cast(jnp.bfloat16)

    def loss(params):
        return lstm(params, problem.x, spec=EVERYTHING).y.astype(jnp.float32).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(problem.params))
    products = text.count("dot_general[")
    assert products >= 6
    assert text.count("preferred_element_type=float32") == products


def test_weight_gradients_of_long_sequences_do_not_stall(room):
    """A sum of 2,000 like terms in bfloat16 stops growing at 256 of them."""
    spec = Spec(input_size=1, hidden_size=2, peepholes="ifo", projection_size=2)
    problem = room.random_problem(spec, B=1, T=2000)
    problem.x, problem.d_y = np.ones_like(problem.x), np.ones_like(problem.d_y)
    rounded = problem.cast(jnp.bfloat16)
    expected = room.oracle_answer(rounded.cast(np.float64))["d_params"]
    errors = room.errors(room.compiled_answer(rounded)["d_params"], expected)
    assert max(errors.values()) < 0.05


def test_without_x64_everything_is_float32(room):
    problem = room.random_problem(PLAIN)
    with jax.enable_x64(False):
        y, state = lstm(problem.params, problem.x, spec=PLAIN)
    assert y.dtype == state.h.dtype == state.c.dtype == jnp.float32


def test_float64_is_float64(room):
    problem = room.random_problem(PLAIN)
    y, state = lstm(problem.params, problem.x, spec=PLAIN)
    assert y.dtype == state.h.dtype == state.c.dtype == jnp.float64
