"""Precision is that of the arrays: float32, longdouble and complex stay what they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from lstm_oracle.reference.sequence import backward
from lstm_oracle.reference.tree import flatten, map_leaves
from tests.compare import assert_close
from tests.strategies import Problem, problems


def cast(problem: Problem, dtype: type) -> Problem:
    return problem.differ(
        **{
            name: map_leaves(lambda a: a.astype(dtype), getattr(problem, name))
            for name in ("params", "x", "state", "d_y", "d_state", "dropout")
        }
    )


@pytest.mark.parametrize("dtype", [np.float32, np.longdouble, np.complex64, np.complex128])
@given(problem=problems())
def test_outputs_gradients_and_traces_have_the_dtype_of_the_arrays(dtype, problem: Problem):
    problem = cast(problem, dtype)
    output, tape = problem.forward()
    gradients = backward(tape, problem.d_y, problem.d_state, trace=True)
    dtypes = {path: a.dtype for path, a in flatten((output, gradients, tape.trace())).items()}
    assert set(dtypes.values()) == {np.dtype(dtype)}, dtypes


@pytest.mark.parametrize("dtype", [np.longdouble, np.complex128])
@given(problem=problems())
def test_numbers_do_not_depend_on_the_dtype(dtype, problem: Problem):
    other = cast(problem, dtype)
    assert_close(other.forward()[0], problem.forward()[0])
    assert_close(other.backward(), problem.backward())
