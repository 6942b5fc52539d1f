r"""The temporal Jacobian: how the state at one step depends on the state at an earlier one.

Definitions
-----------
State s_t = (r_t, c_t), N = R + H numbers (r_t = h_t without a projection)::

    J_t       = ds_t / ds_{t-1}                       (identity at a masked step)
    J_{t<-s}  = ds_t / ds_s = J_t @ ... @ J_{s+1}
    exponents   J_t Q_{t-1} = Q_t R_t, Q_0 = 1:  lambda_k = mean over real steps of log |R_t,kk|
    sensitivity of the last state to x_t:  S_t = |dr_T / dx_t|_F
    memory length of a sequence: the largest lag with S >= 1 % of the largest S

The largest exponent says how fast a small change of state grows (positive: chaos, exploding
gradients) or dies out (negative: vanishing gradients) per step. Where a J_t is singular, as with
zero weights, a direction that is lost is replaced by an arbitrary one, and the other exponents are
right up to a term of order 1/T.

References
----------
Pascanu, Mikolov & Bengio 2013, section 2.1; Benettin et al. 1980 and Geist, Parlitz & Lauterborn
1990 (QR method); Vogt et al. 2022, "On Lyapunov exponents for RNNs". Differs from Vogt et al. in
that no transient is discarded: sequences are short, and their beginning is what is asked about.
"""

from __future__ import annotations

import numpy as np

from lstm_oracle.reference import carry, cell
from lstm_oracle.reference.scan import ScanTape
from lstm_oracle.reference.spec import State

Array = np.ndarray

MATTERS = 0.01


def step_jacobians(scan: ScanTape) -> tuple[Array, Array]:
    """ds_t/ds_{t-1} (B, T, N, N) and ds_t/dx_t (B, T, N, I), row n the gradient of entry n of s_t.

    Every row is one backward step of the cell, from a unit vector.
    """
    spec, (T, B, I) = scan.architecture, scan.x.shape
    R, H = spec.recurrent_size, spec.hidden_size
    N = R + H
    V = scan.params.get("V", np.eye(H))
    p = cell.params(spec, scan.params)
    unit = np.broadcast_to(np.eye(N)[:, None, :], (N, B, N))
    by_state, by_x = np.zeros((T, N, B, N)), np.empty((T, N, B, I))
    for t in range(T):
        new, past = carry.backward(scan.carry, State(unit[..., :R], unit[..., R:]), t)
        d_z, _, d_c_prev = cell.backward(spec, p, scan.steps[t], scan.c[t], new.h @ V.T, new.c)
        fused = np.concatenate([d_z[k] for k in spec.gates], axis=-1)
        for n in range(N):
            by_state[t, n, :, :R] = scan.recurrent_product.backward(scan.r[t], fused[n], t)
            by_x[t, n] = scan.input_product.backward(scan.x[t], fused[n], t)
        by_state[t, ..., R:] = d_c_prev
        for old in past:
            by_state[t] += np.concatenate(old, axis=-1)
    return np.moveaxis(by_state, 2, 0), np.moveaxis(by_x, 2, 0)


def temporal_jacobian(jacobians: Array, start: int, stop: int) -> Array:
    """ds_stop/ds_start (B, N, N) of step Jacobians (B, T, N, N); 0 is the initial state.

    Examples
    --------
    >>> import numpy as np
    >>> temporal_jacobian(2 * np.ones((1, 5, 1, 1)), 1, 4)
    array([[[8.]]])
    """
    product = np.broadcast_to(np.eye(jacobians.shape[-1]), (len(jacobians), *jacobians.shape[2:]))
    for t in range(start, stop):
        product = jacobians[:, t] @ product
    return product


def singular_values(jacobians: Array) -> Array:
    """Those of ds_T/ds_t for t = 0 ... T - 1, the largest first: (B, T, N)."""
    product, found = np.eye(jacobians.shape[-1]), []
    for t in reversed(range(jacobians.shape[1])):
        product = product @ jacobians[:, t]
        found.append(np.linalg.svd(product, compute_uv=False))
    return np.stack(found[::-1], axis=1)


def lyapunov_exponents(jacobians: Array, real: Array) -> Array:
    """(B, N) by the QR method, per real step; -inf for a direction that dies at once."""
    Q, growth = np.eye(jacobians.shape[-1]), np.zeros(jacobians.shape[:1] + jacobians.shape[-1:])
    for t in range(jacobians.shape[1]):
        Q_t, R_t = np.linalg.qr(jacobians[:, t] @ Q)
        with np.errstate(divide="ignore"):
            each = np.log(np.abs(np.diagonal(R_t, axis1=-2, axis2=-1)))
        Q = np.where(real[:, t, None, None], Q_t, Q)
        growth = growth + np.where(real[:, t, None], each, 0)
    return growth / np.maximum(real.sum(axis=1), 1)[:, None]


def sensitivity(jacobians: Array, by_x: Array, recurrent_size: int) -> Array:
    """|dr_T/dx_t|_F, (B, T), from what `step_jacobians` gives."""
    B, T, N, _ = jacobians.shape
    after, found = np.broadcast_to(np.eye(N)[:recurrent_size], (B, recurrent_size, N)), []
    for t in reversed(range(T)):
        found.append(np.linalg.norm(after @ by_x[:, t], axis=(1, 2)))
        after = after @ jacobians[:, t]
    return np.stack(found[::-1], axis=1)


def memory_length(found: Array, real: Array) -> float:
    """Mean over sequences of the longest lag, in real steps, whose input still matters.

    Parameters
    ----------
    found : (B, T), from `sensitivity`.
    """
    after = real[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
    strong = real & (found >= MATTERS * found.max(axis=1, keepdims=True))
    return float(np.where(strong, after, 0).max(axis=1).mean())
