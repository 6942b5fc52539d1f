"""Layouts lose nothing: weights go to a framework's arrays and back, gradients the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.layouts import (
    LAYOUTS,
    Block,
    Layout,
    from_layout,
    gradients_from_layout,
    to_layout,
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


TORCH = st.builds(
    Spec,
    input_size=sizes(),
    hidden_size=sizes(),
    projection_size=st.none() | sizes(),
    use_bias=st.booleans(),
)


@st.composite
def stored(draw) -> Stored:
    layout = draw(st.sampled_from(sorted(LAYOUTS)) | rows())
    spec = draw(TORCH if layout == "torch" else specs())
    if isinstance(layout, Layout) and not spec.use_bias:
        layout = Layout(layout.gates, layout.blocks, layout.transposed)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return Stored(layout, spec, normal(rng, spec.param_shapes), rng)


@given(stored())
def test_weights_come_back_from_every_layout(weights: Stored):
    got = from_layout(weights.layout, weights.spec, weights.arrays)
    if getattr(weights.layout, "forget_bias", 0):  # which is taken off and added
        assert_close(got, weights.params)
    else:
        assert_identical(got, weights.params)


@given(stored())
def test_every_number_is_stored_once_and_zeros_only_beside_them(weights: Stored):
    numbers = np.sort(np.concatenate([a.ravel() for a in weights.arrays.values()]))
    offset = getattr(weights.layout, "forget_bias", 0.0)
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


@given(TORCH.filter(lambda spec: spec.use_bias), st.integers(0, 2**32 - 1))
def test_a_second_bias_is_added_to_the_first(spec: Spec, seed: int):
    rng = np.random.default_rng(seed)
    params = normal(rng, spec.param_shapes)
    arrays = to_layout("torch", spec, params)
    second = rng.standard_normal(arrays["bias_hh"].shape)
    split = arrays | {"bias_ih": arrays["bias_ih"] - second, "bias_hh": second}
    assert_close(from_layout("torch", spec, split), params)
