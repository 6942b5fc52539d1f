"""An architecture out of the layers of a library on JAX, differentiated by `jax.vjp`.

A library gives one layer in one direction (a row of `JaxLibrary`); layers in a row, both
directions and their merging are put together here, as a user of the library does.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.conformance.adapters.support import (
    dictionaries,
    first,
    key,
    nested,
    not_lengths,
    parts,
    specs,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    State,
)
from lstm_oracle.reference.tree import map_leaves

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "hard_sigmoid_sixth": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "linear": lambda z: z,
    "relu": jax.nn.relu,
    "leaky_relu": lambda z: jax.nn.leaky_relu(z, 0.2),
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "silu": jax.nn.silu,
}


class RunLayer(Protocol):
    """One layer in one direction: output in the order of time, and final state."""

    def __call__(
        self, spec: Spec, arrays: dict[str, Any], x: Any, state: Any, lengths: Any, *, reverse: bool
    ) -> tuple[Any, State]:
        """`state` and `lengths` may be None."""


@dataclass(frozen=True)
class JaxLibrary:
    """What is asked of a library."""

    distribution: str
    layout: str
    run: RunLayer
    lacks: Callable[[Spec], str]
    lengths: bool  # whether it takes the lengths of sequences; it then emits zeros at masked steps


class JaxNetwork:
    """The adapter of a library; one compiled function for all cases that can share it."""

    def __init__(self, library: JaxLibrary) -> None:
        """Take the library."""
        self.library = library
        self._compiled: dict[Any, Any] = {}

    def unsupported(self, case: Case) -> str:
        """What the library does not have."""
        return first(
            [
                *(self.library.lacks(spec) for spec in specs(case.architecture)),
                unknown_options(case, frozenset()),
                "no masks on inputs and states" if case.dropout is not None else "",
                self._mask_lacks(case),
                _nesting_lacks(case.architecture),
            ]
        )

    def _mask_lacks(self, case: Case) -> str:
        if case.mask is None:
            return ""
        if not self.library.lengths:
            return "no masks"
        if {spec.masked_output for spec in specs(case.architecture)} != {"zero"}:
            return "zeros at masked steps"
        return not_lengths(case.mask)

    def run(self, case: Case) -> Result:
        """The library's answer, compiled."""
        kind = key(case)
        if kind not in self._compiled:
            self._compiled[kind] = self._compile(case.architecture)
        dtype = jnp.dtype(case.dtype)

        def put(tree: Any) -> Any:
            return map_leaves(lambda a: jnp.asarray(a, dtype), tree)

        lengths = None if case.mask is None else jnp.asarray(case.mask.sum(axis=1), jnp.int32)
        pairs = zip(specs(case.architecture), dictionaries(case.params), strict=True)
        weights = tuple(put(to_layout(self.library.layout, spec, own)) for spec, own in pairs)
        y, final, (d_weights, d_x, d_state) = self._compiled[kind](
            weights, put(case.x), put(case.state), lengths, put((case.d_y, case.d_state))
        )
        y, final, d_x, d_state = map_leaves(to_numpy, (y, final, d_x, d_state))
        found = zip(specs(case.architecture), map_leaves(to_numpy, d_weights), strict=True)
        gradients = [gradients_from_layout(self.library.layout, spec, own) for spec, own in found]
        return Result(y, final, nested(case.params, gradients), d_x, d_state)

    def _compile(self, architecture: Architecture) -> Any:
        @jax.jit
        def compiled(weights: Any, x: Any, state: Any, lengths: Any, cotangents: Any) -> Any:
            def forward(weights: Any, x: Any, state: Any) -> Any:
                return self._apply(architecture, iter(weights), x, state, lengths)

            (y, final), pull_back = jax.vjp(forward, weights, x, state)
            return y, final, pull_back(cotangents)

        return compiled

    def _apply(
        self, architecture: Architecture, weights: Iterator[Any], x: Any, state: Any, lengths: Any
    ) -> tuple[Any, Any]:
        if isinstance(architecture, (Spec, Reverse)):
            return self._one(architecture, next(weights), x, state, lengths)
        if isinstance(architecture, Bidirectional):
            forward, backward = (None, None) if state is None else state
            left, right = architecture.forward, Reverse(architecture.backward)
            y_forward, end_forward = self._one(left, next(weights), x, forward, lengths)
            y_backward, end_backward = self._one(right, next(weights), x, backward, lengths)
            y = MERGE[architecture.merge](y_forward, y_backward)
            return y, Directions(end_forward, end_backward)
        finals: list[Any] = []
        for n, layer in enumerate(parts(architecture)):
            own = None if state is None else state[n]
            x, final = self._apply(layer, weights, x, own, lengths)
            finals.append(final)
        return x, tuple(finals)

    def _one(
        self, architecture: Any, arrays: Any, x: Any, state: Any, lengths: Any
    ) -> tuple[Any, State]:
        reverse = isinstance(architecture, Reverse)
        spec = architecture.layer if reverse else architecture
        y, final = self.library.run(spec, arrays, x, state, lengths, reverse=reverse)
        if reverse and architecture.output_order == "processing":
            y = jnp.flip(y, axis=1)
        return y, final

    def versions(self) -> dict[str, str]:
        """The library's, and JAX's."""
        names = dict.fromkeys((self.library.distribution, "jax"))
        return {name: importlib.metadata.version(name) for name in names}


def zeros(spec: Spec, x: Any) -> State:
    """The state that libraries without a default one start from."""
    shape = (x.shape[0], spec.hidden_size)
    return State(jnp.zeros(shape, x.dtype), jnp.zeros(shape, x.dtype))


def zeros_at_masked_steps(y: Any, lengths: Any) -> Any:
    """As users of a library that emits anything there write it."""
    if lengths is None:
        return y
    return jnp.where((jnp.arange(y.shape[1]) < lengths[:, None])[..., None], y, 0)


def _nesting_lacks(architecture: Architecture) -> str:
    if isinstance(architecture, Chunks):
        return "no Chunks"
    inner = parts(architecture)
    if isinstance(architecture, (Bidirectional, Reverse)):
        if not all(isinstance(part, Spec) for part in inner):
            return f"no {type(architecture).__name__} of combined layers"
        return ""
    return first(_nesting_lacks(part) for part in inner)


# Of both directions' outputs.
MERGE: dict[Any, Any] = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: Directions,
}


def to_numpy(a: Any) -> np.ndarray:
    """float64 as it is, everything else as float32."""
    return np.asarray(a, np.float64 if a.dtype == jnp.float64 else np.float32)
