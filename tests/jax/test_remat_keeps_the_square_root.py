"""remat="chunk": memory of the backward pass grows as sqrt(T), and the gradient is the same."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import choose, init, lstm
from lstm_oracle.reference.spec import Spec

SPEC = Spec(input_size=2, hidden_size=16)


def loss(params, x, remat):
    _, state = lstm(params, x, spec=SPEC, implementation="fused", remat=remat)
    return jnp.sum(state.h * state.c)


def compiled(T, remat):
    x = jax.ShapeDtypeStruct((1, T, SPEC.input_size), jnp.float32)
    gradient = jax.jit(jax.grad(partial(loss, remat=remat)))
    params = jax.eval_shape(lambda: init(jax.random.key(0), SPEC, dtype=jnp.float32))
    return gradient.lower(params, x).compile()


def test_bytes_grow_as_the_square_root_of_the_steps_and_the_gradient_is_the_same():
    programs = {(T, remat): compiled(T, remat) for T in (100, 10_000) for remat in ("chunk", None)}
    temporary = {key: p.memory_analysis().temp_size_in_bytes for key, p in programs.items()}
    assert temporary[10_000, "chunk"] < 13 * temporary[100, "chunk"]
    assert temporary[10_000, None] > 60 * temporary[100, None]

    rng = np.random.default_rng(0)
    params = init(jax.random.key(1), SPEC, dtype=jnp.float32)
    x = rng.normal(size=(1, 10_000, SPEC.input_size)).astype(np.float32)
    chunked, whole = (programs[10_000, remat](params, x) for remat in ("chunk", None))
    for name, expected in whole.items():
        assert np.isfinite(expected).all()
        assert np.linalg.norm(expected) > 0
        np.testing.assert_allclose(chunked[name], expected, rtol=1e-4, atol=1e-5)


def test_only_the_fused_implementation_has_it():
    assert choose(SPEC, T=10_000, B=1, remat="chunk").name == "fused"
    with pytest.raises(ValueError, match="'scan' cannot do this case: remat"):
        choose(SPEC, T=10_000, B=1, implementation="scan", remat="chunk")


def test_an_unknown_remat_is_refused(room):
    problem = room.random_problem(SPEC)
    with pytest.raises(ValueError, match="remat is 'all', expected one of"):
        lstm(problem.params, problem.x, spec=SPEC, remat="all")
