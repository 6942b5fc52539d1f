"""The case matrix asks every implementation the same, fair question, in every regime."""

import dataclasses
import re

import numpy as np
import pytest

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.zoo import gate_orders, hunt
from lstm_oracle.reference import forward
from lstm_oracle.reference.spec import Bidirectional, Chunks, Dropout, Reverse, Spec, Stack, State
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


# --- a recipe is what its name says ---------------------------------------------------------------

WITH_VALUES = {  # what has numbers in its name, by the field that they go to
    r"\bB (\d+)": "B", r"\bT (\d+)": "T", r"weights x(\d+)": "weights",
    r"cotangents x(\S+)": "cotangent_scale", r"^unrolled": None,
}  # fmt: skip
MASKED = {
    "mask right": "right", "mask left": "left", "mask with holes": "holes", "mask full": "full",
    "mask with a length zero": "length zero", "mask with nothing real": "nothing real",
}  # fmt: skip
# Activations that need more to reach their kinks.
STEEP = {"hard sigmoid of slope 1/6": 3, "softsign, hard sigmoid of slope 1/5": 2}
DROPOUT = {
    "dropout on x and h, per step and gate": "xhtk", "dropout on x and h, per gate": "xhk",
    "dropout on x and h, per step": "xht", "dropout on x, per gate": "xk", "dropout on x": "x",
    "zoneout, masks per step": "zt",
    "zoneout of c alone, projection 2, peepholes ifo, dropout on x and h": "xhz",
}  # fmt: skip


def expected_recipe(name):
    """The fields that a name asks for; all others are the usual ones."""
    found = {"T": 3} if name.startswith("unrolled") else {}
    for pattern, field in WITH_VALUES.items():
        match = re.search(pattern, name)
        if match and field:
            found[field] = float(match[1])
    mask = next((kind for words, kind in MASKED.items() if words in name), None)
    found["mask"] = mask
    found["B"] = found.get("B", 2 if mask is None else 3)
    found["poison"] = "NaN" in name or name in (
        "mask with nothing real",
        "layer normalization, coupled, peepholes fo, projection 2, no bias, mask with holes",
    )
    found["state"] = "no initial state" not in name
    match = re.search(r"cotangent on (\w)(_T)? alone", name)
    found["cotangents"] = match[1] if match else "yhc"
    steep = [times for words, times in STEEP.items() if name.startswith(words)]
    found |= {"weights": steep[0]} if steep else {}
    long = sorted(DROPOUT, key=len, reverse=True)
    found["dropout"] = next((DROPOUT[words] for words in long if words in name), "")
    options = {"unrolled": {"unroll": True}, "implementation": {"implementation": 1}}
    found["options"] = next((o for words, o in options.items() if name.startswith(words)), {})
    return found


@pytest.mark.parametrize("recipe", matrix.recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_asks_for_what_its_name_says_and_for_nothing_else(recipe):
    usual = matrix.Recipe(recipe.name, recipe.architecture)
    own = dataclasses.replace(usual, **expected_recipe(recipe.name))
    compared = dataclasses.replace(own, dtypes=recipe.dtypes, quick=recipe.quick)
    assert recipe == compared
    assert (usual.B, usual.T, usual.cotangent_scale, usual.weights) == (2, 5, 1, 1)
    assert (usual.mask, usual.poison, usual.state, usual.dropout) == (None, False, True, "")


ACTIVATIONS = {
    "hard sigmoid of slope 1/6": dict.fromkeys("ifo", "hard_sigmoid_sixth"),
    "relu": {"g": "relu", "c": "relu"},
    "softsign, hard sigmoid of slope 1/5, selu, hard tanh, silu, peephole f": {
        "i": "softsign", "f": "hard_sigmoid_fifth", "g": "selu", "o": "hard_tanh", "c": "silu",
    },
    "softplus, leaky relu, elu, peephole o, no bias": {
        "i": "softplus", "g": "leaky_relu", "c": "elu",
    },
    "linear, projection 2": {"g": "linear", "c": "linear"},
}  # fmt: skip


NAMED = {  # values in a name, by the field that they go to
    "hidden_size": r"hidden size (\d)", "projection_size": r"projection (\d)",
    "peepholes": r"peepholes? (\w+)",
}  # fmt: skip
VARIANTS = {
    r"^wide": {"input_size": 17, "hidden_size": 32},
    r"coupled": {"coupled": True},
    r"no bias": {"use_bias": False},
    r"^layer norm": {"layer_norm": True},
    r"no bias, mask with holes": {"layer_norm_epsilon": 0.1},
    r"zoneout": {"zoneout_h": 0.25, "zoneout_c": 0.5},
    r"zoneout of c alone": {"zoneout_h": 0.0},
    r"clip": {"cell_clip": 0.5, "activation_clip": 1.0},
    r"state at masked": {"masked_output": "state"},
    # Of merged directions, one has nothing to add where a step is masked.
    r"zeros at masked|bidirectional.*mask|peephole i, mask": {"masked_output": "zero"},
}


def expected_spec(name):
    """A layer as its name says, of 3 inputs and 4 units where it says nothing else."""
    found = {"input_size": 3, "hidden_size": 4}
    for field, pattern in NAMED.items():
        match = re.search(pattern, name)
        if match:
            found[field] = int(match[1]) if match[1].isdigit() else match[1]
    for pattern, changes in VARIANTS.items():
        found |= changes if re.search(pattern, name) else {}
    found |= {f"{k}_activation": one for k, one in ACTIVATIONS.get(name, {}).items()}
    return Spec(**found)


def expected_architecture(name):
    """What stands around the layer, and the layer."""
    layer = expected_spec(name)
    zero = dataclasses.replace(layer, masked_output="zero")

    def above(**changes):
        return dataclasses.replace(layer, **changes)

    pair = Bidirectional(zero, zero)
    upper = {"input_size": 8, "masked_output": "zero"}
    towers = {
        "bidirectional mul": lambda: Bidirectional(layer, layer, "mul"),
        "bidirectional ave": lambda: Bidirectional(layer, layer, "ave"),
        "bidirectional, not merged": lambda: Bidirectional(layer, layer, None),
        "stack of two": lambda: Stack((layer, above(input_size=4, hidden_size=2))),
        "stack of two alike": lambda: Stack((layer, above(input_size=4))),
        "stack of bidirectional, mask right": lambda: Stack(
            (pair, Bidirectional(*2 * [above(hidden_size=2, **upper)], "sum"))
        ),
        "stack of bidirectional alike, mask right": lambda: Stack(
            (pair, Bidirectional(*2 * [above(**upper)]))
        ),
    }
    if name in towers:
        return towers[name]()
    chunks = re.search(r"chunks of (\d)", name)
    if chunks:
        return Chunks(layer, int(chunks[1]), truncate="truncated" in name)
    if "reverse" in name:
        processing = "processing order" in name or name.startswith("unrolled")
        return Reverse(layer, "processing" if processing else "original")
    return Bidirectional(layer, layer) if "bidirectional" in name else layer


@pytest.mark.parametrize("recipe", matrix.recipes(), ids=lambda recipe: recipe.name)
def test_a_layer_is_what_the_name_of_its_recipe_says(recipe):
    assert recipe.architecture == expected_architecture(recipe.name)


WIDE, ALL = ("float64", "float32"), ("float64", "float32", "bfloat16")
QUICK = {
    "plain": ALL, "plain, weights x4": WIDE, "plain, cotangent on y alone": WIDE[:1],
    "plain, cotangent on h_T alone": WIDE[:1], "plain, cotangent on c_T alone": WIDE[:1],
    "plain, cotangents x1e8": WIDE, "hidden size 1, T 2": WIDE[:1],
    "mask right, NaN in the padding": WIDE, "mask left": WIDE, "mask with holes": WIDE,
    "peepholes ifo": WIDE[:1], "coupled, peepholes fo, mask with holes": WIDE[:1],
    "bidirectional concat": WIDE[1:], "stack of bidirectional, mask right": WIDE[:1],
    "layer normalization": WIDE[:1], "zoneout, in expectation": WIDE[:1],
}  # fmt: skip


def test_the_quick_level_has_one_case_of_each_kind():
    assert {one.name: one.quick for one in matrix.recipes() if one.quick} == QUICK
    dtypes = {one.name: one.dtypes for one in matrix.recipes()}
    assert {one for one, asked in dtypes.items() if asked == ALL} == {
        "plain", "plain, weights x4", "mask with holes", "peepholes ifo", "bidirectional concat",
        "layer normalization", "zoneout, in expectation",
    }  # fmt: skip
    options = {name for name in dtypes if name.startswith(("unrolled", "implementation"))}
    assert {one for one, asked in dtypes.items() if asked == WIDE[1:]} == options
    assert dtypes["wide, B 8, T 20"] == ("float32", "bfloat16")
    assert len(options) == 6
    assert sum(asked == WIDE for asked in dtypes.values()) == 34
    assert sum(asked == WIDE[:1] for asked in dtypes.values()) == 25


# --- and a case is what its recipe says -----------------------------------------------------------


def sized(I, H, **options):
    return Spec(input_size=I, hidden_size=H, **options)


def drawn(dtype="float64", architecture=None, **fields):
    return matrix.draw(matrix.Recipe("a", architecture or sized(3, 4), **fields), dtype)


@pytest.mark.parametrize(("B", "T"), [(1, 1), (1, 3), (1, 5), (2, 5), (3, 5), (4, 9)])
def test_masks_are_what_they_are_called(B, T):
    masks = {kind: np.asarray(drawn(mask=kind, B=B, T=T).mask).astype(int) for kind in matrix.MASKS}
    assert all(mask.shape == (B, T) for mask in masks.values())
    right, holes = masks["right"], masks["holes"]
    assert (np.diff(right, axis=1) <= 0).all()
    assert right[:, 0].all()
    assert right[0].sum() == (T if B > 1 else max(1, T - 2))
    assert right[-1].sum() == (1 if B > 1 else max(1, T - 2))
    np.testing.assert_array_equal(masks["left"], right[:, ::-1])
    assert masks["left"].flags["C_CONTIGUOUS"]
    assert masks["full"].all()
    assert not masks["nothing real"].any()
    lengths = masks["length zero"].sum(axis=1)
    assert lengths[0] == T
    assert B == 1 or lengths[-1] == 0
    assert (np.diff(masks["length zero"], axis=1) <= 0).all()
    if T > 4:
        assert (holes[0, 0], holes[-1, -1]) == (int(B == 1), 0)
        middle = T // 2
        assert not holes[1 % B, middle : middle + 2].any()
        assert holes[1 % B, 0] == 1
        assert all(holes[b, middle] for b in range(B) if b != 1 % B)
        assert B == 1 or 0.3 < holes.mean() < 0.9


def test_a_hole_in_the_middle_is_of_two_steps_or_more():
    after = [drawn(mask="holes", B=3, T=T).mask[1, T // 2 + 2] for T in range(5, 15)]
    assert any(after)
    assert not all(after)


def test_numbers_have_the_sizes_that_gates_work_at():
    case = drawn(architecture=sized(30, 40), B=20, T=20)
    assert np.std(case.x) == pytest.approx(1, rel=0.05)
    assert np.std(case.params["W_i"]) == pytest.approx(1 / np.sqrt(30), rel=0.05)
    assert np.std(case.params["U_f"]) == pytest.approx(1 / np.sqrt(40), rel=0.05)
    assert np.std(np.stack([case.params[f"b_{k}"] for k in "ifgo"])) == pytest.approx(0.5, rel=0.1)
    assert np.std(case.state.h) == pytest.approx(0.5, rel=0.1)
    assert np.std(case.d_y) == pytest.approx(1, rel=0.05)
    larger = drawn(architecture=sized(30, 40), B=20, T=20, weights=3, cotangent_scale=100)
    assert np.std(larger.params["U_f"]) == pytest.approx(3 / np.sqrt(40), rel=0.05)
    assert np.std(larger.d_y) == pytest.approx(100, rel=0.05)
    assert np.std(larger.d_state.c) == pytest.approx(100, rel=0.1)


def test_only_the_cotangents_that_are_named_are_not_zero():
    for letters in ("y", "h", "c", "yh", "yhc"):
        case = drawn(cotangents=letters, architecture=Stack((sized(3, 4), sized(4, 2))))
        assert bool(case.d_y.any()) == ("y" in letters)
        for state in case.d_state:
            assert isinstance(state, State)
            assert (bool(state.h.any()), bool(state.c.any())) == ("h" in letters, "c" in letters)
    both = drawn(cotangents="h", architecture=Bidirectional(sized(3, 4), sized(3, 4))).d_state
    assert type(both).__name__ == "Directions"
    assert both.backward.h.any()


def test_state_mask_and_padding_are_there_where_they_are_asked_for():
    plain = drawn()
    assert (plain.mask, plain.dropout, drawn(state=False).state) == (None, None, None)
    assert plain.state.h.all()
    poisoned = drawn(mask="right", B=3, poison=True)
    np.testing.assert_array_equal(np.isnan(poisoned.x).any(axis=-1), ~poisoned.mask)
    assert not np.isnan(drawn(mask="right", poison=False).x).any()
    assert not np.isnan(drawn(poison=True).x).any()
    assert drawn(options={"unroll": True}).options == {"unroll": True}
    assert (plain.dtype, drawn("float32").dtype) == ("float64", "float32")


@pytest.mark.parametrize(
    ("letters", "shape"),
    [("x", (2, 3)), ("xt", (2, 5, 3)), ("xk", (2, 1, 4, 3)), ("xtk", (2, 5, 4, 3))],
)
def test_dropout_is_drawn_for_what_its_letters_say(letters, shape):
    found = drawn(dropout=letters, architecture=sized(3, 4, projection_size=2)).dropout
    assert found.x.shape == shape
    assert set(np.unique(found.x)) == {0, 2}
    assert (found.h, found.zoneout_h, found.zoneout_c) == (None, None, None)
    other = drawn(dropout=letters.replace("x", "h"), architecture=sized(3, 4, projection_size=2))
    assert (other.dropout.x, other.dropout.h.shape) == (None, (*shape[:-1], 2))


def test_zoneout_masks_are_drawn_per_step_or_not():
    for letters, steps in (("z", 1), ("zt", 5)):
        found = drawn(dropout=letters, architecture=sized(3, 4, projection_size=2)).dropout
        assert isinstance(found, Dropout)
        assert found.zoneout_h.shape == (2, steps, 2)
        assert found.zoneout_c.shape == (2, steps, 4)
        together = np.concatenate([np.ravel(found.zoneout_h), np.ravel(found.zoneout_c)])
        assert set(np.unique(together)) == {0, 1}
        assert (found.x, found.h) == (None, None)


def test_no_gate_of_a_case_lies_at_a_kink_and_clips_clip_some_and_not_all():
    for case in matrix.cases():
        spec = case.architecture
        if not isinstance(spec, Spec):
            continue
        margin = {"float64": 1e-3, "float32": 1e-3, "bfloat16": 0.05}[case.dtype]
        _, tape = forward(spec, case.params, case.x, case.state, case.mask, dropout=case.dropout)
        trace = tape.trace()
        for k, z in trace.z.items():
            for kink in matrix.KINKS.get(getattr(spec, f"{k}_activation"), ()):
                assert np.abs(z - kink).min() > margin, (case.name, k)
            if spec.activation_clip:
                assert 0.05 < (np.abs(z) > spec.activation_clip).mean() < 0.95
        for kink in matrix.KINKS.get(spec.c_activation, ()):
            assert np.abs(trace.c - kink).min() > margin, case.name
        if spec.cell_clip:
            assert 0.05 < (np.abs(trace.c) == spec.cell_clip).mean() < 0.95


def scaled(spec, z, **fields):
    """A case of one sequence and step whose every pre-activation is z."""
    case = drawn(architecture=spec, B=1, T=1)
    params = {name: np.zeros_like(a) for name, a in case.params.items()}
    params |= {f"b_{k}": np.resize(z, 4).astype(float) for k in "ifgo"}
    return dataclasses.replace(case, params=params, **fields)


@pytest.mark.parametrize(
    ("changes", "z", "fair"),
    [
        ({}, [0.0], True),
        ({"g_activation": "relu"}, [0.0011], True),
        ({"g_activation": "relu"}, [0.0009], False),
        ({"g_activation": "hard_tanh"}, [1.0009], False),
        ({"g_activation": "hard_tanh"}, [-1.0009, 0.5], False),
        ({"g_activation": "hard_tanh"}, [1.1], True),
        ({"o_activation": "hard_sigmoid_fifth"}, [2.4, 2.6], True),
        ({"o_activation": "hard_sigmoid_fifth"}, [2.4], False),
        ({"o_activation": "hard_sigmoid_fifth"}, [2.6], False),
        ({"o_activation": "hard_sigmoid_sixth"}, [-2.9, 3.1], True),
        ({"o_activation": "hard_sigmoid_sixth"}, [-3.0005, 2.0], False),
        ({"o_activation": "hard_sigmoid_fifth"}, [-2.5005, 2.0], False),
        ({"activation_clip": 1.0}, [0.9, 1.1], True),
        ({"activation_clip": 1.0}, [0.9], False),
        ({"activation_clip": 1.0}, [-1.0005, 0.5], False),
    ],
)
def test_a_case_is_fair_where_its_numbers_keep_clear_of_every_kink(changes, z, fair):
    spec = sized(3, 4, **changes)
    assert matrix.is_fair(scaled(spec, z)) == fair
    assert matrix.is_fair(dataclasses.replace(scaled(spec, z), architecture=spec)) == fair


@pytest.mark.parametrize(("bound", "fair"), [(0.5, True), (0.4, False), (0.9, False), (0.7, False)])
def test_a_cell_that_is_clipped_is_judged_before_it_is(bound, fair):
    """c is 0.5 c_0 + 0.25, as every pre-activation but g's is zero."""
    spec = sized(3, 4, cell_clip=bound, g_activation="linear")
    case = scaled(spec, [0.0])
    case.params["b_g"] = np.full(4, 0.5)
    c_0 = np.array([[0.4, 0.8999, 1.2, 0.35]])
    state = State(np.zeros((1, 4)), c_0)
    assert matrix.is_fair(dataclasses.replace(case, state=state)) == fair


def test_a_margin_is_of_the_dtype():
    spec = sized(3, 4, g_activation="relu")
    for dtype, margin in (("float32", 1e-3), ("float16", 0.01), ("bfloat16", 0.05)):
        for times, fair in ((0.9, False), (1.1, True)):
            assert matrix.is_fair(scaled(spec, [margin * times], dtype=dtype)) == fair


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
