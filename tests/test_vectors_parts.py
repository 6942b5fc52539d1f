"""Vectors are made of exact numbers, of bytes of the published format, and of names that lead back.

Each part by itself, on small examples; `test_vectors` holds the whole.
"""

from __future__ import annotations

import dataclasses
import decimal
import json
import struct

import mpmath
import numpy as np
import pytest

from lstm_oracle.conformance.case import Result, run_oracle
from lstm_oracle.conformance.vectors import names, safetensors
from lstm_oracle.conformance.vectors.cases import GROUPS, vectors
from lstm_oracle.conformance.vectors.digits import Digits, run_exactly
from lstm_oracle.reference.spec import Bidirectional, Chunks, Directions, Reverse, Spec, Stack
from lstm_oracle.reference.tree import flatten

# --- numbers --------------------------------------------------------------------------------------

OPERATIONS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "a ** 2": lambda a, b: a**2,
    "2 - a": lambda a, b: 2 - a,
    "2.5 / a": lambda a, b: 2.5 / a,
    "2.5 + a": lambda a, b: 2.5 + a,
    "3 * a": lambda a, b: 3 * a,
    "-a": lambda a, b: -a,
    "|-a|": lambda a, b: abs(-a),
}
FUNCTIONS = ("exp", "log", "sqrt", "tanh")


def exact(a: Digits) -> mpmath.mpf:
    return mpmath.mpf(str(a.value))


def assert_80_digits(got: Digits, true: mpmath.mpf) -> None:
    assert abs(exact(got) - true) <= mpmath.mpf(10) ** -78 * abs(true)
    assert len(got.value.as_tuple().digits) <= 80


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_arithmetic_has_80_digits(operation):
    with mpmath.workdps(120):
        assert_80_digits(operation(Digits(0.1), Digits(0.7)),
                         operation(mpmath.mpf(0.1), mpmath.mpf(0.7)))  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_80_digits(name):
    with mpmath.workdps(120):
        for z in (0.3, 2.7):
            assert_80_digits(getattr(Digits(z), name)(), getattr(mpmath, name)(mpmath.mpf(z)))


def test_a_float_is_taken_over_without_rounding_and_rounded_once():
    assert Digits(0.1).value == decimal.Decimal.from_float(0.1)
    assert float(Digits(1) / 3) == 1 / 3
    tenth = Digits(1) / 10
    assert tenth.value != Digits(0.1).value
    assert float(tenth) == 0.1
    assert Digits(Digits(0.1)).value == decimal.Decimal.from_float(0.1)


def test_comparisons_are_exact():
    one = Digits(1)
    more = one + Digits(1e-60)
    assert [one < more, one <= more, one > more, one >= more] == [True, True, False, False]
    assert [more < one, more <= one, more > one, more >= one] == [False, False, True, True]
    assert [one < 1, one <= 1, one > 1, one >= 1] == [False, True, False, True]


def test_the_largest_and_smallest_numbers_are_far_away():
    small = Digits(1e-300)
    for _ in range(6):
        small = small * small
    assert small.value > 0
    assert (small / small).value == 1
    assert ((1 / small) * small).value == 1


# --- files ----------------------------------------------------------------------------------------

ARRAYS = {
    "b": np.array([1.5, -2.0]),
    "a": np.array([[0.25]], np.float32),
    "half": np.array([1.0, 2.0, 3.0], np.float16),
    "mask": np.array([[1, 0, 1]], np.uint8),
    "c": np.array(7.0),
    "none": np.zeros((0, 3)),
}


def test_a_file_is_a_length_a_header_and_the_bytes_in_order():
    data = safetensors.write(ARRAYS, {"who": "us"})
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    header = json.loads(data[8 : 8 + length])
    assert list(header) == ["__metadata__", "b", "c", "none", "a", "half", "mask"]
    assert header["b"] == {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}
    assert header["a"] == {"dtype": "F32", "shape": [1, 1], "data_offsets": [24, 28]}
    assert header["half"] == {"dtype": "F16", "shape": [3], "data_offsets": [28, 34]}
    assert header["mask"] == {"dtype": "U8", "shape": [1, 3], "data_offsets": [34, 37]}
    assert data[8 + length :][:16] == struct.pack("<2d", 1.5, -2.0)
    assert len(data) == 8 + length + 37
    assert b"\n" not in data[:length]
    assert b" " not in data[8 : 8 + length].rstrip(b" ")


def test_what_is_written_is_read():
    arrays, dtypes, metadata = safetensors.read(safetensors.write(ARRAYS, {"who": "us"}))
    assert metadata == {"who": "us"}
    assert dtypes == {"b": "F64", "c": "F64", "none": "F64", "a": "F32", "half": "F16",
                      "mask": "U8"}  # fmt: skip
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].dtype.isnative
        np.testing.assert_array_equal(arrays[name], array)
    assert safetensors.read(safetensors.write({}))[0] == {}
    assert "__metadata__" not in json.loads(safetensors.write({})[8:])


def test_a_header_is_ascii_whatever_the_names():
    data = safetensors.write({"σ_f": np.ones(1)}, {"wer": "für alle"})
    assert data[8:-8].isascii()
    arrays, _, metadata = safetensors.read(data)
    assert (list(arrays), metadata) == (["σ_f"], {"wer": "für alle"})


def test_rows_are_written_whatever_the_order_in_memory():
    a = np.arange(6.0).reshape(2, 3)
    assert safetensors.write({"a": np.asfortranarray(a)}) == safetensors.write({"a": a})
    swapped = a.astype(">f8")
    assert safetensors.write({"a": swapped}) == safetensors.write({"a": a})


def file(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F64", shape=(1,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_bfloat16_is_the_upper_half_of_float32():
    bits = np.array([1.0, -2.5, 3.0e38], "<f4").view("<u4") >> 16
    arrays, dtypes, _ = safetensors.read(
        file({"a": entry("BF16", (3,), (0, 6))}, bits.astype("<u2").tobytes())
    )
    assert dtypes == {"a": "BF16"}
    assert arrays["a"].dtype == np.float32
    np.testing.assert_allclose(arrays["a"], [1.0, -2.5, 3.0e38], rtol=2**-7)


WRONG = {
    "no bytes": (b"", "got 0 bytes"),
    "seven bytes": (b"\0" * 7, "got 7 bytes"),
    "a header of one byte": (file(b"1"), "header of 1"),
    "a header beyond the end": (struct.pack("<Q", 9) + b"{}", "header of 9"),
    "no text": (file(b"\xff\xff"), "is not JSON"),
    "no object": (file([1]), "object of objects"),
    "no entries": (file({"a": 1}), "object of objects"),
    "no offsets": (file({"a": {"dtype": "F64", "shape": [1]}}, b"\0" * 8), "data_offsets None"),
    "three offsets": (file({"a": entry(offsets=(0, 8, 8))}, b"\0" * 8), "begin, end"),
    "a negative offset": (file({"a": entry(offsets=(-8, 0))}), "whole numbers"),
    "a true offset": (file({"a": entry(offsets=(False, 8))}, b"\0" * 8), "whole numbers"),
    "offsets backwards": (file({"a": entry(offsets=(8, 0))}, b"\0" * 8), "begin, end"),
    "a hole": (file({"a": entry(offsets=(8, 16))}, b"\0" * 16), r"expected \[0, …\]"),
    "beyond the end": (file({"a": entry()}, b"\0" * 7), "within 7 bytes"),
    "bytes of nobody": (file({"a": entry()}, b"\0" * 9), "1 bytes at the end"),
    "an unknown dtype": (file({"a": entry("F8")}, b"\0" * 8), "dtype 'F8'"),
    "no shape": (file({"a": entry() | {"shape": 1}}, b"\0" * 8), "shape 1"),
    "a fraction of a shape": (file({"a": entry(shape=(1.0,))}, b"\0" * 8), "whole numbers"),
    "another shape": (file({"a": entry(shape=(2,))}, b"\0" * 8), "expected those of F64"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_what_is_no_file_is_refused(data, said):
    with pytest.raises(ValueError, match=said):
        safetensors.read(data)


def test_a_header_longer_than_the_format_allows_is_not_even_read():
    length = 100_000_001
    with pytest.raises(ValueError, match=f"with a header of {length}"):
        safetensors.read(struct.pack("<Q", length) + bytes(length))


def test_an_empty_array_may_stand_anywhere():
    data = file({"b": entry(shape=(0,), offsets=(0, 0)), "a": entry()}, b"\0" * 8)
    assert safetensors.read(data)[0]["b"].shape == (0,)


# --- names ----------------------------------------------------------------------------------------

LAYER = Spec(input_size=2, hidden_size=3)
ODD = Spec(input_size=2, hidden_size=3, coupled=True, peepholes="o", projection_size=1,
           layer_norm=True)  # fmt: skip
PAIR = Bidirectional(LAYER, ODD)
NESTED = Stack((PAIR, Reverse(Chunks(Spec(input_size=4, hidden_size=2), 2))))


@pytest.fixture(scope="module")
def some():
    return [vector.case for group in GROUPS for vector in list(vectors((group,)))[:3]]


def assert_same(got, expected):
    a, b = flatten(got), flatten(expected)
    assert list(a) == list(b)
    for name, array in b.items():
        np.testing.assert_array_equal(a[name], array, err_msg=name)


def test_a_case_is_read_from_its_question_and_a_result_from_its_answer(some):
    for case in some:
        again = names.read_case(case.name, case.architecture, names.question(case))
        for field in ("params", "x", "state", "mask", "d_y", "d_state"):
            assert_same(getattr(again, field), getattr(case, field))
            assert type(getattr(again, field)) is type(getattr(case, field)), field
        assert flatten(again.dropout).keys() == flatten(case.dropout).keys()
        assert again.name == case.name
        result = run_oracle(case)
        arrays = names.answer(result)
        assert_same(names.read_result(case, arrays).blocks(), result.blocks())
        forward = Result(result.y, result.state)
        read = names.read_result(case, names.answer(forward))
        assert (read.d_params, read.d_x, read.d_state) == (None, None, None)
        assert_same(read.blocks(), forward.blocks())
        blocks = [name for array in arrays for name in names.blocks_of(array, case.architecture)]
        assert sorted(blocks) == sorted(result.blocks())


def test_gates_are_stacked_in_their_order_and_what_has_none_is_alone(some):
    case = next(case for case in some if isinstance(case.architecture, Spec))
    arrays = names.question(case)
    np.testing.assert_array_equal(
        arrays["W"], [case.params[f"W_{k}"] for k in case.architecture.gates]
    )
    assert names.blocks_of("d_W", ODD) == ("d_W_f", "d_W_g", "d_W_o")
    assert names.blocks_of("d_p", ODD) == ("d_p_o",)
    assert names.blocks_of("d_V", ODD) == ("d_V",)
    assert names.blocks_of("d_gain_U", ODD) == ("d_gain_U_f", "d_gain_U_g", "d_gain_U_o")
    assert names.blocks_of("d_gain_c", ODD) == ("d_gain_c",)
    assert names.blocks_of("0.backward.d_b", NESTED) == tuple(f"d_0.backward.b_{k}" for k in "fgo")
    assert names.blocks_of("1.c_T", NESTED) == ("state.1.c",)
    assert names.blocks_of("0.forward.d_h_0", NESTED) == ("d_state.0.forward.h",)
    assert names.blocks_of("forward.y", PAIR) == ("y.forward",)
    assert names.blocks_of("y", PAIR) == ("y",)
    assert names.blocks_of("d_x", PAIR) == ("d_x",)
    assert names.blocks_of("nothing", LAYER) == ()


@pytest.mark.parametrize("architecture", [LAYER, ODD, PAIR, NESTED, Stack((LAYER,))])
def test_an_architecture_is_read_from_its_description(architecture):
    described = json.loads(json.dumps(names.describe(architecture)))
    assert described["kind"] == type(architecture).__name__
    assert names.read_architecture(described) == architecture


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (None, "got 'None'"),
        ({}, "expected an architecture"),
        ({"kind": "GRU"}, "expected an architecture"),
        ({"kind": "Spec"}, "not a Spec"),
        ({"kind": "Spec", "input_size": 1, "hidden_size": 1, "width": 2}, "not a Spec"),
        ({"kind": "Stack", "layers": [3]}, "got '3'"),
    ],
)
def test_what_describes_no_layer_is_refused(described, said):
    with pytest.raises(ValueError, match=said):
        names.read_architecture(described)


def test_a_path_leads_to_its_layer():
    assert names.layer(NESTED, "0.forward.") == LAYER
    assert names.layer(NESTED, "0.backward.") == ODD
    assert names.layer(NESTED, "1.") == Spec(input_size=4, hidden_size=2)
    assert names.layer(LAYER, "") == LAYER


def test_what_is_missing_or_of_another_shape_is_refused_by_name(some):
    case = next(case for case in some if case.state is not None and case.mask is None)
    arrays, architecture = names.question(case), case.architecture
    for name, array in arrays.items():
        if name in ("h_0", "c_0"):
            continue
        rest = {key: a for key, a in arrays.items() if key != name}
        with pytest.raises(ValueError, match=rf"^no array {name!r}, expected one: has"):
            names.read_case("a", architecture, rest)
        with pytest.raises(ValueError, match="has shape"):
            names.read_case("a", architecture, arrays | {name: array[None]})
        longer = np.concatenate([array, array[:1]])
        with pytest.raises(ValueError, match="has shape"):
            names.read_case("a", architecture, arrays | {name: longer})
    result = names.answer(run_oracle(case))
    with pytest.raises(ValueError, match="no array 'd_c_0'"):
        names.read_result(case, {k: a for k, a in result.items() if k != "d_c_0"})
    with pytest.raises(ValueError, match="no array 'd_h_0'"):
        names.read_result(case, {k: a for k, a in result.items() if k[-2:] != "_0"})
    stateless = dataclasses.replace(case, state=None)
    without = {k: a for k, a in result.items() if k[-2:] != "_0"}
    assert names.read_result(stateless, without).d_state is None
    assert names.read_result(stateless, result).d_state is not None


def test_answers_in_digits_are_the_oracles_to_the_last_places(some):
    for case in some[::9]:
        got, expected = run_exactly(case).blocks(), run_oracle(case).blocks()
        assert list(got) == list(expected)
        for name, block in got.items():
            assert block.dtype == np.float64
            assert np.abs(block - expected[name]).max() <= 5e-14 * np.abs(block).max()


def test_directions_of_a_pair_are_directions_again():
    shapes = Directions((2, 3), (2, 1))
    nested = names._nested(shapes, lambda path, shape: (path, shape))
    assert nested == Directions(("forward", (2, 3)), ("backward", (2, 1)))
    assert type(nested) is Directions
    assert type(names._nested(((1,), (2,)), lambda path, shape: path)) is tuple
