"""Forward mode, reverse mode, derivatives of derivatives and batched ones: all the same map."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle import reference
from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Spec

PLAIN = Spec(input_size=3, hidden_size=4)
EVERYTHING = Spec(
    input_size=3,
    hidden_size=4,
    peepholes="ifo",
    projection_size=2,
    cell_clip=0.9,
    activation_clip=1.5,
    g_activation="softsign",
    c_activation="elu",
)


def inner(a, b):
    return sum(np.vdot(p, q) for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def run_of(problem):
    """The problem's function of params, x and state; and where to evaluate it."""

    def run(params, x, state):
        output = lstm(
            params, x, state, problem.mask,
            spec=problem.spec, dropout=problem.dropout, implementation="scan",
        )  # fmt: skip
        return tuple(output)

    return run, (problem.params, problem.x, problem.state)


def check_adjoint(room, problem, tangents, pushed):
    """<cotangent, J tangent> = <J^T cotangent, tangent>, J^T from the oracle's backward."""
    gradients = room.oracle_answer(problem)
    cotangents = (problem.d_y, problem.d_state)
    pulled = (gradients["d_params"], gradients["d_x"], gradients["d_state"])
    forward, reverse = inner(cotangents, pushed), inner(pulled, tangents)
    scale = np.sqrt(inner(cotangents, cotangents) * inner(pushed, pushed)) + np.sqrt(
        inner(pulled, pulled) * inner(tangents, tangents)
    )
    assert abs(forward - reverse) <= 1e-13 * scale


@pytest.mark.hypothesis  # which the inner function does not say: for `make properties`
def test_forward_mode_is_the_adjoint_of_the_oracles_backward(room, architectures):
    @room.few_examples
    @given(
        spec=architectures,
        mask=st.sampled_from([None, "right", "holes"]),
        dropout=st.sampled_from([None, "sequence", "step"]),
        seed=st.integers(0, 2**32 - 2),
    )
    def check(spec, mask, dropout, seed):
        problem = room.random_problem(spec, seed, T=3, mask=mask, dropout=dropout)
        run, primals = run_of(problem)
        _, tangents = run_of(room.random_problem(spec, seed + 1, T=3))
        with jax.disable_jit():
            _, pushed = jax.jvp(run, primals, tangents)
        check_adjoint(room, problem, tangents, pushed)

    check()


def test_forward_mode_compiles(room):
    problem = room.random_problem(EVERYTHING, mask="holes")
    run, primals = run_of(problem)
    _, tangents = run_of(room.random_problem(EVERYTHING, seed=1))
    _, pushed = jax.jit(partial(jax.jvp, run))(primals, tangents)
    check_adjoint(room, problem, tangents, pushed)


def test_second_derivatives_match_complex_step_of_the_oracles_gradient(room):
    spec = EVERYTHING
    problem = room.random_problem(spec, T=3, mask="holes")
    direction = room.random_problem(spec, seed=1).params

    def loss(params):
        y, state = lstm(
            params, problem.x, problem.state, problem.mask, spec=spec, implementation="scan"
        )
        return sum(
            jnp.vdot(a, b)
            for a, b in zip(
                jax.tree.leaves((problem.d_y, problem.d_state)),
                jax.tree.leaves((y, state)),
                strict=True,
            )
        )

    def gradient_along_direction(params):
        gradient = jax.grad(loss)(params)
        return sum(jnp.vdot(gradient[name], direction[name]) for name in gradient)

    step = 1e-100
    moved = {name: p + 1j * step * direction[name] for name, p in problem.params.items()}
    _, tape = reference.forward(spec, moved, problem.x, problem.state, problem.mask)
    gradient = reference.backward(tape, problem.d_y, problem.d_state).params
    expected = {name: d.imag / step for name, d in gradient.items()}

    with jax.disable_jit():
        _, forward_over_reverse = jax.jvp(jax.grad(loss), (problem.params,), (direction,))
        reverse_over_reverse = jax.grad(gradient_along_direction)(problem.params)
    for got in (forward_over_reverse, reverse_over_reverse):
        errors = room.errors(got, expected)
        assert {block: e for block, e in errors.items() if e > 1e-12} == {}


def test_vmap_over_params_is_a_loop_over_seeds(room):
    x = room.random_problem(PLAIN).x
    seeds = [room.random_problem(PLAIN, seed).params for seed in range(3)]

    def loss(params):
        y, state = lstm(params, x, spec=PLAIN, implementation="scan")
        return jnp.sum(jnp.sin(y)) + jnp.sum(state.c)

    together = jax.jit(jax.vmap(jax.value_and_grad(loss)))(stacked(seeds))
    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    for n, params in enumerate(seeds):
        one = jax.tree.map(lambda a, n=n: a[n], together)
        assert max(room.errors(one, value_and_gradient(params)).values()) <= 1e-14


def stacked(trees):
    return jax.tree.map(lambda *arrays: np.stack(arrays), *trees)


def test_equal_shapes_and_an_equal_spec_do_not_trace_again(room, monkeypatch):
    from lstm_oracle.jax_impl import scan

    traced = []
    cell = scan.cell
    monkeypatch.setattr(scan, "cell", lambda *arguments: traced.append("cell") or cell(*arguments))

    def call(T=4, **variant):
        spec = Spec(input_size=3, hidden_size=4, name="counted", **variant)
        problem = room.random_problem(spec, T=T)
        lstm(problem.params, problem.x, problem.state, spec=spec, implementation="scan")
        return len(traced)

    first = call()
    assert first > 0
    assert call() == first
    longer = call(T=5)
    assert longer > first
    assert call(T=4) == call(T=5) == longer
    assert call(use_bias=False) > longer
