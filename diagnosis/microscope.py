"""Look into the LSTMs of a model on some data: gates, memory, gradients through time.

Every number is the oracle's, from the layer's own weights, the input that really reaches it and
the gradient that really reaches its output; whether the framework's own gradient agrees is said.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis.findings import Evidence, Figure
from lstm_oracle.diagnosis.internals import (
    EPSILON,
    Agreement,
    Scan,
    agreement,
    exact,
    look_inside,
)
from lstm_oracle.keras_impl.probe import Unsupported, capture
from lstm_oracle.reference.internals import CLOSED, OPEN

SAMPLES = 64
OVERFLOW = math.log(float(np.finfo(np.float32).max))  # 88.7
_UNITS_DRAWN = 32
_GATES = {"i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o"}


@dataclass(frozen=True, eq=False)
class LayerView:
    """One scan of one call of one LSTM, seen from inside."""

    path: str
    call_index: int
    steps: int
    hidden_size: int
    scan: Scan | None  # None where `reason` says why the layer cannot be looked into
    agreement: Agreement | None
    evidence: tuple[Evidence, ...] = ()
    figures: tuple[Figure, ...] = ()
    reason: str = ""


def look(
    model: keras.Model,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    samples: int = SAMPLES,
    seed: int = 0,
) -> list[LayerView]:
    """The inside of every LSTM of a model: gates, gradients by lag, memory, agreement.

    Parameters
    ----------
    model : keras.Model
        Built; compiled with a loss where `y` is given. It comes out as it went in.
    x, y, sample_weight
        As for `model.fit`. Without `y`, random cotangents take the place of the loss.
    samples : int
        How many sequences are looked at: the first ones.
    seed : int
        Of the random cotangents.

    Returns
    -------
    list of LayerView
        By layer, call, and cell of a stack; one with a `reason` where a layer is no LSTM.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, name="encoder")])
    >>> [view] = look(model, np.random.default_rng(0).normal(size=(8, 5, 3)))
    >>> view.scan.trace.f.shape, view.agreement.agrees, [f.kind for f in view.figures]
    ((8, 5, 4), True, ['heatmap', 'histogram', 'curves'])
    """
    batch = [_first(data, samples) for data in (x, y, sample_weight)]
    return [view for found in capture(model, *batch, seed=seed) for view in _views(found)]


def _first(data: Any, samples: int) -> Any:
    if data is None:
        return None
    return keras.tree.map_structure(lambda a: a[:samples], data)


def _views(found: Any) -> list[LayerView]:
    if isinstance(found, Unsupported):
        return [LayerView(found.layer_path, 0, 0, 0, None, None, reason=found.reason)]
    run = exact(found)
    agreed = agreement(found, run)
    return [
        LayerView(
            scan.path, found.call_index, found.x.shape[1], scan.spec.hidden_size, scan, agreed,
            _evidence(scan, agreed), figures(scan),
        )
        for scan in look_inside(found, run)
    ]  # fmt: skip


# --- numbers --------------------------------------------------------------------------------------


def _evidence(scan: Scan, agreed: Agreement) -> tuple[Evidence, ...]:
    return (*_of_gates(scan), *_of_memory(scan), *_of_flow(scan), _of_agreement(scan, agreed))


def _of_gates(scan: Scan) -> list[Evidence]:
    share = scan.saturation()
    beyond = f"below {CLOSED:g} or above {OPEN:g}"
    names = {"i": "input gate", "f": "forget gate", "o": "output gate", "c": "squashed cell state"}
    return [
        Evidence(
            f"{scan.path}: saturated share of the {name}", round(share[key], 4),
            source=beyond if key != "c" else f"beyond {OPEN:g} in size",
        )
        for key, name in names.items()
        if np.isfinite(share[key])
    ]  # fmt: skip


def _of_memory(scan: Scan) -> list[Evidence]:
    constants = scan.time_constants()
    needed = scan.real.shape[1]
    source = "the number of steps; -1 / mean log f (Tallec & Ollivier 2018)"
    return [
        Evidence(f"{scan.path}: {word} memory time constant of a unit",
                 round(float(value), 2), needed, source, unit="steps")
        for word, value in (("median", np.median(constants)), ("longest", constants.max()))
    ]  # fmt: skip


def _of_flow(scan: Scan) -> list[Evidence]:
    flow = scan.flow
    longest = max(len(flow.contribution) - 1, 0)
    noisy = np.flatnonzero(flow.signal_to_noise < 1)
    lost_in_noise = int(noisy[0]) if len(noisy) else longest
    return [
        Evidence(f"{scan.path}: longest lag that float32 still adds to the gradient",
                 flow.reach, longest, "the last step's lag; float32 epsilon", unit="steps"),
        Evidence(f"{scan.path}: growth of the gradient per step back in time",
                 round(flow.exponent, 4), round(OVERFLOW / max(longest, 1), 4),
                 "float32 overflows within the sequence beyond it", unit="log per step"),
        Evidence(f"{scan.path}: first lag whose gradient is not above its noise over sequences",
                 lost_in_noise, longest, "signal-to-noise ratio 1", unit="steps"),
    ]  # fmt: skip


def _of_agreement(scan: Scan, agreed: Agreement) -> Evidence:
    return Evidence(
        f"{scan.path}: the framework's gradient against the oracle's, worst block {agreed.block}",
        float(f"{agreed.error:.3g}"),
        float(f"{agreed.limit:.3g}"),
        "ten times the oracle's own error in this precision, measured",
        unit="relative",
    )


# --- pictures -------------------------------------------------------------------------------------


def figures(scan: Scan) -> tuple[Figure, ...]:
    """The gates over time, how they are distributed, and the gradient by lag."""
    return _gate_map(scan), _gate_histogram(scan), gradient_flow({"": scan}, scan.path)


def _gate_map(scan: Scan) -> Figure:
    sequence = int(scan.real.sum(axis=1).argmax())
    H = scan.spec.hidden_size
    units = np.unique(np.linspace(0, H - 1, min(H, _UNITS_DRAWN)).astype(int))
    steps = np.flatnonzero(scan.real[sequence])
    panels = {
        name: {
            "values": getattr(scan.trace, gate)[sequence][steps][:, units].T,
            "x": [str(t + 1) for t in steps],
            "y": [str(unit) for unit in units],
        }
        for gate, name in _GATES.items()
    }
    return Figure("heatmap", f"Gates of {scan.path} on one sequence", "step", "unit", panels)


def _gate_histogram(scan: Scan) -> Figure:
    values = {_GATES[gate]: getattr(scan.trace, gate)[scan.real].ravel() for gate in "ifo"}
    bounded = all(v.min(initial=0) >= 0 and v.max(initial=0) <= 1 for v in values.values())
    edges = np.linspace(0, 1, 21)  # the outermost bins are the saturated ones
    series: dict[str, Any] = {
        name: {"edges": edges, "counts": np.histogram(v, edges)[0]} if bounded else v
        for name, v in values.items()
    }
    title = f"Gates of {scan.path}: the outermost bins are saturated"
    return Figure("histogram", title, "value of the gate", "steps and units", series)


def gradient_flow(scans: dict[str, Scan], path: str) -> Figure:
    """Gradient by lag, relative to lag 0, and what each lag adds; one set of curves per scan."""
    series: dict[str, Any] = {}
    longest = 1
    for name, scan in scans.items():
        flow, prefix = scan.flow, f"{name}: " if name else ""
        lags = list(range(len(flow.contribution)))
        longest = max(longest, len(lags))
        series[f"{prefix}dL/dh, dL/dc"] = {"x": lags, "y": _relative(flow.total, first=True)}
        series[f"{prefix}added to the weights' gradient"] = {
            "x": lags, "y": _relative(flow.contribution, first=False),
        }  # fmt: skip
    series["float32 epsilon"] = {"x": [0, longest - 1], "y": [EPSILON, EPSILON]}
    return Figure(
        "curves", f"Gradient through time in {path}", "lag (steps back from the last one)",
        "size, relative", series, log_y=True,
    )  # fmt: skip


def _relative(sizes: np.ndarray, *, first: bool) -> list[float]:
    unit = (sizes[0] if first else sizes.max()) if len(sizes) else 1.0
    return (sizes / unit if unit > 0 else sizes).tolist()
