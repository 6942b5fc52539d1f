"""Gradient checks see wrong gradients, accept right ones, and refuse what they cannot judge."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest

from lstm_oracle.reference import Output, Spec, State, backward, forward, gradcheck
from tests.strategies import normal


class Pair(NamedTuple):
    a: np.ndarray
    b: np.ndarray


def energy(arrays):
    """Nonlinear in every leaf, of any nesting with "w" and a Pair."""
    w, (a, b) = arrays["w"], arrays["pair"]
    return (np.exp(0.3 * w) * a).sum() + (a * a * b).sum()


def energy_gradient(arrays):
    w, (a, b) = arrays["w"], arrays["pair"]
    return {"w": 0.3 * np.exp(0.3 * w) * a, "pair": Pair(np.exp(0.3 * w) + 2 * a * b, a * a)}


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "w": rng.standard_normal((2, 3)),
        "pair": Pair(rng.standard_normal((2, 3)), rng.standard_normal((2, 3))),
    }


@pytest.fixture
def direction(arrays):
    rng = np.random.default_rng(1)
    return {"w": rng.standard_normal((2, 3)), "pair": Pair(*rng.standard_normal((2, 2, 3)))}


def close(got, expected, rtol):
    np.testing.assert_allclose(got["w"], expected["w"], rtol=rtol)
    np.testing.assert_allclose(got["pair"].a, expected["pair"].a, rtol=rtol)
    np.testing.assert_allclose(got["pair"].b, expected["pair"].b, rtol=rtol)


def test_complex_step_is_exact_and_nested_like_the_arrays(arrays):
    got = gradcheck.complex_step(energy, arrays)
    assert isinstance(got["pair"], Pair)
    close(got, energy_gradient(arrays), rtol=1e-14)


def test_central_differences_are_right_to_half_the_digits(arrays):
    close(gradcheck.central_difference(energy, arrays), energy_gradient(arrays), rtol=1e-8)


def test_central_differences_take_the_step_asked_for(arrays):
    coarse = gradcheck.central_difference(energy, arrays, step=0.1)
    error = np.abs(coarse["w"] - energy_gradient(arrays)["w"]).max()
    assert 1e-6 < error < 1e-2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("step", [None, 0.1])
def test_central_differences_step_to_both_sides_by_a_share_of_the_entry_and_of_one_at_least(
    dtype, step
):
    asked = []

    def record(arrays):
        asked.append(arrays["x"].copy())
        return (arrays["x"] ** 2).sum()

    x = np.array([0.5, -8.0], dtype)
    got = gradcheck.central_difference(record, {"x": x}, step=step)
    h = np.cbrt(np.finfo(dtype).eps) if step is None else step
    moves = [[h, 0], [-h, 0], [0, 8 * h], [0, -8 * h]]
    np.testing.assert_allclose(np.array(asked) - x, moves, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(got["x"], 2 * x, rtol=1e-3 if dtype == np.float32 else 1e-9)


def test_taylor_rate_halves_its_step_three_times_from_a_hundredth():
    asked = []

    def record(arrays):
        asked.append(float(arrays["x"]))
        return arrays["x"] ** 3

    rate = gradcheck.taylor_rate(record, {"x": 1.0}, {"x": np.array(3.0)}, {"x": 2.0})
    np.testing.assert_allclose(asked, [1.0, 1.02, 1.01, 1.005, 1.0025], rtol=1e-14)
    # (3 h^2 + h^3) / (3 h^2 / 4 + h^3 / 8) for the middle one of the three pairs of steps.
    expected = np.log2((3 * 0.01**2 + 0.01**3) / (3 * 0.005**2 + 0.005**3))
    assert rate == pytest.approx(expected, rel=1e-9)


def test_an_entry_that_is_not_moved_is_still_complex():
    """So that a function that drops one array is told from one that drops imaginary parts."""
    arrays = {"x": np.ones(2), "unused": np.ones(1)}
    got = gradcheck.complex_step(lambda a: (a["x"] ** 2).sum(), arrays)
    np.testing.assert_array_equal(got["unused"], [0.0])
    np.testing.assert_array_equal(got["x"], [2.0, 2.0])


def test_directional_is_the_slope_along_a_direction(arrays, direction):
    g = energy_gradient(arrays)
    expected = sum(
        (a * b).sum()
        for a, b in zip((g["w"], *g["pair"]), (direction["w"], *direction["pair"]), strict=True)
    )
    assert math.isclose(gradcheck.directional(energy, arrays, direction), expected, rel_tol=1e-13)


def test_cotangent_weighs_the_outputs(arrays):
    def outputs(arrays):
        return State(h=arrays["w"] ** 2, c=(arrays["pair"].a * arrays["w"]).sum(axis=0))

    cotangent = State(h=np.full((2, 3), 2.0), c=np.array([1.0, -1.0, 0.5]))
    got = gradcheck.complex_step(outputs, arrays, cotangent=cotangent)
    expected = 4 * arrays["w"] + arrays["pair"].a * cotangent.c
    np.testing.assert_allclose(got["w"], expected, rtol=1e-14)
    assert not got["pair"].b.any()


def test_outputs_without_a_cotangent_count_as_zero(arrays):
    def outputs(arrays):
        return State(h=arrays["w"] ** 2, c=arrays["w"] ** 3)

    got = gradcheck.complex_step(outputs, arrays, cotangent=State(h=np.ones((2, 3)), c=None))
    np.testing.assert_allclose(got["w"], 2 * arrays["w"], rtol=1e-14)


def test_taylor_rate_is_two_for_the_gradient_and_one_for_a_wrong_one(arrays, direction):
    right, wrong = energy_gradient(arrays), energy_gradient(arrays)
    wrong["w"] = 1.01 * wrong["w"]
    assert gradcheck.taylor_rate(energy, arrays, right, direction) == pytest.approx(2, abs=0.05)
    assert gradcheck.taylor_rate(energy, arrays, wrong, direction) == pytest.approx(1, abs=0.25)


def test_taylor_rate_is_infinite_for_a_linear_function():
    arrays, slope = {"x": np.array([1.0, 2.0])}, {"x": np.array([0.5, 0.5])}
    steps = (0.5, 0.25, 0.125)  # powers of two, so that nothing is rounded
    assert (
        gradcheck.taylor_rate(
            lambda arrays: 0.5 * arrays["x"].sum(), arrays, slope, arrays, steps=steps
        )
        == math.inf
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_arrays_below_double_precision_are_differentiated_in_double(dtype):
    arrays = {"x": np.array([1, 2, 3], dtype)}

    def cube(arrays):
        return (arrays["x"] ** 3).sum()

    expected = np.array([3.0, 12.0, 27.0])
    got = gradcheck.complex_step(cube, arrays)["x"]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    assert gradcheck.directional(cube, arrays, {"x": np.ones(3)}) == pytest.approx(42, rel=1e-15)
    rate = gradcheck.taylor_rate(cube, arrays, {"x": expected}, {"x": np.ones(3)})
    assert rate == pytest.approx(2, abs=0.05)


def test_central_differences_of_a_float32_function_take_a_step_that_it_sees():
    def in_single_precision(arrays):
        return (arrays["x"].astype(np.float32) ** 3).sum()

    got = gradcheck.central_difference(in_single_precision, {"x": np.array([1, 2, 3], np.float32)})
    np.testing.assert_allclose(got["x"], [3, 12, 27], rtol=1e-3)


def test_central_differences_of_whole_numbers_and_of_one_number_are_taken():
    got = gradcheck.central_difference(lambda a: (a["x"] ** 2).sum(), {"x": np.array([1, 3])})
    np.testing.assert_allclose(got["x"], [2, 6], rtol=1e-8)
    assert gradcheck.central_difference(lambda x: x**2, 3.0) == pytest.approx(6, rel=1e-8)


def test_remainders_of_single_precision_arrays_are_taken_in_double():
    x = np.array([0.1, 0.7], np.float32)
    rate = gradcheck.taylor_rate(
        lambda a: (a["x"] ** 3).sum(), {"x": x}, {"x": 3 * x.astype(np.float64) ** 2},
        {"x": np.ones(2, np.float32)}, steps=(1e-4, 5e-5, 2.5e-5),
    )  # fmt: skip
    assert rate == pytest.approx(2, abs=0.01)


def test_a_gradient_that_is_none_counts_as_zero():
    arrays = {"x": np.array([1.0, 2.0]), "unused": np.ones(3)}
    gradients = {"x": 3 * arrays["x"] ** 2, "unused": None}
    rate = gradcheck.taylor_rate(lambda a: (a["x"] ** 3).sum(), arrays, gradients, arrays)
    assert rate == pytest.approx(2, abs=0.05)


def test_numbers_without_axes_are_differentiated():
    got = gradcheck.complex_step(lambda x: x**2, 3.0)
    assert got.shape == ()
    assert got == pytest.approx(6.0, rel=1e-15)


CASTS = {
    "real part": lambda a: a["x"].real.sum(),
    "absolute value": lambda a: np.abs(a["x"]).sum(),
    "single precision": lambda a: a["x"].astype(np.complex64).sum(),
    "constant": lambda a: 1.0,
}


@pytest.mark.parametrize("cast", CASTS)
def test_functions_that_drop_the_imaginary_part_are_refused(cast):
    arrays = {"x": np.ones(2)}
    with pytest.raises(TypeError, match=r"function gave .* expected complex128"):
        gradcheck.complex_step(CASTS[cast], arrays)
    with pytest.raises(TypeError, match=r"function gave .* expected complex128"):
        gradcheck.directional(CASTS[cast], arrays, arrays)


def test_functions_with_many_outputs_need_a_cotangent():
    with pytest.raises(ValueError, match=r"shape \(2,\), expected one number"):
        gradcheck.complex_step(lambda a: a["x"] ** 2, {"x": np.ones(2)})


def test_a_cotangent_of_another_nesting_is_refused():
    with pytest.raises(ValueError, match="expected the same nesting"):
        gradcheck.complex_step(lambda a: State(a["x"], a["x"]), {"x": np.ones(2)}, cotangent=(1, 1))


def seeded_bugs():
    """Ways in which the gradient of an LSTM goes wrong, each a change of the right one."""
    return {
        "gates swapped": lambda g: g | {"W_i": g["W_f"], "W_f": g["W_i"]},
        "recurrent weights transposed": lambda g: g | {"U_g": g["U_g"].T},
        "bias doubled": lambda g: g | {"b_o": 2 * g["b_o"]},
        "one entry lost": lambda g: g | {"U_f": g["U_f"] * (np.arange(9).reshape(3, 3) != 4)},
        "mean for sum": lambda g: {name: a / 2 for name, a in g.items()},
    }


@pytest.mark.parametrize("bug", seeded_bugs())
def test_a_seeded_bug_in_the_gradient_of_an_lstm_is_seen(bug):
    spec = Spec(input_size=2, hidden_size=3)
    rng = np.random.default_rng(0)
    params = normal(rng, spec.param_shapes)
    x, d_y = rng.standard_normal((2, 4, 2)), rng.standard_normal((2, 4, 3))
    d_state = State(*rng.standard_normal((2, 2, 3)))
    cotangent = Output(d_y, d_state)

    def output(params):
        return forward(spec, params, x)[0]

    right = backward(forward(spec, params, x)[1], d_y, d_state).params
    wrong = seeded_bugs()[bug](right)
    exact = gradcheck.complex_step(output, params, cotangent=cotangent)
    assert max(np.abs(exact[k] - right[k]).max() for k in exact) < 1e-13
    assert max(np.abs(exact[k] - wrong[k]).max() for k in exact) > 1e-3
    direction = normal(rng, spec.param_shapes)
    steps = tuple(0.001 / 2**n for n in range(4))
    rates = [
        gradcheck.taylor_rate(output, params, g, direction, cotangent=cotangent, steps=steps)
        for g in (right, wrong)
    ]
    assert rates[0] == pytest.approx(2, abs=0.1)
    assert rates[1] == pytest.approx(1, abs=0.2)
