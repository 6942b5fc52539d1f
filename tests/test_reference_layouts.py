"""Rows of the table of layouts, written out by hand for one small layer."""

from __future__ import annotations

import numpy as np
import pytest

from lstm_oracle.reference.layouts import Block, Layout, from_layout, to_layout
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


def test_arrays_keep_their_dtype(params):
    single = {name: a.astype(np.float32) for name, a in params.items()}
    arrays = to_layout("torch", PROJECTED, single)
    assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
    back = from_layout("torch", PROJECTED, arrays)
    assert {a.dtype for a in back.values()} == {np.dtype(np.float32)}


def test_an_unknown_layout_is_refused_by_name(params):
    with pytest.raises(ValueError, match="layout is 'caffe', expected one of keras, torch"):
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
