"""`lstm_oracle.jax_impl`, differentiated by `jax.vjp`."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.conformance.adapters.support import first, parts, specs, unknown_options
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.jax_impl import choose, lstm
from lstm_oracle.reference.spec import Architecture, Chunks, Spec
from lstm_oracle.reference.tree import map_leaves


@partial(jax.jit, static_argnames=("spec", "unroll", "implementation"))
def _value_and_gradients(
    params: Any, x: Any, state: Any, mask: Any, dropout: Any, d_y: Any, d_state: Any, *,
    spec: Architecture, unroll: int, implementation: str,
) -> Any:  # fmt: skip
    def forward(params: Any, x: Any, state: Any) -> Any:
        return tuple(
            lstm(
                params, x, state, mask, spec=spec, dropout=dropout, unroll=unroll,
                implementation=implementation,
            )
        )  # fmt: skip

    (y, final), pull_back = jax.vjp(forward, params, x, state)
    cotangents = jax.tree.map(lambda d, a: d.astype(a.dtype), (d_y, d_state), (y, final))
    return y, final, pull_back(cotangents)


class JaxImplementation:
    """Our pure functions, each layer by the named implementation, or "auto"."""

    def __init__(self, implementation: str) -> None:
        """Keep the name."""
        self.implementation = implementation

    def unsupported(self, case: Case) -> str:
        """What the implementation says it cannot do; options of other frameworks."""
        reasons = (self._reason(case, spec) for spec in specs(case.architecture))
        return unknown_options(case, frozenset(("unroll",))) or first(reasons)

    def _reason(self, case: Case, spec: Spec) -> str:
        B, T, _ = case.x.shape
        masks = [] if case.dropout is None else jax.tree.leaves(case.dropout)
        try:
            choose(
                spec,
                T,
                B,
                case.dtype,
                implementation=self.implementation,
                dropout=bool(masks),
                dropout_per_gate=any(mask.ndim == 4 for mask in masks),
                cut=_truncates(case.architecture),
            )
        except ValueError as cannot:
            return str(cannot).split("cannot do this case: ")[-1].split(". Pass ")[0]
        return ""

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
            implementation=self.implementation,
        )
        got = (y, final, d_params, d_x, d_state)
        return Result(*map_leaves(_to_numpy, got))

    def versions(self) -> dict[str, str]:
        """JAX's."""
        return {"jax": jax.__version__}


def scan() -> JaxImplementation:
    """The plain scan."""
    return JaxImplementation("scan")


def fused() -> JaxImplementation:
    """The fused recurrence."""
    return JaxImplementation("fused")


def native() -> JaxImplementation:
    """The native kernel."""
    return JaxImplementation("native")


def _truncates(architecture: Architecture) -> bool:
    own = isinstance(architecture, Chunks) and architecture.truncate
    return own or any(map(_truncates, parts(architecture)))


def _to_numpy(a: Any) -> np.ndarray:
    return np.asarray(a, np.float64 if a.dtype == jnp.float64 else np.float32)
