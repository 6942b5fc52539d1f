"""The case matrix asks every implementation the same, fair question, in every regime."""

import numpy as np
import pytest

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.zoo import gate_orders, hunt
from lstm_oracle.reference.tree import flatten


def _arrays(case):
    trees = (case.params, case.x, case.state, case.dropout, case.d_y, case.d_state)
    return {f"{n}.{path}": a for n, tree in enumerate(trees) for path, a in flatten(tree).items()}


def test_the_matrix_is_the_same_every_time():
    for index, recipe in enumerate(matrix.recipes()):
        dtype = recipe.dtypes[0]
        kept, again = matrix._case(index, dtype), matrix.build(recipe, dtype)
        for name, array in _arrays(kept).items():
            np.testing.assert_array_equal(
                array, _arrays(again)[name], err_msg=f"{kept.name} {name}"
            )


def test_names_are_distinct():
    names = [case.name for case in matrix.cases()]
    assert len(set(names)) == len(names) > 90


def test_every_quick_case_is_a_full_case():
    assert {id(case) for case in matrix.cases("quick")} <= {id(case) for case in matrix.cases()}


@pytest.mark.parametrize("case", matrix.cases(), ids=lambda case: case.name)
def test_numbers_are_representable_in_the_dtype_of_the_case(case):
    for name, array in _arrays(case).items():
        assert array.dtype == np.float64
        np.testing.assert_array_equal(to_format(array, case.dtype), array, err_msg=name)


def test_every_regime_is_there():
    cases = matrix.cases(dtypes=("float64",))
    assert {1, 2, 5, 60} <= {case.x.shape[1] for case in cases}
    assert {1, 2, 3} <= {case.x.shape[0] for case in cases}
    assert any(case.state is None for case in cases)
    assert any(np.isnan(case.x).any() for case in cases)
    masks = [case.mask for case in cases if case.mask is not None]
    assert any(mask.all() for mask in masks)
    assert any(not mask.any() for mask in masks)
    assert any(not mask.any(axis=1).all() and mask.any() for mask in masks)
    assert any((np.diff(mask.astype(int), axis=1) > 0).any() for mask in masks)
    sizes = [float(np.abs(a).max()) for case in cases for a in flatten(case.d_state).values()]
    assert min(size for size in sizes if size) < 1e-7
    assert max(sizes) > 1e7


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="expected 'quick' or 'full'"):
        matrix.cases("medium")


def test_every_wrong_gate_order_is_rejected():
    orders = gate_orders()
    assert len(orders) == 4 * 23
    assert [hunted.bug.id for hunted in hunt(orders) if not hunted.case] == []


def test_bfloat16_numbers_are_rounded_to_nearest_even():
    given = [1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -0.1, np.inf]
    expected = [1.0, 1 + 2.0**-6, 1 + 2.0**-7, -0.10009765625, np.inf]
    np.testing.assert_array_equal(to_format(given, "bfloat16"), expected)
