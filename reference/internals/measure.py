"""All quantities of one scan, by name: what the other implementations are held to."""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle.reference.internals import flow, gates, jacobian, noise, units
from lstm_oracle.reference.internals.scans import scans
from lstm_oracle.reference.sequence import backward, forward
from lstm_oracle.reference.spec import Spec, State

Array = np.ndarray


def measure(
    spec: Spec,
    params: dict[str, Array],
    x: Array,
    state: State | None = None,
    mask: Array | None = None,
    d_y: Array | None = None,
    d_state: State | None = None,
) -> dict[str, Array]:
    """Every quantity of one layer, for the loss <d_y, y> + <d_state, state_T>.

    Parameters
    ----------
    spec
        A single layer that reads forwards: measure every layer on what the one below emits.
    params, x, state, mask
        As for `forward`.
    d_y, d_state
        As for `backward`.

    Returns
    -------
    dict of str to array
        quantiles_i, _f, _g, _o (7,): at the shares `QUANTILES`. closed_i, open_i, _f, _o,
        saturated_g, saturated_c (H,): share of steps. time_constant (H,): steps. d_h, d_h_direct,
        d_h_gates, d_c, d_c_cell, d_c_gates (B, T): norms. singular_values (B, T, N): of
        ds_T/ds_t. lyapunov (B,): the largest exponent, per step. sensitivity (B, T):
        |dr_T/dx_t|. memory_length: steps. noise_scale: sequences. effective_rank. dead, duplicate
        (H,) of bool.

    Raises
    ------
    TypeError
        For an architecture that is no Spec.
    """
    if not isinstance(spec, Spec):
        raise TypeError(
            f"spec is of type {type(spec).__name__}, expected a Spec. Measure each layer on its "
            "own, on what the layer below emits."
        )
    (B, T), R, H = x.shape[:2], spec.recurrent_size, spec.hidden_size
    zero = State(np.zeros((B, R)), np.zeros((B, H)))
    state = zero if state is None else state
    d_state = zero if d_state is None else d_state
    d_y = np.zeros((B, T, R)) if d_y is None else d_y
    real = np.ones((B, T), bool) if mask is None else mask

    _, tape = forward(spec, params, x, state, mask)
    [scan] = scans(tape)
    trace, back = tape.trace(), backward(tape, d_y, d_state, trace=True).trace
    apart = flow.paths(scan, d_y, d_state)
    jacobians, by_x = jacobian.step_jacobians(scan)
    sensitive = jacobian.sensitivity(jacobians, by_x, R)
    alone = noise.per_sequence_gradients(spec, params, x, state, real, d_y, d_state)
    found: dict[str, Any] = {
        f"quantiles_{k}": gates.quantiles(getattr(trace, k), real) for k in "ifgo"
    }
    found |= gates.saturated_units(spec, trace, real)
    found |= {
        "time_constant": gates.time_constants(trace.f, real),
        "d_h": _size(back.d_h),
        "d_h_direct": _size(apart.direct),
        "d_h_gates": _size(back.d_h - apart.direct),
        "d_c": _size(back.d_c),
        "d_c_cell": _size(apart.cell),
        "d_c_gates": _size(back.d_c - apart.cell),
        "singular_values": jacobian.singular_values(jacobians),
        "lyapunov": jacobian.lyapunov_exponents(jacobians, real).max(axis=-1),
        "sensitivity": sensitive,
        "memory_length": jacobian.memory_length(sensitive, real),
        "noise_scale": noise.noise_scale(alone),
        "effective_rank": units.effective_rank(trace.h, real),
        "dead": units.dead(trace.h, real),
        "duplicate": units.duplicate(trace.h, real),
    }
    return {name: np.asarray(value) for name, value in found.items()}


def _size(d: Array) -> Array:
    return np.linalg.norm(d, axis=-1)
