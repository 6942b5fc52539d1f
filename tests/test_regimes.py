"""What `check` asks a function, and what it says that it could not ask."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.conformance import check
from lstm_oracle.conformance.functions.regimes import regimes
from lstm_oracle.conformance.functions.subject import Abilities
from lstm_oracle.reference.spec import Spec


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(x, h0, c0, W, U, b, gate=sigmoid, squash=np.tanh):
    h, c, ys = h0, c0, []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c = gate(f) * c + gate(i) * squash(g)
        h = gate(o) * squash(c)
        ys.append(h)
    return np.stack(ys, axis=1), h, c


def test_a_case_that_explodes_is_said_to_be_left_out():
    spec = Spec(
        input_size=3, hidden_size=4, i_activation="linear", f_activation="linear",
        o_activation="linear", g_activation="linear", c_activation="linear",
    )  # fmt: skip
    verdict = check(
        lambda x, h0, c0, W, U, b: lstm(x, h0, c0, W, U, b, lambda z: z, lambda z: z), spec
    )
    asked = {case.name.rpartition(", ")[0] for case in verdict.cases}
    dropped = [note for note in verdict.notes if "not asked, as values above" in note]
    assert verdict.agrees, str(verdict)
    assert dropped
    assert not asked & {note.partition(":")[0] for note in dropped}
    assert all(f"note: {note}" in str(verdict) for note in dropped)


@pytest.mark.parametrize("size", [{"hidden_size": 64}, {"hidden_size": 4}])
def test_a_layer_that_keeps_clear_of_no_kink_is_said_to_miss_long_sequences(size):
    spec = Spec(**{"input_size": 3} | size, g_activation="relu")
    found = regimes(spec, Abilities(), "float64")
    long = [case for case in found.cases if case.x.shape[1] > 5]
    assert bool(long) != any("long sequences: not asked" in note for note in found.dropped)


def test_rows_that_touch_each_other_are_noticed_as_such():
    def mixes(x, h0, c0, W, U, b):
        y, h, c = lstm(x, h0, c0, W, U, b)
        return (y + y.mean(axis=0)) / 2, h, c

    spec = Spec(input_size=3, hidden_size=4)
    assert "wrong exactly where there is more than one sequence" in check(mixes, spec).explanation


def test_rows_that_are_left_over_from_a_tile_are_noticed_as_such():
    def tiled(x, h0, c0, W, U, b):
        y, h, c = lstm(x, h0, c0, W, U, b)
        y[16:] = 0
        return y, h, c

    spec = Spec(input_size=3, hidden_size=4)
    assert "wrong exactly where there are more than four seq" in check(tiled, spec).explanation


@pytest.mark.parametrize(("off", "agrees"), [(0.0, True), (2e-14, False)])
def test_a_wide_layer_is_judged_by_some_of_its_sequences(off, agrees):
    """A yardstick of all of them would take too long; little errors are judged again."""
    spec = Spec(input_size=256, hidden_size=256)

    def slightly_off(x, h0, c0, W, U, b):
        y, h, c = lstm(x, h0, c0, W, U, b)
        return y * (1 + off), h, c

    verdict = check(slightly_off, spec, cases=["plain"])
    assert verdict.agrees == agrees, str(verdict)
    assert [n for n, block in verdict.blocks.items() if not block.agrees] == ["y"] * (not agrees)
