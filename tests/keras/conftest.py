"""Tests that run on whichever backend Keras has been given; collected only where one is named.

`tests/test_keras_backends.py` runs this folder once per backend, in a process each, because a
backend cannot be changed within one. By hand: `KERAS_BACKEND=jax pytest tests/keras`.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

if "KERAS_BACKEND" not in os.environ:
    collect_ignore_glob = ["*"]
else:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's own, while it is imported
        import keras

        if keras.backend.backend() == "jax":
            import jax

            jax.config.update("jax_enable_x64", True)

        from lstm_oracle.keras_impl.backends import BACKEND

import numpy as np
import pytest

from lstm_oracle import reference
from lstm_oracle.reference.layouts import gradients_from_layout
from lstm_oracle.reference.spec import Dropout, State
from tests.oracle_answer import oracle_answer


def pytest_configure(config):
    for known in (
        # Keras on PyTorch with NumPy 2; Keras' own, when a test feeds it a generator.
        "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
        "ignore:`shuffle=True` was passed:UserWarning",
    ):
        config.addinivalue_line("filterwarnings", known)


@dataclass
class Problem:
    """A layer's description, its numbers, and cotangents of all that it gives."""

    spec: Any
    params: dict[str, np.ndarray]
    x: np.ndarray
    state: State
    d_y: np.ndarray
    d_state: State
    mask: np.ndarray | None = None
    dropout: Dropout = field(default_factory=Dropout)


def random_problem(spec, seed=0, B=3, T=5, mask=None, scale=1.0):
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.normal(size=shape)

    R, H = spec.recurrent_size, spec.hidden_size
    params = {
        name: scale * draw(*shape) / np.sqrt(shape[0]) for name, shape in spec.param_shapes.items()
    }
    return Problem(
        spec,
        params,
        draw(B, T, spec.input_size),
        State(draw(B, R), draw(B, H)),
        draw(B, T, R),
        State(draw(B, R), draw(B, H)),
        mask,
    )


def oracle_outputs(problem, architecture):
    """y alone, from the oracle."""
    output, _ = reference.forward(
        architecture, problem.params, problem.x, problem.state, problem.mask
    )
    return output.y


def keras_answer(problem, layer, training=False):
    """The same from a Keras layer that returns sequences and states, through the backend.

    Differentiated are values put in the variables' place, so that all backends go one way.
    """
    cell = layer.cell
    names = [variable.name for variable in cell.trainable_variables]
    dtype = layer.compute_dtype
    arrays = keras.tree.map_structure(
        lambda array: keras.ops.convert_to_tensor(array, dtype=dtype),
        {
            "weights": [keras.ops.convert_to_numpy(v) for v in cell.trainable_variables],
            "x": problem.x,
            "state": list(problem.state),
        },
    )
    cotangents = [
        keras.ops.convert_to_tensor(array, dtype=dtype) for array in (problem.d_y, *problem.d_state)
    ]

    def value(arrays):
        mapping = list(zip(cell.trainable_variables, arrays["weights"], strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            outputs = layer(
                arrays["x"], initial_state=arrays["state"], mask=problem.mask, training=training
            )
        products = [keras.ops.sum(a * b) for a, b in zip(outputs, cotangents, strict=True)]
        return products[0] + products[1] + products[2], outputs

    _, outputs, gradients = compiled(lambda arrays: BACKEND.differentiate(value, arrays))(arrays)
    y, *state = map(numpy, outputs)
    fused = dict(zip(names, map(numpy, gradients["weights"]), strict=True))
    return {
        "y": y,
        "state": State(*state),
        "d_params": gradients_from_layout("keras", problem.spec, fused),
        "d_x": numpy(gradients["x"]),
        "d_state": State(*map(numpy, gradients["state"])),
    }


def compiled(function):
    """As one program on JAX: compiling every operation by itself takes three times as long."""
    return jax.jit(function) if keras.backend.backend() == "jax" else function


def numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(tensor)))


def blocks(answer, prefix=""):
    """Every array of a nested answer, by name."""
    if isinstance(answer, np.ndarray):
        return {prefix: answer}
    items = answer.items() if isinstance(answer, dict) else answer._asdict().items()
    return {
        path: array
        for name, value in items
        for path, array in blocks(value, f"{prefix}/{name}").items()
    }


def assert_agree(got, expected, tolerance=1e-13):
    """Norm of the difference over norm of the block; a block that ought to be zero has to be."""
    got, expected = blocks(got), blocks(expected)
    assert got.keys() == expected.keys()
    for name, b in expected.items():
        a = got[name].astype(np.float64)
        assert a.shape == b.shape, name
        norm = np.linalg.norm(b)
        error = np.linalg.norm(a - b)
        assert error <= tolerance * norm, f"{name} is off by {error:.1e} of {norm:.1e}"


@pytest.fixture(scope="session")
def room():
    """The helpers of this file: tests cannot import from a conftest."""
    return SimpleNamespace(
        random_problem=random_problem,
        oracle_answer=oracle_answer,
        oracle_outputs=oracle_outputs,
        keras_answer=keras_answer,
        assert_agree=assert_agree,
        blocks=blocks,
        numpy=numpy,
    )
