"""Reversing twice is the identity, and a reversed layer is the layer on reversed arrays."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.spec import Reverse
from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_identical
from tests.strategies import Problem, problems

ORDERS = st.sampled_from(["original", "processing"])


def flip(tree):
    return map_leaves(lambda a: a[:, ::-1], tree)


def flip_dropout(tree):
    return map_leaves(lambda a: a[:, ::-1] if a.ndim > 2 else a, tree)


@given(problems(), ORDERS)
def test_reversing_twice_is_the_identity(problem: Problem, order: str):
    twice = problem.differ(architecture=Reverse(Reverse(problem.architecture, order), order))
    assert_identical(twice.forward()[0], problem.forward()[0])
    assert_identical(twice.backward(), problem.backward())


@given(problems(), ORDERS)
def test_a_reversed_layer_is_the_layer_on_reversed_arrays(problem: Problem, order: str):
    reverse = problem.differ(architecture=Reverse(problem.architecture, order))
    flipped = problem.differ(
        x=flip(problem.x),
        mask=None if problem.mask is None else flip(problem.mask),
        dropout=flip_dropout(problem.dropout),
        d_y=flip(problem.d_y) if order == "original" else problem.d_y,
    )
    (y, state), _ = flipped.forward()
    expected = y if order == "processing" else flip(y)
    assert_identical(tuple(reverse.forward()[0]), (expected, state))
    gradients = flipped.backward()
    assert_identical(reverse.backward(), gradients._replace(x=flip(gradients.x)))
