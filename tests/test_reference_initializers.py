"""Initializers draw what they promise: mean, variance, bounds, orthonormality; seeds decide all."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lstm_oracle.reference.initializers import (
    INITIALIZERS,
    chrono_bias,
    draw_gates,
    expected,
    forget_bias,
    init,
)
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Reverse,
    Spec,
    Stack,
    param_shapes,
)
from lstm_oracle.reference.tree import flatten, map_leaves

RANDOM = tuple(sorted(set(INITIALIZERS) - {"identity", "zeros"}))
SHAPES = ((64, 64), (24, 96), (96, 24))
ALL_GATES = ("i", "f", "g", "o")

# The bounds that the papers and frameworks print, for (fan_in, fan_out) = (24, 96), H = 96.
LIMITS = {
    "glorot_uniform": math.sqrt(6 / (24 + 96)),
    "he_uniform": math.sqrt(6 / 24),
    "lecun_uniform": math.sqrt(3 / 24),
    "torch_uniform": 1 / math.sqrt(96),
}
DEVIATIONS = {
    "glorot_normal": math.sqrt(2 / (24 + 96)),
    "he_normal": math.sqrt(2 / 24),
    "lecun_normal": math.sqrt(1 / 24),
}

every_initializer = pytest.mark.parametrize("name", RANDOM)


def sample(name: str, shape: tuple[int, int], per_gate: bool, draws: int = 40) -> np.ndarray:
    rng = np.random.default_rng(7)
    return np.stack(
        [
            np.stack(list(draw_gates(name, shape, ALL_GATES, rng, per_gate=per_gate).values()))
            for _ in range(draws)
        ]
    )


@pytest.mark.parametrize("per_gate", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
@every_initializer
def test_mean_variance_and_bound_are_those_expected(name, shape, per_gate):
    values = sample(name, shape, per_gate)
    promise = expected(name, shape, gates=1 if per_gate else 4)
    # Five standard errors, as of independent entries; the fourth moment is at most that of N(0, 1).
    n, variance = values.size, promise.variance
    assert abs(values.mean() - promise.mean) < 5 * math.sqrt(variance / n)
    assert abs(values.var() - variance) < 5 * variance * math.sqrt(2 / n)
    largest = np.abs(values).max()
    assert largest <= promise.bound
    if name != "orthogonal":
        assert largest > 0.98 * promise.bound


@pytest.mark.parametrize("name", LIMITS)
def test_uniform_limits_are_those_of_the_papers(name):
    promise = expected(name, (24, 96))
    assert promise.bound == pytest.approx(LIMITS[name], rel=1e-14)
    assert promise.variance == pytest.approx(LIMITS[name] ** 2 / 3, rel=1e-14)


@pytest.mark.parametrize("name", DEVIATIONS)
def test_normal_deviations_are_those_of_the_papers_after_the_cut(name):
    promise = expected(name, (24, 96))
    assert math.sqrt(promise.variance) == pytest.approx(DEVIATIONS[name], rel=1e-14)
    # N(0, s^2) cut at two s keeps 0.8796 of its deviation (Keras' and JAX' constant).
    assert promise.bound == pytest.approx(2 * DEVIATIONS[name] / 0.87962566103423978, rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_gates_have_orthonormal_rows_or_columns(shape):
    gates = draw_gates("orthogonal", shape, ALL_GATES, np.random.default_rng(0))
    for q in gates.values():
        gram = q @ q.T if shape[0] <= shape[1] else q.T @ q
        np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-13)
    assert expected("orthogonal", shape).orthonormal


def test_an_orthogonal_fused_block_leaves_its_gates_far_from_orthogonal():
    gates = draw_gates("orthogonal", (64, 64), ALL_GATES, np.random.default_rng(0), per_gate=False)
    block = np.concatenate(list(gates.values()), axis=-1)
    np.testing.assert_allclose(block @ block.T, np.eye(64), atol=1e-13)
    singular = [np.linalg.svd(q, compute_uv=False) for q in gates.values()]
    assert max(s.max() for s in singular) < 0.95
    assert min(s.min() for s in singular) < 0.05
    assert not expected("orthogonal", (64, 64), gates=4).orthonormal


def test_orthogonal_matrices_are_drawn_without_preference_for_a_sign():
    rng = np.random.default_rng(0)
    corners = [draw_gates("orthogonal", (4, 4), ("i",), rng)["i"][0, 0] for _ in range(2000)]
    assert abs(np.mean(np.sign(corners))) < 5 / math.sqrt(2000)


@pytest.mark.parametrize("shape", [(5, 5), (3, 5), (5, 3)])
def test_identity_is_one_on_its_diagonal(shape):
    gates = draw_gates("identity", shape, ALL_GATES, np.random.default_rng(0))
    for q in gates.values():
        np.testing.assert_array_equal(q, np.eye(*shape))
        promise = expected("identity", shape)
        assert q.mean() == pytest.approx(promise.mean)
        assert q.var() == pytest.approx(promise.variance)
        assert promise.orthonormal


def test_identity_of_a_fused_block_is_that_of_the_first_gate():
    gates = draw_gates("identity", (3, 3), ALL_GATES, np.random.default_rng(0), per_gate=False)
    np.testing.assert_array_equal(gates["i"], np.eye(3))
    assert not any(gates[k].any() for k in "fgo")


def test_zeros_are_zeros():
    gates = draw_gates("zeros", (3, 2), ALL_GATES, np.random.default_rng(0))
    assert not any(q.any() for q in gates.values())
    assert expected("zeros", (3, 2))[:3] == (0.0, 0.0, 0.0)


@every_initializer
def test_gates_are_distinct_and_decided_by_the_seed(name):
    def draw(seed, per_gate):
        return draw_gates(name, (4, 4), ALL_GATES, np.random.default_rng(seed), per_gate=per_gate)

    for per_gate in (True, False):
        one, same, other = draw(0, per_gate), draw(0, per_gate), draw(1, per_gate)
        for k in ALL_GATES:
            np.testing.assert_array_equal(one[k], same[k])
            assert not np.array_equal(one[k], other[k])
        assert not np.array_equal(one["i"], one["f"])


SPEC = Spec(input_size=3, hidden_size=4, projection_size=2, peepholes="ifo")
ARCHITECTURES = {
    "layer": SPEC,
    "coupled": Spec(input_size=3, hidden_size=4, coupled=True),
    "reverse": Reverse(SPEC),
    "chunks": Chunks(SPEC, 2),
    "stack": Stack((SPEC, Spec(input_size=2, hidden_size=3))),
    "bidirectional": Bidirectional(SPEC, Spec(input_size=3, hidden_size=5)),
}


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize("per_gate", [True, False])
def test_init_gives_every_parameter_of_an_architecture(kind, per_gate):
    architecture = ARCHITECTURES[kind]
    params = init(architecture, np.random.default_rng(0), per_gate=per_gate)
    assert map_leaves(np.shape, params) == param_shapes(architecture)
    assert {a.dtype for a in flatten(params).values()} == {np.dtype(np.float64)}


def test_init_draws_each_kind_of_weight_as_asked():
    params = init(
        SPEC,
        np.random.default_rng(0),
        input_weights="he_uniform",
        recurrent_weights="identity",
        biases=lambda spec: forget_bias(spec, 3.0),
    )
    bound = expected("he_uniform", (3, 4)).bound
    for k in ALL_GATES:
        assert 0 < np.abs(params[f"W_{k}"]).max() <= bound
        np.testing.assert_array_equal(params[f"U_{k}"], np.eye(2, 4))
        np.testing.assert_array_equal(params[f"b_{k}"], np.full(4, 3.0 if k == "f" else 0.0))
    assert not any(params[f"p_{k}"].any() for k in "ifo")
    assert 0 < np.abs(params["V"]).max() <= expected("he_uniform", (4, 2)).bound


def test_torch_uniform_looks_at_the_hidden_size_alone():
    assert expected("torch_uniform", (7, 16)).bound == pytest.approx(0.25)
    assert expected("torch_uniform", (7, 16), gates=4).bound == pytest.approx(0.25)


def test_a_layer_without_bias_gets_none():
    spec = Spec(input_size=3, hidden_size=4, use_bias=False)
    rng = np.random.default_rng(0)
    assert forget_bias(spec) == {}
    assert chrono_bias(spec, 100, rng) == {}
    assert set(init(spec, rng)) == set(spec.param_shapes)


def test_chrono_biases_make_units_remember_for_one_to_longest_steps():
    spec = Spec(input_size=3, hidden_size=20_000)
    biases = chrono_bias(spec, 101, np.random.default_rng(0))
    steps = np.exp(biases["b_f"])
    assert 1 <= steps.min() < 1.1
    assert 99.9 < steps.max() <= 100
    assert abs(steps.mean() - 50.5) < 5 * 99 / math.sqrt(12 * 20_000)
    np.testing.assert_array_equal(biases["b_i"], -biases["b_f"])
    assert not biases["b_g"].any()
    assert not biases["b_o"].any()


def test_chrono_biases_of_a_coupled_layer_are_those_of_f_alone():
    spec = Spec(input_size=3, hidden_size=4, coupled=True)
    biases = chrono_bias(spec, 10, np.random.default_rng(0))
    assert set(biases) == {"b_f", "b_g", "b_o"}
    assert (biases["b_f"] > 0).all()


def test_chrono_biases_need_a_range_to_draw_from():
    with pytest.raises(ValueError, match="longest is 2, expected at least 3 steps"):
        chrono_bias(SPEC, 2, np.random.default_rng(0))


def test_an_unknown_initializer_is_refused_by_name():
    with pytest.raises(ValueError, match="initializer is 'xavier', expected one of glorot_uniform"):
        init(SPEC, np.random.default_rng(0), input_weights="xavier")


def test_only_orthogonal_matrices_are_promised_to_be_orthonormal():
    promised = {n for n in INITIALIZERS if expected(n, (4, 4)).orthonormal}
    assert promised == {"orthogonal", "identity"}
    assert not any(expected(n, (4, 4), gates=4).orthonormal for n in INITIALIZERS)


@pytest.mark.parametrize("shape", [(6, 3), (4, 4), (3, 6)])
def test_orthogonal_matrices_are_the_q_whose_r_has_a_positive_diagonal(shape):
    """Mezzadri 2007: only then is Q uniform over the orthogonal matrices."""
    for seed in range(5):
        q = INITIALIZERS["orthogonal"].draw(shape, np.random.default_rng(seed), shape[1])
        gaussian = np.random.default_rng(seed).standard_normal((max(shape), min(shape)))
        r = (q if shape[0] >= shape[1] else q.T).T @ gaussian
        assert (np.diag(r) > 0).all()
        np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-14)


def test_no_entry_of_an_orthonormal_matrix_is_above_one_which_it_can_be():
    for name in ("orthogonal", "identity"):
        assert expected(name, (1, 1)).bound == 1.0
        assert np.abs(INITIALIZERS[name].draw((1, 1), np.random.default_rng(0), 1)).max() == 1.0


def test_the_forget_gate_starts_at_one_and_the_others_at_zero():
    biases = forget_bias(Spec(input_size=2, hidden_size=3))
    assert {name: set(b) for name, b in biases.items()} == {
        "b_i": {0.0}, "b_f": {1.0}, "b_g": {0.0}, "b_o": {0.0},
    }  # fmt: skip
    assert forget_bias(Spec(input_size=2, hidden_size=3, use_bias=False)) == {}


def test_three_steps_are_the_shortest_range_of_chrono():
    spec, rng = Spec(input_size=2, hidden_size=50), np.random.default_rng(0)
    biases = chrono_bias(spec, 3, rng)
    assert (biases["b_f"] >= 0).all()
    assert (biases["b_f"] <= np.log(2)).all()
    np.testing.assert_array_equal(biases["b_i"], -biases["b_f"])
    with pytest.raises(ValueError, match="longest is 2, expected at least 3"):
        chrono_bias(spec, 2, rng)
