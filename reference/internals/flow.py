r"""How an error travels back through time: along the cell, and through the gates.

Definitions
-----------
With delta_t = dL/dc_t and eps_t = dL/dh_t (all real steps, V = 1, no peepholes, no clips)::

    eps_t   = d_y_t + sum_k d_z_k(t+1) @ U_k^T
    delta_t = eps_t * o_t * sech^2(c_t) + f_{t+1} * delta_{t+1}

    direct  e_t     = d_y_t                                  (d_h_T at the last step)
    cell    kappa_t = e_t * o_t * sech^2(c_t) + f_{t+1} * kappa_{t+1}      kappa_T += d_c_T

so that an error injected at step T alone reaches c_t along the cell as

    kappa_t = (f_{t+1} * ... * f_T) * kappa_T,

the constant error carousel. What is left passed through at least one gate::

    gates   eps_t - e_t,   delta_t - kappa_t

In general e_t goes through V, a clip stops kappa where it holds, and what a masked step or zoneout
carries past a step is handed on. What a peephole adds to dL/dc_t came through a gate.

References
----------
Hochreiter & Schmidhuber 1997, section 4 (constant error carousel) and appendix A.2; Gers,
Schmidhuber & Cummins 2000, section 3 (the forget gate in it); Pascanu, Mikolov & Bengio 2013,
section 2.1 (the norm through time).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lstm_oracle.reference import carry, cell
from lstm_oracle.reference.activations import clip_derivative
from lstm_oracle.reference.passes import GradientTrace, Trace
from lstm_oracle.reference.scan import ScanTape
from lstm_oracle.reference.spec import State

Array = np.ndarray

EPSILON = float(np.finfo(np.float32).eps)


class Paths(NamedTuple):
    """The parts of dL/dh_t and dL/dc_t (B, T, H) that passed through no gate; zero where masked."""

    direct: Array  # of dL/dh_t
    cell: Array  # of dL/dc_t


def paths(scan: ScanTape, d_y: Array, d_state: State) -> Paths:
    """The part of an error's way back that avoids every gate.

    Parameters
    ----------
    d_y : (B, T, R), dL/dy of the scan, in its order of processing.
    d_state : dL/d(final state), h (B, R) and c (B, H).
    """
    spec = scan.architecture
    emitted = np.swapaxes(d_y, 0, 1)
    if scan.emitting is not None:
        emitted = np.where(scan.emitting, emitted, 0)
    V = scan.params.get("V", np.eye(spec.hidden_size))
    p = cell.params(spec, scan.params)
    e_r, kappa = d_state
    direct, along = [], []
    for t in reversed(range(len(scan.steps))):
        step = scan.steps[t]
        new, past = carry.backward(scan.carry, State(e_r + emitted[t], kappa), t)
        e = new.h @ V.T
        here = new.c + cell.SQUASH[spec.layer_norm].backward(spec, p, step.c, e * step.o)
        direct.append(e)
        along.append(here)
        held = 1 if spec.cell_clip is None else clip_derivative(step.c_free, spec.cell_clip)
        e_r = sum((old.h for old in past), np.zeros_like(d_state.h))
        kappa = sum((old.c for old in past), here * held * step.f)
    return Paths(*(np.swapaxes(np.stack(a[::-1]), 0, 1) for a in (direct, along)))


# --- by lag ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Lags:
    """How an error at the last emitted step travels back, by lag in real steps."""

    d_h: Array  # (L,) size of dL/dh at each lag, root mean square over the sequences
    d_c: Array  # (L,) of dL/dc
    contribution: Array  # (L,) size of what the lag adds to the gradient of U and b
    signal_to_noise: Array  # (L,) of that sum over sequences; 1 is what noise alone gives
    counts: Array  # (L,) sequences that are long enough

    @property
    def total(self) -> Array:
        """Size of dL/d(h, c) per lag."""
        return np.hypot(self.d_h, self.d_c)

    @property
    def reach(self) -> int:
        """The longest lag whose contribution float32 still adds to the largest one."""
        largest = self.contribution.max(initial=0.0)
        seen = np.flatnonzero(self.contribution >= EPSILON * largest)
        return int(seen[-1]) if largest > 0 else 0

    @property
    def exponent(self) -> float:
        """Growth of log dL/d(h, c) per step back: negative where it vanishes; NaN if unknown."""
        size = self.total
        usable = np.flatnonzero(np.isfinite(size) & (size > 0))
        if len(usable) < 3:
            return float("nan")
        return float(np.polyfit(usable, np.log(size[usable]), 1)[0])


def by_lag(trace: Trace, back: GradientTrace, r_0: Array, real: Array) -> Lags:
    """Sizes by lag: 0 is each sequence's last real step that the error reaches.

    Parameters
    ----------
    r_0 : (B, R), the initial r.
    real : (B, T), False at masked steps.
    """
    reached = real & ((np.abs(back.d_h) + np.abs(back.d_c)).max(axis=-1) > 0)
    steps = _steps_of_lags(real, reached)  # (B, L), -1 where a sequence is too short
    d_z = np.concatenate(list(back.d_z.values()), axis=-1)
    r = np.concatenate([r_0[:, None], trace.r[:, :-1]], axis=1)
    before = np.concatenate([r, np.ones_like(r[..., :1])], axis=-1)  # what U and b are fed with
    rows = [_one_lag(steps[:, k], back, before, d_z) for k in range(steps.shape[1])]
    columns = np.array(rows, dtype=float).reshape(-1, 5).T
    d_h, d_c, contribution, ratio, counts = columns
    return Lags(d_h, d_c, contribution, ratio, counts.astype(int))


def _steps_of_lags(real: Array, reached: Array) -> Array:
    T = real.shape[1]
    last = np.where(reached.any(axis=1), T - 1 - reached[:, ::-1].argmax(axis=1), T - 1)
    real = real & (np.arange(T) <= last[:, None])
    lag = real[:, ::-1].cumsum(axis=1)[:, ::-1] - 1  # real steps that come after this one
    steps = np.full((len(real), int(real.sum(axis=1).max(initial=0))), -1)
    b, t = np.nonzero(real)
    steps[b, lag[b, t]] = t
    return steps


def _one_lag(
    t: Array, back: GradientTrace, before: Array, d_z: Array
) -> tuple[float, float, float, float, int]:
    b = np.flatnonzero(t >= 0)
    t, n = t[b], len(b)
    d_h, d_c, source, error = back.d_h[b, t], back.d_c[b, t], before[b, t], d_z[b, t]
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        added = float(np.linalg.norm(source.T @ error))
        # Norm of an outer product: the product of the norms.
        each = float((np.square(source).sum(-1) * np.square(error).sum(-1)).sum())
        noise = max(each - added**2 / n, 0.0) * n / max(n - 1, 1)
        ratio = added / np.sqrt(noise) if noise > 0 else float("inf" if added else "nan")
        size_h = np.sqrt(np.square(d_h).sum(-1).mean())
        size_c = np.sqrt(np.square(d_c).sum(-1).mean())
    return float(size_h), float(size_c), added, float(ratio), n
