"""What adapters have in common: looking into an architecture for what they lack."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.conformance.case import Case
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Dropout,
    MergeMode,
    Reverse,
    Spec,
    Stack,
)
from lstm_oracle.reference.tree import flatten, replace

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


def shared_activations(spec: Spec, known: Collection[str]) -> str:
    """Why a layer with one activation for gates and one for candidate and cell cannot be this."""
    if len({getattr(spec, f"{k}_activation") for k in spec.gates if k != "g"}) > 1:
        return "one activation for all gates"
    if spec.g_activation != spec.c_activation:
        return "one activation for candidate and cell"
    if not {spec.o_activation, spec.g_activation} <= set(known):
        return "no such activation"
    return ""


def not_lengths(mask: Array | None) -> str:
    """Why a framework that takes the lengths of sequences cannot take this mask."""
    if mask is None:
        return ""
    from_the_left = np.arange(mask.shape[1]) < mask.sum(axis=1)[:, None]
    return "" if (mask == from_the_left).all() else "masks are lengths only"


class Row(NamedTuple):
    """One layer of a stack: one direction, or two and how they are merged."""

    directions: tuple[Spec, ...]
    merge: MergeMode = "concat"


def rows(architecture: Architecture) -> list[Row]:
    """The layers of a stack from below, for frameworks that take several at once."""
    if isinstance(architecture, Stack):
        return [row for layer in architecture.layers for row in rows(layer)]
    directions = tuple(specs(architecture))
    if isinstance(architecture, Bidirectional):
        return [Row(directions, architecture.merge)]
    return [Row(directions)]


def alike(below: Row, above: Row) -> bool:
    """Whether a framework that takes layers of one kind can take both at once."""

    def kind(row: Row) -> Any:
        return len(row.directions), dataclasses.replace(row.directions[0], input_size=1)

    return below.merge == "concat" and kind(below) == kind(above)


def groups(architecture: Architecture) -> list[list[Row]]:
    """The layers of a stack, those that are alike together."""
    found: list[list[Row]] = []
    for row in rows(architecture):
        if found and alike(found[-1][-1], row):
            found[-1].append(row)
        else:
            found.append([row])
    return found


def not_a_stack(architecture: Architecture) -> str:
    """Why an architecture is no stack of layers whose directions are alike."""
    if isinstance(architecture, (Reverse, Chunks)):
        return f"no {type(architecture).__name__}"
    if isinstance(architecture, Stack):
        return first(not_a_stack(layer) for layer in architecture.layers)
    if not all(isinstance(part, Spec) for part in parts(architecture)):
        return "no Bidirectional of combined layers"
    return "" if len(set(specs(architecture))) == 1 else "halves are alike"


def dictionaries(params: Any) -> list[dict[str, Any]]:
    """The parameters of every Spec, in order."""
    if isinstance(params, dict):
        return [params]
    return [found for part in params for found in dictionaries(part)]


def nested(params: Any, gradients: list[dict[str, Array]]) -> Any:
    """Gradients, one dictionary per Spec, in the nesting of the parameters."""
    found = [array for named in gradients for array in named.values()]
    return replace(params, dict(zip(flatten(params), found, strict=True)))


def unknown_options(case: Case, known: frozenset[str]) -> str:
    """The first option of a case that is not among the known ones."""
    return next((f"no option {name}" for name in case.options if name not in known), "")


def first(reasons: Any) -> str:
    """The first reason that is not empty."""
    return next((reason for reason in reasons if reason), "")


def per_step(dropout: Dropout | None) -> bool:
    """Whether dropout multipliers differ from step to step; zoneout masks always may."""
    arrays = () if dropout is None else dropout[:2]
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
