"""Problems for the quantities of `reference.internals`, and how far two answers may differ.

The tolerance is measured, per quantity and problem: how far the oracle's own answer moves when
every number that goes in is moved by a few roundings. A quantity that this problem conditions badly
(a noise scale of gradients that cancel) is allowed more, and no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from lstm_oracle.reference import Spec, State, internals
from lstm_oracle.reference.tree import map_leaves
from tests.strategies import masks, normal

# One shape and few layers: a framework compiles a handful of programs, not one per example.
B, T, I, H = 3, 4, 2, 3
SPECS = (
    Spec(input_size=I, hidden_size=H),
    Spec(input_size=I, hidden_size=H, coupled=True, peepholes="fo", masked_output="zero"),
    Spec(
        input_size=I, hidden_size=H, projection_size=2, peepholes="ifo", cell_clip=1.0,
        activation_clip=2.0, masked_output="state",
    ),
    Spec(input_size=I, hidden_size=H, layer_norm=True, zoneout_h=0.2, zoneout_c=0.3),
)  # fmt: skip
ROUNDING = np.finfo(np.float64).eps
SAMPLES, ROUNDINGS, ALLOWED = 3, 8, 30


class Problem(NamedTuple):
    """Arguments of every `measure`."""

    spec: Spec
    params: dict[str, np.ndarray]
    x: np.ndarray
    state: State
    mask: np.ndarray | None
    d_y: np.ndarray
    d_state: State


@st.composite
def problems(draw) -> Problem:
    """A layer with random weights, from small to saturating, and a mask with a real step a row."""
    spec = draw(st.sampled_from(SPECS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    params = normal(rng, spec.param_shapes, draw(st.sampled_from([0.3, 1.0, 3.0])))
    mask = draw(st.none() | masks(B, T))
    if mask is not None:
        mask[:, draw(st.integers(0, T - 1))] = True
    R = spec.recurrent_size

    def state() -> State:
        return State(rng.standard_normal((B, R)), rng.standard_normal((B, H)))

    x, d_y = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, R))
    return Problem(spec, params, x, state(), mask, d_y, state())


def still() -> Problem:
    """A layer of zeros that no error reaches: units that never change, gradients that are zero."""
    params = {name: np.zeros(shape) for name, shape in SPECS[0].param_shapes.items()}
    zero = State(np.zeros((B, H)), np.zeros((B, H)))
    return Problem(SPECS[0], params, np.ones((B, T, I)), zero, None, np.zeros((B, T, H)), zero)


def limits(problem: Problem, ours: dict[str, np.ndarray]) -> dict[str, float]:
    """How far each quantity may be off: from the oracle on numbers that were rounded otherwise."""
    rng, moved = np.random.default_rng(0), dict.fromkeys(ours, 0.0)

    def rounded(a: Any) -> Any:
        return a * (1 + ROUNDINGS * ROUNDING * rng.uniform(-1, 1, a.shape))

    for _ in range(SAMPLES):
        spec, params, x, state, mask, d_y, d_state = problem
        params, x, state, d_y, d_state = map_leaves(rounded, (params, x, state, d_y, d_state))
        other = internals.measure(spec, params, x, state, mask, d_y, d_state)
        for name in ours:
            moved[name] = max(moved[name], distance(other[name], ours[name]))
    # An exact number, such as a norm of zeros, does not move: one rounding of the largest entry.
    return {name: ALLOWED * (moved[name] + ROUNDING * max(1.0, size(ours[name]))) for name in ours}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of two answers; NaN and infinities must stand at the same places."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if a.shape != b.shape or not np.isfinite(np.where(same, 0, a - b)).all():
        return float("inf")
    return float(np.abs(np.where(same, 0, a - b)).max(initial=0))


def size(a: np.ndarray) -> float:
    """Largest finite entry."""
    a = np.abs(np.asarray(a, float))
    return float(a[np.isfinite(a)].max(initial=0))


def disagreements(problem: Problem, theirs: dict[str, np.ndarray], but: str = "") -> dict[str, str]:
    """Every quantity, `but` one, that is off by more than rounding explains."""
    ours = internals.measure(*problem)
    allowed = limits(problem, ours)
    if set(ours) != set(theirs):
        return {"names": f"{sorted(set(ours) ^ set(theirs))} are on one side only"}
    found = {name: distance(theirs[name], ours[name]) for name in ours}
    return {
        name: f"off by {found[name]:.1e}, allowed {allowed[name]:.1e}"
        for name in ours
        if name != but and not found[name] <= allowed[name]
    }
