"""`lstm_oracle.jax_impl`, differentiated by `jax.vjp`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.conformance.adapters.support import unknown_options
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.jax_impl import lstm
from lstm_oracle.reference.spec import Architecture
from lstm_oracle.reference.tree import map_leaves


@partial(jax.jit, static_argnames=("spec", "unroll"))
def _value_and_gradients(
    params: Any, x: Any, state: Any, mask: Any, dropout: Any, d_y: Any, d_state: Any, *,
    spec: Architecture, unroll: int,
) -> Any:  # fmt: skip
    def forward(params: Any, x: Any, state: Any) -> Any:
        return tuple(lstm(params, x, state, mask, spec=spec, dropout=dropout, unroll=unroll))

    (y, final), pull_back = jax.vjp(forward, params, x, state)
    cotangents = jax.tree.map(lambda d, a: d.astype(a.dtype), (d_y, d_state), (y, final))
    return y, final, pull_back(cotangents)


class JaxImplementation:
    """Our pure functions."""

    def unsupported(self, case: Case) -> str:
        """Everything is supported but options of other frameworks."""
        return unknown_options(case, frozenset(("unroll",)))

    def run(self, case: Case) -> Result:
        """The answer of `jax_impl.lstm`, compiled."""
        dtype = jnp.dtype(case.dtype)

        def put(tree: Any) -> Any:
            return map_leaves(lambda a: jnp.asarray(a, dtype), tree)

        y, final, (d_params, d_x, d_state) = _value_and_gradients(
            put(case.params),
            put(case.x),
            put(case.state),
            case.mask,
            put(case.dropout),
            put(case.d_y),
            put(case.d_state),
            spec=case.architecture,
            unroll=case.x.shape[1] if case.options.get("unroll") else 1,
        )
        got = (y, final, d_params, d_x, d_state)
        return Result(*map_leaves(_to_numpy, got))

    def versions(self) -> dict[str, str]:
        """JAX's."""
        return {"jax": jax.__version__}


def adapter() -> JaxImplementation:
    """The adapter."""
    return JaxImplementation()


def _to_numpy(a: Any) -> np.ndarray:
    return np.asarray(a, np.float64 if a.dtype == jnp.float64 else np.float32)
