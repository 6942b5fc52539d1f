"""The studies of gates and of gradient flow: quantities of `reference.internals` over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.study.layers import Layer
from lstm_oracle.benchmarks.study.report import Number, Report, Table, versions
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.reference import backward, forward, internals

Array = np.ndarray
Seeds = Sequence[Sequence[Layer]]  # every layer of every seed

GATES = {"i": "input gate i", "f": "forget gate f", "g": "candidate g", "o": "output gate o"}
_JACOBIANS = 4  # sequences of which Jacobians are taken: their products are N^3 per step
_UNITS_DRAWN = 32


def _by_layer(seeds: Seeds) -> list[tuple[str, list[Layer]]]:
    return [(same[0].name, list(same)) for same in zip(*seeds, strict=True)]


def _rows(
    seeds: Seeds, measured: Callable[[Layer], Mapping[str, float]]
) -> tuple[tuple[Any, ...], ...]:
    """One row per layer and quantity, over the seeds."""
    rows = []
    for name, same in _by_layer(seeds):
        each = [measured(layer) for layer in same]
        rows += [(name, key, Number.of([found[key] for found in each])) for key in each[0]]
    return tuple(rows)


_NOTE = "Mean over seeds, and its 95 % bootstrap interval over them."


def _facts(facts: Mapping[str, Any], seeds: Seeds) -> dict[str, Any]:
    layer = seeds[0][0]
    B, T, _ = layer.x.shape
    return {**facts, "seeds": len(seeds), "sequences": B, "steps": T}


# --- gates ----------------------------------------------------------------------------------------


def gates(seeds: Seeds, facts: Mapping[str, Any]) -> Report:
    """How the gates of every layer stand: distributions, saturation, memory, units."""
    rows = _rows(seeds, _of_gates)
    shown = [figure for layer in seeds[0] for figure in (gate_map(layer), gate_histogram(layer))]
    return Report(
        "The gates of an LSTM",
        (
            f"A gate is saturated below {internals.CLOSED:g} or above {internals.OPEN:g}, where a "
            "sigmoid's slope is a fifth of its largest. A unit's time constant is -1 / mean log f: "
            "after so many steps it has forgotten all but 1/e.",
        ),
        _facts(facts, seeds),
        (Table("Gates by layer", ("layer", "quantity", "value"), rows, _NOTE),),
        tuple(shown),
        versions(),
    )


def _of_gates(layer: Layer) -> dict[str, float]:
    _, tape = forward(layer.spec, layer.params, layer.x, layer.state, layer.mask)
    trace, real = tape.trace(), layer.real
    by_unit = internals.saturated_units(layer.spec, trace, real)
    found = {}
    for k, name in GATES.items():
        found[f"{name}: mean"] = float(getattr(trace, k)[real].mean())
        if k == "g":
            found[f"{name}: saturated share"] = float(by_unit["saturated_g"].mean())
            continue
        found[f"{name}: share closed"] = float(by_unit[f"closed_{k}"].mean())
        found[f"{name}: share open"] = float(by_unit[f"open_{k}"].mean())
    constants = internals.time_constants(trace.f, real)
    h = trace.h
    return found | {
        "squashed cell: saturated share": float(by_unit["saturated_c"].mean()),
        "time constant of the median unit (steps)": float(np.median(constants)),
        "time constant of the longest unit (steps)": float(constants.max()),
        "effective rank of the hidden states": internals.effective_rank(h, real),
        "dead units": float(internals.dead(h, real).sum()),
        "duplicate units": float(internals.duplicate(h, real).sum()),
    }


def gate_map(layer: Layer) -> Figure:
    """Every gate of one sequence, time by unit."""
    _, tape = forward(layer.spec, layer.params, layer.x, layer.state, layer.mask)
    trace = tape.trace()
    sequence = int(layer.real.sum(axis=1).argmax())
    steps = np.flatnonzero(layer.real[sequence])
    H = layer.spec.hidden_size
    units = np.unique(np.linspace(0, H - 1, min(H, _UNITS_DRAWN)).astype(int))
    panels = {
        name: {
            "values": getattr(trace, k)[sequence][steps][:, units].T,
            "x": [str(t + 1) for t in steps],
            "y": [str(unit + 1) for unit in units],
        }
        for k, name in GATES.items()
    }
    return Figure("heatmap", f"Gates of {layer.name} on one sequence", "step", "unit", panels)


def gate_histogram(layer: Layer) -> Figure:
    """How the gates are distributed; the outermost bins are the saturated ones."""
    _, tape = forward(layer.spec, layer.params, layer.x, layer.state, layer.mask)
    trace, edges = tape.trace(), np.linspace(0, 1, 21)
    series = {
        GATES[k]: {
            "edges": edges,
            "counts": np.histogram(getattr(trace, k)[layer.real], edges)[0].astype(float),
        }
        for k in "ifo"
    }
    limits = f"below {internals.CLOSED:g} and above {internals.OPEN:g}"
    title = f"Gates of {layer.name}: the outermost bins, {limits}, are saturated"
    return Figure("histogram", title, "value of the gate", "steps and units", series)


# --- gradient flow --------------------------------------------------------------------------------


def gradient_flow(seeds: Seeds, facts: Mapping[str, Any]) -> Report:
    """How the loss's gradient travels back through every layer, and how long inputs matter."""
    measured = [[Flow(layer) for layer in layers] for layers in seeds]
    rows = []
    for same in zip(*measured, strict=True):
        each = [flow.numbers() for flow in same]
        rows += [
            (same[0].layer.name, key, Number.of([found[key] for found in each])) for key in each[0]
        ]
    shown = []
    for same in zip(*measured, strict=True):
        shown += [flow_by_step(same), spectrum(same), memory(same)]
    return Report(
        "Gradient flow through an LSTM",
        (
            "The gradient that reaches the cell state at step t came along the cell, through the "
            "product of forget gates alone, or through at least one gate. The largest Lyapunov "
            "exponent is the growth, in logarithms per step, of a small change of state.",
        ),
        _facts(facts, seeds),
        (Table("Gradient flow by layer", ("layer", "quantity", "value"), tuple(rows), _NOTE),),
        tuple(shown),
        versions(),
    )


class Flow:
    """What is measured of one layer of one seed."""

    def __init__(self, layer: Layer) -> None:
        """Run the oracle forwards and backwards."""
        self.layer = layer
        spec, real = layer.spec, layer.real
        _, tape = forward(spec, layer.params, layer.x, layer.state, layer.mask)
        [scan] = internals.scans(tape)
        back = backward(tape, layer.d_y, layer.d_state, trace=True).trace
        apart = internals.paths(scan, layer.d_y, layer.d_state)
        self.lags = internals.by_lag(tape.trace(), back, layer.state.h, real)
        self.d_h = _by_step(back.d_h, real)
        self.d_c = _by_step(back.d_c, real)
        self.cell = _by_step(apart.cell, real)
        self.gates = _by_step(back.d_c - apart.cell, real)
        alone = internals.per_sequence_gradients(
            spec, layer.params, layer.x, layer.state, real, layer.d_y, layer.d_state
        )
        self.noise = internals.noise_scale(alone)
        few = slice(0, _JACOBIANS)
        state = type(layer.state)(layer.state.h[few], layer.state.c[few])
        _, tape = forward(spec, layer.params, layer.x[few], state, real[few])
        [scan] = internals.scans(tape)
        jacobians, by_x = internals.step_jacobians(scan)
        self.singular_values = internals.singular_values(jacobians)
        exponents = internals.lyapunov_exponents(jacobians, real[few]).max(axis=-1)
        self.lyapunov = float(exponents.mean())
        self.sensitivity = internals.sensitivity(jacobians, by_x, spec.recurrent_size)
        self.memory = internals.memory_length(self.sensitivity, real[few])

    def numbers(self) -> dict[str, float]:
        """One number per quantity."""
        alive = np.flatnonzero(self.d_c > 0)
        first, last = (alive[0], alive[-1]) if len(alive) else (0, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            decay = np.log10(self.d_c[first] / self.d_c[last])
            share = self.cell[first] / (self.cell[first] + self.gates[first])
        return {
            "log10 of |dL/dc| at the first step over the last": float(decay),
            "cell path's share of |dL/dc| at the first step": float(share),
            "growth of log |dL/d(h, c)| per step back": self.lags.exponent,
            "longest lag that float32 still adds (steps)": float(self.lags.reach),
            "largest Lyapunov exponent (per step)": self.lyapunov,
            "effective memory length (steps)": self.memory,
            "gradient noise scale (sequences; below 0: no signal above noise)": self.noise,
        }


def _by_step(d: Array, real: Array) -> Array:
    """(T,) root mean square of a gradient's norm over the sequences that have the step."""
    return np.sqrt(np.square(d).sum(axis=(0, 2)) / np.maximum(real.sum(axis=0), 1))


def _band(rows: Sequence[Array]) -> dict[str, Any]:
    """Geometric mean over seeds, from the smallest to the largest."""
    stacked = np.stack(rows)
    with np.errstate(divide="ignore"):
        y = np.exp(np.log(stacked).mean(axis=0))
    x = np.arange(1, stacked.shape[1] + 1)
    return {"x": x, "y": y, "low": stacked.min(axis=0), "high": stacked.max(axis=0)}


def flow_by_step(same: Sequence[Flow]) -> Figure:
    """|dL/dh_t| and |dL/dc_t| by step, the latter by its two paths."""
    series = {
        "dL/dc": _band([flow.d_c for flow in same]),
        "dL/dc along the cell": _band([flow.cell for flow in same]),
        "dL/dc through gates": _band([flow.gates for flow in same]),
        "dL/dh": _band([flow.d_h for flow in same]),
    }
    title = f"Gradient through time in {same[0].layer.name} (band: all {len(same)} seeds)"
    return Figure("curves", title, "step", "root mean square size", series, log_y=True)


def spectrum(same: Sequence[Flow]) -> Figure:
    """Singular values of ds_T/ds_t by lag."""
    values = [flow.singular_values.mean(axis=0)[::-1] for flow in same]  # (T, N), lag 1 first
    N = values[0].shape[1]
    series = {
        name: _band([value[:, n] for value in values])
        for name, n in (("largest", 0), ("median", N // 2), ("smallest", N - 1))
    }
    title = f"Spectrum of the temporal Jacobian of {same[0].layer.name}"
    return Figure(
        "curves", title, "lag (steps back from the last)", "singular value", series, log_y=True
    )


def memory(same: Sequence[Flow]) -> Figure:
    """How much the last state still depends on the input at each lag."""
    series = {"|dr_T / dx_t|": _band([flow.sensitivity.mean(axis=0)[::-1] for flow in same])}
    peak = max(float(np.max(part["y"])) for part in series.values())
    T = same[0].sensitivity.shape[1]
    limit = internals.MATTERS * peak
    series["1 % of the largest"] = {"x": [1, T], "y": [limit, limit]}
    title = f"How far back an input of {same[0].layer.name} matters"
    return Figure("curves", title, "lag (1 is the last step)", "Frobenius norm", series, log_y=True)
