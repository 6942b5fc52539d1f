"""What `check` is made of: signatures, answers, weights, messages and words, each by itself.

`test_check_functions` holds the whole.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.case import Case, Result, run_oracle
from lstm_oracle.conformance.functions import answers, calling, messages, subjects, weights
from lstm_oracle.conformance.functions.explaining import explain
from lstm_oracle.conformance.functions.identity import Identity, Item
from lstm_oracle.conformance.functions.objects import AdapterSubject
from lstm_oracle.conformance.functions.resemblance import Resemblance
from lstm_oracle.conformance.functions.subject import Abilities, BadSignature, Refused
from lstm_oracle.conformance.functions.verdict import BlockVerdict, Verdict
from lstm_oracle.conformance.report import BlockError, CaseReport
from lstm_oracle.reference.layouts import LAYOUTS, from_layout, gradients_from_layout
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
)
from lstm_oracle.reference.tree import flatten


def sized(I, H, **options):
    return Spec(input_size=I, hidden_size=H, **options)


SPEC = Spec(input_size=2, hidden_size=3)
ODD = Spec(input_size=2, hidden_size=3, peepholes="fo", projection_size=2, layer_norm=True)
PAIR = Bidirectional(SPEC, SPEC)
NESTED = Stack((PAIR, Reverse(Chunks(Spec(input_size=6, hidden_size=2), 2)), sized(2, 2)))

# --- how a function is called ---------------------------------------------------------------------

FUSED = ("W", "U", "b")


def signature(function, arrays=FUSED, arguments=None):
    return calling.read_signature(function, arrays, arguments)


def test_values_go_to_the_parameters_of_their_names():
    def lstm(inputs, hx, /, c_0, W, U, b, mask=None, *, verbose=False):
        return inputs, hx, c_0, W, U, b, mask

    call = signature(lstm)
    assert (call.name, call.positional) == ("lstm", ("x", "h0"))
    assert call.keywords == {name: name for name in ("W", "U", "b", "mask")} | {"c_0": "c0"}
    assert (call.optional, call.rest) == ({"mask"}, False)
    assert call.asks == {"x", "h0", "c0", "W", "U", "b", "mask"}
    values = dict(zip(("x", "h0", "c0", "W", "U", "b"), range(6), strict=True))
    assert call({**values, "mask": None}) == (0, 1, 2, 3, 4, 5, None)
    assert call({**values, "mask": 6, "rest": {"q": 7}}) == (0, 1, 2, 3, 4, 5, 6)


def test_what_is_none_is_left_to_its_default_and_given_where_there_is_none():
    call = signature(lambda x, h0, W, U, b, mask="all": (x, h0, mask))
    values = dict.fromkeys(("x", "h0", "W", "U", "b", "mask"))
    assert call(values) == (None, None, "all")
    assert call({**values, "mask": 0}) == (None, None, 0)


def test_weights_are_taken_by_name_all_at_once_or_as_a_dict():
    call = signature(lambda x, W, *more, **others: (x, W, others))
    assert call.rest
    assert call({"x": 1, "W": 2, "rest": {"U": 3, "b": 4}}) == (1, 2, {"U": 3, "b": 4})
    assert signature(lambda x, W, **others: x).rest
    assert not signature(lambda x, weights, **others: x).rest
    assert not signature(lambda x, W, U, b, **others: x).rest
    assert signature(lambda x, params: x).keywords == {"x": "x", "params": "weights"}
    assert signature(lambda tape, d_y: tape).asks == {"tape", "d_y"}


def test_names_of_a_layout_come_before_those_of_inputs():
    call = signature(lambda x, h, c: (x, h, c), arrays=("h", "c"))
    assert call.keywords == {"x": "x", "h": "h", "c": "c"}
    call = signature(lambda x, ii_kernel, b: x, arrays=("ii/kernel", "b"))
    assert call.keywords["ii_kernel"] == "ii/kernel"
    assert calling.identifier("ii/kernel:0") == "ii_kernel_0"


def test_a_list_of_arguments_goes_by_position():
    def anything(*values):
        return values

    call = signature(anything, arguments=("inputs", "W", "U", "b", "h0"))
    assert call.positional == ("x", "W", "U", "b", "h0")
    assert (call.keywords, call.optional) == ({}, frozenset())
    assert call(dict(zip(["x", "W", "U", "b", "h0"], range(5), strict=True))) == (0, 1, 2, 3, 4)
    assert signature(functools.partial(anything, 1), arguments=("x", *FUSED)).name == "partial"


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        (lambda x, q, W, U, b: x, None, "parameter 'q' means nothing"),
        (lambda W, U, b: W, None, "got no parameter for the input, expected x"),
        (lambda x, W, **options: x, ("x", "W"), "takes no U, b, expected all weights"),
        (lambda x, W: x, None, "takes no U, b, expected all weights"),
        (lambda x, W, *more: x, None, "takes no U, b, expected all weights"),
        (lambda x: x, ("x", "q"), "arguments has 'q', expected names out of W, U, b, x"),
        (SimpleNamespace(), None, "a callable without a signature that can be read"),
    ],
)
def test_what_cannot_be_called_is_refused(function, arguments, said):
    with pytest.raises(BadSignature, match=said):
        signature(function, arguments=arguments)
    assert signature(lambda x, W, U, b, q=1: x).keywords.keys() == {"x", "W", "U", "b"}


def test_what_a_function_takes_is_what_it_can():
    def ability(function, outputs=("y", "h", "c")):
        found = signature(function)
        return calling.abilities_of(
            found, frozenset(outputs), gradients=True, strided=False, manner="called"
        )

    whole = ability(lambda x, W, U, b, h0, c0, mask, lengths, dropout=None: x)
    assert (whole.state, whole.state_optional, whole.masks) == (True, False, "any")
    assert (whole.dropout, whole.gradients, whole.strided) == (True, True, False)
    assert (whole.pieces, whole.manner, whole.outputs) == (True, "called", {"y", "h", "c"})
    half = ability(lambda x, W, U, b, h0, c0=None, lengths=None: x, ("y", "h"))
    assert (half.state, half.state_optional, half.masks) == (True, False, "lengths")
    assert (half.dropout, half.pieces) == (False, False)
    nothing = ability(lambda x, W, U, b: x)
    assert (nothing.state, nothing.state_optional, nothing.masks) == (False, False, "none")
    assert not nothing.pieces
    assert ability(lambda x, W, U, b, h0=0, c0=0: x).state_optional
    assert ability(lambda x, W, U, b, state: x, ("y", "state")).pieces
    assert ability(lambda x, W, U, b, state: x, ("h", "c")).pieces
    default = Abilities()
    assert (default.state, default.state_optional, default.masks) == (True, False, "none")
    assert not any((default.dropout, default.gradients, default.strided, default.pieces))


def test_whoever_asks_for_cotangents_gives_gradients():
    for name in ("d_y", "dh", "grad_c", "d_state"):
        assert calling.takes_cotangents(signature(lambda *a: a, arguments=("x", *FUSED, name)))
    assert not calling.takes_cotangents(signature(lambda x, W, U, b, tape: x))


# --- what a function gives back -------------------------------------------------------------------


def outputs(value, **options):
    return answers.read_outputs("lstm", value, **({"single": True} | options))


@pytest.mark.parametrize(
    ("value", "named", "rest"),
    [
        (1, {"y": 1}, None),
        ((1, 2), {"y": 1, "h": 2}, None),
        ((1, [2, 3]), {"y": 1, "h": 2, "c": 3}, None),
        (((1, 2), 3, {"d_x": 4}), {"y": 1, "h": 2, "c": 3}, {"d_x": 4}),
        ({"c_n": 3, "output": 1}, {"y": 1, "c": 3}, None),
        ({"hT": 2, "hs": 1}, {"y": 1, "h": 2}, None),
        ({"Y": 1, "state": (2, 3), "d_x": 4}, {"y": 1, "h": 2, "c": 3}, {"d_x": 4}),
    ],
)
def test_outputs_are_read_in_every_nesting(value, named, rest):
    found, others = outputs(value)
    assert (list(found.items()), others) == (list(named.items()), rest)


def test_outputs_in_another_order_are_named():
    assert outputs((1, 2, 3), returns=("y", "c", "h")) == ({"y": 1, "h": 3, "c": 2}, None)
    assert outputs((1, 2, 3), returns=("_", "d_x", "y")) == ({"y": 3}, {"d_x": 2})
    both = outputs((1, {"d_x": 2}), returns=("y",))
    assert both == ({"y": 1}, {"d_x": 2})


def test_of_layers_put_together_output_and_state_are_taken_as_they_are():
    assert outputs((1, 2), single=False) == ({"y": 1, "state": 2}, None)
    assert outputs((1, 2, 3), single=False) == ({"y": 1, "state": 2}, 3)
    for value in ([1, 2], (1,), (1, 2, 3, 4)):
        with pytest.raises(BadSignature, match=r"expected \(y, state\)"):
            outputs(value, single=False)


@pytest.mark.parametrize(
    ("value", "returns", "said"),
    [
        (None, None, "returned None, expected y"),
        ((), None, "returned a tuple with None"),
        ((1, None), None, "returned a tuple with None"),
        ((1, 2, 3, 4), None, "returned 4 arrays, expected y, h_T, c_T at most"),
        ((1, 2), ("y",), r"returned 2 arrays, expected returns=\('y',\)"),
        ((1,), ("y", "h"), "returned 1 arrays, expected returns="),
        ({"q": 1}, None, "a dict of q, expected one with y, h or c"),
    ],
)
def test_answers_that_cannot_be_read_are_refused(value, returns, said):
    with pytest.raises(BadSignature, match=said):
        outputs(value, returns=returns)


def test_only_the_axis_of_one_layer_is_taken_off_a_final_state():
    one, two = np.ones((1, 2, 3)), np.ones((2, 2, 3))
    found = outputs((one, one, two))[0]
    assert [a.shape for a in found.values()] == [(1, 2, 3), (2, 3), (2, 2, 3)]
    flat = outputs((one, one[0], np.ones((1, 3))))[0]
    assert [a.shape for a in flat.values()] == [(1, 2, 3), (2, 3), (1, 3)]


@pytest.mark.parametrize(
    "found",
    [
        {"d_x": 1, "dW": 2, "grad_h0": 3, "d_c_0": 4},
        {"x": 1, "weights": {"W": 2}, "d_state": (3, 4)},
        {"inputs": 1, "W": 2, "state": State(3, 4), "d_U": None},
    ],
)
def test_gradients_are_read_by_every_name(found):
    tree = answers.read_gradients("lstm", found, ("W", "U"))
    assert tree == {"x": 1, "weights": {"W": 2}, "state": State(3, 4)}


def test_gradients_of_some_things_alone_are_read():
    read = answers.read_gradients
    assert read("lstm", {"d_x": 1}, ("W",)) == {"weights": {}, "x": 1}
    assert read("lstm", {"d_c0": 1}, ("W",))["state"] == State(None, 1)
    assert read("lstm", {"h": 1}, ("h",)) == {"weights": {"h": 1}}
    assert read("lstm", {"x": 1, "weights": 2}, ()) == {"x": 1, "weights": 2}
    one = np.ones((1, 2, 3))
    found = read("lstm", {"d_x": one, "d_h0": one, "d_c0": one, "d_W": one}, ("W",))
    shapes = [found["x"], *found["state"], found["weights"]["W"]]
    assert [a.shape for a in shapes] == [(1, 2, 3), (2, 3), (2, 3), (1, 2, 3)]
    with pytest.raises(BadSignature, match="a gradient called 'd_q', expected d_ and one of x, h0"):
        read("lstm", {"d_q": 1}, ("W",))
    with pytest.raises(BadSignature, match="a list, expected a dict by name"):
        read("lstm", [1], ("W",))
    with pytest.raises(BadSignature, match="a list, expected a dict of x"):
        read("lstm", [1], ())


# --- weights --------------------------------------------------------------------------------------


def drawn(spec, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in spec.param_shapes.items()}


def test_a_second_bias_holds_every_other_unit():
    layer = sized(2, 5)
    params = drawn(layer)
    arrays = weights.stored(LAYOUTS["torch"], layer, params)
    first, second = (np.split(arrays[name], 4) for name in ("bias_ih", "bias_hh"))
    for n, k in enumerate("ifgo"):
        b = params[f"b_{k}"]
        np.testing.assert_array_equal(first[n], [b[0], 0, b[2], 0, b[4]])
        np.testing.assert_array_equal(second[n], [0, b[1], 0, b[3], 0])
    back = from_layout("torch", layer, arrays)
    for name, a in params.items():
        np.testing.assert_array_equal(back[name], a)


def test_one_bias_and_none_stand_as_the_layout_has_them():
    for name, layer in (("keras", SPEC), ("torch", dataclasses.replace(SPEC, use_bias=False))):
        params = drawn(layer)
        back = from_layout(name, layer, weights.stored(LAYOUTS[name], layer, params))
        assert flatten(back).keys() == params.keys()
        for key, a in params.items():
            np.testing.assert_array_equal(back[key], a)


def test_gradients_are_those_of_the_arrays_that_were_given():
    row = LAYOUTS["torch"]
    arrays = weights.stored(row, SPEC, drawn(SPEC))
    arrays["bias_hh"] = arrays["bias_ih"] + 1
    found = weights.gradients(row, SPEC, arrays)
    expected = gradients_from_layout("torch", SPEC, arrays)
    assert set(found) == set(expected) | {f"b2_{k}" for k in "ifgo"}
    for name, a in expected.items():
        np.testing.assert_array_equal(found[name], a)
        if name[0] == "b":
            np.testing.assert_array_equal(found[name.replace("b_", "b2_")], a + 1)
    only = weights.gradients(row, SPEC, {"weight_ih": arrays["weight_ih"]})
    assert set(only) == {f"W_{k}" for k in "ifgo"}
    joined = weights.gradients(LAYOUTS["haiku"], SPEC, {"b": np.ones(12)})
    assert set(joined) == {f"b_{k}" for k in "ifgo"}
    without = dataclasses.replace(SPEC, use_bias=False)
    assert set(weights.gradients(row, without, weights.stored(row, without, drawn(without)))) == {
        f"{letter}_{k}" for letter in "WU" for k in "ifgo"
    }


def test_weights_of_layers_put_together_are_nested_like_them():
    row = weights.row_of("gates")
    params = Directions(drawn(SPEC), drawn(SPEC, 1))
    stored = weights.stored(row, PAIR, params)
    assert isinstance(stored, Directions)
    np.testing.assert_array_equal(stored.backward["U_g"], params.backward["U_g"])
    tower = Stack((Reverse(SPEC), Chunks(sized(3, 3), 2)))
    found = weights.gradients(row, tower, (drawn(SPEC), drawn(sized(3, 3))))
    np.testing.assert_array_equal(found[1]["W_o"], drawn(sized(3, 3))["W_o"])


def test_arrays_are_named_for_one_layer_in_either_direction():
    fused, gates = weights.row_of("fused"), weights.row_of("gates")
    for architecture in (SPEC, Reverse(SPEC), Chunks(SPEC, 2)):
        assert weights.array_names(fused, architecture) == ("W", "U", "b")
        assert weights.single(architecture) == SPEC
    assert weights.array_names(fused, PAIR) == ()
    assert weights.single(PAIR) is None
    names = weights.array_names(gates, ODD)
    assert {"W_i", "U_o", "b_g", "p_f", "V", "gain_W_i", "gain_U_o", "gain_c", "shift_c"} <= {
        *names
    }
    everything = weights.array_names(fused, ODD)
    assert {*everything} == {"W", "U", "b", "p_f", "p_o", "V", "gain_W", "gain_U", "gain_c",
                             "shift_c"}  # fmt: skip


def test_a_layout_is_a_name_or_a_row():
    assert weights.row_of("torch") is LAYOUTS["torch"]
    assert weights.row_of(LAYOUTS["onnx"]) is LAYOUTS["onnx"]
    with pytest.raises(TypeError, match="layout is of type int"):
        weights.row_of(3)
    with pytest.raises(ValueError, match="layout is 'nobody', expected one of fused, gates, keras"):
        weights.row_of("nobody")


# --- messages between processes -------------------------------------------------------------------


def sent(header, arrays):
    stream = io.BytesIO()
    messages.write(stream, header, arrays)
    stream.seek(0)
    return stream


def test_a_message_is_read_as_it_was_written_one_after_the_other():
    arrays = {"b/a": np.arange(3.0), "a": np.zeros((0, 2), np.float32)}
    stream = sent({"error": "ü"}, arrays)
    stream.seek(0, io.SEEK_END)
    messages.write(stream, {}, {})
    stream.seek(0)
    header, found = messages.read(stream)
    assert (header, list(found)) == ({"error": "ü"}, ["b/a", "a"])
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert messages.read(stream) == ({}, {})
    assert messages.read(stream) is None


def test_a_message_is_lengths_of_eight_bytes_and_parts_and_never_code():
    data = sent({"a": 1}, {}).getvalue()
    assert data[:8] == bytes([0] * 7 + [8])
    assert json.loads(data[8:16]) == {"a": 1}
    assert messages.read(io.BytesIO(data[:20])) is None
    objects = np.array([None])
    with pytest.raises(ValueError, match="allow_pickle"):
        messages.write(io.BytesIO(), {}, {"a": objects})
    body = io.BytesIO()
    np.savez(body, allow_pickle=True, **{"0": objects})
    parts = (b"{}", b'["a"]', body.getvalue())
    forged = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    with pytest.raises(ValueError, match="allow_pickle"):
        messages.read(io.BytesIO(forged))


def test_a_message_has_left_when_it_is_written():
    raw = io.BytesIO()
    buffered = io.BufferedWriter(raw, 1 << 20)
    messages.write(buffered, {"a": 1}, {})
    assert messages.read(io.BytesIO(raw.getvalue())) == ({"a": 1}, {})


@pytest.mark.parametrize("architecture", [SPEC, PAIR, NESTED, Stack((SPEC,))])
def test_architectures_and_results_come_through(architecture):
    described = json.loads(json.dumps(messages.architecture_as(architecture)))
    assert messages.architecture_of(described) == architecture
    case = matrix.draw(matrix.Recipe("sent", architecture, T=4), "float64")
    result = run_oracle(case)
    header, arrays = messages.read(sent(*messages.arrays_of(result)))
    got = messages.result_of(architecture, header, arrays)
    # Gradients of parameters are plain tuples there, which a caller nests like his own.
    assert flatten((got.y, got.d_x)).keys() == flatten((result.y, result.d_x)).keys()
    for ours, theirs in zip(got.blocks().values(), result.blocks().values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert type(got.state) is type(result.state)
    assert flatten(got.state).keys() == flatten(result.state).keys()


def test_what_a_result_has_not_stays_away():
    case = matrix.draw(matrix.Recipe("sent", SPEC), "float64")
    forward = dataclasses.replace(
        run_oracle(case), d_params=None, d_x=None, d_state=State(None, np.ones(2))
    )
    got = messages.result_of(SPEC, *messages.arrays_of(forward))
    assert (got.d_params, got.d_x, got.d_state.h) == (None, None, None)
    np.testing.assert_array_equal(got.d_state.c, np.ones(2))
    apart = Bidirectional(SPEC, SPEC, None)
    case = matrix.draw(matrix.Recipe("sent", apart), "float64")
    assert isinstance(
        messages.result_of(apart, *messages.arrays_of(run_oracle(case))).y, Directions
    )


# --- what identify found --------------------------------------------------------------------------


def identity(**changes):
    names = [f.name for f in dataclasses.fields(Identity)][1:-2]
    items = {name: Item(None, "could not be seen") for name in names}
    items |= {name: Item(value, "measured", 3) for name, value in changes.items()}
    return Identity(name="box", **items, calls=17, base=LAYOUTS["haiku"])


def test_the_layout_that_was_found_has_the_gates_and_the_forget_bias():
    found = identity(gate_order="iofg", forget_bias=2.0).layout
    assert (found.gates, found.forget_bias) == ("iofg", 2.0)
    assert found.blocks == LAYOUTS["haiku"].blocks
    unknown = identity().layout
    assert (unknown.gates, unknown.forget_bias) == ("igfo", 0.0)


def test_findings_print_themselves_one_to_a_line():
    found = identity(gate_order="iofg", hard_sigmoid_slope=1 / 6, clip_bound=0.5)
    lines = str(found).splitlines()
    assert lines[0] == "box, from 17 calls"
    assert len(lines) == 1 + len(found.items)
    assert lines[1] == "  gate order            iofg  measured"
    assert "  hard sigmoid slope    1/6   measured" in lines
    assert "  clip bound            0.5   measured" in lines
    assert "  direction             ?     could not be seen" in lines
    assert Item(1, "seen").calls == 0


def test_findings_are_json():
    read = json.loads(identity(bias="two").to_json())
    assert (read["name"], read["calls"]) == ("box", 17)
    assert read["items"]["bias"] == {"value": "two", "evidence": "measured", "calls": 3}
    assert "\n" in identity().to_json(indent=1)


# --- a verdict in words ---------------------------------------------------------------------------


def block(name, ratio=0.5, wrong_in=0):
    return BlockVerdict(name, ratio, 1e-3, 2e-4, 4e-4, "plain, float64", wrong_in, 5)


def verdict(*blocks, agrees=True, statuses=("agree",), **fields):
    reports = tuple(CaseReport("plain, float64", status, "float64") for status in statuses)
    named = {one.block: one for one in blocks}
    return Verdict("lstm", agrees, "float64", "called", named, reports, **fields)


def test_a_verdict_counts_the_cases_that_were_looked_at():
    right = verdict(statuses=("agree", "unsupported", "agree"), seconds=1.26)
    assert str(right).startswith("lstm agrees with the oracle in all 2 cases (1.3 s)\n  called")
    wrong = verdict(agrees=False, statuses=("agree", "disagree", "unsupported", "error"))
    assert str(wrong).startswith("lstm DISAGREES in 2 of 3 cases (0.0 s)\n  called")
    assert right.raise_if_wrong() is right
    with pytest.raises(AssertionError, match="DISAGREES"):
        wrong.raise_if_wrong()


def test_a_verdict_shows_the_worst_gate_of_each_letter():
    found = verdict(
        block("y", 0.25), block("state.h"), block("d_U_i", 1.0), block("d_U_f", 3.0, wrong_in=2),
        block("d_U_g", 2.0), block("d_x"), block("d_state.c"), block("d_i"), agrees=False,
        explanation="wrong\nhere", left_out=("masks", "the final c"), notes=("a note", "another"),
    )  # fmt: skip
    assert str(found).splitlines()[2:] == [
        "  wrong",
        "  here",
        "  block      error/tolerance     error  yardstick",
        "  y                     0.25   1.0e-03    2.0e-04",
        "  h_T                    0.5   1.0e-03    2.0e-04",
        "  d_U                      3   1.0e-03    2.0e-04  WRONG in 2 of 5, worst: plain, float64",
        "  d_x                    0.5   1.0e-03    2.0e-04",
        "  d_c_0                  0.5   1.0e-03    2.0e-04",
        "  d_i                    0.5   1.0e-03    2.0e-04",
        "  not looked at: masks, the final c",
        "  note: a note",
        "  note: another",
    ]
    assert [one.agrees for one in found.blocks.values()].count(False) == 1


def test_of_gates_that_are_equally_bad_the_first_is_shown():
    found = verdict(block("d_W_i", 2.0, wrong_in=1), block("d_W_f", 2.0, wrong_in=3), agrees=False)
    assert "WRONG in 1 of 5" in str(found)
    assert "WRONG in 3" not in str(found)


def test_of_many_blocks_the_worst_sixteen_are_shown():
    several = [block(f"d_{n}.forward.gain", float(n)) for n in range(18)]
    lines = str(verdict(*several)).splitlines()[3:]
    assert [line.split()[0] for line in lines[:-1]] == [
        f"d_{n}.forward.gain" for n in range(17, 1, -1)
    ]
    assert lines[-1] == "  and 2 blocks with smaller errors"
    assert lines[0] == "  d_17.forward.gain               17   1.0e-03    2.0e-04"
    sixteen = str(verdict(*several[:16])).splitlines()[3:]
    assert [line.split()[0] for line in sixteen] == [f"d_{n}.forward.gain" for n in range(16)]


def test_a_verdict_is_json_with_strings_for_what_is_not_finite():
    found = json.loads(verdict(block("y", float("inf")), notes=("n",)).to_json())
    assert found["blocks"]["y"]["ratio"] == "inf"
    assert found["blocks"]["y"]["error"] == 1e-3
    assert found["notes"] == ["n"]
    assert str(verdict()).count("\n") == 1


# --- a disagreement in words ----------------------------------------------------------------------


def pair(name, status, x=(2, 3, 2), blocks=(), **fields):
    defaults = {"state": State(1, 1), "mask": None, "dropout": None, "architecture": SPEC}
    rest = defaults | {"params": None, "d_y": None, "d_state": None} | fields
    x = fields.pop("array", np.ones(x))
    rest.pop("array", None)
    case = Case(name=f"{name}, float64", x=x, **rest)
    found = tuple(BlockError(b, 1.0, 1.0, 1.0, ratio) for b, ratio in blocks)
    return case, CaseReport(case.name, status, "float64", found, f"said of {name}")


HALF = np.array([[True, False, False]] * 2)
TRAITS = {
    "there is one step only (T = 1)": ({"x": (2, 1, 2)}, {}),
    "there is more than one step": ({"x": (2, 2, 2)}, {"x": (2, 1, 2)}),
    "there are more than 20 steps": ({"x": (2, 21, 2)}, {"x": (2, 20, 2)}),
    "there is one sequence only (B = 1)": ({"x": (1, 3, 2)}, {}),
    "there is more than one sequence (B > 1)": ({"x": (2, 3, 2)}, {"x": (1, 3, 2)}),
    "there is more than one hidden unit": (
        {"architecture": sized(2, 2)},
        {"architecture": Stack((SPEC, sized(3, 1)))},
    ),
    "there are more than four sequences": ({"x": (5, 3, 2)}, {"x": (4, 3, 2)}),
    "there is a mask": ({"mask": HALF | True}, {}),
    "masked steps hold NaN": ({"array": np.full((2, 3, 2), np.nan)}, {}),
    "a step is really masked": ({"mask": HALF}, {"mask": HALF | True}),
    "there is an initial state": ({}, {"state": None}),
    "there is no initial state": ({"state": None}, {}),
    "there is dropout": ({"dropout": 1}, {}),
    "x does not lie together in memory": ({"options": {"strided": True}}, {}),
    "the state is carried from piece to piece": ({"options": {"pieces": 2}}, {}),
}


@pytest.mark.parametrize("trait", TRAITS)
def test_what_all_wrong_cases_have_and_no_right_one_is_named(trait):
    wrong, right = TRAITS[trait]
    pairs = [pair("a", "disagree", **wrong), pair("b", "agree", **right)]
    assert explain(pairs, ()).splitlines()[0] == f"wrong exactly where {trait}"
    pairs.append(pair("c", "agree", **wrong))
    assert explain(pairs, ()).splitlines()[0] == "wrong in: a"


def test_up_to_four_wrong_cases_are_named():
    pairs = [pair(f"case {n}", "disagree") for n in range(5)]
    assert explain(pairs, ()).splitlines()[0] == "wrong in every case"
    pairs.append(pair("right", "agree"))
    assert explain(pairs[1:], ()).splitlines()[0] == "wrong in: case 1; case 2; case 3; case 4"
    first = explain(pairs, ()).splitlines()[0]
    assert first == "wrong in: case 0; case 1; case 2; case 3 and 1 more"


def test_the_smallest_wrong_case_speaks_and_one_that_broke_last():
    large = pair("large", "disagree", x=(4, 6, 2), blocks=[("d_x", 2.5), ("y", 1.0)])
    small = pair("small", "disagree", blocks=[("d_U_f", float("nan")), ("y", 0.5)])
    broken = pair("broken", "error", x=(1, 1, 2))
    said = explain([large, small, broken], ()).splitlines()
    assert said[1] == (
        "values agree, gradients do not; in 'small, float64' (B 2, T 3, I 2): said of small"
    )
    values = pair("values", "disagree", x=(1, 1, 2), blocks=[("y", 1.5), ("d_x", 2.0)])
    said = explain([large, values], ()).splitlines()[1]
    assert said == "in 'values, float64' (B 1, T 1, I 2): said of values"
    assert explain([broken], ()) == (
        "wrong in every case\nin 'broken, float64' (B 1, T 1, I 2): said of broken"
    )


def test_what_agrees_or_crashed_or_could_not_run_is_said_in_a_line():
    right, refused = pair("a", "agree"), pair("b", "unsupported")
    assert explain([right, refused], ()) == ""
    assert explain([refused], ()) == "no case could be run"
    assert explain([right], (), "it crashed") == "it crashed"


def bug(name, distance, fits=True):
    return Resemblance(name, f"What {name} is.", distance, 1.0, fits)


@pytest.mark.parametrize(
    ("nearest", "said"),
    [
        ((), "no bug of the zoo could be compared with this answer"),
        ((bug("a", 0.0),), "nearest bug of the zoo, with the same wrong answers: a: What a is."),
        ((bug("a", 0.01),), "nearest bug of the zoo, with nearly the same wrong answers: a: What"),
        (
            (bug("a", 0.005), bug("b", 0.005 + 9e-7), bug("c", 0.005, False), bug("d", 0.006)),
            "with the same wrong answers: a: What a is. (or b: the same in these cases)",
        ),
        (
            (bug("a", 0.0), bug("b", 1e-6), bug("c", 0.0)),
            "What a is. (or b or c: the same in these cases)",
        ),
        (
            (bug("a", 0.75, False),),
            "these answers; the closest, 'a' explains 25% of the difference",
        ),
        ((bug("a", 0.76, False),), "none of the zoo's bugs looks like these answers"),
        ((bug("a", 1.5, False),), "none of the zoo's bugs looks like these answers"),
    ],
)
def test_the_nearest_bug_is_told_with_how_near_it_is(nearest, said):
    last = explain([pair("a", "disagree")], nearest).splitlines()[-1]
    assert said in last
    assert ("(or" in last) == ("(or" in said)


# --- an adapter in place of a function ------------------------------------------------------------


class Adapter:
    """The oracle, with what it was asked."""

    def __init__(self):
        self.seen = []

    def unsupported(self, case):
        return "no masks" if case.mask is not None else ""

    def run(self, case):
        self.seen.append(case)
        return run_oracle(case)

    def versions(self):
        return {"numpy": "2", "other": "1"}


def test_an_adapter_is_asked_once_what_it_gives_and_cannot_be_asked_what_it_lacks():
    adapter = Adapter()
    subject = AdapterSubject(adapter, SPEC, {"dtype": None})
    found = subject.abilities()
    assert subject.abilities() is found
    assert (len(adapter.seen), adapter.seen[0].x.shape[1]) == (1, 3)
    assert (found.state, found.state_optional, found.masks, found.dropout) == (
        True, True, "any", True,
    )  # fmt: skip
    assert (found.outputs, found.gradients) == ({"y", "state"}, True)
    assert found.manner == "through its adapter in float64 (numpy 2, other 1)"
    assert (subject.name, subject.free_sizes, subject.dtype) == ("Adapter", False, "float64")
    case = dataclasses.replace(adapter.seen[0], options={"forward": True, "unroll": True})
    subject.run(case)
    assert adapter.seen[-1].options == {"unroll": True}
    with pytest.raises(Refused, match="no masks"):
        subject.run(dataclasses.replace(case, mask=np.ones(case.x.shape[:2], bool)))
    assert AdapterSubject(adapter, SPEC, {"dtype": "float32"}).dtype == "float32"
    forward = AdapterSubject(Adapter(), SPEC, {"dtype": None})
    forward.adapter.run = lambda case: Result(np.ones(1), None)
    only = forward.abilities()
    assert (only.outputs, only.gradients) == ({"y"}, False)


# --- whatever is handed over ----------------------------------------------------------------------

USUAL = {"layout": None, "time_major": False, "gradients": "auto", "dtype": None,
         "framework": None, "arguments": None, "returns": None}  # fmt: skip


def plain_function(x, h0, c0, W, U, b):
    """An LSTM that nobody calls."""


def test_a_function_an_adapter_and_a_subject_are_told_apart():
    plain = subjects.plain_subject(plain_function, None, USUAL)
    assert (plain.name, plain.architecture, plain.dtype) == (
        "plain_function", Spec(input_size=3, hidden_size=4), "float64",
    )  # fmt: skip
    assert plain.free_sizes
    other = subjects.plain_subject(plain_function, SPEC, USUAL | {"dtype": "float32"})
    assert (other.architecture, other.dtype, other.free_sizes) == (SPEC, "float32", False)
    assert subjects.plain_subject(plain, None, USUAL) is plain
    adapter = subjects.plain_subject(Adapter(), None, USUAL)
    assert (adapter.name, adapter.architecture) == ("Adapter", sized(3, 4))
    assert subjects.plain_subject(Adapter(), SPEC, USUAL).architecture == SPEC
    with pytest.raises(TypeError, match="fn is of type int, expected a callable"):
        subjects.plain_subject(7, None, USUAL)


def test_layers_of_frameworks_are_known_without_importing_any(monkeypatch):
    def lookalike(root, **fields):
        return type("Layer", (), {"__module__": f"{root}.somewhere", **fields})()

    taken = []
    for module, name in (
        ("torch_module", "TorchModuleSubject"),
        ("keras_layer", "KerasLayerSubject"),
    ):
        stand_in = SimpleNamespace(
            **{name: lambda fn, options, name=name: taken.append(name) or fn}
        )
        monkeypatch.setitem(sys.modules, f"{subjects.__package__}.{module}", stand_in)
    ready = subjects._ready_made
    torch, keras = lookalike("torch", proj_size=0), lookalike("keras", get_config=dict)
    assert ready(torch, None, {}) is torch
    assert ready(keras, None, {}) is keras
    assert taken == ["TorchModuleSubject", "KerasLayerSubject"]
    for stranger in (lookalike("torch"), lookalike("keras"), lookalike("other", proj_size=0),
                     lookalike("other", get_config=dict), Adapter.run):  # fmt: skip
        assert ready(stranger, None, {}) is None
    assert ready(SimpleNamespace(run=1), None, {}) is None


def test_a_name_leads_to_what_stands_in_a_module_or_a_file(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "neighbour.py").write_text("NUMBER = 4")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (tmp_path / "neighbour.py").write_text("NUMBER = 3")
    (tmp_path / "mine.py").write_text("import neighbour\nclass A:\n    n = neighbour.NUMBER\n")
    before = list(sys.path)
    assert subjects.load(f"{tmp_path}/mine.py:A.n") == 3
    assert sys.path == before
    assert subjects.load("json.decoder:JSONDecoder.decode") is json.JSONDecoder.decode
    for name, said in (
        ("json", "expected 'module:callable'"), (":loads", "Name both"), ("json:", "Name both"),
        ("json:loads.nothing", "'json' has no 'loads.nothing'"),
        ("nowhere.py:f", "expected one that exists"), (f"{tmp_path}/a.py:f", "expected one that"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said):
            subjects.load(name)
    assert (
        subjects.plain_subject(f"{__file__}:plain_function", None, USUAL).name == "plain_function"
    )
    for name in ("neighbour", "_lstm_oracle_file_mine", "_lstm_oracle_file_test_check_parts"):
        sys.modules.pop(name)


def test_a_file_that_breaks_leaves_the_path_as_it_was(tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0")
    before = list(sys.path)
    with pytest.raises(ZeroDivisionError):
        subjects.load(f"{tmp_path}/broken.py:f")
    assert sys.path == before


def test_an_isolated_function_is_not_imported_here():
    def subject(fn, isolate, **changes):
        return subjects.subject_of(
            fn, SPEC, isolate=isolate, time_limit=5.0, memory_limit=1 << 30, **(USUAL | changes)
        )

    far = subject("nowhere:f", True, dtype="float32")
    assert (type(far).__name__, far.name, far.dtype) == ("IsolatedSubject", "f", "float32")
    assert type(subject(plain_function, False)).__name__ == "FunctionSubject"
    with pytest.raises(ValueError, match="expected one of float64"):
        subject(plain_function, False, dtype="float128")
    with pytest.raises(ImportError):
        subject("nowhere:f", False)
