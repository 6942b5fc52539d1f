"""What the tests of the JAX room share: random problems, and both sides' answers to them."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lstm_oracle import reference
from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import (
    ACTIVATIONS,
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    param_shapes,
)
from tests.oracle_answer import oracle_answer


@pytest.fixture(autouse=True)
def x64():
    """float64, in these tests only."""
    with jax.enable_x64(True):
        yield


@dataclass
class Problem:
    """A layer, its numbers, and cotangents of all that it gives."""

    spec: Any
    params: Any
    x: np.ndarray
    state: Any
    mask: Any
    dropout: Any
    d_y: Any
    d_state: Any

    def map(self, function):
        """The same problem with its numbers, not its mask, changed."""
        names = ("params", "x", "state", "dropout", "d_y", "d_state")
        numbers = {name: jax.tree.map(function, getattr(self, name)) for name in names}
        return Problem(self.spec, mask=self.mask, **numbers)

    def cast(self, dtype):
        """The same problem in another dtype."""
        return self.map(lambda a: a.astype(dtype))


def random_problem(spec, seed=0, B=2, T=4, mask=None, dropout=None, weight_scale=1.0):
    """Distinct random numbers everywhere, initial state and cotangents included.

    `mask` and `dropout` are names of patterns; see `masks_of` and `dropout_of`.
    """
    rng = np.random.default_rng(seed)

    def draw(shape):
        return rng.normal(size=shape)

    def draw_all(tree):
        return jax.tree.map(draw, tree, is_leaf=is_shape)

    params = jax.tree.map(
        lambda shape: weight_scale * draw(shape) / np.sqrt(shape[0]),
        param_shapes(spec),
        is_leaf=is_shape,
    )
    state_shapes = reference.state_shapes(spec, B)
    return Problem(
        spec,
        params,
        draw((B, T, spec.input_size)),
        draw_all(state_shapes),
        None if mask is None else MASKS[mask](B, T, rng),
        None if dropout is None else dropout_of(spec, dropout, B, T, rng),
        draw_all(reference.output_shapes(spec, B, T)),
        draw_all(state_shapes),
    )


def is_shape(value):
    return type(value) is tuple and all(type(n) is int for n in value)


def _lengths_mask(B, T, rng):
    lengths = rng.integers(0, T + 1, size=B)
    lengths[0] = T // 2
    return np.arange(T) < lengths[:, None]


def _holes(B, T, rng):
    mask = rng.random((B, T)) < 0.5
    mask[0, 0], mask[0, -1] = False, True
    return mask


def _one_row_fully_masked(B, T, rng):
    mask = np.ones((B, T), bool)
    mask[-1] = False
    return mask


MASKS = {
    "right": _lengths_mask,
    "left": lambda B, T, rng: _lengths_mask(B, T, rng)[:, ::-1],
    "holes": _holes,
    "row": _one_row_fully_masked,
    "full": lambda B, T, rng: np.ones((B, T), bool),
    "empty": lambda B, T, rng: np.zeros((B, T), bool),
}


def dropout_of(spec, pattern, B, T, rng):
    """Multipliers of shape (B, N), (B, T, N), (B, 1, G, N) or (B, T, G, N), in every layer."""

    def multiplier(one, N):
        G = len(one.gates)
        shape = {
            "sequence": (B, N),
            "step": (B, T, N),
            "gate": (B, 1, G, N),
            "step and gate": (B, T, G, N),
        }[pattern]
        return (rng.random(shape) < 0.6) / 0.6

    def zoneout_mask(N):
        shape = (B, N) if pattern in ("sequence", "gate") else (B, T, N)
        return (rng.random(shape) < 0.5).astype(float)

    def draw(one):
        if isinstance(one, Spec):
            x, h = multiplier(one, one.input_size), multiplier(one, one.recurrent_size)
            zoned = (one.recurrent_size, one.hidden_size) if one.zoneout else ()
            return Dropout(x, h, *map(zoneout_mask, zoned))
        if isinstance(one, Bidirectional):
            return Directions(draw(one.forward), draw(one.backward))
        if isinstance(one, Stack):
            return tuple(draw(layer) for layer in one.layers)
        return draw(one.layer)

    return draw(spec)


def _outputs_and_gradients(params, x, state, mask, dropout, cotangents, *, spec, options):
    def run(params, x, state):
        return tuple(lstm(params, x, state, mask, spec=spec, dropout=dropout, **dict(options)))

    # Of the plain scan, unless a test says otherwise.
    options = {"implementation": "scan", **dict(options)}

    output, pull_back = jax.vjp(run, params, x, state)
    # The cell of a 16-bit layer has 32 bits, and so has its cotangent.
    cotangents = jax.tree.map(lambda d, out: jnp.asarray(d, out.dtype), cotangents, output)
    return output, pull_back(cotangents)


_compiled = jax.jit(_outputs_and_gradients, static_argnames=("spec", "options"))


def compiled_answer(problem, **options):
    """y, state and the gradients of <d_y, y> + <d_state, state>, by reverse mode, compiled."""
    (y, state), (d_params, d_x, d_state) = _compiled(
        problem.params,
        problem.x,
        problem.state,
        problem.mask,
        problem.dropout,
        (problem.d_y, problem.d_state),
        spec=problem.spec,
        options=tuple(sorted(options.items())),
    )
    return {"y": y, "state": state, "d_params": d_params, "d_x": d_x, "d_state": d_state}


def answer(problem, **options):
    """The same, operation by operation: many architectures without compiling each."""
    with jax.disable_jit():
        return compiled_answer(problem, **options)


def errors(got, expected):
    """Norm of the difference over norm of the expected, for every block by name.

    A block that ought to be zero has to be exactly zero.
    """
    got, expected = (dict(jax.tree.leaves_with_path(tree)) for tree in (got, expected))
    assert got.keys() == expected.keys()
    return {
        jax.tree_util.keystr(path): relative_error(got[path], expected[path]) for path in expected
    }


def relative_error(got, expected):
    got, expected = (np.asarray(a, np.float64) for a in (got, expected))
    assert got.shape == expected.shape
    difference, norm = np.linalg.norm(got - expected), np.linalg.norm(expected)
    return difference / norm if norm > 0 else np.inf * difference if difference else 0.0


@st.composite
def specs(draw, input_size=3):
    """Any layer. Sizes are fixed: they cost a compilation each, and other tests vary them."""
    coupled = draw(st.booleans())
    activation = st.sampled_from(ACTIVATIONS)
    return Spec(
        input_size=input_size,
        hidden_size=4,
        coupled=coupled,
        projection_size=draw(st.sampled_from([None, 4])),
        use_bias=draw(st.booleans()),
        peepholes="".join(draw(st.sets(st.sampled_from("fo" if coupled else "ifo")))),
        i_activation="sigmoid" if coupled else draw(activation),
        f_activation=draw(activation),
        g_activation=draw(activation),
        o_activation=draw(activation),
        c_activation=draw(activation),
        cell_clip=draw(st.sampled_from([None, 0.5])),
        activation_clip=draw(st.sampled_from([None, 1.0])),
        masked_output=draw(st.sampled_from(["previous", "zero", "state"])),
        layer_norm=draw(st.booleans()),
        # With a small one gradients of small layers are all cancellation: N does not see scale.
        layer_norm_epsilon=0.1,
        zoneout_h=draw(st.sampled_from([0.0, 0.2])),
    )


@pytest.fixture(scope="session")
def architectures():
    """Any architecture of at most two layers."""
    one = specs()
    return st.one_of(
        one,
        st.builds(Reverse, one, st.sampled_from(["original", "processing"])),
        st.builds(Bidirectional, one, one, st.sampled_from(["concat", "sum", "mul", "ave", None])),
        st.builds(lambda *layers: Stack(layers), one, specs(input_size=4)),
        st.builds(Chunks, one, st.just(2), st.booleans()),
    )


# A sixth of the profile's examples: each runs operation by operation, a third of a second.
few_examples = settings(
    max_examples=max(15, settings.default.max_examples // 6),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture(scope="session")
def room():
    """The helpers of this file: tests cannot import from a conftest."""
    return SimpleNamespace(
        random_problem=random_problem,
        answer=answer,
        compiled_answer=compiled_answer,
        oracle_answer=oracle_answer,
        errors=errors,
        relative_error=relative_error,
        dropout_of=dropout_of,
        few_examples=few_examples,
        MASKS=MASKS,
    )
