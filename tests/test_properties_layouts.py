"""Layouts lose nothing: weights go to a framework's arrays and back, gradients the same way."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.layouts import (
    LAYOUTS,
    Block,
    Layout,
    from_layout,
    from_vector,
    gradients_from_layout,
    gradients_from_vector,
    to_layout,
    to_vector,
)
from lstm_oracle.reference.spec import Spec
from tests.compare import assert_close, assert_identical
from tests.strategies import normal, sizes, specs


@dataclass(frozen=True)
class Stored:
    """Weights of a layer in a framework's arrays."""

    layout: str | Layout
    spec: Spec
    params: dict[str, np.ndarray]
    rng: np.random.Generator

    @property
    def row(self) -> Layout:
        return self.layout if isinstance(self.layout, Layout) else LAYOUTS[self.layout]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return to_layout(self.layout, self.spec, self.params)


@st.composite
def rows(draw) -> Layout:
    """A row as somebody could make it: any order of gates, x and h concatenated, b added late."""
    per_gate = st.sampled_from(["", "_{k}"])
    blocks = draw(
        st.sampled_from(
            [
                [("kernel", ("W",)), ("recurrent", ("U",))],
                [("kernel", ("W", "U"))],
                [("kernel", ("U", "W"))],
            ]
        )
    )
    blocks += [
        *draw(st.sampled_from([[("bias", ("b",))], [("bias", ("b",)), ("second", ("b2",))]])),
        ("peephole", ("p",)),
    ]
    return Layout(
        gates="".join(draw(st.permutations("ifgo"))),
        blocks=(
            *(Block(name + draw(per_gate), parts) for name, parts in blocks),
            Block("projection", ("V",)),
        ),
        transposed=draw(st.booleans()),
        forget_bias=draw(st.sampled_from([0.0, 1.0])),
    )


def plain(**variants) -> st.SearchStrategy[Spec]:
    return st.builds(Spec, input_size=sizes(), hidden_size=sizes(), **variants)


TORCH = plain(projection_size=st.none() | sizes(), use_bias=st.booleans())
PEEPHOLES = st.sampled_from(["", "i", "fo", "ifo"])
HELD = {  # what a framework has a place for, where that is not everything
    "torch": TORCH,
    "onnx": plain(use_bias=st.booleans(), peepholes=PEEPHOLES),
    "tf1": plain(projection_size=st.none() | sizes(), peepholes=PEEPHOLES),
    "haiku": plain(),
    "keras": specs().filter(lambda spec: "gain_c" not in spec.param_shapes),
}


@st.composite
def stored(draw) -> Stored:
    layout = draw(st.sampled_from(sorted(LAYOUTS)) | rows())
    if isinstance(layout, Layout):
        spec = draw(HELD["keras"])
        layout = replace(layout, forget_bias=layout.forget_bias * spec.use_bias)
    else:
        spec = draw(HELD.get(layout, plain(use_bias=st.booleans())))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Stored(layout, spec, normal(rng, spec.param_shapes), rng)


@given(stored())
def test_weights_come_back_from_every_layout(weights: Stored):
    got = from_layout(weights.layout, weights.spec, weights.arrays)
    if weights.row.forget_bias:  # which is taken off and added
        assert_close(got, weights.params)
    else:
        assert_identical(got, weights.params)


@given(stored())
def test_every_number_is_stored_once_and_zeros_only_beside_them(weights: Stored):
    numbers = np.sort(np.concatenate([a.ravel() for a in weights.arrays.values()]))
    offset = weights.row.forget_bias
    expected = [(a - offset if name == "b_f" else a).ravel() for name, a in weights.params.items()]
    assert_identical(numbers[numbers != 0], np.sort(np.concatenate(expected)))


@given(stored())
def test_gradients_are_carried_back_by_the_adjoint(weights: Stored):
    layout, spec = weights.layout, weights.spec
    zero = to_layout(layout, spec, {name: np.zeros_like(a) for name, a in weights.params.items()})
    d_arrays = {name: weights.rng.standard_normal(a.shape) for name, a in zero.items()}
    d_params = gradients_from_layout(layout, spec, d_arrays)
    theirs = sum(np.vdot(d_arrays[name], a - zero[name]) for name, a in weights.arrays.items())
    ours = sum(np.vdot(d_params[name], a) for name, a in weights.params.items())
    assert abs(theirs - ours) <= 1e-12 * sum(np.abs(a).sum() for a in d_params.values())


@given(st.lists(plain(use_bias=st.booleans()), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_a_vector_of_several_layers_loses_nothing(several: list[Spec], seed: int):
    rng = np.random.default_rng(seed)
    params = [normal(rng, spec.param_shapes) for spec in several]
    vector = to_vector("cudnn", several, params)
    assert_identical(tuple(from_vector("cudnn", several, vector)), tuple(params))
    biases = [own[name].size for own in params for name in own if name.startswith("b_")]
    first_bias = len(vector) - 2 * sum(biases)  # of each layer the bias, then as many zeros
    matrices = [own[name] for own in params for name in own if name[0] in "WU"]
    expected = np.sort(np.concatenate([a.ravel() for a in matrices]))
    assert_identical(np.sort(vector[:first_bias]), expected)


@given(st.lists(plain(use_bias=st.booleans()), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_gradients_of_a_vector_are_carried_back_by_the_adjoint(several: list[Spec], seed: int):
    rng = np.random.default_rng(seed)
    params = [normal(rng, spec.param_shapes) for spec in several]
    vector = to_vector("cudnn", several, params)
    d_vector = rng.standard_normal(vector.shape)
    pairs = zip(gradients_from_vector("cudnn", several, d_vector), params, strict=True)
    ours = sum(np.vdot(d[name], own[name]) for d, own in pairs for name in own)
    assert abs(np.vdot(d_vector, vector) - ours) <= 1e-12 * np.abs(d_vector * vector).sum()


@given(sizes(), st.sampled_from([1, 2, 3]), sizes(), st.integers(0, 2**32 - 1))
def test_heads_keep_a_block_diagonal_layer(heads: int, width: int, inputs: int, seed: int):
    rng = np.random.default_rng(seed)
    spec = Spec(input_size=inputs, hidden_size=heads * width)
    params = normal(rng, spec.param_shapes)
    inside = np.kron(np.eye(heads), np.ones((width, width)))
    params |= {name: a * inside for name, a in params.items() if name.startswith("U")}
    row = replace(LAYOUTS["flashrnn"], heads=heads)
    arrays = to_layout(row, spec, params)
    assert arrays["R"].shape == (4, heads, width, width)
    assert_identical(from_layout(row, spec, arrays), params)


@given(TORCH.filter(lambda spec: spec.use_bias), st.integers(0, 2**32 - 1))
def test_a_second_bias_is_added_to_the_first(spec: Spec, seed: int):
    rng = np.random.default_rng(seed)
    params = normal(rng, spec.param_shapes)
    arrays = to_layout("torch", spec, params)
    second = rng.standard_normal(arrays["bias_hh"].shape)
    split = arrays | {"bias_ih": arrays["bias_ih"] - second, "bias_hh": second}
    assert_close(from_layout("torch", spec, split), params)
