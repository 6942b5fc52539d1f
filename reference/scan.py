r"""The scan of one Spec over time, forward and backward: the only place where masks matter.

What can be hoisted out of the loop over time is: the products with W come before it as one, the
gradients of all weights after it as one product each over all steps (Appleyard et al. 2016,
"Optimizing Performance of Recurrent Neural Networks on GPUs", section 3).

Inside arrays are time, batch, feature, so that a step is contiguous; outside they are batch, time,
feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_oracle.reference import carry, cell
from lstm_oracle.reference.gate_product import GateProduct, gate_product
from lstm_oracle.reference.masked_output import MASKED_OUTPUT
from lstm_oracle.reference.passes import (
    Gradients,
    GradientTrace,
    Mask,
    Output,
    Trace,
    backward_pass,
    forward_pass,
)
from lstm_oracle.reference.spec import Spec, State
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray


@dataclass(frozen=True)
class ScanTape:
    """What the scan of one Spec leaves for `backward`; arrays are (T, B, …)."""

    architecture: Spec
    params: dict[str, Array]
    x: Array  # (T, B, I), zero at masked steps
    steps: list[cell.Step]
    r: Array  # (T + 1, B, R), the state carried into each step, and out of the last
    c: Array  # (T + 1, B, H)
    carry: tuple[carry.Rule, ...]
    emitting: Array | None  # (T, B, 1), True where the carried r is emitted, zeros elsewhere
    input_product: GateProduct
    recurrent_product: GateProduct

    def trace(self) -> Trace:
        """Every gate and state of every step."""
        every = map_leaves(lambda *arrays: _swap(_stack(arrays)), *self.steps)
        r = _swap(self.r[1:])
        return Trace(every.z, every.i, every.f, every.g, every.o, every.c, every.h, r)


@forward_pass.register
def _scan(
    spec: Spec, params: Any, x: Array, state: State, mask: Mask | None, dropout: Any
) -> tuple[Output, ScanTape]:
    keep = None if mask is None else _swap(mask.real[:, :, None])  # (T, B, 1)
    emitting = MASKED_OUTPUT[spec.masked_output](mask)
    x = _where(keep, _swap(x))  # a masked x may be NaN, and 0 * NaN is NaN
    inputs = gate_product(spec, params, "W", _time_first(dropout.x))
    recurrent = gate_product(spec, params, "U", _time_first(dropout.h))
    rules = carry.rules(spec, x, dropout, keep)
    p = cell.params(spec, params)

    z_in = inputs.forward(x)  # (T, B, G*H): every step's product at once
    if spec.use_bias:
        z_in = z_in + np.concatenate([params[f"b_{k}"] for k in spec.gates])
    r, c = state
    steps, carried = [], [state]
    for t in range(x.shape[0]):
        z = _split(spec, z_in[t] + recurrent.forward(r, t))
        step = cell.forward(spec, p, z, c)
        new = State(_project(params, step.h), step.c)
        r, c = carry.forward(rules, new, State(r, c), t)
        steps.append(step)
        carried.append(State(r, c))

    tape = ScanTape(
        architecture=spec,
        params=params,
        x=x,
        steps=steps,
        r=_stack([state.h for state in carried]),
        c=_stack([state.c for state in carried]),
        carry=rules,
        emitting=emitting,
        input_product=inputs,
        recurrent_product=recurrent,
    )
    return Output(_swap(_where(emitting, tape.r[1:])), State(r, c)), tape


@backward_pass.register
def _scan_backward(tape: ScanTape, d_y: Array, d_state: State) -> Gradients:
    spec, params = tape.architecture, tape.params
    p = cell.params(spec, params)
    d_emitted = _where(tape.emitting, _swap(d_y))
    d_r, d_c = d_state
    d_h_all, d_r_all, d_c_all, d_z_all = [], [], [], []
    for t in reversed(range(tape.x.shape[0])):
        d_r = d_r + d_emitted[t]
        new, past = carry.backward(tape.carry, State(d_r, d_c), t)
        d_h = _project_backward(params, new.h)
        d_z, d_c_t, d_c = cell.backward(spec, p, tape.steps[t], tape.c[t], d_h, new.c)
        d_z_fused = np.concatenate([d_z[k] for k in spec.gates], axis=-1)
        d_r_all.append(new.h)
        d_h_all.append(d_h)
        d_c_all.append(d_c_t)
        d_z_all.append(d_z_fused)
        d_r = tape.recurrent_product.backward(tape.r[t], d_z_fused, t)
        for old in past:
            d_r, d_c = d_r + old.h, d_c + old.c

    d_z_fused, d_r_new, d_h, d_c_each = (
        _stack(arrays[::-1]) for arrays in (d_z_all, d_r_all, d_h_all, d_c_all)
    )
    d_z = _split(spec, d_z_fused)
    d_params = (
        tape.input_product.d_weights(tape.x, d_z_fused)
        | tape.recurrent_product.d_weights(tape.r[:-1], d_z_fused)
        | {f"b_{k}": d_z[k].sum(axis=(0, 1)) for k in spec.gates if spec.use_bias}
        | {f"p_{k}": (d_z[k] * _seen(tape, k)).sum(axis=(0, 1)) for k in spec.peepholes}
        | _d_projection(tape, d_r_new)
        | cell.d_squash_params(spec, p, _every(tape, "o"), _every(tape, "c"), d_h)
    )
    return Gradients(
        {name: d_params[name] for name in spec.param_shapes},
        _swap(tape.input_product.backward(tape.x, d_z_fused)),
        State(d_r, d_c),
        GradientTrace(_swap(d_h), _swap(d_c_each), map_leaves(_swap, d_z)),
    )


def _swap(a: Array) -> Array:
    """Batch first to time first, and back."""
    return np.swapaxes(a, 0, 1)


def _stack(arrays: Sequence[Array]) -> Array:
    """One step's arrays (B, N) to (T, B, N); np.stack takes twice as long."""
    return np.concatenate(arrays).reshape(len(arrays), *arrays[0].shape)


def _where(keep: Array | None, a: Array) -> Array:
    """Keep `a` where `keep`, zero elsewhere: its own gradient."""
    return a if keep is None else np.where(keep, a, 0)


def _time_first(multiplier: Array | None) -> Array | None:
    return None if multiplier is None else _swap(multiplier)


def _split(spec: Spec, fused: Array) -> dict[str, Array]:
    """(…, G*H) to {k: (…, H)}, as views."""
    H = spec.hidden_size
    return {k: fused[..., n * H : (n + 1) * H] for n, k in enumerate(spec.gates)}


def _seen(tape: ScanTape, k: str) -> Array:
    """The cell that gate k's peephole saw: c_{t-1}, or c_t for the output gate."""
    return _every(tape, "c") if k == "o" else tape.c[:-1]


def _every(tape: ScanTape, name: str) -> Array:
    """A value of every step, (T, B, H)."""
    return _stack([getattr(step, name) for step in tape.steps])


def _project(params: dict[str, Array], h: Array) -> Array:
    """r_t = h_t @ V, or h_t (Sak et al. 2014)."""
    return h @ params["V"] if "V" in params else h


def _project_backward(params: dict[str, Array], d_r: Array) -> Array:
    return d_r @ params["V"].T if "V" in params else d_r


def _d_projection(tape: ScanTape, d_r: Array) -> dict[str, Array]:
    if "V" not in tape.params:
        return {}
    h = _every(tape, "h")
    return {"V": h.reshape(-1, h.shape[-1]).T @ d_r.reshape(-1, d_r.shape[-1])}
