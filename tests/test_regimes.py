"""What `check` asks a function, and what it says that it could not ask."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

from lstm_oracle.conformance import check, matrix
from lstm_oracle.conformance.functions.regimes import left_out, regimes
from lstm_oracle.conformance.functions.subject import Abilities
from lstm_oracle.reference.spec import Bidirectional, Chunks, Reverse, Spec, Stack


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


def sized(I, H, **options):
    return Spec(input_size=I, hidden_size=H, **options)


# --- which cases are asked ------------------------------------------------------------------------

MODULE = importlib.import_module("lstm_oracle.conformance.functions.regimes")
LAYER = Spec(input_size=3, hidden_size=4)
ABLE = Abilities(
    state_optional=True, masks="any", dropout=True, gradients=True, strided=True, pieces=True
)
MASKS = ["mask right", "mask left", "mask holes", "mask full", "mask with a length of zero",
         "NaN where masked, mask right", "NaN where masked, mask holes"]  # fmt: skip
EVERYTHING = [
    "plain", "one sequence, one step", "three sequences, two steps", "17 sequences, one step",
    "cotangent on y alone", "cotangent on h_T alone", "cotangent on c_T alone",
    "cotangents x1e-08", "cotangents x1e+08", "saturated: weights x4", "no initial state",
    "60 steps", "60 steps, weights x2", "x with gaps in memory",
    "two pieces, the state carried over", *MASKS, "dropout on x", "dropout on x and h, per step",
    "dropout on x and h, per gate",
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """The recipes of a check, before any number is drawn."""

    def recipes(architecture=LAYER, abilities=ABLE, level="full", dtype="float64", **options):
        found = []
        monkeypatch.setattr(MODULE, "_built", lambda recipe, dtype: found.append(recipe) or "told")
        regimes(architecture, abilities, dtype, level, **options)
        return {recipe.name: recipe for recipe in found}

    return recipes


def without(*names):
    return [name for name in EVERYTHING if not any(word in name for word in names)]


def test_whatever_can_take_everything_is_asked_everything_once(asked):
    assert list(asked()) == EVERYTHING
    usual = {"B": 2, "T": 5, "mask": None, "poison": False, "state": True, "cotangents": "yhc",
             "cotangent_scale": 1.0, "weights": 1.0, "dropout": "", "options": {}}  # fmt: skip
    other = {
        "plain": {},
        "one sequence, one step": {"B": 1, "T": 1},
        "three sequences, two steps": {"B": 3, "T": 2},
        "17 sequences, one step": {"B": 17, "T": 1},
        "cotangent on y alone": {"cotangents": "y"},
        "cotangent on h_T alone": {"cotangents": "h"},
        "cotangent on c_T alone": {"cotangents": "c"},
        "cotangents x1e-08": {"cotangent_scale": 1e-8},
        "cotangents x1e+08": {"cotangent_scale": 1e8},
        "saturated: weights x4": {"weights": 4},
        "no initial state": {"state": False},
        "60 steps": {"T": 60},
        "60 steps, weights x2": {"T": 60, "weights": 2},
        "x with gaps in memory": {"options": {"strided": True}},
        "two pieces, the state carried over": {"T": 4, "options": {"pieces": 2}},
        "mask with a length of zero": {"B": 3, "mask": "length zero"},
        "dropout on x": {"dropout": "x"},
        "dropout on x and h, per step": {"dropout": "xht"},
        "dropout on x and h, per gate": {"dropout": "xhk"},
    } | {f"mask {kind}": {"B": 3, "mask": kind} for kind in ("right", "left", "holes", "full")} | {
        f"NaN where masked, mask {kind}": {"B": 3, "mask": kind, "poison": True}
        for kind in ("right", "holes")
    }  # fmt: skip
    for name, recipe in asked().items():
        assert {field: getattr(recipe, field) for field in usual} == usual | other[name], name


def test_the_quick_level_and_a_list_of_names_are_parts_of_it(asked):
    quick = ["plain", "one sequence, one step", "three sequences, two steps",
             "cotangent on y alone", "cotangent on h_T alone", "cotangent on c_T alone",
             "saturated: weights x4", "60 steps", *MASKS[:4]]  # fmt: skip
    assert list(asked(level="quick")) == quick
    names = ["mask holes", "plain"]
    assert list(asked(level=names)) == names
    with pytest.raises(ValueError, match="cases has 'q', expected names out of 'plain', 'one seq"):
        asked(level=["plain", "q"])
    with pytest.raises(ValueError, match="cases is 'q', expected 'quick', 'full' or a list"):
        asked(level="q")


CANNOT = {
    "masks": ({"masks": "none"}, without("mask")),
    "lengths": ({"masks": "lengths"}, without("left", "holes")),
    "dropout": ({"dropout": False}, without("dropout")),
    "strided": ({"strided": False}, without("gaps")),
    "pieces": ({"pieces": False}, without("pieces")),
    "do without a state": ({"state_optional": False}, without("no initial")),
    "gradients": ({"gradients": False}, without("cotangent")),
    "y alone": ({"outputs": frozenset("y")}, without("h_T", "c_T", "on y")),
    "h": ({"outputs": frozenset("yc")}, without("h_T")),
    "state": ({"outputs": frozenset({"y", "state"})}, EVERYTHING),
    "nothing but y": ({"outputs": frozenset({"state"})}, without("on y")),
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_a_function_cannot_is_not_asked(asked, what):
    changes, names = CANNOT[what]
    abilities = Abilities(**{**vars(ABLE), **changes})
    assert list(asked(abilities=abilities)) == names
    given = "".join(k for k in "yhc" if k in abilities.outputs or
                    ("state" in abilities.outputs and k in "hc"))  # fmt: skip
    assert asked(abilities=abilities)["plain"].cotangents == given


def test_what_takes_no_state_is_not_asked_twice_the_same(asked):
    stateless = Abilities(**{**vars(ABLE), "state": False, "state_optional": False})
    found = asked(abilities=stateless)
    assert list(found) == without("no initial")
    assert not any(recipe.state for recipe in found.values())


def test_layers_put_together_have_no_dropout_and_backward_ones_no_pieces(asked):
    tower = Stack((LAYER, Spec(input_size=4, hidden_size=2)))
    assert list(asked(tower)) == without("dropout")
    for architecture in (Reverse(LAYER), Bidirectional(LAYER, LAYER)):
        assert list(asked(architecture)) == without("dropout", "pieces")


def test_other_sizes_and_zoneout_are_asked_where_there_are_any(asked):
    found = asked(other_sizes=True)
    assert list(found)[len(EVERYTHING) :] == ["one hidden unit", "9 inputs, 16 units"]
    one, more = found["one hidden unit"], found["9 inputs, 16 units"]
    assert (one.architecture, one.B, one.T) == (Spec(input_size=3, hidden_size=1), 2, 2)
    assert (more.architecture, more.B, more.T) == (Spec(input_size=9, hidden_size=16), 4, 7)
    zoned = asked(Spec(input_size=3, hidden_size=4, zoneout_c=0.5))
    assert list(zoned) == [*EVERYTHING, "zoneout masks", "zoneout masks, per step"]
    assert [recipe.dropout for recipe in zoned.values()][-2:] == ["z", "zt"]


def test_float16_has_smaller_scales(asked):
    scales = {one.cotangent_scale for one in asked(dtype="float16").values()}
    assert scales == {1.0, 1e-3, 1e3}


def test_hard_sigmoids_have_weights_that_reach_their_ends(asked):
    one = sized(3, 4, o_activation="hard_sigmoid_fifth")
    for layer in (one, Stack((LAYER, sized(4, 2, i_activation="hard_sigmoid_sixth")))):
        weights = {name: recipe.weights for name, recipe in asked(layer).items()}
        assert weights.pop("saturated: weights x4") == 4
        assert set(weights.values()) == {3.0}
    coupled = sized(3, 4, coupled=True, c_activation="hard_sigmoid_sixth")
    assert asked(coupled)["plain"].weights == 1.0


@pytest.mark.parametrize(
    ("architecture", "steps"),
    [
        (sized(220, 100), 25),  # 2e7 multiplications: 4 * 100 * (220 + 100 + 1) weights
        (sized(160, 100), 31),
        (Bidirectional(sized(110, 100), sized(110, 100)), 19),
        (sized(800, 200), None),
        (sized(3, 4, g_activation="relu"), 18),
        (sized(3, 4, cell_clip=1.0), 18),
        (sized(3, 5, activation_clip=1.0), 15),
        (sized(3, 15, c_activation="relu"), None),
        (sized(3, 12, c_activation="relu"), 6),
        (Chunks(sized(3, 12, c_activation="relu"), 2), 6),
        (Reverse(sized(3, 15, c_activation="relu")), 60),
        (Stack((sized(3, 15, c_activation="relu"),)), 60),
    ],
)
def test_long_cases_are_as_long_as_can_be_afforded_and_keep_clear_of_kinks(
    asked, architecture, steps
):
    long = [name for name in asked(architecture) if "steps" in name and name[0].isdigit()]
    assert long == ([f"{steps} steps", f"{steps} steps, weights x2"] if steps else [])
    notes = regimes(architecture, ABLE, "float64").dropped
    assert ("long sequences: not asked" in notes[-1]) == (steps is None)
    quick = regimes(architecture, ABLE, "float64", "quick").dropped
    assert not any("long sequences" in note for note in quick)


def test_what_was_not_looked_at_is_said():
    assert left_out(ABLE) == ()
    assert left_out(Abilities(state=False, outputs=frozenset("y"))) == (
        "gradients", "an initial state", "the final h", "the final c", "masks",
    )  # fmt: skip
    partly = Abilities(masks="lengths", gradients=True, outputs=frozenset("yh"))
    assert left_out(partly) == ("the final c", "masks other than lengths")
    assert left_out(Abilities(gradients=True, masks="any", outputs=frozenset({"state"}))) == ()


def test_a_case_is_built_once_and_one_that_cannot_be_is_said_why(monkeypatch):
    recipe = matrix.Recipe("a", LAYER)
    case = MODULE._built(recipe, "float64")
    assert MODULE._built(recipe, "float32").dtype == "float32"
    assert MODULE._built(recipe, "float64") is case
    monkeypatch.setattr(MODULE, "_MOST_CASES", len(MODULE._cases))
    MODULE._built(matrix.Recipe("b", LAYER), "float64")
    assert len(MODULE._cases) == 1
    linear = dict.fromkeys((f"{k}_activation" for k in "ifgoc"), "linear")
    wild = matrix.Recipe("c", sized(3, 4, **linear), T=60, weights=4)
    assert MODULE._built(wild, "float64") == "values above 1e+04 occur"

    def hopeless(recipe, dtype):
        raise RuntimeError

    monkeypatch.setattr(matrix, "build", hopeless)
    found = regimes(LAYER, ABLE, "bfloat16", ["plain"])
    said = "plain: not asked, as every draw comes too close to a kink of an activation"
    assert found == ((), (said,))


@pytest.mark.parametrize(
    ("blocks", "moderate"),
    [
        ({"y": [9999.9, -9999.9], "d_x": [1e9]}, True),
        ({"y": [0.0, 10000.0]}, False),
        ({"y": [0.0], "state.c": [-10000.5, 0.0]}, False),
        ({"y": [np.nan]}, False),
    ],
)
def test_values_above_ten_thousand_are_no_case_and_gradients_may_be_larger(
    monkeypatch, blocks, moderate
):
    found = {name: np.array(block) for name, block in blocks.items()}
    monkeypatch.setattr(MODULE, "truth", lambda case: SimpleNamespace(blocks=lambda: found))
    assert MODULE._moderate(None) == moderate
