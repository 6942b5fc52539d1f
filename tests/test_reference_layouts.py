"""Rows of the table of layouts, written out by hand for one small layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lstm_oracle.reference import forward
from lstm_oracle.reference.layouts import (
    LAYOUTS,
    Block,
    Layout,
    from_layout,
    from_vector,
    to_layout,
    to_vector,
)
from lstm_oracle.reference.spec import Spec
from tests.strategies import normal

SPEC = Spec(input_size=2, hidden_size=3)
PROJECTED = Spec(input_size=2, hidden_size=3, projection_size=1)


@pytest.fixture
def params():
    return normal(np.random.default_rng(0), PROJECTED.param_shapes)


def test_keras_arrays_stand_as_keras_documents_them(params):
    spec = Spec(input_size=2, hidden_size=3, projection_size=1, peepholes="fo")
    params |= normal(np.random.default_rng(1), {"p_f": (3,), "p_o": (3,)})
    arrays = to_layout("keras", spec, params)
    assert list(arrays) == [
        "kernel", "recurrent_kernel", "bias", "peephole_f", "peephole_o", "projection_kernel",
    ]  # fmt: skip
    for name, letter in (("kernel", "W"), ("recurrent_kernel", "U"), ("bias", "b")):
        expected = np.concatenate([params[f"{letter}_{k}"] for k in "ifgo"], axis=-1)
        np.testing.assert_array_equal(arrays[name], expected)
    np.testing.assert_array_equal(arrays["peephole_o"], params["p_o"])
    np.testing.assert_array_equal(arrays["projection_kernel"], params["V"])


def test_torch_arrays_stand_as_torch_documents_them(params):
    arrays = to_layout("torch", PROJECTED, params)
    assert {name: a.shape for name, a in arrays.items()} == {
        "weight_ih": (12, 2), "weight_hh": (12, 1), "bias_ih": (12,), "bias_hh": (12,),
        "weight_hr": (1, 3),
    }  # fmt: skip
    np.testing.assert_array_equal(arrays["weight_ih"][3:6], params["W_f"].T)
    np.testing.assert_array_equal(arrays["weight_hh"][6:9], params["U_g"].T)
    np.testing.assert_array_equal(arrays["bias_ih"][9:], params["b_o"])
    np.testing.assert_array_equal(arrays["weight_hr"], params["V"].T)
    assert not arrays["bias_hh"].any()


def test_tf1_arrays_stand_as_its_cells_have_them(params):
    spec = Spec(input_size=2, hidden_size=3, projection_size=1, peepholes="o")
    params |= normal(np.random.default_rng(1), {"p_o": (3,)})
    arrays = to_layout("tf1", spec, params)
    assert list(arrays) == [
        "kernel", "bias", "w_i_diag", "w_f_diag", "w_o_diag", "projection/kernel",
    ]  # fmt: skip
    kernel = np.block([[params[f"{letter}_{k}"] for k in "igfo"] for letter in "WU"])
    np.testing.assert_array_equal(arrays["kernel"], kernel)
    # forget_bias = 1 is added when the cell runs, and its peepholes are all there.
    b_f = params["b_f"] - 1
    bias = np.concatenate([params["b_i"], params["b_g"], b_f, params["b_o"]])
    np.testing.assert_array_equal(arrays["bias"], bias)
    assert not arrays["w_i_diag"].any()
    assert not arrays["w_f_diag"].any()
    np.testing.assert_array_equal(arrays["w_o_diag"], params["p_o"])


def test_equinox_arrays_stand_as_pytorchs(params):
    params = normal(np.random.default_rng(0), SPEC.param_shapes)
    ours, torchs = (to_layout(name, SPEC, params) for name in ("equinox", "torch"))
    for name, other in zip(ours, ("weight_ih", "weight_hh", "bias_ih"), strict=True):
        np.testing.assert_array_equal(ours[name], torchs[other])


def test_haiku_adds_one_to_the_forget_gate_when_it_runs(params):
    params = normal(np.random.default_rng(0), SPEC.param_shapes)
    arrays = to_layout("haiku", SPEC, params)
    assert {name: a.shape for name, a in arrays.items()} == {"w": (5, 12), "b": (12,)}
    np.testing.assert_array_equal(arrays["b"][6:9], params["b_f"] - 1)


def test_a_row_of_ones_own_concatenates_x_and_h_and_moves_the_forget_bias():
    haiku = Layout("igfo", (Block("w", ("W", "U")), Block("b", ("b",))), forget_bias=1.0)
    params = normal(np.random.default_rng(0), SPEC.param_shapes)
    arrays = to_layout(haiku, SPEC, params)
    assert arrays["w"].shape == (5, 12)
    np.testing.assert_array_equal(arrays["w"][2:, 3:6], params["U_g"])
    np.testing.assert_array_equal(arrays["b"][6:9], params["b_f"] - 1)
    back = from_layout(haiku, SPEC, arrays)
    np.testing.assert_array_equal(back["W_o"], params["W_o"])
    np.testing.assert_allclose(back["b_f"], params["b_f"], rtol=1e-15)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.fixture
def layer():
    """(params, x, state, output and final state) of a layer of four, two heads apart."""
    rng = np.random.default_rng(0)
    spec = Spec(input_size=3, hidden_size=4)
    params = normal(rng, spec.param_shapes)
    apart = np.kron(np.eye(2), np.ones((2, 2)))
    params |= {name: a * apart for name, a in params.items() if name.startswith("U")}
    x, h, c = (rng.standard_normal(shape) for shape in ((2, 5, 3), (2, 4), (2, 4)))
    output, _ = forward(spec, params, x, (h, c))
    return spec, params, x, (h, c), output


def test_haste_computes_the_layer_from_its_arrays(layer):
    """`haste_pytorch.LSTM`, whose gates lie i, g, f, o in (I, 4H), (H, 4H) and (4H,)."""
    spec, params, x, (h, c), expected = layer
    arrays = to_layout("haste", spec, params)
    ys = []
    for t in range(x.shape[1]):
        v = x[:, t] @ arrays["kernel"] + h @ arrays["recurrent_kernel"] + arrays["bias"]
        i, g, f, o = np.split(v, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    np.testing.assert_allclose(np.stack(ys, axis=1), expected.y, rtol=1e-13)
    np.testing.assert_allclose(c, expected.state.c, rtol=1e-13)


@pytest.mark.parametrize("N", [1, 2])
def test_flashrnn_computes_the_layer_from_its_arrays(layer, N):
    """`flashrnn.vanilla_fwbw`: Wx (B, T, 4, N, D), R (4, N, out, in), b (4, N, D); i, f, z, o."""
    spec, params, x, state, expected = layer
    arrays = to_layout(replace(LAYOUTS["flashrnn"], heads=N), spec, params)
    Wx = np.einsum("bti,gndi->btgnd", x, arrays["W"])
    h, c = (a.reshape(2, N, 4 // N) for a in state)
    ys = []
    for t in range(x.shape[1]):
        raw = Wx[:, t] + np.einsum("bni,gnoi->bgno", h, arrays["R"]) + arrays["b"]
        i, f, z, o = np.moveaxis(raw, 1, 0)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(z)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h.reshape(2, 4))
    np.testing.assert_allclose(np.stack(ys, axis=1), expected.y, rtol=1e-13)
    np.testing.assert_allclose(c.reshape(2, 4), expected.state.c, rtol=1e-13)


def test_two_heads_of_three_units_come_back_where_they_were():
    spec = Spec(input_size=2, hidden_size=6)
    params = normal(np.random.default_rng(0), spec.param_shapes)
    apart = np.kron(np.eye(2), np.ones((3, 3)))
    params |= {name: a * apart for name, a in params.items() if name.startswith("U")}
    row = replace(LAYOUTS["flashrnn"], heads=2)
    back = from_layout(row, spec, to_layout(row, spec, params))
    for name, array in params.items():
        np.testing.assert_array_equal(back[name], array)


def test_heads_cannot_store_what_connects_them(layer):
    spec, params, *_ = layer
    row = replace(LAYOUTS["flashrnn"], heads=2)
    params["U_g"][0, 3] = 1.0
    with pytest.raises(ValueError, match="U_g connect different heads, expected zeros outside"):
        to_layout(row, spec, params)
    with pytest.raises(ValueError, match="3 heads, expected a divisor of the hidden_size 4"):
        to_layout(replace(row, heads=3), spec, params)


def test_a_vector_holds_all_matrices_and_then_all_biases(params):
    first = normal(np.random.default_rng(2), SPEC.param_shapes)
    second = normal(np.random.default_rng(3), SPEC.param_shapes)
    vector = to_vector("cudnn", [SPEC, SPEC], [first, second])
    matrices = 4 * 3 * (2 + 3)
    np.testing.assert_array_equal(vector[:6], first["W_i"].T.ravel())
    np.testing.assert_array_equal(vector[matrices : matrices + 6], second["W_i"].T.ravel())
    np.testing.assert_array_equal(vector[2 * matrices : 2 * matrices + 3], first["b_i"])
    np.testing.assert_array_equal(
        vector[-24:-12], np.concatenate([second[f"b_{k}"] for k in "ifgo"])
    )
    assert not vector[-12:].any()
    np.testing.assert_array_equal(
        to_layout("cudnn", SPEC, first)["weights"], to_vector("cudnn", [SPEC], [first])
    )
    with pytest.raises(ValueError, match=r"shape \(168,\), expected \(84,\) for 1 layers"):
        from_vector("cudnn", [SPEC], vector)


def test_onnx_peepholes_stand_for_all_three_gates_and_its_biases_in_a_row(params):
    spec = Spec(input_size=2, hidden_size=3, peepholes="f")
    params = normal(np.random.default_rng(1), spec.param_shapes)
    arrays = to_layout("onnx", spec, params)
    np.testing.assert_array_equal(arrays["P"], np.concatenate([np.zeros(6), params["p_f"]]))
    np.testing.assert_array_equal(arrays["R"][3:6], params["U_o"].T)
    np.testing.assert_array_equal(arrays["B"][9:12], params["b_g"])
    assert arrays["B"].shape == (24,)
    assert not arrays["B"][12:].any()


def test_nnx_names_the_forget_gate_around_pythons_keyword(params):
    arrays = to_layout("flax_nnx", SPEC, normal(np.random.default_rng(1), SPEC.param_shapes))
    assert list(arrays) == [
        "ii/kernel", "if_/kernel", "ig/kernel", "io/kernel", "hi/kernel", "hf/kernel",
        "hg/kernel", "ho/kernel", "hi/bias", "hf/bias", "hg/bias", "ho/bias",
    ]  # fmt: skip


def test_arrays_keep_their_dtype(params):
    single = {name: a.astype(np.float32) for name, a in params.items()}
    arrays = to_layout("torch", PROJECTED, single)
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
    back = from_layout("torch", PROJECTED, arrays)
    assert {a.dtype for a in back.values()} == {np.dtype(np.float32)}


def test_an_unknown_layout_is_refused_by_name(params):
    with pytest.raises(ValueError, match="layout is 'caffe', expected one of keras, torch, cudnn"):
        to_layout("caffe", PROJECTED, params)


def test_a_parameter_that_a_framework_lacks_is_named():
    spec = Spec(input_size=2, hidden_size=3, peepholes="io")
    params = normal(np.random.default_rng(0), spec.param_shapes)
    with pytest.raises(ValueError, match="'torch' has no place for p_i, p_o, expected"):
        to_layout("torch", spec, params)


def test_a_forget_bias_added_at_run_time_needs_a_layer_with_bias():
    spec = Spec(input_size=2, hidden_size=3, use_bias=False)
    row = Layout("ifgo", (Block("w", ("W", "U")),), forget_bias=1.0)
    params = normal(np.random.default_rng(0), spec.param_shapes)
    with pytest.raises(
        ValueError, match=r"adds 1\.0 to z_f at run time, expected a layer with bias"
    ):
        to_layout(row, spec, params)


def test_arrays_of_another_shape_or_name_are_refused(params):
    arrays = to_layout("torch", PROJECTED, params)
    wrong = [
        arrays | {"weight_ih": arrays["weight_ih"].T},
        arrays | {"weight": arrays["weight_ih"]},
        {name: a for name, a in arrays.items() if name != "bias_hh"},
    ]
    for some in wrong:
        with pytest.raises(ValueError, match=r"torch arrays have shapes .* expected"):
            from_layout("torch", PROJECTED, some)


def test_parameters_of_another_shape_or_name_are_refused():
    params = normal(np.random.default_rng(0), SPEC.param_shapes)
    for wrong in (params | {"W_i": params["W_i"].T}, params | {"p_i": params["b_i"]}):
        with pytest.raises(ValueError, match=r"params have shapes .* expected .* Pass every array"):
            to_layout("torch", SPEC, wrong)
        with pytest.raises(ValueError, match=r"params have shapes"):
            to_vector("cudnn", [SPEC], [wrong])


def test_keras_arrays_of_a_normalized_layer_have_their_gains_and_shift():
    spec = Spec(input_size=2, hidden_size=3, layer_norm=True)
    params = normal(np.random.default_rng(0), spec.param_shapes)
    arrays = to_layout("keras", spec, params)
    assert list(arrays) == [
        "kernel", "recurrent_kernel", "bias", "kernel_gain", "recurrent_gain", "cell_gain",
        "cell_shift",
    ]  # fmt: skip
    np.testing.assert_array_equal(arrays["cell_gain"], params["gain_c"])
    np.testing.assert_array_equal(arrays["cell_shift"], params["shift_c"])
    np.testing.assert_array_equal(arrays["kernel_gain"][3:6], params["gain_W_f"])
    np.testing.assert_array_equal(arrays["recurrent_gain"][9:], params["gain_U_o"])
    for name, a in from_layout("keras", spec, arrays).items():
        np.testing.assert_array_equal(a, params[name])


def test_a_vector_has_no_place_for_what_its_layout_lacks():
    spec = Spec(input_size=2, hidden_size=3, peepholes="f")
    params = normal(np.random.default_rng(0), spec.param_shapes)
    with pytest.raises(ValueError, match="'cudnn' has no place for p_f"):
        to_vector(
            "cudnn", [SPEC, spec], [normal(np.random.default_rng(0), SPEC.param_shapes), params]
        )
