"""Hypothesis strategies: any architecture, and problems (parameters, x, state, masks, …) for it.

Shapes are small and drawn by Hypothesis, so that they shrink; the numbers come from a generator
seeded by a drawn integer, since the digits of a weight tell a reader nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from lstm_oracle.reference.passes import Gradients, Output
from lstm_oracle.reference.sequence import Tape, backward, forward
from lstm_oracle.reference.spec import (
    ACTIVATIONS,
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    param_shapes,
    state_shapes,
)
from lstm_oracle.reference.tree import flatten, map_leaves

GATE_ACTIVATIONS = tuple(f"{k}_activation" for k in "ifgoc")


@dataclass(frozen=True)
class Problem:
    """Everything that a forward and a backward pass are given."""

    architecture: Architecture
    params: Any
    x: np.ndarray
    state: Any
    mask: np.ndarray | None
    dropout: Any
    d_y: Any
    d_state: Any

    def forward(self) -> tuple[Output, Tape]:
        return forward(
            self.architecture, self.params, self.x, self.state, self.mask, dropout=self.dropout
        )

    def backward(self) -> Gradients:
        return backward(self.forward()[1], self.d_y, self.d_state)

    @property
    def differentiable(self) -> tuple[Any, np.ndarray, Any]:
        """What gradients are taken of, nested as the gradients are."""
        return self.params, self.x, self.state

    def output(self, differentiable: tuple[Any, np.ndarray, Any]) -> Output:
        """What the layer gives for other parameters, x and initial state."""
        params, x, state = differentiable
        return self.differ(params=params, x=x, state=state).forward()[0]

    def differ(self, **changes: Any) -> Problem:
        return replace(self, **changes)


def sizes(largest: int = 3) -> st.SearchStrategy[int]:
    return st.integers(1, largest)


@st.composite
def specs(draw, input_size: int | None = None, output_size: int | None = None) -> Spec:
    """A layer with any mixture of variants, of the widths asked for."""
    coupled = draw(st.booleans())
    projected = draw(st.booleans())
    width = output_size or draw(sizes())
    letters = "fo" if coupled else "ifo"
    activations = {
        name: draw(st.sampled_from(ACTIVATIONS))
        for name in draw(st.lists(st.sampled_from(GATE_ACTIVATIONS), unique=True, max_size=2))
        if not (coupled and name == "i_activation")
    }
    return Spec(
        input_size=input_size or draw(sizes()),
        hidden_size=draw(sizes()) if projected else width,
        projection_size=width if projected else None,
        use_bias=draw(st.booleans()),
        peepholes="".join(k for k in letters if draw(st.booleans())),
        coupled=coupled,
        cell_clip=draw(st.none() | st.sampled_from([0.3, 1.0])),
        activation_clip=draw(st.none() | st.sampled_from([0.4, 2.0])),
        masked_output=draw(st.sampled_from(["previous", "zero", "state"])),
        layer_norm=draw(st.booleans()),
        layer_norm_epsilon=draw(st.sampled_from([1e-5, 1e-2])),
        zoneout_h=draw(st.sampled_from([0.0, 0.1])),
        zoneout_c=draw(st.sampled_from([0.0, 0.6])),
        **activations,
    )


@st.composite
def architectures(
    draw,
    depth: int = 2,
    input_size: int | None = None,
    output_size: int | None = None,
    backwards: bool = True,
    truncate: bool = True,
    pair: bool = True,
) -> Architecture:
    """Layers inside layers, `depth` levels deep at most.

    `pair` allows merge=None at the top; `backwards` layers that need later steps first.
    """
    kinds = ["spec"]
    if depth:
        kinds += ["stack", "chunks"] + (["reverse", "bidirectional"] if backwards else [])
    kind = draw(st.sampled_from(kinds))
    inner = {"depth": depth - 1, "truncate": truncate}
    if kind == "spec":
        return draw(specs(input_size, output_size))
    if kind == "reverse":
        layer = draw(architectures(input_size=input_size, output_size=output_size, **inner))
        return Reverse(layer, draw(st.sampled_from(["original", "processing"])))
    if kind == "chunks":
        layer = draw(
            architectures(
                input_size=input_size, output_size=output_size, backwards=False, pair=False, **inner
            )
        )
        return Chunks(layer, draw(sizes()), draw(st.booleans()) if truncate else False)
    if kind == "stack":
        between = draw(sizes())
        inner |= {"backwards": backwards}
        below = draw(architectures(input_size=input_size, output_size=between, pair=False, **inner))
        above = draw(architectures(input_size=between, output_size=output_size, pair=pair, **inner))
        return Stack((below, above))
    return draw(bidirectional(inner, input_size, output_size, pair))


@st.composite
def bidirectional(draw, inner, input_size, output_size, pair) -> Bidirectional:
    """Two halves without pairs of their own; "concat" only where the width can be halved."""
    merges = ["sum", "mul", "ave"]
    if output_size is None or output_size > 1:
        merges.append("concat")
    if pair and output_size is None:
        merges.append(None)
    merge = draw(st.sampled_from(merges))
    I = input_size or draw(sizes())
    if merge in ("concat", None):
        widths = (None, None) if output_size is None else (1, output_size - 1)
    else:
        widths = (output_size or draw(sizes()),) * 2
    halves = [
        draw(architectures(input_size=I, output_size=width, pair=False, **inner))
        for width in widths
    ]
    return Bidirectional(*halves, merge)


def masks(B: int, T: int) -> st.SearchStrategy[np.ndarray]:
    """Any (B, T): full rows, right and left padding, holes, nothing at all."""
    rows = st.lists(st.booleans(), min_size=T, max_size=T)
    return st.lists(rows, min_size=B, max_size=B).map(lambda m: np.array(m, dtype=bool))


@st.composite
def multipliers(draw, rng, B: int, T: int, G: int, N: int) -> np.ndarray | None:
    """Dropout multipliers of one input: none, shared, per step, per step and gate."""
    shape = draw(st.sampled_from([None, (B, N), (B, 1, N), (B, T, N), (B, 1, G, N), (B, T, G, N)]))
    return None if shape is None else rng.choice([0.0, 1.0, 2.0], shape)


@st.composite
def zoneout_masks(draw, spec: Spec, rng, B: int, T: int, N: int) -> np.ndarray | None:
    """Zoneout masks of r or c: none, shared, per step."""
    shape = draw(st.sampled_from([None, (B, N), (B, 1, N), (B, T, N)])) if spec.zoneout else None
    return None if shape is None else rng.choice([0.0, 1.0], shape)


def dropouts(draw, architecture: Architecture, rng, B: int, T: int) -> Any:
    """Dropout multipliers nested like the architecture."""
    if isinstance(architecture, Spec):
        G, I, R = len(architecture.gates), architecture.input_size, architecture.recurrent_size
        H = architecture.hidden_size
        masks = [draw(zoneout_masks(architecture, rng, B, T, N)) for N in (R, H)]
        return Dropout(
            draw(multipliers(rng, B, T, G, I)), draw(multipliers(rng, B, T, G, R)), *masks
        )
    if isinstance(architecture, Stack):
        return tuple(dropouts(draw, layer, rng, B, T) for layer in architecture.layers)
    if isinstance(architecture, Bidirectional):
        halves = (architecture.forward, architecture.backward)
        return Directions(*(dropouts(draw, half, rng, B, T) for half in halves))
    return dropouts(draw, architecture.layer, rng, B, T)


def normal(rng: np.random.Generator, shapes: Any, scale: float = 1.0) -> Any:
    """Arrays of independent normal numbers, nested like the shapes."""
    if isinstance(shapes, dict):
        return {name: normal(rng, shape, scale) for name, shape in shapes.items()}
    if all(isinstance(n, int) for n in shapes):
        return scale * rng.standard_normal(shapes)
    parts = [normal(rng, part, scale) for part in shapes]
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def cotangents(rng: np.random.Generator, problem: Problem) -> Problem:
    """The problem with random d_y and d_state of the right shapes."""
    (y, state), _ = problem.forward()
    d_y, d_state = map_leaves(lambda a: rng.standard_normal(a.shape), (y, state))
    return problem.differ(d_y=d_y, d_state=d_state)


def moderate(problem: Problem) -> bool:
    """Whether no number explodes: a product of unbounded gates squares itself at every step."""
    output, tape = problem.forward()
    gradients = backward(tape, problem.d_y, problem.d_state)
    return all(np.abs(a).max() < 1e6 for a in flatten((output, gradients)).values())


@st.composite
def problems(
    draw, architecture=None, batch=None, max_steps: int = 5, masked: bool = False
) -> Problem:
    """An architecture with distinct random parameters, x, initial state, mask and cotangents."""
    if architecture is None:
        architecture = architectures()
    architecture = draw(architecture)
    B = draw(batch if batch is not None else sizes())
    T = draw(sizes(max_steps))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.3, 1.0, 3.0]))
    problem = Problem(
        architecture,
        normal(rng, param_shapes(architecture), scale),
        rng.standard_normal((B, T, architecture.input_size)),
        normal(rng, state_shapes(architecture, B)),
        draw(masks(B, T)) if masked or draw(st.booleans()) else None,
        dropouts(draw, architecture, rng, B, T) if draw(st.booleans()) else None,
        None,
        None,
    )
    with np.errstate(all="ignore"):
        problem = cotangents(rng, problem)
        assume(moderate(problem))
    return problem


def forwards(depth: int = 2) -> st.SearchStrategy[Architecture]:
    """Architectures that read forwards and give one array, so that they can be cut into pieces."""
    return architectures(depth, backwards=False, truncate=False, pair=False)
