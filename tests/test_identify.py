"""The conventions of a black box are found from its answers alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lstm_oracle.conformance import check, identify
from lstm_oracle.reference.spec import Spec

ORDERS = ["".join(order) for order in itertools.permutations("ifgo")]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def hard(slope):
    return lambda z: np.clip(slope * z + 0.5, 0, 1)


def clip(a, bound):
    return a if bound is None else np.clip(a, -bound, bound)


def box(
    order="ifgo", forget_bias=0.0, gate=sigmoid, cell_clip=None, activation_clip=None,
    output_clip=None, masked="zero", empty="initial", backward="", bias_order=None, bias=1.0,
):  # fmt: skip
    """A black box with these conventions."""

    def split(z, order):
        return dict(zip(order, np.split(z, 4, axis=-1), strict=True))

    def lstm(x, h0, c0, W, U, b, mask=None):
        if backward:
            x = x[:, ::-1]
            mask = mask if mask is None else mask[:, ::-1]
        mask = np.ones(x.shape[:2], bool) if mask is None else mask
        r, c, y, ys = h0, c0, 0 * h0, []
        for t in range(x.shape[1]):
            z = split(x[:, t] @ W + r @ U, order)
            for k, part in split(bias * b, bias_order or order).items():
                z[k] = z[k] + part
            z["f"] = z["f"] + forget_bias
            z = {k: clip(a, activation_clip) for k, a in z.items()}
            new_c = clip(gate(z["f"]) * c + gate(z["i"]) * np.tanh(z["g"]), cell_clip)
            new_r = gate(z["o"]) * np.tanh(clip(new_c, output_clip))
            real = mask[:, t, None]
            r, c = np.where(real, new_r, r), np.where(real, new_c, c)
            y = np.where(real, new_r, y)
            ys.append({"zero": np.where(real, new_r, 0), "previous": y, "state": r}[masked])
        if empty == "zero":
            r, c = (a * mask.any(axis=1)[:, None] for a in (r, c))
        if backward == "original":
            ys.reverse()
        return np.stack(ys, axis=1), r, c

    return lstm


def values(found):
    return {name: item.value for name, item in found.items.items()}


@pytest.mark.parametrize("order", ORDERS[::5])
def test_the_order_of_the_gates_is_found(order):
    found = identify(box(order))
    assert {found.gate_order.value, found.recurrent_gate_order.value} == {order}
    assert found.bias_gate_order.value == order
    assert found.layout.gates == order


def test_all_conventions_of_a_strange_box_are_found_within_64_calls():
    strange = box(
        "ogif", 1.0, hard(0.2), masked="previous", empty="zero", backward="original",
        bias_order="ifog",
    )  # fmt: skip
    found = identify(strange)
    assert found.calls <= 64
    assert values(found) == {
        "gate_order": "ogif", "recurrent_gate_order": "ogif", "bias_gate_order": "ifog",
        "bias": "one", "forget_bias": 1.0, "direction": "backward, original order",
        "gate_activation": "hard_sigmoid_fifth", "hard_sigmoid_slope": 0.2,
        "masked_output": "previous", "before_first": "zero", "zero_length": "zero",
        "clip": "none", "clip_bound": "none", "peephole_order": "",
    }  # fmt: skip


@pytest.mark.parametrize("forget_bias", [-1.0, 0.25, 3.0])
def test_a_forget_bias_that_is_added_at_run_time_is_measured(forget_bias):
    assert identify(box(forget_bias=forget_bias)).forget_bias.value == forget_bias


def test_hard_sigmoids_are_told_apart():
    assert identify(box(gate=hard(1 / 6))).hard_sigmoid_slope.value == 1 / 6
    assert identify(box()).hard_sigmoid_slope.value == "none"


@pytest.mark.parametrize(
    ("options", "kind", "bound"),
    [
        ({"cell_clip": 3.0}, "cell", 3.0),
        ({"activation_clip": 1.5}, "activation", 1.5),
        ({"activation_clip": 1.0, "output_clip": 1.0}, "activation and output", 1.0),
        ({"cell_clip": 0.25}, "cell", 0.25),
        ({"activation_clip": 0.25}, "activation", 0.25),
        ({"activation_clip": 0.5, "output_clip": 0.5}, "activation and output", 0.5),
        ({"cell_clip": 0.5, "order": "ogfi"}, "cell", 0.5),
    ],
)
def test_the_kind_of_clip_and_its_bound_are_found(options, kind, bound):
    found = identify(box(**options))
    assert (found.clip.value, found.clip_bound.value) == (kind, bound)
    assert found.gate_order.value == options.get("order", "ifgo")


def test_the_order_of_outputs_of_a_reversed_layer_is_found():
    assert identify(box(backward="processing")).direction.value == "backward, processing order"


def test_outputs_before_the_first_real_step_are_told_apart():
    assert identify(box(masked="state")).before_first.value == "initial"
    assert identify(box(masked="previous")).before_first.value == "zero"


def test_a_bias_that_is_ignored_or_counted_twice_is_noticed():
    assert identify(box(bias=0.0)).bias.value == "ignored"
    assert identify(box(bias=2.0)).bias.value == "twice"


def test_of_two_biases_it_is_found_which_count():
    inner = box()

    def both(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return inner(x, h0, c0, weight_ih.T, weight_hh.T, bias_ih + bias_hh)

    def first(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return inner(x, h0, c0, weight_ih.T, weight_hh.T, bias_ih)

    assert identify(both, "torch").bias.value == "two"
    assert identify(first, "torch").bias.value == "first only"


def test_what_only_gives_y_and_takes_no_state_is_identified_too():
    inner = box("iofg", 1.0)

    def y_only(x, W, U, b):
        zero = np.zeros((len(x), U.shape[0]))
        return inner(x, zero, zero, W, U, b)[0]

    found = identify(y_only)
    assert (found.gate_order.value, found.forget_bias.value) == ("iofg", 1.0)
    assert found.zero_length.value is None


def test_what_is_no_lstm_gets_no_names():
    found = identify(lambda x, h0, c0, W, U, b: (np.tanh(x @ W[:, : h0.shape[1]]), h0, c0))
    assert found.gate_order.value is None
    assert "off by" in found.gate_order.evidence


@pytest.mark.parametrize("order", ["ifo", "iof", "fio", "foi", "oif", "ofi"])
def test_the_order_of_the_peepholes_is_found(order):
    """The first peephole that is handed over is that of the order's first gate, and so on."""
    spec = Spec(input_size=3, hidden_size=4, peepholes="ifo")

    def lstm(x, h0, c0, W, U, b, p_i, p_f, p_o):
        p = dict(zip(order, (p_i, p_f, p_o), strict=True))
        h, c, ys = h0, c0, []
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
            i, f = sigmoid(i + p["i"] * c), sigmoid(f + p["f"] * c)
            c = f * c + i * np.tanh(g)
            h = sigmoid(o + p["o"] * c) * np.tanh(c)
            ys.append(h)
        return np.stack(ys, axis=1), h, c

    found = identify(lstm, spec=spec)
    assert (found.gate_order.value, found.peephole_order.value) == ("ifgo", order)


def test_the_layout_that_was_found_passes_the_check():
    strange = box("ogif", 1.0)
    assert not check(strange, layout="fused", cases=["plain"]).agrees
    assert check(strange, layout=identify(strange).layout, cases=["plain"]).agrees


def test_torch_is_identified():
    torch = pytest.importorskip("torch")
    found = identify(torch.nn.LSTM(3, 4, dtype=torch.float64), "torch")
    assert (found.gate_order.value, found.bias.value, found.forget_bias.value) == ("ifgo", "two", 0)
    assert (found.masked_output.value, found.zero_length.value) == ("zero", "refused")


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="expected options out of"):
        identify(box(), Spec_=Spec)
