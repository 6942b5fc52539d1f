"""Every bug of the zoo as a stranger's function, and the layers in which it can show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from lstm_oracle.conformance import Verdict, check
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.zoo import Bug
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Reverse,
    Spec,
    Stack,
    State,
)

Run = Callable[[Case], Result]

PLAIN = Spec(input_size=3, hidden_size=4)


def _spec(**changes: Any) -> Spec:
    return dataclasses.replace(PLAIN, **changes)


_SIGMOIDS = ("i_activation", "f_activation", "o_activation")
_SIXTH: dict[str, Any] = dict.fromkeys(_SIGMOIDS, "hard_sigmoid_sixth")

# From the plainest on; None is a plain layer at several sizes.
LAYERS: tuple[Architecture | None, ...] = (
    None,
    _spec(masked_output="zero"),
    _spec(masked_output="state"),
    _spec(peepholes="ifo"),
    _spec(cell_clip=0.5, activation_clip=1.0, peepholes="ifo"),
    _spec(coupled=True),
    _spec(projection_size=2),
    _spec(**_SIXTH),
    _spec(i_activation="softsign", f_activation="hard_sigmoid_fifth", g_activation="relu"),
    _spec(i_activation="softplus", g_activation="leaky_relu", c_activation="silu"),
    Reverse(PLAIN),
    Reverse(PLAIN, "processing"),
    Bidirectional(_spec(masked_output="zero"), _spec(masked_output="zero")),
    Bidirectional(PLAIN, PLAIN, "mul"),
    Bidirectional(PLAIN, PLAIN, "ave"),
    Stack((PLAIN, _spec(input_size=4, hidden_size=2))),
    Chunks(PLAIN, 2, truncate=True),
    Chunks(PLAIN, 2),
    _spec(layer_norm=True),
    _spec(zoneout_h=0.25, zoneout_c=0.5),
)
_VARIANTS = {"layer-norm": LAYERS[-2], "zoneout": LAYERS[-1]}


def one_layer(run: Run) -> Callable[..., Any]:
    """A run of cases as a function of one layer with its gradients."""

    def lstm(
        x: Any,
        d_y: Any,
        d_h: Any,
        d_c: Any,
        spec: Any,
        h0: Any = None,
        c0: Any = None,
        mask: Any = None,
        dropout: Any = None,
        **weights: Any,
    ) -> Any:
        state = None if h0 is None else State(h0, c0)
        case = Case("asked", spec, weights, x, state, mask, dropout, d_y, State(d_h, d_c))
        result = run(case)
        found = {"d_x": result.d_x} | {f"d_{name}": a for name, a in result.d_params.items()}
        if result.d_state is not None:
            found |= {"d_h0": result.d_state.h, "d_c0": result.d_state.c}
        return result.y, result.state, found

    return lstm


def combined(run: Run) -> Callable[..., Any]:
    """The same of layers put together."""

    def lstm(
        x: Any, state: Any, d_y: Any, d_state: Any, spec: Any, weights: Any, mask: Any = None
    ) -> Any:
        result = run(Case("asked", spec, weights, x, state, mask, None, d_y, d_state))
        found = {"x": result.d_x, "state": result.d_state, "weights": result.d_params}
        return result.y, result.state, found

    return lstm


def verdict_on(run: Run, layer: Architecture | None) -> Verdict:
    """What `check` says of a run as a function of this layer."""
    single = layer is None or isinstance(layer, (Spec, Reverse, Chunks))
    return check((one_layer if single else combined)(run), layer, layout="gates")


def first_wrong(bug: Bug) -> Verdict | None:
    """The verdict in the first layer in which a bug shows; None if it shows in none.

    The variant that a bug's name speaks of comes first: a check of each layer takes seconds.
    """
    named = [layer for word, layer in _VARIANTS.items() if bug.id.startswith(word)]
    for layer in (*named, *LAYERS):
        verdict = verdict_on(bug.run, layer)
        if not verdict.agrees:
            return verdict
    return None


def named(bug: Bug, verdict: Verdict) -> bool:
    """Whether the bug is among those that fit best: the ones that cannot be told apart."""
    best = [one for one in verdict.nearest if one.fits]
    return any(one.id == bug.id and one.distance <= best[0].distance + 1e-6 for one in best)
