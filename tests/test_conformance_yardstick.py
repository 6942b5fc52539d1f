"""Tolerances are measured, and the measure fits: honest arithmetic passes, small bugs do not."""

import dataclasses

import numpy as np
import pytest

from lstm_oracle.conformance import compare, matrix, textbook, tolerances, truth, yardstick
from lstm_oracle.conformance.case import Result, run_oracle
from lstm_oracle.conformance.rounding import RandomlyRounded, Rounding, to_format
from lstm_oracle.conformance.yardstick import oracle, run_rounded
from lstm_oracle.reference.tree import map_leaves

QUICK = matrix.cases("quick")
FULL = matrix.cases()


def _plain(result):
    return Result(
        *(
            map_leaves(np.asarray, getattr(result, field.name))
            for field in dataclasses.fields(result)
        )
    )


@pytest.mark.parametrize("case", matrix.cases(dtypes=("float64",)), ids=lambda case: case.name)
def test_the_textbook_agrees_with_the_oracle(case):
    report = compare(case, textbook.run(case), ours=True)
    assert report.status == "agree", report.message


@pytest.mark.parametrize("witness", [oracle, textbook.run], ids=["oracle", "textbook"])
@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
def test_fresh_random_rounding_stays_within_the_tolerance(case, witness):
    for seed in (1001, 1002):
        report = compare(case, _plain(run_rounded(case, witness, seed)))
        assert report.status == "agree", report.message


# Whoever is in doubt measures 116 rounded runs of each witness: seconds for each case.
BRIEF = {case.name for case in QUICK if case.x.shape[1] <= 9}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[] if case.name in BRIEF else [pytest.mark.slow])
        for case in FULL
    ],
)
def test_four_times_the_tolerance_is_a_disagreement_in_every_block(case):
    report = compare(case, run_oracle(case))
    tolerance = {block.block: block.tolerance for block in report.blocks}
    true, scale = truth(case).blocks(), 4.0
    for name in tolerance:
        if not true[name].any():
            continue
        wrong = _perturbed(truth(case), name, 1 + scale * tolerance[name])
        seen = {b.block: b.ratio for b in compare(case, wrong).blocks}
        assert seen[name] > 1, name


def _perturbed(result, name, factor):
    """The result with one block scaled."""
    paths = iter(result.blocks())

    def change(array):
        return array * factor if next(paths) == name else array

    fields = ("y", "state", "d_params", "d_x", "d_state")
    changed = {field: map_leaves(change, getattr(result, field)) for field in fields}
    return Result(**changed)


@pytest.mark.parametrize(
    "case", [case for case in FULL if case.dtype != "bfloat16"], ids=lambda case: case.name
)
def test_a_bug_of_one_percent_cannot_hide_behind_the_yardstick(case):
    allowed = tolerances.format_of(case.dtype)
    for name, measured in yardstick(case).items():
        assert allowed.k * max(measured) < 1e-3, name


def test_a_block_that_is_zero_is_judged_against_its_family():
    recipe = next(r for r in matrix.recipes() if r.name == "plain, B 1, T 1")
    case = matrix.build(dataclasses.replace(recipe, state=False), "float32")
    true = truth(case)
    assert not true.d_params["U_f"].any()
    for size, status in ((1e-9, "agree"), (1e-2, "disagree")):
        d_params = true.d_params | {"U_f": true.d_params["U_f"] + size}
        assert compare(case, dataclasses.replace(true, d_params=d_params)).status == status


def test_float16_has_a_yardstick_too():
    case = matrix.build(matrix.recipes()[0], "float16")
    assert 1e-5 < yardstick(case)["y"].norm < 1e-2
    report = compare(case, _plain(run_rounded(case, oracle, 5)))
    assert report.status == "agree", report.message


def test_yardsticks_grow_with_the_unit_roundoff():
    recipe = matrix.recipes()[0]
    sizes = [
        yardstick(matrix.build(recipe, dtype))["y"].norm
        for dtype in ("float64", "float32", "float16", "bfloat16")
    ]
    assert sizes == sorted(sizes)
    assert sizes[1] / sizes[0] > 1e7


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_every_operation_gives_representable_numbers(dtype):
    rounding = Rounding(dtype, np.random.default_rng(0))
    a = rounding.array(np.random.default_rng(1).normal(size=(3, 4)))
    results = {
        "product": a * a, "matmul": a @ a.T, "sum": a.sum(axis=0), "exp": np.exp(a),
        "where": np.where(a > 0, a, 0), "stack": np.stack([a, a]), "quotient": 1 / a,
    }  # fmt: skip
    for name, result in results.items():
        assert isinstance(result, RandomlyRounded), name
        plain = np.asarray(result)
        np.testing.assert_array_equal(to_format(plain, dtype), plain, err_msg=name)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_rounding_has_no_bias(dtype):
    rounding = Rounding(dtype, np.random.default_rng(0))
    ones = rounding.array(np.ones(20_000))
    thirds = np.asarray(ones / 3)
    unit = 2.0 ** -tolerances.format_of(dtype).digits
    assert np.unique(thirds).size > 1
    assert abs(thirds.mean() - 1 / 3) < 0.05 * unit


def test_infinity_survives_rounding():
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        a = Rounding(dtype, np.random.default_rng(0)).array(np.array([np.inf, -np.inf, 0.0]))
        np.testing.assert_array_equal(np.asarray(a * 1.0), [np.inf, -np.inf, 0.0])


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="expected one of float64"):
        tolerances.format_of("int8")
