"""What is judged wrong lies beyond the stated tolerance, and what is not lies within it."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from lstm_oracle.conformance import compare, matrix, textbook, tolerances, truth, yardstick
from lstm_oracle.conformance import rounding as rounding_module
from lstm_oracle.conformance.case import Case, run_oracle
from lstm_oracle.conformance.rounding import Rounding, to_format
from lstm_oracle.conformance.yardstick import (
    Deviation,
    brief_yardstick,
    deviation,
    hand_over,
    larger,
    longer_yardsticks,
    oracle,
    run_rounded,
    scales,
    truth_dtype,
)
from lstm_oracle.reference.spec import Spec, State

FORMATS = [("float64", 53, 8), ("float32", 24, 8), ("float16", 11, 4), ("bfloat16", 8, 3)]
formats = pytest.mark.parametrize(("dtype", "digits", "floor"), FORMATS)


def plain(dtype="float64") -> Case:
    return matrix.build(matrix.recipes()[0], dtype)


def flat(case, norm, entry=None):
    """The same yardstick for every block."""
    entry = norm if entry is None else entry
    return dict.fromkeys(truth(case).blocks(), Deviation(norm, entry))


def scaled_y(case, relative):
    true = truth(case)
    return dataclasses.replace(true, y=true.y * (1 + true.y.dtype.type(relative)))


@formats
def test_digits_are_those_of_the_format(dtype, digits, floor):
    assert tolerances.format_of(dtype).roundoff == 2.0**-digits
    if dtype != "bfloat16":  # which NumPy does not have: 8 digits, the hidden one included
        assert np.finfo(dtype).nmant + 1 == digits


@formats
def test_twice_the_yardstick_is_allowed_and_no_more(dtype, digits, floor):
    case = plain(dtype)
    for factor, status in ((1.98, "agree"), (2.02, "disagree")):
        assert compare(case, scaled_y(case, factor * 0.1), flat(case, 0.1)).status == status


@formats
def test_twice_the_floor_is_allowed_whatever_the_yardstick(dtype, digits, floor):
    case, unit = plain(dtype), 2.0**-digits
    for factor, status in ((1.98, "agree"), (2.02, "disagree")):
        wrong = scaled_y(case, factor * floor * unit)
        assert compare(case, wrong, flat(case, 0.0)).status == status


def test_norm_and_largest_entry_are_judged_apart():
    case = plain()
    true = truth(case)
    y = true.y.copy()
    y.flat[0] += 1e-3 * np.abs(y).max()
    one_entry = dataclasses.replace(true, y=y)
    off = deviation(y, true.y, 1.0)
    assert off.entry == pytest.approx(1e-3)
    assert off.norm < off.entry / 2
    assert compare(case, one_entry, flat(case, norm=off.norm, entry=1e-4)).status == "disagree"
    assert compare(case, one_entry, flat(case, norm=off.norm / 4, entry=1.0)).status == "disagree"
    report = compare(case, one_entry, flat(case, norm=off.norm, entry=1e-2))
    assert report.status == "agree"
    assert report.worst.block == "y"
    assert report.worst.ratio == pytest.approx(0.5)
    assert report.worst.error == pytest.approx(off.norm)
    assert report.worst.yardstick == pytest.approx(off.norm)
    assert report.worst.tolerance == pytest.approx(2 * off.norm)


def test_the_promise_of_our_own_is_1e_13_of_the_norm_in_float64_alone():
    generous = flat(plain(), 1e-3)
    for relative, status in ((0.98e-13, "agree"), (1.02e-13, "disagree")):
        wrong = scaled_y(plain(), relative)
        assert compare(plain(), wrong, generous, ours=True).status == status
    single = plain("float32")
    wrong = scaled_y(single, 1e-5)
    assert compare(single, wrong, flat(single, 1e-3), ours=True).status == "agree"


@pytest.mark.parametrize(
    ("ratio", "asked", "status"),
    [(0.9, 0, "agree"), (1.1, 2, "agree"), (31, 2, "agree"), (33, 0, "disagree")],
)
def test_what_is_wrong_by_little_is_judged_again_by_longer_yardsticks(ratio, asked, status):
    case, made = plain(), []

    def longer():
        for size in (1e-6, 1e-4, 1.0):
            made.append(size)
            yield flat(case, size)

    wrong = scaled_y(case, ratio * 2e-6)
    assert compare(case, wrong, flat(case, 1e-6), longer=longer()).status == status
    assert len(made) == asked


def test_longer_yardsticks_are_of_16_and_100_runs_of_another_seed():
    recipe = next(r for r in matrix.recipes() if r.name == "plain, B 1, T 1")
    case = matrix.build(recipe, "float16")
    first = yardstick(case)
    second, third = longer_yardsticks(case, first)
    sixteen = larger(first, yardstick(case, samples=16, seed=1))
    assert second == sixteen
    assert third == larger(sixteen, yardstick(case, samples=100, seed=1))


def test_runs_are_as_many_as_are_stated(monkeypatch):
    """Counted: one run more seldom makes an error larger."""
    module, asked = importlib.import_module("lstm_oracle.conformance.yardstick"), []

    def measured(case, samples, seed):
        asked.append((case.dtype, samples, seed))
        return {}

    monkeypatch.setattr(module, "_measure", measured)
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        yardstick(plain(dtype))
        brief_yardstick(plain(dtype))
    usual = (("float64", 8), ("float32", 4), ("float16", 4), ("bfloat16", 4))
    assert asked == [one for dtype, n in usual for one in ((dtype, n, 0), (dtype, 2, 0))]
    asked.clear()
    assert list(longer_yardsticks(plain(), {})) == [{}, {}]
    assert asked == [("float64", 16, 1), ("float64", 100, 1)]


def test_a_yardstick_that_is_measured_is_measured_longer_where_the_answer_is_in_doubt(monkeypatch):
    module, case = importlib.import_module("lstm_oracle.conformance.compare"), plain()
    first = flat(case, 1e-6)

    def longer(of, known):
        assert (of, known) == (case, first)
        yield flat(of, 1.0)

    monkeypatch.setattr(module, "measure", lambda of: first)
    monkeypatch.setattr(module, "longer_yardsticks", longer)
    assert compare(case, scaled_y(case, 3e-6)).status == "agree"
    assert compare(case, scaled_y(case, 3e-6), first).status == "disagree"


def test_an_error_as_large_as_is_allowed_is_allowed():
    case = plain("float32")
    report = compare(case, scaled_y(case, 0.5), flat(case, 0.25))
    assert report.worst.ratio == 1
    assert report.status == "agree"


def test_a_yardstick_is_of_as_many_runs_as_its_format_says():
    for dtype, samples in (("float64", 8), ("float32", 4), ("float16", 4), ("bfloat16", 4)):
        case, again = plain(dtype), dataclasses.replace(plain(dtype))
        assert yardstick(case) == yardstick(again, samples=samples)
        fewer = yardstick(again, samples=samples - 1)
        assert fewer != yardstick(case)
        assert larger(yardstick(case), fewer) == yardstick(case)
        assert brief_yardstick(case) == yardstick(again, samples=2)


def test_a_yardstick_is_the_largest_error_of_both_witnesses_relative_to_the_truth():
    case = plain("bfloat16")
    true = truth(case).blocks()
    runs = [
        run_rounded(case, witness, [0, sample, n]).blocks()
        for sample in range(2)
        for n, witness in enumerate((oracle, textbook.run))
    ]
    for name, (norm, entry) in yardstick(case, samples=2).items():
        off = [np.asarray(run[name], np.float64) - true[name] for run in runs]
        size, peak = np.linalg.norm(true[name]), np.abs(true[name]).max()
        assert norm == pytest.approx(max(np.linalg.norm(a) for a in off) / size, rel=1e-12)
        assert entry == pytest.approx(max(np.abs(a).max() for a in off) / peak, rel=1e-12)
        assert 1e-4 < norm < 0.1


def test_a_yardstick_is_remembered_for_its_case_and_only_that_of_the_usual_runs():
    case = plain("float16")
    usual = yardstick(case)
    assert yardstick(case) is usual
    assert yardstick(dataclasses.replace(case)) == usual
    other = [yardstick(case, seed=seed) for seed in (1, 2)]
    assert other[0] != other[1]
    assert usual not in other
    assert yardstick(case, samples=1) not in (usual, *other)
    assert yardstick(case, samples=1) == yardstick(case, samples=1, seed=0)
    assert brief_yardstick(case) is brief_yardstick(case)
    assert truth(case) is truth(case)


def test_a_yardstick_that_is_handed_over_is_taken():
    case = plain("float16")
    measured = flat(case, 0.125)
    hand_over(case, measured)
    assert yardstick(case) is measured


@pytest.mark.skipif(
    np.finfo(np.longdouble).nmant <= 60, reason="longdouble is no longer than double here"
)
def test_a_case_of_2e7_products_has_its_truth_in_float64():
    def case(T, dtype="float64", B=1):
        spec = Spec(input_size=100, hidden_size=100, use_bias=False)  # 80,000 weights
        params = {name: np.zeros(shape) for name, shape in spec.param_shapes.items()}
        x = np.zeros((B, T, 100))
        return Case("large", spec, params, x, None, None, None, None, None, dtype)

    assert truth_dtype(case(83)) == np.longdouble
    assert truth_dtype(case(84)) == np.float64
    assert truth_dtype(case(41, B=2)) == np.longdouble
    assert truth_dtype(case(42, B=2)) == np.float64
    assert truth_dtype(case(1, "float32")) == np.float64


def test_a_block_that_is_zero_is_measured_against_its_family_then_its_kind_then_one():
    blocks = {
        "y": np.array([3.0]), "state.h": np.zeros(2),
        "d_U_i": np.array([-7.0, 2.0]), "d_U_f": np.zeros(2),
        "d_b_i": np.array([5.0]), "d_b_f": np.zeros(2), "d_p_o": np.zeros(2),
        "d_V": np.array([2.0]), "d_x": np.zeros(2),
        "d_0.forward.W_i": np.array([4.0]), "d_0.forward.W_o": np.zeros(1),
        "d_0.backward.W_o": np.zeros(1),
    }  # fmt: skip
    expected = {
        "y": 3, "state.h": 3, "d_U_i": 7, "d_U_f": 7, "d_b_i": 5, "d_b_f": 5, "d_p_o": 7,
        "d_V": 2, "d_x": 7, "d_0.forward.W_i": 4, "d_0.forward.W_o": 4, "d_0.backward.W_o": 7,
    }  # fmt: skip
    assert scales(blocks) == expected
    assert scales({"y": np.zeros(2), "d_x": np.zeros(0)}) == {"y": 1, "d_x": 1}
    assert scales({"y": np.array([5.0]), "state.h": np.zeros(0)}) == {"y": 5, "state.h": 5}


def test_deviations_are_relative_to_norm_and_largest_entry():
    true = np.array([3.0, -4.0])
    assert deviation(np.array([3.0, -4.5]), true, 100.0) == pytest.approx((0.1, 0.125))
    zero = np.zeros(4)
    assert deviation(zero + 2, zero, 8.0) == pytest.approx((0.25, 0.25))
    assert deviation(np.zeros(0), np.zeros(0), 0.0) == (0.0, 0.0)
    huge = np.array([3e200, -4e200])
    assert deviation(huge * 1.5, huge, 1.0) == pytest.approx((0.5, 0.5))


# --- messages -------------------------------------------------------------------------------------


def changed(result, **factors):
    d_params = {name: a * factors.get(name, 1.0) for name, a in result.d_params.items()}
    return dataclasses.replace(result, d_params=d_params)


def test_blocks_are_named_from_the_worst_on_six_and_the_number_of_the_rest():
    case = plain()
    names = ["W_i", "W_f", "W_g", "W_o", "U_i", "U_f", "U_g", "U_o", "b_f"]
    wrong = changed(truth(case), **{name: 2.0 + n for n, name in enumerate(names)})
    message = compare(case, wrong, flat(case, 1e-3)).message
    assert message.startswith("9 of 18 blocks are wrong, most of all d_b_f (off by ")
    assert "; also d_U_o, d_U_g, d_U_f, d_U_i, d_W_o, d_W_g and 2 more" in message
    assert "only of" not in message
    seven = changed(truth(case), **{name: 2.0 + n for n, name in enumerate(names[:7])})
    message = compare(case, seven, flat(case, 1e-3)).message
    assert "; also d_U_f, d_U_i, d_W_o, d_W_g, d_W_f, d_W_i" in message
    assert "more" not in message


def test_one_wrong_block_has_no_others_beside_it():
    case = plain()
    message = compare(case, changed(truth(case), U_f=1.1)).message
    assert message.startswith("1 of 18 blocks are wrong, most of all d_U_f (off by 0.1, allowed ")
    assert "also" not in message


def test_two_wrong_gates_are_both_named():
    case = plain()
    message = compare(case, changed(truth(case), U_o=1.1, W_i=1.1)).message
    assert "only of gates i (input), o (output)" in message
    assert "; also d_" in message


def test_gates_are_not_named_where_the_weights_are_right():
    case = plain()
    assert "gate" not in compare(case, scaled_y(case, 1e-3)).message


def test_both_outputs_of_a_pair_have_their_steps():
    case = next(case for case in matrix.cases() if "y.forward" in truth(case).blocks())
    true = truth(case)
    for name in ("forward", "backward"):
        y = getattr(true.y, name).copy()
        y[:, -1] += np.abs(y).max()
        wrong = dataclasses.replace(true, y=true.y._replace(**{name: y}))
        T = y.shape[1]
        assert (
            f"y.{name} is wrong at 1 of {T} steps, first at step {T - 1}"
            in compare(case, wrong).message
        )


def test_steps_are_counted_where_the_truth_is_zero():
    case = dataclasses.replace(plain(), d_y=np.zeros_like(plain().d_y))
    case = dataclasses.replace(case, d_state=State(*(np.zeros_like(a) for a in case.d_state)))
    d_x = np.zeros_like(case.x)
    d_x[:, 2] = 1e-3
    message = compare(case, dataclasses.replace(run_oracle(case), d_x=d_x)).message
    assert "d_x is wrong at 1 of 5 steps, last at step 2" in message


def steps_of(largest, errors):
    """The message about a y of one unit that is off by so much at each step; allowed is 0.5."""
    true = np.zeros((1, len(errors), 1))
    true[0, 0, 0] = largest
    wrong = dataclasses.replace(truth(plain()), y=true + np.reshape(errors, (1, -1, 1)))
    return compare(plain(), wrong, {"y": Deviation(0.25, 0.25)}, true={"y": true}).message


def test_a_step_is_wrong_beyond_the_tolerance_times_the_largest_entry():
    assert "y is wrong at 1 of 4 steps, first at step 3" in steps_of(2.0, [0, 1.0, 0, 3.0])
    assert "y is wrong at 2 of 4 steps, first at step 1" in steps_of(2.0, [0, 1.1, 0, 3.0])
    assert "y is wrong at 1 of 3 steps, first at step 1" in steps_of(0.0, [0.4, 0.75, 0.5])
    assert "steps" not in steps_of(1.0, [0.4, 0.45, 0.4, 0.45, 0.4, 0.45])


def test_a_missing_gradient_of_a_given_state_is_missed():
    case = plain()
    assert case.state is not None
    report = compare(case, dataclasses.replace(truth(case), d_state=None))
    assert (report.status, report.message) == ("disagree", "no d_state.h, d_state.c in the result")


def test_only_the_blocks_that_are_named_are_compared():
    case = plain()
    true = {"y": truth(case).y}
    report = compare(case, changed(truth(case), U_f=3.0), flat(case, 1e-9), true=true)
    assert [block.block for block in report.blocks] == ["y"]
    assert report.status == "agree"


def test_infinity_is_a_disagreement_with_its_tolerance_told():
    case = plain()
    y = truth(case).y.copy()
    y.flat[3] = np.inf
    report = compare(case, dataclasses.replace(truth(case), y=y), flat(case, 1e-3, 1e-1))
    assert report.worst.block == "y"
    assert (report.worst.error, report.worst.ratio) == (np.inf, np.inf)
    assert (report.worst.yardstick, report.worst.tolerance) == (1e-3, 2e-3)


# --- rounding at random ---------------------------------------------------------------------------


def rounder(dtype, seed=0):
    return Rounding(dtype, np.random.default_rng(seed))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_numbers_are_rounded_to_a_neighbour_up_as_often_as_they_are_nearer_to_it(dtype):
    unit = 2.0 ** (1 - tolerances.format_of(dtype).digits)
    a = np.full(200_000, 1 + 0.25 * unit)
    rounded = rounder(dtype)(a)
    assert set(np.unique(rounded)) == {1.0, 1.0 + unit}
    assert np.mean(rounded > 1) == pytest.approx(0.25, abs=0.01)
    np.testing.assert_array_equal(rounder(dtype)(-a) < -1, rounder(dtype)(a) > 1)


def test_float64_is_moved_by_one_unit_once_in_twelve():
    moved = rounder("float64")(np.full(200_000, 1.5))
    steps, counts = np.unique((moved - 1.5) * 2.0**52, return_counts=True)
    np.testing.assert_array_equal(steps, [-1, 0, 1])
    np.testing.assert_allclose(counts / 200_000, [1 / 24, 22 / 24, 1 / 24], atol=0.01)


def test_one_number_in_twelve_is_moved():
    moved = [rounder("float64", seed)(np.full(8000, 1.5)) != 1.5 for seed in range(40)]
    assert np.mean(moved) == pytest.approx(1 / 12, abs=0.0015)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_any_number_is_rounded_to_a_format_and_an_unknown_one_is_refused(dtype):
    for given in (0.1, [0.1, -3.3], np.array(7), np.float32(0.1)):
        expected = np.asarray(given, np.float64).astype(dtype).astype(np.float64)
        np.testing.assert_array_equal(to_format(given, dtype), expected)
        assert to_format(given, dtype).dtype == np.float64
    with pytest.raises(ValueError, match="dtype is 'int8', expected one of float64"):
        to_format(0.1, "int8")


def test_the_smallest_normal_number_of_float16_is_rounded_like_those_above_it():
    below, least = 2.0**-14 - 2.0**-24, 2.0**-14
    for value in (below, least, 1.5):
        np.testing.assert_array_equal(rounder("float16")(np.full(1000, value)), value)
    huge = rounder("float32").library(np.full(1000, 1e30))
    assert 1e-8 < np.std(huge / 1e30) < 1e-6


def test_functions_of_libraries_are_off_by_up_to_three_roundoffs():
    off = (rounder("float32").library(np.ones(100_000)) - 1) * 2.0**24
    assert 2.99 < off.max() <= 3
    assert -3 <= off.min() < -2.99
    assert abs(off.mean()) < 0.05
    assert off.std() == pytest.approx(np.sqrt(3), rel=0.03)  # uniform
    # float64 has half as many numbers above 1 as below it.
    off = (rounder("float64").library(np.ones(100_000)) - 1) * 2.0**53
    assert (off.min(), off.max()) == (-3, 2)


def test_sixteen_bits_have_no_error_of_libraries():
    for dtype in ("float16", "bfloat16"):
        np.testing.assert_array_equal(rounder(dtype).library(np.ones(1000)), 1)


def test_float16_ends_at_65504_and_has_steps_of_2_to_the_minus_24():
    a = np.array([65504.0, 65520.0, -65536.0, -1e6])
    np.testing.assert_array_equal(rounder("float16")(a)[[0, 2, 3]], [65504, -np.inf, -np.inf])
    small = rounder("float16")(np.full(20_000, 2.25 * 2.0**-24))
    np.testing.assert_array_equal(np.unique(small * 2.0**24), [2, 3])
    assert np.mean(small * 2.0**24) == pytest.approx(2.25, abs=0.02)
    least = rounder("float16")(np.full(1000, 2.0**-15 + 2.0**-25))
    np.testing.assert_array_equal(np.unique(least), [2.0**-15, 2.0**-15 + 2.0**-24])
    edge = rounder("float16")(np.full(1000, 2.0**-14 * (1 + 2.0**-10)))
    np.testing.assert_array_equal(np.unique(edge), 2.0**-14 * (1 + 2.0**-10))


def test_sums_and_products_are_taken_in_a_random_order():
    numbers = np.array([2.0**25, 1.0, -(2.0**25), 3.0, 5.0, 7.0])
    for total in (
        lambda r: r.array(numbers).sum(),
        lambda r: (r.array(np.tile(numbers, (8, 1))) @ r.array(np.ones((6, 8))))[0, 0],
    ):
        found = {np.asarray(total(rounder("float32", seed))).item() for seed in range(30)}
        assert len(found) > 2
        assert all(abs(value - 16) <= 16 for value in found)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, (0, 1), (0, 2), (-1, -2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_a_sum_has_the_shape_and_value_of_numpys(axis, keepdims):
    a = np.arange(24.0).reshape(2, 3, 4)  # small whole numbers: every order is exact
    got = rounder("float32").array(a).sum(axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(np.asarray(got), a.sum(axis=axis, keepdims=keepdims))
    assert np.shape(got) == a.sum(axis=axis, keepdims=keepdims).shape


def test_a_reduction_without_an_axis_takes_the_first():
    a = np.arange(24.0).reshape(2, 3, 4)
    np.testing.assert_array_equal(
        np.asarray(np.add.reduce(rounder("float32").array(a))), a.sum(axis=0)
    )


@pytest.mark.parametrize(
    ("left", "right"), [((2, 3), (3, 4)), ((5, 2, 3), (5, 3, 4)), ((2, 3), (3,)), ((3,), (3,))]
)
def test_a_product_of_matrices_is_numpys_where_it_is_exact(left, right):
    a, b = (np.arange(np.prod(shape)).reshape(shape).astype(float) for shape in (left, right))
    rounding = rounder("float32")
    got = np.asarray(rounding.array(a) @ rounding.array(b))
    np.testing.assert_array_equal(got, a @ b)


def test_sums_of_float32_are_accumulated_in_float32_and_those_of_float64_are_not():
    ones_and_large = np.array([2.0**30] + [1.0] * 8 + [-(2.0**30)])
    for dtype, exact in (("float32", False), ("float16", True), ("float64", True)):
        a = ones_and_large if dtype != "float16" else np.array([2.0**10] + [1.0] * 8 + [-(2.0**10)])
        sums = [np.asarray(rounder(dtype, seed).array(a).sum()).item() for seed in range(10)]
        assert (np.ptp(sums) < 1e-14) == exact, dtype


def test_moving_numbers_does_not_round_them():
    rounding = rounder("bfloat16")
    a = rounding.array(np.full(500, 1.0))
    a = a + 2.0**-9  # not representable as it is: 1 or the next number
    for moved in (-a, abs(a), np.maximum(a, 0), np.where(a > 0, a, 0), np.concatenate([a, a])):
        assert set(np.unique(np.abs(np.asarray(moved)))) <= {1.0, 1 + 2.0**-7}
        np.testing.assert_array_equal(np.abs(np.asarray(moved))[:500], np.asarray(a))


def test_moving_numbers_of_float64_does_not_round_them():
    a = rounder("float64").array(np.random.default_rng(0).normal(size=500))
    for moved in (-a, abs(a), np.maximum(a, -9), np.where(a > 0, a, -a), np.concatenate([a])):
        np.testing.assert_array_equal(np.abs(np.asarray(moved)), np.abs(np.asarray(a)))


def test_a_single_number_and_an_array_changed_in_place_stay_rounded():
    a = rounder("bfloat16").array(np.arange(1.0, 6.0))
    assert isinstance(np.maximum.reduce(a), rounding_module.RandomlyRounded)
    a /= 3
    assert isinstance(a, rounding_module.RandomlyRounded)
    np.testing.assert_array_equal(rounding_module.to_format(a, "bfloat16"), np.asarray(a))


def test_large_arrays_are_rounded_like_small_ones():
    size = rounding_module._POOL
    rounded = rounder("bfloat16")(np.full(size, 1 + 2.0**-8))
    assert np.mean(rounded > 1) == pytest.approx(0.5, abs=0.02)
    assert rounded.shape == (size,)
