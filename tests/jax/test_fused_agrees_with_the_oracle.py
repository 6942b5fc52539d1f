"""implementation="fused": the oracle's numbers in all it takes, to any order of derivative."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle import reference
from lstm_oracle.jax_impl import choose, lstm
from lstm_oracle.reference.spec import Bidirectional, Chunks, Reverse, Spec, Stack

FLOAT64_BOUND = 1e-13
PLAIN = Spec(input_size=3, hidden_size=4)
UPPER = Spec(input_size=4, hidden_size=5, use_bias=False, masked_output="zero")
KINDS = {
    "plain": PLAIN,
    "without bias, zero output": dataclasses.replace(UPPER, input_size=3),
    "emitting the state": dataclasses.replace(PLAIN, masked_output="state"),
    "reversed": Reverse(PLAIN, "processing"),
    "bidirectional": Bidirectional(PLAIN, PLAIN, None),
    "stacked": Stack((Bidirectional(PLAIN, PLAIN, "ave"), UPPER)),
    "truncated chunks": Chunks(PLAIN, 2, truncate=True),
}


def check(room, problem, answer=None, **options):
    answer = answer or room.answer
    got = answer(problem, implementation="fused", **options)
    errors = room.errors(got, room.oracle_answer(problem))
    assert {block: e for block, e in errors.items() if e > FLOAT64_BOUND} == {}


@pytest.mark.parametrize("spec", KINDS.values(), ids=KINDS.keys())
def test_every_architecture_agrees(room, spec):
    check(room, room.random_problem(spec, seed=1, mask="holes", dropout="sequence"))


@pytest.mark.hypothesis  # which the inner function does not say: for `make properties`
def test_any_case_agrees(room):
    @room.few_examples
    @given(
        spec=st.sampled_from(list(KINDS.values())),
        B=st.sampled_from([1, 2]),
        T=st.integers(1, 3),
        mask=st.sampled_from([None, *room.MASKS]),
        dropout=st.sampled_from([None, "sequence", "step"]),
        remat=st.sampled_from([None, "chunk"]),
        seed=st.integers(0, 2**32 - 1),
    )
    def check_one(spec, B, T, mask, dropout, remat, seed):
        problem = room.random_problem(spec, seed, B=B, T=T, mask=mask, dropout=dropout)
        check(room, problem, remat=remat)

    check_one()


@pytest.mark.parametrize("remat", [None, "chunk"])
@pytest.mark.parametrize("B", [1, 3])
def test_the_compiled_function_agrees(room, B, remat):
    """One row and several have loops of their own; 11 steps are three chunks and a rest."""
    spec = Bidirectional(PLAIN, PLAIN)
    problem = room.random_problem(spec, seed=2, B=B, T=11, mask="holes", dropout="step")
    check(room, problem, room.compiled_answer, remat=remat)


def test_saturated_gates_agree(room):
    problem = room.random_problem(PLAIN, seed=7, B=3, T=60, weight_scale=4.0)
    check(room, problem, room.compiled_answer)


@pytest.mark.parametrize("remat", [None, "chunk"])
def test_poisoned_padding_gives_the_bits_that_zeros_give(room, remat):
    problem = room.random_problem(PLAIN, mask="holes", B=3, T=5)

    def answer(padding):
        x = np.where(problem.mask[:, :, None], problem.x, padding)
        padded = problem.__class__(**{**vars(problem), "x": x})
        return room.compiled_answer(padded, implementation="fused", remat=remat)

    for got, expected in zip(*map(jax.tree.leaves, map(answer, (np.nan, 0.0))), strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, expected)


def test_the_gradient_by_dropout_multipliers_is_the_plain_scans(room):
    """The oracle has none; the scan's is JAX's own."""
    for dropout in ("sequence", "step"):
        problem = room.random_problem(PLAIN, seed=5, mask="holes", dropout=dropout)

        def loss(multipliers, implementation, problem=problem):
            y, state = lstm(
                problem.params, problem.x, problem.state, problem.mask,
                spec=PLAIN, dropout=multipliers, implementation=implementation,
            )  # fmt: skip
            return jnp.vdot(problem.d_y, y) + jnp.vdot(problem.d_state.c, state.c)

        fused, scan = (
            jax.grad(partial(loss, implementation=name))(problem.dropout)
            for name in ("fused", "scan")
        )
        assert max(room.errors(fused, scan).values()) <= FLOAT64_BOUND


@pytest.mark.parametrize("remat", [None, "chunk"])
def test_second_derivatives_match_complex_step_of_the_oracles_gradient(room, remat):
    problem = room.random_problem(PLAIN, T=3, mask="holes")
    direction = room.random_problem(PLAIN, seed=1).params
    cotangents = jax.tree.leaves((problem.d_y, problem.d_state))

    def loss(params):
        output = lstm(
            params, problem.x, problem.state, problem.mask,
            spec=PLAIN, implementation="fused", remat=remat,
        )  # fmt: skip
        return sum(map(jnp.vdot, cotangents, jax.tree.leaves(tuple(output))))

    def gradient_along_direction(params):
        gradient = jax.grad(loss)(params)
        return sum(jnp.vdot(gradient[name], direction[name]) for name in gradient)

    step = 1e-100
    moved = {name: p + 1j * step * direction[name] for name, p in problem.params.items()}
    _, tape = reference.forward(PLAIN, moved, problem.x, problem.state, problem.mask)
    gradient = reference.backward(tape, problem.d_y, problem.d_state).params
    expected = {name: d.imag / step for name, d in gradient.items()}

    derivatives = [jax.grad(gradient_along_direction)(problem.params)]
    if remat is None:  # forward mode over the gradient: jax.checkpoint lets it through as well,
        derivatives += [jax.jvp(jax.grad(loss), (problem.params,), (direction,))[1]]
    for got in derivatives:
        errors = room.errors(got, expected)
        assert {block: e for block, e in errors.items() if e > 1e-12} == {}


def test_vmap_over_params_is_a_loop_over_seeds(room):
    x = room.random_problem(PLAIN).x
    seeds = [room.random_problem(PLAIN, seed).params for seed in range(3)]

    def loss(params):
        y, state = lstm(params, x, spec=PLAIN, implementation="fused")
        return jnp.sum(jnp.sin(y)) + jnp.sum(state.c)

    stacked = jax.tree.map(lambda *arrays: np.stack(arrays), *seeds)
    together = jax.jit(jax.vmap(jax.grad(loss)))(stacked)
    alone = jax.jit(jax.grad(loss))
    for n, params in enumerate(seeds):
        one = jax.tree.map(lambda a, n=n: a[n], together)
        assert max(room.errors(one, alone(params)).values()) <= 1e-14


def test_forward_mode_says_to_use_the_scan(room):
    problem = room.random_problem(PLAIN)
    run = partial(lstm, x=problem.x, spec=PLAIN, implementation="fused")
    with pytest.raises(TypeError, match="implementation='scan'"):
        jax.jvp(run, (problem.params,), (problem.params,))


VARIANTS = {
    "peepholes": {"peepholes": "o"},
    "coupled": {"coupled": True},
    "projection_size": {"projection_size": 2},
    "cell_clip": {"cell_clip": 1.0},
    "activation_clip": {"activation_clip": 1.0},
    "g_activation": {"g_activation": "relu"},
    "layer_norm": {"layer_norm": True},
    "zoneout_h": {"zoneout_h": 0.1},
}


@pytest.mark.parametrize("field", VARIANTS)
def test_what_it_cannot_do_is_refused_by_name_and_goes_to_the_scan_by_auto(room, field):
    spec = dataclasses.replace(PLAIN, **VARIANTS[field])
    problem = room.random_problem(spec)
    with pytest.raises(ValueError, match=f"'fused' cannot do this case: no {field}"):
        lstm(problem.params, problem.x, spec=spec, implementation="fused")
    assert choose(spec, T=5, B=2).name == "scan"


def test_dropout_per_gate_is_refused(room):
    problem = room.random_problem(PLAIN, dropout="gate")
    with pytest.raises(ValueError, match="no dropout per gate"):
        lstm(problem.params, problem.x, spec=PLAIN, dropout=problem.dropout, implementation="fused")


def test_an_unknown_implementation_is_refused(room):
    problem = room.random_problem(PLAIN)
    with pytest.raises(ValueError, match="implementation is 'fastest', expected one of"):
        lstm(problem.params, problem.x, spec=PLAIN, implementation="fastest")
