"""Nested parameters are walked in one order, and come back in their own nesting."""

from __future__ import annotations

import numpy as np

from lstm_oracle.reference.spec import Directions, State
from lstm_oracle.reference.tree import flatten, leaves, map_leaves, replace

TREE = ({"W_i": 1, "b_i": None}, Directions(State(2, 3), (4,)))


def test_paths_name_every_leaf_in_order():
    assert list(leaves(TREE)) == [
        ("0.W_i", 1),
        ("0.b_i", None),
        ("1.forward.h", 2),
        ("1.forward.c", 3),
        ("1.backward.0", 4),
    ]


def test_flatten_leaves_out_what_is_none():
    assert flatten(TREE) == {"0.W_i": 1, "1.forward.h": 2, "1.forward.c": 3, "1.backward.0": 4}


def test_a_leaf_alone_has_the_empty_path():
    assert flatten(7) == {"": 7}


def test_mapping_keeps_the_nesting_and_none():
    doubled = map_leaves(lambda a: 2 * a, TREE)
    assert doubled == ({"W_i": 2, "b_i": None}, Directions(State(4, 6), (8,)))
    assert isinstance(doubled[1].forward, State)


def test_mapping_over_several_trees_takes_their_leaves_together():
    assert map_leaves(lambda a, b: a + b, State(1, 2), State(10, 20)) == State(11, 22)


def test_replacing_by_path_exchanges_those_leaves_alone():
    changed = replace(TREE, {"1.forward.c": np.float64(0.5)})
    assert changed == ({"W_i": 1, "b_i": None}, Directions(State(2, 0.5), (4,)))
    assert TREE[1].forward.c == 3
