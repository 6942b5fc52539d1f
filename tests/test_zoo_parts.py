"""A seeded bug changes what its sentence says and nothing else, and is found by its answers.

Each part by itself, on small cases; `test_zoo` holds the whole zoo.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from lstm_oracle.conformance import matrix, textbook, zoo
from lstm_oracle.conformance.case import Result, run_oracle
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.zoo import Bug, bug, gate_orders, hunt, nearest_bug
from lstm_oracle.reference.spec import Bidirectional, Directions, Spec, Stack, State
from lstm_oracle.reference.tree import flatten, map_leaves


def sized(I, H, **options):
    return Spec(input_size=I, hidden_size=H, **options)


SPEC = Spec(input_size=2, hidden_size=3)


def drawn(architecture=SPEC, **fields):
    return matrix.draw(matrix.Recipe("a", architecture, **fields), "float64")


def given(case):
    """A run that answers what it was given: what a bug makes of a case and of a result."""
    return Result(case.x, case.state, dict(case.params), case.x, case.state)


def same(got, expected):
    ours, theirs = flatten(got), flatten(expected)
    assert list(ours) == list(theirs)
    for name, a in theirs.items():
        np.testing.assert_array_equal(ours[name], a, err_msg=name)


def around(identifier, run, case):
    return bug(identifier).around(run, case)


# --- patches --------------------------------------------------------------------------------------


def test_a_bug_without_a_patch_is_the_textbook():
    case = drawn()
    same(Bug("none", "Nothing.").run(case).blocks(), textbook.run(case).blocks())


def test_every_patch_of_a_bug_is_made_and_nothing_else():
    case = drawn()
    both = (
        ("h = o * s", "h = 2 * o * s"),
        ("y = flip(y)", "y = y"),
        ("c = clip(c_free", "c = 3 + clip(c_free"),
    )
    got, right = Bug("a", "It.", both).run(case), textbook.run(case)
    other = dataclasses.replace(case, x=case.x[:, :1], d_y=case.d_y[:, :1])
    step = Bug("b", "It.", both[:1]).run(other)
    np.testing.assert_allclose(step.y, 2 * textbook.run(other).y, rtol=1e-14)
    assert np.abs(got.y - right.y).min() > 0
    same(textbook.run(case).blocks(), right.blocks())


@pytest.mark.parametrize(
    ("old", "times"), [("no such line", 0), ("d_x = flip(d_x)\n", 1), ("r, c", 2)]
)
def test_a_patch_that_does_not_fit_once_is_refused(old, times):
    one = Bug("a", "It.", ((old, old),))
    if times == 1:
        one.run(drawn())
        return
    with pytest.raises(RuntimeError, match=rf"the textbook has \d+ times '{old}', expected once"):
        one.run(drawn())


def test_patches_that_no_longer_fit_are_listed(monkeypatch):
    broken = (Bug("gone", "A.", (("no such line", ""),)), Bug("twice", "B.", (("spec", "s"),)))
    monkeypatch.setattr(zoo, "BUGS", (*broken, bug("carry-dropped"), bug("silently-float32")))
    assert list(zoo.check_patches()) == ["gone", "twice"]


def test_overflow_in_a_bug_warns_nobody():
    case = drawn()
    large = dataclasses.replace(case, x=case.x * 1e150)
    patch = (("z_g = w", "z_g = 1e308 * w"), ("h = o * s", "h = o * s + z_g * z_g"))
    assert not np.isfinite(Bug("a", "It.", patch).run(large).y).all()


# --- hunting --------------------------------------------------------------------------------------


@pytest.fixture
def hunted(monkeypatch):
    """Bugs whose answers are judged by a rule, and the cases that they were asked."""
    asked = []

    def bug_of(rule):
        def wrong(run, case):
            asked.append(case)
            return rule(case)

        return Bug("a", "It.", around=wrong)

    def compare(case, status):
        return CaseReport(case.name, status, case.dtype, message=f"said of {case.name}")

    monkeypatch.setattr(zoo, "compare", compare)
    return bug_of, asked


def test_a_hunt_ends_at_the_first_case_that_catches_and_takes_short_ones_first(hunted):
    bug_of, asked = hunted
    (found,) = hunt([bug_of(lambda case: "agree")])
    assert (found.case, found.what) == ("", "")
    assert asked == sorted(matrix.cases(dtypes=("float64",)), key=lambda case: case.x.size > 200)
    assert [case.x.size > 200 for case in asked] == sorted(case.x.size > 200 for case in asked)
    seventh = asked[6].name
    asked.clear()
    (found,) = hunt([bug_of(lambda case: "disagree" if case.name == seventh else "agree")])
    assert (found.case, found.what) == (seventh, f"said of {seventh}")
    assert len(asked) == 7


@pytest.mark.parametrize("error", [ValueError, IndexError, KeyError])
def test_a_bug_that_breaks_is_caught_by_breaking(hunted, error):
    def breaks(case):
        raise error("of all things")

    (found,) = hunt([hunted[0](breaks)], ("float32",))
    assert found.case == matrix.cases(dtypes=("float32",))[0].name
    assert found.what == f"raised {error.__name__}: {error('of all things')}"


def test_bugs_are_found_by_their_id():
    assert bug("h-for-previous-h").sentence == "d_U takes h_t in place of h_{t-1}."
    assert bug("gate-order-U-oifg").sentence == "The gates of U stand in the order o, i, f, g."
    assert bug("gate-order-WUbp-gofi").sentence.startswith("The gates of all blocks stand in")
    assert bug("carry-dropped").sources == zoo.SOURCES.get("carry-dropped", ())
    assert Bug("none", "Nothing.").sources == ()


# --- resemblance ----------------------------------------------------------------------------------


@pytest.fixture
def small_zoo(monkeypatch):
    def frail(run, case):
        raise KeyError("this architecture")

    bugs = (Bug("frail", "It breaks.", around=frail), bug("carry-dropped"), bug("c-for-previous-c"))
    monkeypatch.setattr(zoo, "BUGS", bugs)
    monkeypatch.setattr(zoo, "gate_orders", lambda: (bug_order,))
    return bugs


bug_order = gate_orders()[0]


def off(case, one, share, times=1.0):
    """A bug's answer, and so much of its size beside it, across."""
    true, wrong = run_oracle(case), one.run(case)

    def beside(a, b):
        error = times * (a - b)
        turned = np.roll(np.ravel(error), 1).reshape(error.shape)
        return b + error + share * turned

    fields = ("y", "state", "d_params", "d_x", "d_state")
    return Result(*(map_leaves(beside, getattr(wrong, f), getattr(true, f)) for f in fields))


def test_a_wrong_answer_is_that_of_the_nearest_bug(small_zoo):
    case = drawn()
    for one in small_zoo[1:]:
        assert nearest_bug(case, one.run(case)) == f"{one.id}: {one.sentence}"
    assert nearest_bug(case, bug_order.run(case)).startswith(bug_order.id)
    assert nearest_bug(case, off(case, small_zoo[1], 0.0, times=0.85)).startswith("carry-dropped")
    assert nearest_bug(case, off(case, small_zoo[1], 0.0, times=0.75)) == ""
    assert nearest_bug(case, run_oracle(case)) == ""


def test_of_bugs_that_give_the_same_answer_the_first_is_named(small_zoo, monkeypatch):
    one = small_zoo[1]
    monkeypatch.setattr(zoo, "BUGS", (one, dataclasses.replace(one, id="the-same-again")))
    case = drawn()
    assert nearest_bug(case, one.run(case)).startswith("carry-dropped")


def test_what_has_other_blocks_or_shapes_resembles_nothing(small_zoo):
    case = drawn()
    wrong = small_zoo[1].run(case)
    assert nearest_bug(case, Result(wrong.y, wrong.state)) == ""
    assert nearest_bug(case, dataclasses.replace(wrong, y=wrong.y[:, :1])) == ""


def test_a_bug_that_breaks_otherwise_is_not_passed_over(small_zoo, monkeypatch):
    def broken(run, case):
        raise ZeroDivisionError

    monkeypatch.setattr(zoo, "BUGS", (Bug("b", "It.", around=broken),))
    case = drawn()
    with pytest.raises(ZeroDivisionError):
        nearest_bug(case, bug_order.run(case))


def test_every_block_counts_by_its_own_size_and_infinity_as_a_thousand():
    true = {"a": np.array([2.0, -4.0]), "b": np.zeros(2), "c": np.ones((1, 2))}
    got = {"a": np.array([3.0, -4.0]), "b": np.array([0.5, 0.0]), "c": np.array([[1.0, 1.0]])}
    np.testing.assert_array_equal(zoo._signature(got, true), [0.25, 0, 0.5, 0, 0, 0])
    got["c"] = np.array([[np.nan, -np.inf]])
    got["b"] = np.array([np.inf, 0.0])
    np.testing.assert_array_equal(zoo._signature(got, true), [0.25, 0, 1e3, 0, 1e3, -1e3])


# --- what is wrong around a run -------------------------------------------------------------------


def test_gates_are_read_and_their_gradients_written_in_another_order():
    case = drawn(sized(2, 3, peepholes="ifo", projection_size=2))
    read = []

    def run(changed):
        read.append(changed.params)
        return given(changed)

    result = zoo._gate_order("WU", "fgoi")(run, case)
    source = dict(zip("ifgo", "fgoi", strict=True))
    for name, a in read[0].items():
        letter, _, k = name.partition("_")
        expected = case.params[f"{letter}_{source[k]}" if letter in "WU" else name]
        np.testing.assert_array_equal(a, expected)
    same(result.d_params, case.params)
    same(result.y, case.x)


def test_gates_of_layers_put_together_are_exchanged_in_each():
    layer = sized(2, 3, coupled=True)
    params = Directions(drawn(layer).params, drawn(layer, T=2).params)
    found = zoo._exchange(params, "Wb", "gifo")
    assert type(found) is Directions
    # i, of which a coupled layer has none, is not taken from: f keeps its own.
    for name, source in (("W_g", "W_f"), ("b_g", "b_f"), ("W_f", "W_f"), ("U_g", "U_g")):
        np.testing.assert_array_equal(found.backward[name], params.backward[source])
    tower = Stack((SPEC, sized(3, 3)))
    assert type(zoo._exchange(drawn(tower).params, "W", "figo")) is tuple


def test_there_are_23_wrong_orders_of_every_kind():
    orders = gate_orders()
    assert len({one.id for one in orders}) == len(orders) == 4 * 23
    asked = {f"gate-order-{letters}-{''.join(order)}" for letters in ("WUbp", "W", "U", "b")
             for order in itertools.permutations("ifgo") if "".join(order) != "ifgo"}  # fmt: skip
    assert {one.id for one in orders} == asked
    case = drawn()
    for one in (orders[0], orders[-1]):
        letters, order = one.id.split("-")[2:]
        same(one.run(case).blocks(), zoo._gate_order(letters, order)(textbook.run, case).blocks())


def test_numbers_are_rounded_on_their_way_in():
    case = drawn()

    def rounded(dtype):
        return lambda a: to_format(a, dtype)

    seen = around("tensor-float-32", given, case)
    same(
        (seen.d_params, seen.y, seen.state),
        map_leaves(rounded("float16"), (case.params, case.x, case.state)),
    )
    seen = around("bfloat16-weights", given, case)
    same(seen.d_params, map_leaves(rounded("bfloat16"), case.params))
    same((seen.y, seen.state), (case.x, case.state))
    single = around("silently-float32", given, case)
    same(single.blocks(), run_oracle(case, np.float32).blocks())
    assert single.y.dtype == np.float32


def answer(**changes):
    fields = {"y": np.ones(1), "state": None, "d_params": {"W_i": np.zeros((1, 1))}}
    fields |= {"d_x": np.array([3.0]), "d_state": State(np.array([1.0]), None)}
    return lambda case: Result(**(fields | changes))


def test_gradients_are_clipped_to_a_norm_of_a_thousand():
    large = {"W_i": np.array([[3e4]]), "b_i": np.array([4e4])}
    clipped = around("gradients-clipped", answer(d_params=large), None)
    np.testing.assert_allclose(clipped.d_params["W_i"], [[600.0]], rtol=1e-14)
    np.testing.assert_allclose(clipped.d_params["b_i"], [800.0], rtol=1e-14)
    np.testing.assert_allclose(clipped.d_x, [0.06], rtol=1e-14)
    np.testing.assert_allclose(clipped.d_state.h, [0.02], rtol=1e-14)
    assert clipped.y == [1.0]
    same(around("gradients-clipped", answer(), None).d_x, np.array([3.0]))
    small = {"W_i": np.array([[900.0]])}
    same(around("gradients-clipped", answer(d_params=small), None).d_params, small)


def test_small_gradients_are_set_to_zero_and_values_are_not():
    found = around(
        "small-gradients-flushed",
        answer(y=np.array([1e-9]), d_x=np.array([9.9e-8, -9.9e-8, 1e-7, -1.1e-7, 2.0])),
        None,
    )
    np.testing.assert_array_equal(found.d_x, [0, 0, 1e-7, -1.1e-7, 2.0])
    assert found.y == [1e-9]


def test_bugs_of_one_step_one_sequence_or_one_unit_show_there_alone():
    one, two = drawn(T=1), drawn(T=2)
    assert around("one-step-forgets-the-state", given, one).state is None
    assert around("one-step-forgets-the-state", given, two).state is two.state
    one, two = drawn(B=1), drawn(B=2)
    found = around("one-sequence-squeezed", given, one).d_params
    for name, a in one.params.items():
        expected = np.full(3, a.sum()) if name[0] == "b" else a
        np.testing.assert_allclose(found[name], expected, rtol=1e-14)
    same(around("one-sequence-squeezed", given, two).d_params, two.params)
    one, two = drawn(sized(2, 1)), drawn(sized(2, 2))
    found = around("one-unit-broadcast", given, one).d_params
    mean = np.mean([one.params[f"U_{k}"] for k in "ifgo"])
    for name, a in one.params.items():
        expected = np.array([[mean]]) if name[0] == "U" else a
        np.testing.assert_allclose(found[name], expected, rtol=1e-14)
    same(around("one-unit-broadcast", given, two).d_params, two.params)
    pair = drawn(Bidirectional(sized(2, 1), SPEC))
    right = textbook.run(pair)
    same(around("one-unit-broadcast", textbook.run, pair).d_params, right.d_params)


def test_a_misread_matrix_is_read_by_columns():
    identifier = next(one.id for one in zoo.BUGS if one.around is zoo._misread)
    case = drawn(sized(2, 3, use_bias=True))
    found = around(identifier, given, case).d_params
    W = case.params["W_i"]
    np.testing.assert_array_equal(found["W_i"], np.ravel(W).reshape((2, 3), order="F"))
    np.testing.assert_array_equal(found["b_i"], case.params["b_i"])
