r"""What goes on inside an LSTM, by JAX: every gate, and gradients through time by its own autodiff.

The same quantities as `lstm_oracle.reference.internals` defines them, under the same names, and
nothing in common with how the oracle computes them: zeros are added to every z_t, h_t and c_t and
differentiated with respect to (`jax.vjp`), the temporal Jacobian is `jax.jacrev` of one step, the
cell path is what is left when `jax.lax.stop_gradient` closes every way through a gate.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.jax_impl.activations import ACTIVATIONS, clip, complement
from lstm_oracle.reference.spec import Spec, State

CLOSED, OPEN = 0.05, 0.95
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
DEAD, DUPLICATE = 1e-3, 0.999
MATTERS = 0.01


class Trace(NamedTuple):
    """Everything a layer computes, (B, T, H) each, and the state r (B, T, R) that it carries on."""

    z: dict[str, Any]
    i: Any
    f: Any
    g: Any
    o: Any
    c: Any
    h: Any
    r: Any


class Probes(NamedTuple):
    """Zeros that are added to z_t, h_t and c_t, (B, T, H) each."""

    z: dict[str, Any]
    h: Any
    c: Any


def probes(spec: Spec, x: Any) -> Probes:
    """Probes for an input x (B, T, I)."""
    zero = jnp.zeros((*x.shape[:2], spec.hidden_size), x.dtype)
    return Probes(dict.fromkeys(spec.gates, zero), zero, zero)


def trace(
    params: Any,
    x: Any,
    state: State | None = None,
    mask: Any = None,
    *,
    spec: Spec,
    added: Probes | None = None,
    cell_path_only: bool = False,
) -> Trace:
    """Every gate and state of one layer; pure, and fit for `jax.jit`, `jax.vmap`, `jax.grad`.

    Parameters
    ----------
    params, x, state, mask
        As for `lstm`, of a single `Spec`.
    added
        What `probes` gives, to be differentiated with respect to.
    cell_path_only : bool
        No gradient passes through a gate to what the gate saw: what remains is the path along the
        cell, the product of forget gates.

    Raises
    ------
    TypeError
        For an architecture of several layers: trace each on its own input.

    Examples
    --------
    >>> import jax
    >>> from lstm_oracle.jax_impl import init, internals
    >>> from lstm_oracle.reference.spec import Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = init(jax.random.key(0), spec)
    >>> internals.trace(params, jax.numpy.ones((2, 5, 3)), spec=spec).f.shape
    (2, 5, 4)
    """
    if not isinstance(spec, Spec):
        raise TypeError(
            f"trace: spec is of type {type(spec).__name__}, expected a Spec. "
            "Trace every layer on its own, on what the one below emits."
        )
    return _traced(spec, params, x, state, mask, added, cell_path_only)[1]


def _traced(
    spec: Spec, params: Any, x: Any, state: Any, mask: Any, added: Any, cell_path_only: bool
) -> tuple[State, Trace]:
    """The last state, and every step."""
    B, T, _ = x.shape
    mask = jnp.ones((B, T), bool) if mask is None else jnp.asarray(mask)
    added = probes(spec, x) if added is None else added
    x = jnp.where(mask[..., None], x, 0)
    steps = jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), (x, mask, added))

    def body(carried: State, inputs: Any) -> tuple[State, Trace]:
        x_t, real, probes_t = inputs
        new, seen = _step(spec, params, carried, x_t, probes_t, cell_path_only)
        kept = State(*(jnp.where(real[:, None], a, b) for a, b in zip(new, carried, strict=True)))
        return kept, seen._replace(r=kept.h)

    last, seen = jax.lax.scan(body, _initial(spec, state, B, x.dtype), steps)
    return last, jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), seen)


def _initial(spec: Spec, state: State | None, B: int, dtype: Any) -> State:
    h, c = (None, None) if state is None else state
    zeros = State(
        jnp.zeros((B, spec.recurrent_size), dtype), jnp.zeros((B, spec.hidden_size), dtype)
    )
    return State(*(z if a is None else jnp.asarray(a) for a, z in zip((h, c), zeros, strict=True)))


def _step(
    spec: Spec, params: Any, state: State, x_t: Any, added: Probes, cell_path_only: bool
) -> tuple[State, Trace]:
    seen_by_gates = jax.lax.stop_gradient if cell_path_only else lambda a: a
    r, c_prev = seen_by_gates(state.h), seen_by_gates(state.c)
    z = {}
    from_x, from_r = (_products(spec, params, *pair) for pair in (("W", x_t), ("U", r)))

    def gate(k: str, c: Any) -> Any:
        z_k = from_x[k] + from_r[k] + params.get(f"b_{k}", 0) + added.z[k]
        z[k] = z_k + params[f"p_{k}"] * c if k in spec.peepholes else z_k
        return ACTIVATIONS[getattr(spec, f"{k}_activation")](_limited(z[k], spec.activation_clip))

    f, g = gate("f", c_prev), gate("g", c_prev)
    if spec.coupled:
        i = complement(spec.f_activation)(_limited(z["f"], spec.activation_clip))
    else:
        i = gate("i", c_prev)
    c = _limited(f * state.c + i * g, spec.cell_clip) + added.c
    o = gate("o", seen_by_gates(c))
    shown = c
    if spec.layer_norm:
        shown = params["gain_c"] * _normalized(c, spec.layer_norm_epsilon) + params["shift_c"]
    h = o * ACTIVATIONS[spec.c_activation](shown) + added.h
    r = h @ params["V"] if "V" in params else h
    z = {k: z[k] for k in spec.gates}
    # In expectation: without masks the rates stand for them.
    carried = State(
        spec.zoneout_h * state.h + (1 - spec.zoneout_h) * r,
        spec.zoneout_c * state.c + (1 - spec.zoneout_c) * c,
    )
    return carried, Trace(z, i, f, g, o, c, h, r)


def _products(spec: Spec, params: Any, letter: str, a: Any) -> dict[str, Any]:
    """a @ W_k of every gate; normalized side by side where the Spec says so."""
    fused = jnp.concatenate([a @ params[f"{letter}_{k}"] for k in spec.gates], axis=-1)
    if spec.layer_norm:
        gain = jnp.concatenate([params[f"gain_{letter}_{k}"] for k in spec.gates])
        fused = gain * _normalized(fused, spec.layer_norm_epsilon)
    return dict(zip(spec.gates, jnp.split(fused, len(spec.gates), axis=-1), strict=True))


def _normalized(a: Any, epsilon: float) -> Any:
    centred = a - a.mean(axis=-1, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)


def _limited(z: Any, bound: float | None) -> Any:
    return z if bound is None else clip(z, bound)


# --- gradients through time -----------------------------------------------------------------------


class Flow(NamedTuple):
    """dL/dh_t and dL/dc_t, (B, T, H): in all, and the part that passes through no gate."""

    d_h: Any
    d_c: Any
    d_h_direct: Any
    d_c_cell: Any


def gradient_flow(
    params: Any, x: Any, state: Any, mask: Any, d_y: Any, d_state: State, *, spec: Spec
) -> Flow:
    """Gradients of <d_y, y> + <d_state, state_T> by every h_t and c_t."""

    def flowing(cell_path_only: bool) -> Probes:
        def loss(added: Probes) -> Any:
            last, seen = _traced(spec, params, x, state, mask, added, cell_path_only)
            return _loss(spec, last, seen, mask, d_y, d_state)

        return jax.grad(loss)(probes(spec, x))

    whole, cell = flowing(False), flowing(True)
    return Flow(whole.h, whole.c, cell.h, cell.c)


def _loss(spec: Spec, last: State, seen: Trace, mask: Any, d_y: Any, d_state: State) -> Any:
    real = jnp.ones(seen.c.shape[:2], bool) if mask is None else jnp.asarray(mask)
    emitted = {
        "previous": jnp.cumsum(real, axis=1) > 0,
        "zero": real,
        "state": jnp.ones_like(real),
    }[spec.masked_output]
    y = jnp.where(emitted[..., None], seen.r, 0)
    return (y * d_y).sum() + (last.h * d_state.h).sum() + (last.c * d_state.c).sum()


def step_jacobians(params: Any, x: Any, state: Any, mask: Any, *, spec: Spec) -> tuple[Any, Any]:
    """d(r_t, c_t)/d(r_{t-1}, c_{t-1}) (B, T, N, N), and d(r_t, c_t)/dx_t (B, T, N, I)."""
    B, T, _ = x.shape
    R = spec.recurrent_size
    real = jnp.ones((B, T), bool) if mask is None else jnp.asarray(mask)
    x = jnp.where(real[..., None], x, 0)
    zeros = Probes({k: jnp.zeros(()) for k in spec.gates}, jnp.zeros(()), jnp.zeros(()))

    def step(flat: Any, x_t: Any) -> Any:
        new, _ = _step(spec, params, State(flat[:R], flat[R:]), x_t, zeros, False)
        return jnp.concatenate(new)

    def body(flat: Any, inputs: Any) -> tuple[Any, Any]:
        x_t, real_t = inputs
        by_state, by_x = jax.jacrev(step, argnums=(0, 1))(flat, x_t)
        kept = (jnp.where(real_t, by_state, jnp.eye(len(flat))), jnp.where(real_t, by_x, 0))
        return jnp.where(real_t, step(flat, x_t), flat), kept

    start = jnp.concatenate(_initial(spec, state, B, x.dtype), axis=-1)
    one = lambda flat, x, real: jax.lax.scan(body, flat, (x, real))[1]  # noqa: E731
    return jax.vmap(one)(start, x, real)


def lyapunov_exponents(jacobians: Any, real: Any) -> Any:
    """(B, N) exponents per real step, by QR: log |R_kk| of J_t Q_{t-1} = Q_t R_t, averaged."""
    N = jacobians.shape[-1]

    def body(q: Any, inputs: Any) -> tuple[Any, Any]:
        J, is_real = inputs
        q_new, r = jnp.linalg.qr(J @ q)
        growth = jnp.log(jnp.abs(jnp.diagonal(r)))
        return jnp.where(is_real, q_new, q), jnp.where(is_real, growth, 0)

    each = jax.vmap(lambda J, m: jax.lax.scan(body, jnp.eye(N, dtype=J.dtype), (J, m))[1])
    return each(jacobians, real).sum(axis=1) / jnp.maximum(real.sum(axis=1), 1)[:, None]


def _sensitivity(spec: Spec, params: Any, x: Any, state: Any, mask: Any) -> Any:
    """(B, T) Frobenius norm of dr_T/dx_t."""

    def last(x_b: Any, state_b: State, mask_b: Any) -> Any:
        one = State(state_b.h[None], state_b.c[None])
        return trace(params, x_b[None], one, mask_b[None], spec=spec).r[0, -1]

    d = jax.vmap(jax.jacrev(last))(x, state, mask)  # (B, R, T, I)
    return jnp.sqrt(jnp.square(d).sum(axis=(1, 3)))


def _suffix_products(jacobians: Any) -> Any:
    """d(r_T, c_T)/d(r_t, c_t) for t = 0 ... T - 1: (B, T, N, N)."""

    def body(after: Any, J: Any) -> tuple[Any, Any]:
        after = after @ J
        return after, after

    eye = jnp.eye(jacobians.shape[-1], dtype=jacobians.dtype)
    back = jax.vmap(lambda J: jax.lax.scan(body, eye, J, reverse=True)[1])
    return back(jacobians)


def _noise_scale(
    spec: Spec, params: Any, x: Any, state: State, mask: Any, d_y: Any, d_state: State
) -> Any:
    """B tr(cov of a sequence's gradient) / |mean|^2, both without bias."""

    def loss(params: Any, *of_one: Any) -> Any:
        x, h, c, mask, d_y, d_h, d_c = (a[None] for a in of_one)
        last, seen = _traced(spec, params, x, State(h, c), mask, None, False)
        return _loss(spec, last, seen, mask, d_y, State(d_h, d_c))

    per_sequence = jax.vmap(jax.grad(loss), in_axes=(None,) + (0,) * 7)
    tree = per_sequence(params, x, *state, mask, d_y, *d_state)
    g = jnp.concatenate([a.reshape(len(a), -1) for a in jax.tree.leaves(tree)], axis=1)
    variance = jnp.var(g, axis=0, ddof=1).sum()
    return variance / (jnp.square(g.mean(axis=0)).sum() - variance / len(g))


# --- all of them ----------------------------------------------------------------------------------


def measure(
    spec: Spec,
    params: Any,
    x: Any,
    state: Any = None,
    mask: Any = None,
    d_y: Any = None,
    d_state: Any = None,
) -> dict[str, np.ndarray]:
    """All quantities of `lstm_oracle.reference.internals.measure`, under the same names.

    float64 needs JAX's x64 mode.

    Examples
    --------
    >>> import jax
    >>> from lstm_oracle.jax_impl import init, internals
    >>> from lstm_oracle.reference.spec import Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> x = jax.random.normal(jax.random.key(1), (2, 5, 3))
    >>> found = internals.measure(spec, init(jax.random.key(0), spec), x)
    >>> found["singular_values"].shape
    (2, 5, 8)
    """
    params, x = jax.tree.map(jnp.asarray, (params, x))
    B, T, _ = x.shape
    state = _initial(spec, state, B, x.dtype)
    real = jnp.ones((B, T), bool) if mask is None else jnp.asarray(mask)
    d_y = jnp.zeros((B, T, spec.output_size)) if d_y is None else jnp.asarray(d_y)
    zero = State(*map(jnp.zeros_like, state))
    d_state = zero if d_state is None else State(*map(jnp.asarray, d_state))
    found = _measure(params, x, state, real, d_y, d_state, spec=spec)
    return {name: np.asarray(value) for name, value in found.items()}


@partial(jax.jit, static_argnames="spec")
def _measure(
    params: Any, x: Any, state: State, real: Any, d_y: Any, d_state: State, *, spec: Spec
) -> dict[str, Any]:
    seen = trace(params, x, state, real, spec=spec)
    flow = gradient_flow(params, x, state, real, d_y, d_state, spec=spec)
    jacobians, _ = step_jacobians(params, x, state, real, spec=spec)
    sensitivity = _sensitivity(spec, params, x, state, real)
    size = partial(jnp.linalg.norm, axis=-1)
    return {
        **_of_gates(spec, seen, real),
        "time_constant": _time_constants(seen.f, real),
        "d_h": size(flow.d_h),
        "d_h_direct": size(flow.d_h_direct),
        "d_h_gates": size(flow.d_h - flow.d_h_direct),
        "d_c": size(flow.d_c),
        "d_c_cell": size(flow.d_c_cell),
        "d_c_gates": size(flow.d_c - flow.d_c_cell),
        "singular_values": jnp.linalg.svd(_suffix_products(jacobians), compute_uv=False),
        "lyapunov": lyapunov_exponents(jacobians, real).max(axis=-1),
        "sensitivity": sensitivity,
        "memory_length": _memory_length(sensitivity, real),
        "noise_scale": _noise_scale(spec, params, x, state, real, d_y, d_state),
        "effective_rank": _effective_rank(seen.h, real),
        **_of_units(seen.h, real),
    }


def _share(condition: Any, real: Any) -> Any:
    """(H,) share of the real steps."""
    return (condition & real[..., None]).sum(axis=(0, 1)) / real.sum()


def _of_gates(spec: Spec, seen: Trace, real: Any) -> dict[str, Any]:
    found = {}
    for k in "ifgo":
        values = jnp.where(real[..., None], getattr(seen, k), jnp.nan)
        found[f"quantiles_{k}"] = jnp.nanquantile(values, jnp.asarray(QUANTILES))
    for k in "ifo":
        found[f"closed_{k}"] = _share(getattr(seen, k) < CLOSED, real)
        found[f"open_{k}"] = _share(getattr(seen, k) > OPEN, real)
    squashed = ACTIVATIONS[spec.c_activation](seen.c)
    found["saturated_g"] = _share(jnp.abs(seen.g) > OPEN, real)
    found["saturated_c"] = _share(jnp.abs(squashed) > OPEN, real)
    return found


def _time_constants(f: Any, real: Any) -> Any:
    kept = jnp.maximum(f, jnp.finfo(f.dtype).tiny)
    forgotten = jnp.where(real[..., None], -jnp.log(kept), 0).sum(axis=(0, 1)) / real.sum()
    return 1 / jnp.maximum(forgotten, 1e-12)


def _memory_length(sensitivity: Any, real: Any) -> Any:
    """Mean over the sequences of the longest lag, in real steps, that still matters."""
    after = jnp.cumsum(real[:, ::-1], axis=1)[:, ::-1] - 1
    strong = sensitivity >= MATTERS * sensitivity.max(axis=1, keepdims=True)
    return jnp.where(strong & real, after, 0).max(axis=1).mean()


def _centred(h: Any, real: Any) -> Any:
    """(B*T, H), zero at masked steps, of mean zero over the others."""
    weights = real[..., None].astype(h.dtype)
    mean = (h * weights).sum(axis=(0, 1)) / weights.sum()
    return ((h - mean) * weights).reshape(-1, h.shape[-1])


def _effective_rank(h: Any, real: Any) -> Any:
    s = jnp.linalg.svd(_centred(h, real), compute_uv=False)
    p = s / s.sum()  # NaN where nothing ever changes
    return jnp.exp(-jnp.where(p == 0, 0, p * jnp.log(jnp.where(p == 0, 1, p))).sum())


def _of_units(h: Any, real: Any) -> dict[str, Any]:
    rows = _centred(h, real)
    deviation = jnp.sqrt(jnp.square(rows).sum(axis=0) / real.sum())
    dead = deviation < DEAD
    normed = rows / jnp.where(dead, jnp.inf, deviation)
    alike = jnp.abs(normed.T @ normed) / real.sum() > DUPLICATE
    return {"dead": dead, "duplicate": jnp.triu(alike, 1).any(axis=0)}


def update_to_weight(before: Any, after: Any) -> dict[str, float]:
    """|after - before| / |before| of every parameter; NaN where the parameter was zero."""
    ratio = jax.tree.map(
        lambda a, b: jnp.linalg.norm(b - a) / jnp.where(jnp.any(a), jnp.linalg.norm(a), jnp.nan),
        before,
        after,
    )
    return {name: float(value) for name, value in ratio.items()}
