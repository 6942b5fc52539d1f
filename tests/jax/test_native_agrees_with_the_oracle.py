"""The native kernel gives the oracle's numbers: every size, mask and cotangent."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from lstm_oracle.jax_impl import choose, lstm, native
from lstm_oracle.jax_impl.native import calls
from lstm_oracle.reference.spec import Bidirectional, Reverse, Spec, Stack

FLOAT64_BOUND = 1e-13  # as for the plain scan: test_jax_agrees_with_the_oracle.py

there, reason = native.available("float64")
pytestmark = pytest.mark.skipif(not there, reason=reason)


def layer(input_size=3, hidden_size=4, **variant):
    return Spec(input_size=input_size, hidden_size=hidden_size, **variant)


def check(room, problem, bound=FLOAT64_BOUND):
    answer = room.compiled_answer(problem, implementation="native")
    errors = room.errors(answer, room.oracle_answer(problem))
    assert {block: e for block, e in errors.items() if not e <= bound} == {}


SIZES = {
    "one of everything": (1, 1, 1, 1),
    "one step": (1, 5, 3, 20),
    "one sequence": (30, 1, 4, 40),
    "one unit": (7, 3, 5, 1),
    "one vector less one": (6, 4, 3, 15),
    "one vector more one": (6, 4, 3, 17),
    "many panels": (4, 6, 70, 130),
    # Above the size from which a call has several threads, split by rows and by units.
    "split by rows": (30, 29, 20, 50),
    "split by units": (30, 3, 20, 200),
}


@pytest.mark.parametrize("mask", [None, "holes"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_a_size_agrees(room, sizes, mask):
    T, B, I, H = sizes
    check(room, room.random_problem(layer(I, H), seed=1, B=B, T=T, mask=mask))


@pytest.mark.parametrize("B", [*range(2, 15), 19, 37, 70])
def test_a_batch_agrees(room, B):
    check(room, room.random_problem(layer(2, 5), seed=B, B=B, T=3, mask="right"))


@pytest.mark.parametrize("mask", ["right", "left", "row", "full", "empty"])
@pytest.mark.parametrize("masked_output", ["previous", "zero"])
def test_a_mask_agrees(room, mask, masked_output):
    spec = layer(masked_output=masked_output)
    check(room, room.random_problem(spec, seed=3, B=4, T=6, mask=mask))


def test_a_layer_without_bias_agrees(room):
    check(room, room.random_problem(layer(use_bias=False), seed=4))


def test_saturated_gates_agree(room):
    check(room, room.random_problem(layer(), seed=5, B=3, T=60, weight_scale=4.0))


def test_a_stack_of_both_directions_agrees(room):
    spec = Stack((Bidirectional(layer(), layer()), Reverse(layer(8, 5))))
    check(room, room.random_problem(spec, seed=6, B=3, mask="right"))


@pytest.mark.parametrize("asked_for", ["d_y", "h", "c"])
def test_each_cotangent_alone_agrees(room, asked_for):
    problem = room.random_problem(layer(), seed=7, B=3, mask="holes")
    if asked_for != "d_y":
        problem.d_y = 0 * problem.d_y
    scales = [float(asked_for == "h"), float(asked_for == "c")]
    problem.d_state = type(problem.d_state)(
        *(s * d for s, d in zip(scales, problem.d_state, strict=True))
    )
    check(room, problem)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_poisoned_padding_gives_the_bits_that_zeros_give(room, poison):
    problem = room.random_problem(layer(5, 20), seed=8, B=7, T=6, mask="holes")
    real = problem.mask[:, :, None]
    answers = []
    for value in (poison, 0.0):
        problem.x = np.where(real, problem.x, value)
        answers.append(room.compiled_answer(problem, implementation="native"))
    for got, expected in zip(*map(jax.tree.leaves, answers), strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, expected)
    assert (np.asarray(answers[0]["d_x"])[~problem.mask] == 0).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_a_lower_precision_errs_no_more_than_three_times_what_the_plain_scan_does(room, dtype):
    """The scan itself is held to the yardstick: test_jax_low_precision.py.

    The kernel takes its sums in order, XLA in parallel lanes, which round less.
    """
    worst = {"scan": {}, "native": {}}
    for seed in range(4):
        rounded = room.random_problem(layer(10, 24), seed, B=9, T=20, mask="right").cast(dtype)
        expected = room.oracle_answer(rounded.cast(np.float64))
        for name, so_far in worst.items():
            errors = room.errors(room.compiled_answer(rounded, implementation=name), expected)
            so_far |= {block: max(e, so_far.get(block, 0)) for block, e in errors.items()}
    too_large = {
        block: (e, worst["scan"][block])
        for block, e in worst["native"].items()
        if not e <= 3 * worst["scan"][block]
    }
    assert too_large == {}
    assert max(worst["native"].values()) > 0  # else it did not run in that dtype


def test_a_second_derivative_is_that_of_the_plain_scan(room):
    problem = room.random_problem(layer(), seed=9, B=3, mask="holes")

    def curvature(implementation):
        def loss(params, x):
            y, state = lstm(params, x, problem.state, problem.mask, spec=problem.spec,
                            implementation=implementation)  # fmt: skip
            return (jnp.sin(y) * problem.d_y).sum() + (state.c**2).sum()

        def slope(params, x):
            d_params, d_x = jax.grad(loss, argnums=(0, 1))(params, x)
            return sum((d**2).sum() for d in d_params.values()) + (d_x**3).sum()

        return jax.grad(slope, argnums=(0, 1))(problem.params, problem.x)

    errors = room.errors(curvature("native"), curvature("scan"))
    assert {block: e for block, e in errors.items() if not e <= FLOAT64_BOUND} == {}


# Measured on 4,600 numbers: 1.3, 2.0, 1.2 and 2.3 in float32; 1.4, 2.0, 1.4 and 2.4 in float64.
ULPS = {"sigmoid": 1.5, "slope of sigmoid": 2.2, "tanh": 1.5, "slope of tanh": 2.6}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_activation_is_right_to_a_few_units_in_the_last_place(dtype):
    rng = np.random.default_rng(0)
    tiny = 10.0 ** rng.uniform(-30, -1, 300)
    z = np.concatenate([tiny, rng.uniform(0, 2, 500), rng.uniform(0, 43, 300), [0.0]])
    z = np.concatenate([z, -z]).astype(dtype)
    with mpmath.workdps(50):
        exact = {name: [] for name in ULPS}
        for value in map(float, z):
            e = mpmath.exp(-abs(mpmath.mpf(value)))
            sigma = 1 / (1 + e) if value > 0 else e / (1 + e)
            exact["sigmoid"].append(sigma)
            exact["slope of sigmoid"].append(e / (1 + e) ** 2)
            exact["tanh"].append(mpmath.tanh(value))
            exact["slope of tanh"].append(mpmath.sech(value) ** 2)
        got = calls.activations(jnp.asarray(z))
        for name, values in zip(ULPS, got, strict=True):
            unit = np.finfo(dtype).eps
            worst = max(
                abs(mpmath.mpf(float(a)) - b) / (abs(b) * unit) if b else abs(mpmath.mpf(float(a)))
                for a, b in zip(np.asarray(values), exact[name], strict=True)
            )
            assert worst <= ULPS[name], name


def test_infinite_and_undefined_inputs_go_where_they_should():
    sigma, sigma_slope, tanh, tanh_slope = calls.activations(jnp.asarray([np.inf, -np.inf, np.nan]))
    np.testing.assert_array_equal(sigma, [1, 0, np.nan])
    np.testing.assert_array_equal(tanh, [1, -1, np.nan])
    np.testing.assert_array_equal(sigma_slope, [0, 0, np.nan])
    np.testing.assert_array_equal(tanh_slope, [0, 0, np.nan])


CANNOT = {
    "peepholes": (layer(peepholes="f"), {}),
    "coupled": (layer(coupled=True), {}),
    "projection_size": (layer(projection_size=2), {}),
    "cell_clip": (layer(cell_clip=1.0), {}),
    "g_activation": (layer(g_activation="relu"), {}),
    "layer_norm": (layer(layer_norm=True), {}),
    "dropout": (layer(), {"dropout": True}),
    "cut": (layer(), {"cut": True}),
    "remat": (layer(), {"remat": "chunk"}),
    "gpu": (layer(), {"platform": "gpu"}),
}


@pytest.mark.parametrize("lacking", CANNOT)
def test_what_it_cannot_do_is_refused_by_name_and_left_to_others_by_auto(lacking):
    spec, setting = CANNOT[lacking]
    with pytest.raises(ValueError, match=f"'native' cannot do this case: .*{lacking}"):
        choose(spec, 1000, 64, implementation="native", **setting)
    assert choose(spec, 1000, 64, **setting).name != "native"


def test_auto_takes_it_for_layers_that_are_worth_it():
    assert choose(layer(64, 128), 100, 32, platform="cpu").name == "native"
