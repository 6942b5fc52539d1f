"""Other libraries agree with the oracle wherever they have the layer, and say where they have not.

Each runs where it is installed: all of them in `make conformance`.
"""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

from lstm_oracle.conformance import compare, verify_implementations
from lstm_oracle.conformance.adapters import REGISTRY, load
from lstm_oracle.conformance.matrix import Recipe, build
from lstm_oracle.reference.spec import Bidirectional, Reverse, Spec, Stack

OTHERS = [name for name, row in REGISTRY.items() if not row.ours and not row.backend]


def plain(**changes):
    return Spec(**{"input_size": 3, "hidden_size": 4} | changes)


def zero(**changes):
    return plain(masked_output="zero", **changes)


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} not installed")


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_case_of_the_matrix_agrees_or_shows_a_known_defect(name):
    if REGISTRY[name].missing():
        pytest.skip(REGISTRY[name].missing())
    report = verify_implementations([name], "full", processes=1)[0]
    assert report.unavailable == ""
    wrong = {
        case.name: case.message
        for case in report.cases
        if case.status in ("disagree", "error") and not case.explanation
    }
    assert wrong == {}
    assert report.count("agree") >= 15


ALL_PEEPHOLES = plain(peepholes="ifo", activation_clip=1.0)
ONNX = {
    "reverse": Reverse(plain(peepholes="o")),
    "reverse in the order of processing": Reverse(plain(), "processing"),
    "bidirectional, peepholes": Bidirectional(plain(peepholes="ifo"), plain(peepholes="ifo")),
    "peepholes of one gate": plain(peepholes="f"),
    "clip": ALL_PEEPHOLES,
    "input_forget": plain(coupled=True),
    "input_forget, peepholes": plain(coupled=True, peepholes="fo"),
    "no bias": plain(use_bias=False),
    "hard sigmoid, softsign and relu": plain(
        i_activation="hard_sigmoid_fifth",
        f_activation="hard_sigmoid_fifth",
        o_activation="hard_sigmoid_fifth",
        g_activation="softsign",
        c_activation="relu",
    ),
    "affine and elu": plain(g_activation="linear", c_activation="elu"),
    "stack of both directions": Stack(
        (Bidirectional(plain(), plain()), plain(input_size=8, hidden_size=2))
    ),
}


def agrees(name, case):
    adapter = load(REGISTRY[name])
    assert adapter.unsupported(case) == ""
    report = compare(case, adapter.run(case))
    assert report.status == "agree", report.message


@needs("onnx", "onnxruntime")
@pytest.mark.parametrize("what", ONNX)
def test_onnxruntime_agrees_with_every_attribute(what):
    agrees("onnxruntime", build(Recipe(f"onnx, {what}", ONNX[what], weights=2), "float32"))


@needs("onnx", "onnxruntime")
@pytest.mark.parametrize("architecture", [zero(), Bidirectional(zero(), zero())])
def test_onnxruntime_agrees_with_lengths_of_sequences(architecture):
    agrees("onnxruntime", build(Recipe("onnx, lengths", architecture, 3, mask="right"), "float32"))


@needs("onnx")
@pytest.mark.parametrize("what", ["peepholes of one gate", "bidirectional, peepholes", "reverse"])
@pytest.mark.parametrize("layout", [0, 1])
def test_the_reference_of_onnx_agrees_in_both_layouts(what, layout):
    recipe = Recipe(f"onnx, {what}", ONNX[what], options={"layout": layout})
    agrees("onnx.reference", build(recipe, "float64"))


@needs("onnx")
@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (plain(projection_size=2), "no projection"),
        (plain(cell_clip=1.0), "no cell clip"),
        (plain(o_activation="tanh"), "one activation for all gates"),
        (plain(g_activation="selu"), "no such activation"),
    ],
)
def test_onnx_says_what_the_operator_lacks(spec, reason):
    case = build(Recipe(f"onnx, {reason}", spec), "float64")
    assert load(REGISTRY["onnx.reference"]).unsupported(case) == reason


TOWERS = {
    "three layers": Stack((plain(), plain(input_size=4), plain(input_size=4))),
    "two layers, both directions, lengths": Stack(
        (Bidirectional(zero(), zero()), Bidirectional(*2 * (zero(input_size=8),)))
    ),
    "layers of two kinds, the last not merged": Stack(
        (
            plain(),
            plain(input_size=4),
            Bidirectional(*2 * (plain(input_size=4, hidden_size=2),), None),
        )
    ),
}


def in_float32(name, what):
    mask = "right" if "lengths" in what else None
    return build(Recipe(f"{name}, {what}", TOWERS[what], 3, mask=mask), "float32")


@needs("torch")
@pytest.mark.parametrize("what", TOWERS)
def test_torch_agrees_with_several_layers_in_one_module(what):
    agrees("torch.nn.LSTM", in_float32("torch", what))


@needs("torch")
def test_torch_agrees_with_projected_layers_of_both_directions_and_lengths():
    lower, upper = zero(projection_size=2), zero(input_size=4, projection_size=2)
    tower = Stack((Bidirectional(lower, lower), Bidirectional(upper, upper)))
    agrees("torch.nn.LSTM", build(Recipe("torch, projected", tower, 3, mask="right"), "float32"))


@needs("jax")
@pytest.mark.parametrize("what", TOWERS)
def test_the_cudnn_vector_holds_several_layers(what):
    agrees("jax.experimental.rnn.lstm_ref", in_float32("cudnn", what))


@needs("torch")
def test_both_biases_of_torch_have_the_gradient_of_our_one():
    import torch

    case = build(Recipe("torch, biases", plain(), 3, 6), "float64")
    module = torch.nn.LSTM(3, 4, batch_first=True, dtype=torch.float64)
    y, _ = module(torch.tensor(case.x))
    (y * torch.tensor(case.d_y)).sum().backward()
    first, second = module.bias_ih_l0.grad, module.bias_hh_l0.grad
    # torch adds them up in different orders.
    assert float((first - second).norm()) <= 1e-14 * float(first.norm())


@needs("jax")
def test_both_biases_of_the_cudnn_vector_have_the_gradient_of_our_one():
    import jax
    import jax.numpy as jnp
    from jax.experimental import rnn

    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.standard_normal(rnn.get_num_params_in_lstm(3, 4, 1, False)))
    x, h, c, d_y = (
        jnp.asarray(rng.standard_normal(s)) for s in ((2, 5, 3), (1, 2, 4), (1, 2, 4), (2, 5, 4))
    )
    lengths = jnp.full(2, 5, jnp.int32)

    def loss(weights):
        unpacked = rnn.unpack_lstm_weights(weights, 3, 4, 1, False)
        y, _, _ = rnn.lstm_ref(x, h, c, *unpacked, lengths, 3, 4, 1, 0.0, False)
        return (y * d_y).sum()

    d_bias_ih, d_bias_hh = np.split(np.asarray(jax.grad(loss)(weights))[-32:], 2)
    assert d_bias_ih.any()
    np.testing.assert_array_equal(d_bias_ih, d_bias_hh)


def test_what_is_not_installed_is_named_as_pip_knows_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert REGISTRY["haiku.LSTM"].missing() == (
        "jax, dm-haiku not installed. Try pip install jax dm-haiku."
    )


def test_the_environment_of_make_conformance_is_pinned(repository):
    def pins(name):
        return (repository / name).read_text(encoding="ascii").splitlines()

    ours, theirs = pins("constraints.txt"), pins("constraints-conformance.txt")
    assert [line for line in theirs if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9.]+", line)] == []
    assert {line.split("==")[0].lower() for line in ours}.isdisjoint(
        line.split("==")[0].lower() for line in theirs
    )
    assert {"flax", "equinox", "dm-haiku", "onnx", "onnxruntime"} <= {
        line.split("==")[0] for line in theirs
    }
