r"""What goes on inside an LSTM, by Keras: every gate, and gradients by its backend's autodiff.

The same quantities as `lstm_oracle.reference.internals` defines them, under the same names, and
nothing in common with how the oracle or JAX compute them: the layer is stepped through time by
`LSTMCell`'s own parts, zeros added to every h_t and c_t are differentiated with respect to
(`tf.GradientTape`, `jax.grad` or `torch.autograd`), and the temporal Jacobian is one such gradient
of a batch in which every sequence stands once per entry of the state.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from lstm_oracle.keras_impl.activations import clip
from lstm_oracle.keras_impl.backends import BACKEND
from lstm_oracle.keras_impl.cell import LSTMCell, Weights, _normalized
from lstm_oracle.reference.spec import Spec, State

Array = np.ndarray

CLOSED, OPEN = 0.05, 0.95
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
DEAD, DUPLICATE = 1e-3, 0.999
MATTERS = 0.01
_WEIGHTS = ("W", "U", "b", "V", "gain_W", "gain_U", "gain_c", "shift_c")


class Step(NamedTuple):
    """What one step computes, tensors (B, H), and the state that it carries on."""

    i: Any
    f: Any
    g: Any
    o: Any
    c: Any
    h: Any
    carried: State


class Problem(NamedTuple):
    """One layer on one batch, with the loss <d_y, y> + <d_state, state_T>; tensors."""

    cell: LSTMCell
    masked_output: str
    weights: Weights
    x: Any
    state: State
    real: Array
    d_y: Any
    d_state: State


def _step(
    cell: LSTMCell,
    weights: Weights,
    x_t: Any,
    state: State,
    added: State | None = None,
    cell_path_only: bool = False,
) -> Step:
    """One step, zeros added to h and c; optionally nothing flows back to what gates see."""
    seen: Callable[[Any], Any] = ops.stop_gradient if cell_path_only else (lambda a: a)
    epsilon = cell.layer_norm_epsilon
    from_r = _normalized(seen(state.h) @ weights.U, weights.gain_U, epsilon)
    z = cell.input_products(x_t, weights, None) + from_r
    by_gate = dict(zip(cell.gates, ops.split(z, len(cell.gates), axis=-1), strict=True))
    gate = functools.partial(cell._gate, by_gate, weights.p)
    f, g = gate("f", seen(state.c)), gate("g", seen(state.c))
    i = 1 - f if cell.coupled else gate("i", seen(state.c))
    c = f * state.c + i * g
    c = c if cell.cell_clip is None else clip(c, cell.cell_clip)
    c = c if added is None else c + added.c
    o = gate("o", seen(c))
    shown = _normalized(c, weights.gain_c, epsilon)
    h = o * cell._squash["c"](shown if weights.shift_c is None else shown + weights.shift_c)
    h = h if added is None else h + added.h
    r = h if weights.V is None else h @ weights.V
    # In expectation: without masks the rates stand for them.
    m_h, m_c = cell.zoneout_h, cell.zoneout_c
    carried = State(m_h * state.h + (1 - m_h) * r, m_c * state.c + (1 - m_c) * c)
    return Step(i, f, g, o, c, h, carried)


def _run(problem: Problem, added: list[State] | None, cell_path_only: bool) -> tuple[Any, Any]:
    """The loss, and every step."""
    cell, rule, weights, x, state, real, d_y, d_state = problem
    started = np.zeros(len(real), bool)
    value, steps = 0.0, []
    for t in range(real.shape[1]):
        started = started | real[:, t]
        emits = {"previous": started, "zero": real[:, t], "state": np.ones_like(started)}
        probe = None if added is None else added[t]
        step = _step(cell, weights, x[:, t], state, probe, cell_path_only)
        keep = ops.convert_to_tensor(real[:, t, None])
        state = State(*(ops.where(keep, *pair) for pair in zip(step.carried, state, strict=True)))
        emitted = emits[rule]
        y_t = ops.where(ops.convert_to_tensor(emitted[:, None]), state.h, ops.zeros_like(state.h))
        value = value + ops.sum(y_t * d_y[:, t])
        steps.append(step._replace(carried=state))
    value = value + ops.sum(state.h * d_state.h) + ops.sum(state.c * d_state.c)
    return value, steps


def _flow(problem: Problem, cell_path_only: bool) -> tuple[Array, Array]:
    """dL/dh_t and dL/dc_t (B, T, H)."""
    B, T = problem.real.shape

    def loss(added: Any) -> tuple[Any, Any]:
        by_step = [State(added[0][:, t], added[1][:, t]) for t in range(T)]
        return _run(problem, by_step, cell_path_only)[0], 0.0

    zeros = [ops.zeros((B, T, problem.cell.units), dtype=problem.x.dtype) for _ in range(2)]
    _, _, (d_h, d_c) = BACKEND.differentiate(loss, zeros)
    return _array(d_h), _array(d_c)


def _step_jacobians(problem: Problem, states: list[State]) -> tuple[Array, Array]:
    """d(r_t, c_t)/d(r_{t-1}, c_{t-1}) (B, T, N, N) and d(r_t, c_t)/dx_t (B, T, N, I)."""
    cell, weights, x, real = problem.cell, problem.weights, problem.x, problem.real
    B, T = real.shape
    R = int(states[0].h.shape[-1])
    N = R + cell.units
    # Row n of every sequence's Jacobian is the gradient of entry n in the nth copy of the sequence.
    unit = ops.convert_to_tensor(np.tile(np.eye(N), (B, 1)), dtype=x.dtype)
    by_state, by_x = np.empty((B, T, N, N)), np.empty((B, T, N, int(x.shape[-1])))
    for t in range(T):
        copies = [ops.repeat(a, N, axis=0) for a in (states[t].h, states[t].c, x[:, t])]

        def entries(copies: Any) -> tuple[Any, Any]:
            step = _step(cell, weights, copies[2], State(copies[0], copies[1]))
            return ops.sum(ops.concatenate(step.carried, axis=-1) * unit), 0.0

        _, _, (d_r, d_c, d_x) = BACKEND.differentiate(entries, copies)
        d = np.concatenate([_array(d_r), _array(d_c)], axis=-1).reshape(B, N, N)
        by_state[:, t] = np.where(real[:, t, None, None], d, np.eye(N))
        by_x[:, t] = np.where(real[:, t, None, None], _array(d_x).reshape(B, N, -1), 0)
    return by_state, by_x


def _noise_scale(problem: Problem) -> float:
    """tr(S) / |G|^2 from the gradient of one sequence after the other."""
    cell, weights = problem.cell, problem.weights
    names = [name for name in _WEIGHTS if getattr(weights, name) is not None]
    # Values, where a backend hands out variables.
    arrays = [
        ops.copy(a) for a in (*(getattr(weights, name) for name in names), *weights.p.values())
    ]
    alone = []
    for b in range(len(problem.real)):
        one = slice(b, b + 1)
        state, d_state = (State(s.h[one], s.c[one]) for s in (problem.state, problem.d_state))
        part = problem._replace(
            x=problem.x[one], state=state, real=problem.real[one], d_y=problem.d_y[one],
            d_state=d_state,
        )  # fmt: skip

        def loss(arrays: Any, part: Problem = part) -> tuple[Any, Any]:
            values = dict(zip(names, arrays, strict=False))
            p = dict(zip(cell.peepholes, arrays[len(names) :], strict=True))
            changed = part._replace(weights=weights._replace(**values, p=p))
            return _run(changed, None, False)[0], 0.0

        _, _, d = BACKEND.differentiate(loss, arrays)
        alone.append(np.concatenate([_array(a).ravel() for a in d]))
    g = np.stack(alone)
    if len(g) < 2 or not g.any():
        return float("nan")
    mean = g.mean(axis=0)
    variance = np.square(g - mean).sum() / (len(g) - 1)
    return float(variance / (mean @ mean - variance / len(g)))


def _array(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor))


# --- all of them ----------------------------------------------------------------------------------


def measure(
    spec: Spec,
    params: dict[str, Array],
    x: Any,
    state: Any = None,
    mask: Any = None,
    d_y: Any = None,
    d_state: Any = None,
) -> dict[str, Array]:
    """All quantities of `lstm_oracle.reference.internals.measure`, under the same names; float64.

    Examples
    --------
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> cell = LSTMCell.from_spec(spec)
    >>> found = measure(spec, cell.gate_params(), np.ones((2, 5, 3)))
    >>> found["singular_values"].shape
    (2, 5, 8)
    """
    problem = _problem(spec, params, x, state, mask, d_y, d_state)
    real, R = problem.real, spec.recurrent_size
    _, steps = _run(problem, None, False)
    seen = {k: np.stack([_array(getattr(s, k)) for s in steps], axis=1) for k in "ifgoch"}
    d_h, d_c = _flow(problem, False)
    direct, along = _flow(problem, True)
    states = [problem.state, *(step.carried for step in steps[:-1])]
    jacobians, by_x = _step_jacobians(problem, states)
    sensitive = _sensitivity(jacobians, by_x, R)
    found: dict[str, Any] = _of_gates(problem.cell, seen, real)
    found |= {
        "time_constant": _time_constants(seen["f"], real),
        "d_h": _size(d_h),
        "d_h_direct": _size(direct),
        "d_h_gates": _size(d_h - direct),
        "d_c": _size(d_c),
        "d_c_cell": _size(along),
        "d_c_gates": _size(d_c - along),
        "singular_values": _singular_values(jacobians),
        "lyapunov": _largest_exponent(jacobians, real),
        "sensitivity": sensitive,
        "memory_length": _memory_length(sensitive, real),
        "noise_scale": _noise_scale(problem),
    }
    found |= _of_units(seen["h"], real)
    return {name: np.asarray(value) for name, value in found.items()}


def _problem(
    spec: Spec, params: Any, x: Any, state: Any, mask: Any, d_y: Any, d_state: Any
) -> Problem:
    cell = LSTMCell.from_spec(spec, dtype="float64")
    cell.set_gate_params(params)
    B, T, _ = x.shape
    real = np.ones((B, T), bool) if mask is None else np.asarray(mask)

    def tensor(a: Any, *shape: int) -> Any:
        return ops.convert_to_tensor(np.zeros(shape) if a is None else a, dtype="float64")

    def pair(state: Any) -> State:
        h, c = (None, None) if state is None else state
        return State(tensor(h, B, spec.recurrent_size), tensor(c, B, spec.hidden_size))

    x = np.where(real[..., None], x, 0)
    d_y = tensor(d_y, B, T, spec.recurrent_size)
    weights = cell.read_weights()
    return Problem(
        cell, spec.masked_output, weights, tensor(x), pair(state), real, d_y, pair(d_state)
    )


def _size(d: Array) -> Array:
    return np.sqrt(np.square(d).sum(axis=-1))


def _of_gates(cell: LSTMCell, seen: dict[str, Array], real: Array) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for k in "ifgo":
        ordered = np.sort(seen[k][real], axis=None)
        places = np.array(QUANTILES) * (len(ordered) - 1)
        found[f"quantiles_{k}"] = np.interp(places, np.arange(len(ordered)), ordered)
    steps = real.sum()
    for k in "ifo":
        found[f"closed_{k}"] = ((seen[k] < CLOSED) & real[..., None]).sum(axis=(0, 1)) / steps
        found[f"open_{k}"] = ((seen[k] > OPEN) & real[..., None]).sum(axis=(0, 1)) / steps
    squashed = _array(cell._squash["c"](ops.convert_to_tensor(seen["c"])))
    for name, values in (("saturated_g", seen["g"]), ("saturated_c", squashed)):
        found[name] = ((np.abs(values) > OPEN) & real[..., None]).sum(axis=(0, 1)) / steps
    return found


def _time_constants(f: Array, real: Array) -> Array:
    logs = np.log(np.maximum(f[real], np.finfo(np.float64).tiny))
    return -1 / np.minimum(logs.mean(axis=0), -1e-12)


def _singular_values(jacobians: Array) -> Array:
    T = jacobians.shape[1]
    suffix = [jacobians[:, T - 1]]
    for t in reversed(range(T - 1)):
        suffix.append(np.einsum("bij,bjk->bik", suffix[-1], jacobians[:, t]))
    stacked = ops.convert_to_tensor(np.stack(suffix[::-1], axis=1))
    return _array(ops.svd(stacked, compute_uv=False))


def _largest_exponent(jacobians: Array, real: Array) -> Array:
    """By Gram-Schmidt, one column after the other: log of what is left of each, averaged."""
    found = []
    for each, steps in zip(jacobians, real, strict=True):
        Q, growth = np.eye(each.shape[-1]), np.zeros(each.shape[-1])
        for J in each[steps]:
            Q, lengths = _orthonormal(J @ Q)
            with np.errstate(divide="ignore"):
                growth += np.log(lengths)
        found.append((growth / steps.sum()).max() if steps.any() else 0.0)
    return np.array(found)


def _orthonormal(columns: Array) -> tuple[Array, Array]:
    Q, lengths = np.zeros_like(columns), np.zeros(columns.shape[1])
    for k in range(columns.shape[1]):
        left = columns[:, k]
        for _ in range(2):  # once more takes away what rounding left of the others
            left = left - Q[:, :k] @ (Q[:, :k].T @ left)
        lengths[k] = np.sqrt(left @ left)
        Q[:, k] = left / lengths[k] if lengths[k] else 0
    return Q, lengths


def _sensitivity(jacobians: Array, by_x: Array, R: int) -> Array:
    """|dr_T/dx_t|_F (B, T)."""
    B, T, N, _ = jacobians.shape
    found = np.empty((B, T))
    for b in range(B):
        after = np.eye(N)[:R]
        for t in reversed(range(T)):
            found[b, t] = np.sqrt(np.square(after @ by_x[b, t]).sum())
            after = after @ jacobians[b, t]
    return found


def _memory_length(sensitive: Array, real: Array) -> float:
    longest = []
    for row, steps in zip(sensitive, real, strict=True):
        own = row[steps][::-1]  # by lag
        matter = np.flatnonzero(own >= MATTERS * own.max(initial=0.0))
        longest.append(matter.max(initial=0))
    return float(np.mean(longest))


def _of_units(h: Array, real: Array) -> dict[str, Any]:
    rows = h[real] - h[real].mean(axis=0)
    s = _array(ops.svd(ops.convert_to_tensor(rows), compute_uv=False))
    p = s[s > 0] / s.sum() if s.any() else np.array([np.nan])
    deviation = np.sqrt(np.square(rows).mean(axis=0))
    alive = deviation >= DEAD
    twins = np.zeros(len(alive), bool)
    for j in np.flatnonzero(alive):
        for k in np.flatnonzero(alive[:j]):
            correlation = (rows[:, j] * rows[:, k]).mean() / (deviation[j] * deviation[k])
            twins[j] |= abs(correlation) > DUPLICATE
    return {
        "effective_rank": np.exp(-(p * np.log(p)).sum()),
        "dead": ~alive,
        "duplicate": twins,
    }


def update_to_weight(before: dict[str, Array], after: dict[str, Array]) -> dict[str, float]:
    """|after - before| / |before| of every parameter; NaN where the parameter was zero."""
    found = {}
    for name, w in before.items():
        size = np.sqrt(np.square(w).sum())
        change = np.sqrt(np.square(np.subtract(after[name], w)).sum())
        found[name] = float(change / size) if size else float("nan")
    return found
