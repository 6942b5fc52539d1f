"""The textbook, which shares no computing code with the oracle, gives the oracle's answers."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.conformance import matrix, textbook
from lstm_oracle.conformance.case import run_oracle
from lstm_oracle.conformance.vectors.cases import GROUPS, vectors


def assert_agrees(case, digits):
    expected, got = run_oracle(case).blocks(), textbook.run(case).blocks()
    assert list(got) == list(expected)
    for name, block in expected.items():
        assert got[name].shape == block.shape, name
        error = np.abs(got[name] - block).max()
        assert error <= digits * np.abs(block).max(), (case.name, name)


@pytest.mark.parametrize("group", GROUPS)
def test_vectors_have_the_same_answers(group):
    for vector in list(vectors((group,)))[::2]:
        assert_agrees(vector.case, 1e-12)


@pytest.mark.parametrize("case", matrix.cases(dtypes=("float64",)), ids=lambda case: case.name)
def test_cases_have_the_same_answers(case):
    assert_agrees(case, 1e-11)
