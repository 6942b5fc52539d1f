"""float32, bfloat16 and float16: errors of the size that the dtype itself makes, wide sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Spec

PLAIN = Spec(input_size=3, hidden_size=4)
EVERYTHING = Spec(input_size=3, hidden_size=4, peepholes="ifo", projection_size=2)


def yardstick(room, problem, dtype, expected):
    """Per block, the worst error of the oracle in eight runs on numbers moved by half a roundoff.

    It runs in float32 for float32, so that its own roundings count too. NumPy has no 16-bit
    arithmetic to run it in: there the moved numbers alone are the yardstick, a stricter one.
    """
    rng = np.random.default_rng(0)
    half_roundoff = float(jnp.finfo(dtype).eps) / 2
    compute_dtype = np.float32 if dtype == jnp.float32 else np.float64

    def moved(a):
        return a * (1 + half_roundoff * rng.uniform(-1, 1, a.shape))

    samples = [
        room.errors(room.oracle_answer(problem.map(moved).cast(compute_dtype)), expected)
        for _ in range(8)
    ]
    return {block: max(sample[block] for sample in samples) for block in samples[0]}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_error_of_every_block_is_within_twice_the_yardstick(room, dtype, seed):
    rounded = room.random_problem(EVERYTHING, seed, B=3, T=12).cast(dtype)
    exact = rounded.cast(np.float64)
    expected = room.oracle_answer(exact)
    limits = yardstick(room, exact, dtype, expected)
    errors = room.errors(room.compiled_answer(rounded), expected)
    too_large = {b: (e, limits[b]) for b, e in errors.items() if e > 2 * limits[b]}
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
