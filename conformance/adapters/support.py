"""What adapters have in common: looking into an architecture for what they lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lstm_oracle.conformance.case import Case
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Dropout,
    Reverse,
    Spec,
    Stack,
)

Array = np.ndarray


def parts(architecture: Architecture) -> tuple[Architecture, ...]:
    """The layers that an architecture combines; none for a Spec."""
    if isinstance(architecture, Bidirectional):
        return architecture.forward, architecture.backward
    if isinstance(architecture, Stack):
        return architecture.layers
    if isinstance(architecture, (Reverse, Chunks)):
        return (architecture.layer,)
    return ()


def specs(architecture: Architecture) -> Iterator[Spec]:
    """Every Spec in an architecture."""
    if isinstance(architecture, Spec):
        yield architecture
    for part in parts(architecture):
        yield from specs(part)


def lacking(spec: Spec) -> str:
    """The first variant of a Spec that a plain LSTM, as most frameworks have it, does not know."""
    variants = {
        "peepholes": spec.peepholes != "",
        "coupled gates": spec.coupled,
        "cell clip": spec.cell_clip is not None,
        "activation clip": spec.activation_clip is not None,
        "projection": spec.projection_size is not None,
        "layer normalization": spec.layer_norm,
        "zoneout": spec.zoneout,
    }
    return next((f"no {name}" for name, present in variants.items() if present), "")


def standard_activations(spec: Spec) -> bool:
    """Whether the gates are sigmoid, and candidate and cell tanh."""
    return all(getattr(spec, f"{k}_activation") == "sigmoid" for k in spec.gates if k != "g") and (
        spec.g_activation == spec.c_activation == "tanh"
    )


def unknown_options(case: Case, known: frozenset[str]) -> str:
    """The first option of a case that is not among the known ones."""
    return next((f"no option {name}" for name in case.options if name not in known), "")


def first(reasons: Any) -> str:
    """The first reason that is not empty."""
    return next((reason for reason in reasons if reason), "")


def per_step(dropout: Dropout | None) -> bool:
    """Whether dropout multipliers differ from step to step."""
    arrays = () if dropout is None else dropout
    return any(a is not None and a.ndim > 2 and a.shape[1] > 1 for a in arrays)


def by_gate(multiplier: Array, gates: int) -> list[Array]:
    """A multiplier of the whole sequence as one (B, N) per gate."""
    if multiplier.ndim == 2:
        return [multiplier] * gates
    whole = multiplier[:, 0]
    return [whole] * gates if whole.ndim == 2 else [whole[:, n] for n in range(gates)]


def key(case: Case) -> tuple[Any, ...]:
    """What a compiled program depends on: architecture, shapes, dtype and kind of inputs."""
    dropout = case.dropout
    dropped = None if dropout is None else tuple(None if a is None else a.shape for a in dropout)
    return (
        case.architecture,
        case.x.shape,
        case.dtype,
        case.state is None,
        case.mask is None,
        dropped,
        tuple(sorted(case.options.items())),
    )
