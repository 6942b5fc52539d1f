"""Every sixth test vector, computed by the oracle: all blocks to 5e-14 of 80-digit answers."""

import numpy as np
import pytest

from lstm_oracle.conformance.case import run_oracle
from lstm_oracle.conformance.vectors.cases import GROUPS, vectors
from lstm_oracle.conformance.vectors.digits import run_exactly


@pytest.mark.parametrize("group", GROUPS)
def test_the_oracle_gives_the_exact_answers(group):
    for vector in list(vectors((group,)))[::6]:
        true, got = run_exactly(vector.case).blocks(), run_oracle(vector.case).blocks()
        assert list(true) == list(got)
        for name, block in true.items():
            error = np.abs(got[name] - block).max()
            assert error <= 5e-14 * np.abs(block).max(), (vector.id, name)
