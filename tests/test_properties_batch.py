"""Sequences of a batch do not see each other; gradients of parameters are sums over them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_close
from tests.strategies import Problem, problems, sizes


def rows(problem: Problem, chosen) -> Problem:
    """The problem for some of its sequences, in the order chosen."""

    def choose(a):
        return a[chosen]

    return problem.differ(
        x=choose(problem.x),
        state=map_leaves(choose, problem.state),
        mask=None if problem.mask is None else choose(problem.mask),
        dropout=map_leaves(choose, problem.dropout),
        d_y=map_leaves(choose, problem.d_y),
        d_state=map_leaves(choose, problem.d_state),
    )


@given(problems(), st.randoms(use_true_random=False))
def test_permuting_the_batch_permutes_outputs_and_gradients(problem: Problem, random):
    order = list(range(len(problem.x)))
    random.shuffle(order)
    permuted = rows(problem, order)
    (got, _), (whole, _) = permuted.forward(), problem.forward()
    assert_close(got, map_leaves(lambda a: a[order], whole))
    got, whole = permuted.backward(), problem.backward()
    assert_close(got.params, whole.params)
    assert_close((got.x, got.state), map_leaves(lambda a: a[order], (whole.x, whole.state)))


@given(problems(batch=st.integers(2, 4)), st.data())
def test_splitting_the_batch_splits_outputs_and_sums_gradients_of_parameters(problem, data):
    cut = data.draw(st.integers(1, len(problem.x) - 1))
    parts = [rows(problem, slice(None, cut)), rows(problem, slice(cut, None))]

    def joined(*trees):
        return map_leaves(lambda *arrays: np.concatenate(arrays), *trees)

    assert_close(joined(*(part.forward()[0] for part in parts)), problem.forward()[0])
    first, second, whole = parts[0].backward(), parts[1].backward(), problem.backward()
    assert_close(map_leaves(np.add, first.params, second.params), whole.params)
    assert_close(joined((first.x, first.state), (second.x, second.state)), (whole.x, whole.state))


@given(problems(batch=sizes(2)))
def test_strides_of_arrays_do_not_matter(problem: Problem):
    def strided(a):
        padded = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)[..., ::-2]
        padded[...] = a
        return np.asfortranarray(padded) if a.ndim == 3 else padded

    other = problem.differ(
        **{
            name: map_leaves(strided, getattr(problem, name))
            for name in ("params", "x", "state", "d_y", "d_state", "dropout")
        }
    )
    assert_close(other.forward()[0], problem.forward()[0])
    assert_close(other.backward(), problem.backward())
