"""Chunks equal the whole; truncated, they equal pieces run one by one with detached states."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from lstm_oracle.reference.spec import Chunks
from lstm_oracle.reference.tree import map_leaves
from tests.compare import assert_close
from tests.strategies import Problem, forwards, problems, sizes


def cut(problem: Problem, piece: slice) -> Problem:
    """The problem for some consecutive steps."""
    return problem.differ(
        x=problem.x[:, piece],
        mask=None if problem.mask is None else problem.mask[:, piece],
        dropout=map_leaves(lambda m: cut_dropout(m, len(problem.x[0]), piece), problem.dropout),
        d_y=problem.d_y[:, piece],
    )


def cut_dropout(multiplier, T, piece):
    per_step = multiplier.ndim > 2 and multiplier.shape[1] == T
    return multiplier[:, piece] if per_step else multiplier


@given(problems(architecture=forwards(), max_steps=7), sizes(4))
def test_chunks_with_carried_state_equal_the_whole(problem: Problem, length: int):
    chunks = problem.differ(architecture=Chunks(problem.architecture, length))
    assert_close(chunks.forward()[0], problem.forward()[0])
    assert_close(chunks.backward(), problem.backward())


@given(problems(architecture=forwards(), max_steps=7), sizes(4))
def test_truncated_chunks_equal_pieces_with_detached_states(problem: Problem, length: int):
    T = problem.x.shape[1]
    truncated = problem.differ(architecture=Chunks(problem.architecture, length, truncate=True))
    (y, state), _ = truncated.forward()
    carried, pieces = problem.state, []
    for start in range(0, T, length):
        piece = cut(problem, slice(start, start + length)).differ(state=carried)
        if start + length < T:
            piece = piece.differ(d_state=None)
        (piece_y, carried), _ = piece.forward()
        real = True if piece.mask is None else piece.mask[:, :, None]
        assert_close(np.where(real, piece_y, 0), np.where(real, y[:, start : start + length], 0))
        pieces.append(piece.backward())
    assert_close(state, carried)
    got = truncated.backward()
    assert_close(
        got.params, map_leaves(lambda *arrays: sum(arrays), *(piece.params for piece in pieces))
    )
    assert_close(got.x, np.concatenate([piece.x for piece in pieces], axis=1))
    assert_close(got.state, pieces[0].state)
