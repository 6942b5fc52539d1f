"""`jax.experimental.rnn`: the reference in plain JAX, and cuDNN where there is a CUDA GPU.

Layers in a row that are alike are one call; the weights of a call are one vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

from lstm_oracle.conformance.adapters.jax_network import MERGE, to_numpy
from lstm_oracle.conformance.adapters.support import (
    Row,
    dictionaries,
    first,
    groups,
    key,
    lacking,
    nested,
    not_a_stack,
    not_lengths,
    specs,
    standard_activations,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_vector, to_vector
from lstm_oracle.reference.spec import Architecture, Spec
from lstm_oracle.reference.tree import flatten, map_leaves, replace

Call = Callable[..., Any]  # (x, h, c, weights, lengths, sizes of the layers…) to (y, h, c)


def _reference(
    x: Any, h: Any, c: Any, weights: Any, lengths: Any,
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool,
) -> Any:  # fmt: skip
    sizes = (input_size, hidden_size, num_layers)
    unpacked = rnn.unpack_lstm_weights(weights, *sizes, bidirectional)
    return rnn.lstm_ref(x, h, c, *unpacked, lengths, *sizes, 0.0, bidirectional)


def _cudnn(
    x: Any, h: Any, c: Any, weights: Any, lengths: Any,
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool,
) -> Any:  # fmt: skip
    return rnn.lstm(
        x, h, c, weights, lengths, input_size, hidden_size, num_layers, 0.0, bidirectional,
        jax.lax.Precision.HIGHEST,  # else float32 is computed in TF32
    )  # fmt: skip


class JaxRnn:
    """One of the two functions, differentiated by `jax.vjp`."""

    def __init__(self, call: Call, dtypes: tuple[str, ...]) -> None:
        """Take the function, and the dtypes that it has."""
        self._call, self._dtypes = call, dtypes
        self._compiled: dict[Any, Any] = {}

    def unsupported(self, case: Case) -> str:
        """What cuDNN's LSTM, as JAX offers it, does not have."""
        return first(
            [
                *(_lacks(spec, case.mask is not None) for spec in specs(case.architecture)),
                unknown_options(case, frozenset()),
                "" if case.dtype in self._dtypes else f"no {case.dtype}",
                "no masks on inputs and states" if case.dropout is not None else "",
                not_lengths(case.mask),
                not_a_stack(case.architecture),
            ]
        )

    def run(self, case: Case) -> Result:
        """The answer, compiled."""
        dtype = jnp.dtype(case.dtype)

        def put(tree: Any) -> Any:
            return map_leaves(lambda a: jnp.asarray(a, dtype), tree)

        kind = key(case)
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(case.architecture)
        B, T, _ = case.x.shape
        lengths = np.full(B, T) if case.mask is None else case.mask.sum(axis=1)
        by_group = _by_group(case.architecture, dictionaries(case.params))
        vectors = [put(to_vector("cudnn", own, params)) for own, params in by_group]
        state = [put(a) for a in flatten(case.state).values()]
        cotangents = [put(a) for a in flatten((case.d_y, case.d_state)).values()]
        y, finals, (d_vectors, d_x, d_states) = self._compiled[kind](
            vectors, put(case.x), state, jnp.asarray(lengths, jnp.int32), cotangents
        )
        gradients = [
            found
            for (own, _), vector in zip(by_group, d_vectors, strict=True)
            for found in gradients_from_vector("cudnn", own, to_numpy(vector))
        ]
        finals, d_states = ([to_numpy(a) for a in arrays] for arrays in (finals, d_states))
        return Result(
            map_leaves(to_numpy, y),
            replace(case.d_state, dict(zip(flatten(case.d_state), finals, strict=True))),
            nested(case.params, gradients),
            to_numpy(d_x),
            replace(case.state, dict(zip(flatten(case.state), d_states, strict=True))),
        )

    def _compile(self, architecture: Architecture) -> Any:
        @jax.jit
        def compiled(vectors: Any, x: Any, state: Any, lengths: Any, cotangents: Any) -> Any:
            def forward(vectors: Any, x: Any, state: Any) -> Any:
                y, finals = self._apply(groups(architecture), vectors, x, state, lengths)
                return [*flatten(y).values(), *finals], y

            outputs, pull_back, y = jax.vjp(forward, vectors, x, state, has_aux=True)
            finals = outputs[len(flatten(y)) :]
            return y, finals, pull_back(cotangents)

        return compiled

    def _apply(self, layers: Any, vectors: Any, x: Any, state: Any, lengths: Any) -> Any:
        """Output, and h and c of every layer and direction in order, as `state` is."""
        finals: list[Any] = []
        rest = state
        for group, vector in zip(layers, vectors, strict=True):
            spec, directions = group[0].directions[0], len(group[0].directions)
            count = directions * len(group)
            own, rest = rest[: 2 * count], rest[2 * count :]
            h, c = _stacked(own, (count, x.shape[0], spec.hidden_size), x.dtype)
            sizes = (spec.input_size, spec.hidden_size, len(group))
            x, h, c = self._call(x, h, c, vector, lengths, *sizes, directions == 2)
            finals += [a for pair in zip(h, c, strict=True) for a in pair]
            if directions == 2:
                x = MERGE[group[-1].merge](*jnp.split(x, 2, axis=-1))
        return x, finals

    def versions(self) -> dict[str, str]:
        """JAX's."""
        return {"jax": jax.__version__}


def reference() -> JaxRnn:
    """The adapter of `lstm_ref`."""
    return JaxRnn(_reference, ("float64", "float32", "bfloat16", "float16"))


def cudnn() -> JaxRnn:
    """The adapter of `lstm`.

    Raises
    ------
    RuntimeError
        Where JAX has no CUDA GPU.
    """
    if jax.default_backend() != "gpu":
        raise RuntimeError(
            f"JAX runs on {jax.default_backend()}, expected a GPU: cuDNN runs nowhere else. "
            "Install jax[cuda13] on a machine that has one."
        )
    return JaxRnn(_cudnn, ("float32",))


def _lacks(spec: Spec, masked: bool) -> str:
    without_bias = "" if spec.use_bias else "no layer without bias"
    activations = "" if standard_activations(spec) else "no choice of activations"
    emits = "emits zeros at masked steps" if masked and spec.masked_output != "zero" else ""
    return lacking(spec) or without_bias or activations or emits


def _by_group(
    architecture: Architecture, params: list[dict[str, Any]]
) -> list[tuple[list[Spec], list[dict[str, Any]]]]:
    """The Specs of each call, and their parameters."""
    found, rest = [], params
    for group in groups(architecture):
        own = _specs_of(group)
        found.append((own, rest[: len(own)]))
        rest = rest[len(own) :]
    return found


def _specs_of(group: list[Row]) -> list[Spec]:
    return [spec for row in group for spec in row.directions]


def _stacked(state: list[Any], shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """(layers and directions, B, H) of h and of c; zeros where there is no state."""
    if not state:
        return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)
    return jnp.stack(state[::2]), jnp.stack(state[1::2])
