"""What goes on inside an LSTM on some data: gates, memory, and gradients through time.

The quantities of `lstm_oracle.reference.internals`, from a capture of one call of a layer. What
they mean is judged by `monitor` and the engine; how they look is drawn by `microscope`. Needs no
framework.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_oracle.reference import backward, forward
from lstm_oracle.reference.internals import EPSILON, Lags, by_lag, saturated, time_constants
from lstm_oracle.reference.passes import GradientTrace, Trace
from lstm_oracle.reference.spec import Reverse, Spec, Stack
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray

# In saturation a correct float32 implementation may be ten times worse than another.
_WORSE_THAN_ORACLE = 10.0
_ROUNDING = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float64": 2.0**-52}


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan over time as the oracle ran it; arrays (B, T, H) in the order of processing."""

    path: str
    spec: Spec
    trace: Trace
    gradient: GradientTrace  # of the loss as it is
    real: Array  # (B, T), False at masked steps
    flow: Lags

    def saturation(self) -> dict[str, float]:
        """Share of real steps and units at which i, f, o and the squashed c are saturated.

        As `lstm_oracle.reference.internals.saturated` has it.
        """
        return saturated(self.spec, self.trace, self.real)

    def time_constants(self) -> Array:
        """(H,) steps after which a unit has forgotten all but 1/e, from its mean log f."""
        return time_constants(self.trace.f, self.real)


@dataclass(frozen=True)
class Agreement:
    """The framework's own gradient of a layer's weights against the oracle's."""

    error: float  # norm of the difference over the norm, of the worst block
    limit: float  # what rounding explains: the oracle's own error in the same precision, ten times
    block: str

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference."""
        return self.error <= self.limit


@dataclass(frozen=True, eq=False)
class Exact:
    """The oracle's pass over one captured call, in float64."""

    tape: Any
    gradients: Any


def exact(capture: Any) -> Exact:
    """Run the oracle on a captured call; `look_inside` and `agreement` can share it."""
    return Exact(*_run(capture, np.float64))


def look_inside(capture: Any, run: Exact | None = None) -> list[Scan]:
    """Every scan of one captured call (several for stacked cells), with its gradients.

    Parameters
    ----------
    capture : lstm_oracle.keras_impl.probe.Capture
        What went into the call, and the gradient that reached its output.
    run
        The oracle's pass over it, where it has been made already.
    """
    run = run or exact(capture)
    tape, gradients = run.tape, run.gradients
    last = _last_only(capture)
    flowing = gradients if last is None else _backward(tape, *last)
    mask = capture.mask
    real = np.ones(capture.x.shape[:2], bool) if mask is None else mask
    real = real[:, ::-1] if isinstance(capture.architecture, Reverse) else real
    rows = zip(
        _specs(capture.architecture),
        _leaves(tape.trace()),
        _leaves(gradients.trace),
        _leaves(flowing.trace),
        _leaves(_double(capture.state, np.float64)),
        strict=True,
    )
    return [
        Scan(
            capture.layer_path + suffix, spec, trace, gradient, real,
            by_lag(trace, back, state.h, real),
        )
        for (suffix, spec), trace, gradient, back, state in rows
    ]  # fmt: skip


def agreement(capture: Any, run: Exact | None = None) -> Agreement:
    """Whether the framework's gradient of the weights is the oracle's, up to rounding.

    The limit is measured: the oracle run in float32 against itself in float64, on this very case.
    """
    ours = flatten((run or exact(capture)).gradients.params)
    rounded = flatten(_run(capture, np.float32)[1].params)
    theirs = flatten(capture.d_params)
    unit = _ROUNDING.get(capture.dtype, EPSILON) / EPSILON
    errors = {name: _distance(theirs[name], ours[name]) for name in ours}
    limits = {
        name: unit * _WORSE_THAN_ORACLE * max(_distance(rounded[name], ours[name]), EPSILON)
        for name in ours
    }
    worst = max(errors, key=lambda name: errors[name] / limits[name])
    return Agreement(errors[worst], limits[worst], worst)


def _distance(a: Array, b: Array) -> float:
    size = float(np.linalg.norm(b))
    difference = float(np.linalg.norm(a.astype(np.float64) - b))
    if not np.isfinite(difference):
        return float("inf")
    return difference / size if size else difference


# --- the oracle's passes --------------------------------------------------------------------------


def _run(capture: Any, dtype: Any) -> tuple[Any, Any]:
    params, state = _double(capture.params, dtype), _double(capture.state, dtype)
    x = capture.x.astype(dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # a run that explodes is looked at too
        _, tape = forward(capture.architecture, params, x, state, capture.mask)
    return tape, _backward(tape, capture.d_y, capture.d_final_state)


def _backward(tape: Any, d_y: Array, d_state: Any) -> Any:
    dtype = tape.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        return backward(tape, d_y.astype(dtype), _double(d_state, dtype), trace=True)


def _double(tree: Any, dtype: Any) -> Any:
    return map_leaves(lambda a: np.asarray(a, dtype), tree)


def _last_only(capture: Any) -> tuple[Array, Any] | None:
    """The cotangents with those of every step but each sequence's last one taken away.

    None where there is nothing to take away: the whole gradient then travels as one.
    """
    reached = np.abs(capture.d_y).max(axis=-1) > 0  # (B, T)
    has_state = any(np.any(d) for d in flatten(capture.d_final_state).values())
    if reached.sum(axis=1).max(initial=0) + has_state <= 1:
        return None
    last = reached.shape[1] - 1 - reached[:, ::-1].argmax(axis=1)
    kept = np.zeros_like(capture.d_y)
    rows = np.arange(len(kept))
    kept[rows, last] = capture.d_y[rows, last]
    return kept, None


def _specs(architecture: Any, suffix: str = "") -> Iterator[tuple[str, Spec]]:
    """Every scan's description, with what tells it apart from its neighbours."""
    if isinstance(architecture, Spec):
        yield suffix, architecture
    elif isinstance(architecture, Stack):
        for n, layer in enumerate(architecture.layers):
            yield from _specs(layer, f"{suffix}[{n}]")
    else:
        yield from _specs(architecture.layer, suffix)


def _leaves(tree: Any) -> list[Any]:
    """The traces (or states) of a nesting of them, in order."""
    if isinstance(tree, tuple) and not hasattr(tree, "_fields"):
        return [leaf for part in tree for leaf in _leaves(part)]
    return [tree]
