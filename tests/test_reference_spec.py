"""A description that cannot be a layer is refused by name; one that can is put in order."""

from __future__ import annotations

import pytest

from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
    param_shapes,
    reads_backwards,
    state_shapes,
)


def spec(**options) -> Spec:
    return Spec(**{"input_size": 2, "hidden_size": 3} | options)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("input_size", 0, ValueError),
        ("hidden_size", 1.5, TypeError),
        ("hidden_size", True, TypeError),
        ("projection_size", 0, ValueError),
        ("use_bias", 2, ValueError),
        ("coupled", "yes", ValueError),
        ("layer_norm", None, ValueError),
        ("i_activation", "tan", ValueError),
        ("c_activation", None, ValueError),
        ("cell_clip", 0, ValueError),
        ("cell_clip", float("inf"), ValueError),
        ("cell_clip", True, TypeError),
        ("activation_clip", "1", TypeError),
        ("activation_clip", -1.0, ValueError),
        ("masked_output", "last", ValueError),
        ("layer_norm_epsilon", 0.0, ValueError),
        ("layer_norm_epsilon", float("inf"), ValueError),
        ("layer_norm_epsilon", True, TypeError),
        ("layer_norm_epsilon", None, TypeError),
        ("zoneout_h", 1.0, ValueError),
        ("zoneout_h", True, TypeError),
        ("zoneout_c", -0.1, ValueError),
        ("zoneout_c", None, TypeError),
        ("peepholes", "ig", ValueError),
        ("peepholes", 3, ValueError),
    ],
)
def test_what_is_refused_is_named_with_its_layer(option, value, error):
    with pytest.raises(error, match=rf"^Spec 'below': {option} is {value!r}"):
        spec(name="below", **{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("input_size", 1), ("projection_size", 1), ("cell_clip", 0.01), ("activation_clip", 1),
        ("layer_norm_epsilon", 1e-12), ("zoneout_h", 0), ("zoneout_c", 0.99), ("use_bias", False),
    ],
)  # fmt: skip
def test_what_lies_at_the_border_is_accepted(option, value):
    assert getattr(spec(**{option: value}), option) == value


def test_a_name_may_be_another_string_of_the_same_letters():
    assert spec(masked_output="".join(["ze", "ro"])).masked_output == "zero"


def test_peepholes_stand_in_the_order_of_the_gates():
    assert spec(peepholes="oi").peepholes == "io"
    assert spec(peepholes="of", coupled=True).peepholes == "fo"
    assert list(spec(peepholes="oif").param_shapes)[-3:] == ["p_i", "p_f", "p_o"]


@pytest.mark.parametrize("options", [{"peepholes": "i"}, {"i_activation": "tanh"}])
def test_a_coupled_layer_has_no_input_gate_of_its_own(options):
    with pytest.raises(ValueError, match="coupled"):
        spec(coupled=True, **options)


@pytest.mark.parametrize("rate", ["zoneout_h", "zoneout_c"])
def test_one_rate_is_zoneout(rate):
    assert spec(**{rate: 0.01}).zoneout
    assert not spec().zoneout


def test_orders_and_merges_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^Reverse: output_order is 'forward'"):
        Reverse(spec(), "forward")
    with pytest.raises(ValueError, match=r"^Bidirectional: merge is 'mean'"):
        Bidirectional(spec(), spec(), "mean")
    with pytest.raises(ValueError, match=r"^Chunks: length is 0"):
        Chunks(spec(), 0)


def test_layers_of_a_stack_become_a_tuple():
    stack = Stack([spec(), spec(input_size=3)])
    assert stack.layers == (spec(), spec(input_size=3))
    assert stack == Stack((spec(), spec(input_size=3)))
    assert len({stack, Stack(stack.layers)}) == 1


def test_sizes_are_those_of_what_is_read_and_what_is_emitted():
    narrow = spec(projection_size=1)
    pair = Bidirectional(spec(), narrow)
    for layer, read, emitted in [
        (narrow, 2, 1),
        (Reverse(narrow), 2, 1),
        (Chunks(narrow, 2), 2, 1),
        (pair, 2, 4),
        (Bidirectional(spec(), narrow, None), 2, 4),
        (Bidirectional(spec(), spec(), "sum"), 2, 3),
        (Stack((pair, spec(input_size=4, hidden_size=5))), 2, 5),
        (Stack((pair, spec(input_size=4), spec(input_size=3, hidden_size=6))), 2, 6),
        (Stack((narrow,)), 2, 1),
    ]:
        assert (layer.input_size, layer.output_size) == (read, emitted)


def test_shapes_are_nested_like_the_layers():
    narrow = spec(projection_size=1)
    architecture = Stack((Bidirectional(narrow, spec()), Chunks(spec(input_size=4), 2)))
    weights, states = param_shapes(architecture), state_shapes(architecture, 7)
    assert weights[0] == Directions(narrow.param_shapes, spec().param_shapes)
    assert weights[1] == spec(input_size=4).param_shapes
    assert states[0] == Directions(State((7, 1), (7, 3)), State((7, 3), (7, 3)))
    assert states[1] == State((7, 3), (7, 3))


def test_later_steps_are_needed_by_whatever_holds_a_layer_read_backwards():
    plain, flipped = spec(hidden_size=2), Reverse(spec(hidden_size=2))
    for layer in (plain, Chunks(plain, 2), Stack((plain, plain))):
        assert not reads_backwards(layer)
    for layer in (flipped, Bidirectional(plain, plain), Stack((plain, flipped))):
        assert reads_backwards(layer)
        with pytest.raises(ValueError, match=r"^Chunks: got a layer that reads backwards"):
            Chunks(layer, 2)
