r"""A second LSTM, as a textbook prints it: slow, plain, and written apart from the oracle.

Four separate gates, one step after the other, weight gradients added up step by step, derivatives
from the activations' values (tanh' = 1 - tanh^2, sigma' = sigma (1 - sigma)), nothing hoisted. It
shares only the description of a layer with the oracle.

Of the formulas in use it takes those that lose most, so that whoever computes by any of them is
honest: below zero sigma(z) = tanh(z/2)/2 + 1/2, which kernels take to have one function for all
gates and which keeps no digits of a gate that is nearly closed; above zero sigma(z) = 1/(1 + e^-z),
whose sum, above 1, is rounded twice as coarsely as the value of a gate that is nearly open;
derivatives of elu and selu from their value, as TensorFlow does; that of softsign by the quotient
rule, as PyTorch's differentiation does.

It serves twice. The zoo seeds its bugs here, one changed line each. And as an honest implementation
in plain arithmetic it is the second witness of what rounding does to an LSTM: see `yardstick`.

Its lines are patched by `zoo`: a line that a bug changes stands here exactly once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
)

Array = np.ndarray


class Mask(NamedTuple):
    """Which steps are real, and which sequences had a real step in an earlier piece."""

    real: Array  # (B, T)
    started: Array  # (B,)


# --- activations: value of z; derivative from z and the value a -----------------------------------


def one(z: Array) -> Array:
    """1, in the arithmetic of z."""
    return 1 + 0 * z


def sigmoid(z: Array) -> Array:
    """tanh(z/2) / 2 + 1/2 below zero, 1 / (1 + e^-z) above."""
    return np.where(z > 0, logistic(np.maximum(z, 0 * z)), np.tanh(z / 2) / 2 + 0.5)


def logistic(z: Array) -> Array:
    """1 / (1 + e^-z), the same but for rounding."""
    return 1 / (1 + np.exp(-z))


def sigmoid_derivative(z: Array, a: Array) -> Array:
    """a (1 - a)."""
    return a * (1 - a)


def tanh_derivative(z: Array, a: Array) -> Array:
    """1 - a^2."""
    return 1 - a * a


def hard_sigmoid_sixth(z: Array) -> Array:
    """Between 0 and 1, with slope 1/6."""
    return np.minimum(1, np.maximum(0, z / 6 + 0.5))


def hard_sigmoid_sixth_derivative(z: Array, a: Array) -> Array:
    """1/6 where neither 0 nor 1."""
    return np.where((a > 0) & (a < 1), one(z), 0) / 6


def hard_sigmoid_fifth(z: Array) -> Array:
    """Between 0 and 1, with slope 1/5."""
    return np.minimum(1, np.maximum(0, z / 5 + 0.5))


def hard_sigmoid_fifth_derivative(z: Array, a: Array) -> Array:
    """1/5 where neither 0 nor 1."""
    return np.where((a > 0) & (a < 1), one(z), 0) / 5


def hard_tanh_derivative(z: Array, a: Array) -> Array:
    """1 between -1 and 1."""
    return np.where((z > -1) & (z < 1), 1.0, 0.0)


def selu(z: Array) -> Array:
    """scale z, or scale alpha (e^z - 1) below zero."""
    return 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * (np.exp(z) - 1))


def selu_derivative(z: Array, a: Array) -> Array:
    """scale, or scale alpha + a below zero."""
    return np.where(z > 0, 1.0507009873554805, a + 1.0507009873554805 * 1.6732632423543772)


def softsign_derivative(z: Array, a: Array) -> Array:
    """1 / (1 + |z|) - |z| / (1 + |z|)^2."""
    return 1 / (1 + abs(z)) - abs(z) / (1 + abs(z)) ** 2


ACTIVATION: dict[str, Any] = {
    "sigmoid": (sigmoid, sigmoid_derivative),
    "tanh": (np.tanh, tanh_derivative),
    "hard_sigmoid_sixth": (hard_sigmoid_sixth, hard_sigmoid_sixth_derivative),
    "hard_sigmoid_fifth": (hard_sigmoid_fifth, hard_sigmoid_fifth_derivative),
    "hard_tanh": (lambda z: np.minimum(1, np.maximum(-1, z)), hard_tanh_derivative),
    "linear": (lambda z: z, lambda z, a: np.ones_like(z)),
    "relu": (lambda z: np.maximum(0, z), lambda z, a: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.2 * z),
        lambda z, a: np.where(z > 0, 1.0, 0.2),
    ),
    "elu": (
        lambda z: np.where(z > 0, z, np.exp(z) - 1),
        lambda z, a: np.where(z > 0, 1.0, a + 1),
    ),
    "selu": (selu, selu_derivative),
    "softplus": (lambda z: np.log(1 + np.exp(z)), lambda z, a: logistic(z)),
    "softsign": (lambda z: z / (1 + abs(z)), softsign_derivative),
    "silu": (
        lambda z: z * logistic(z),
        lambda z, a: logistic(z) * (1 + z * (1 - logistic(z))),
    ),
}


def activate(name: str, z: Array) -> Array:
    """The activation of that name."""
    return ACTIVATION[name][0](z)


def derivative(name: str, z: Array, a: Array) -> Array:
    """Its derivative at z, where its value is a."""
    return ACTIVATION[name][1](z, a)


def clip(z: Array, bound: float | None) -> Array:
    """z limited to [-bound, bound]."""
    return z if bound is None else np.minimum(bound * one(z), np.maximum(-bound * one(z), z))


def inside(z: Array, bound: float | None) -> Any:
    """1 where a clip lets the gradient through."""
    return 1 if bound is None else np.where(abs(z) <= bound, 1.0, 0.0)


# --- layer normalization --------------------------------------------------------------------------


def normalize(a: Array, epsilon: float) -> tuple[Array, Array]:
    """(a - mean) / s over the last axis, and s."""
    n = a.shape[-1]
    mean = a.sum(axis=-1, keepdims=True) / n
    variance = ((a - mean) ** 2).sum(axis=-1, keepdims=True) / n
    s = np.sqrt(variance + epsilon)
    return (a - mean) / s, s


def normalize_backward(normal: Array, s: Array, d: Array) -> Array:
    """Through the variance, then through the mean."""
    n = d.shape[-1]
    d_centered = d / s - normal * (d * normal).sum(axis=-1, keepdims=True) / (n * s)
    d_mean = d_centered.sum(axis=-1, keepdims=True) / n
    return d_centered - d_mean


def normalize_gates(
    spec: Spec, P: dict[str, Array], letter: str, products: dict[str, Array]
) -> tuple[dict[str, Array], Any]:
    """Each gate's product with gain, normalized over all gates together; and a tape."""
    if not spec.layer_norm:
        return products, None
    together = np.concatenate([products[k] for k in spec.gates], axis=-1)
    normal, s = normalize(together, spec.layer_norm_epsilon)
    each = np.split(normal, len(spec.gates), axis=-1)
    gained = {
        k: P[f"gain_{letter}_{k}"] * each_k for k, each_k in zip(spec.gates, each, strict=True)
    }
    return products | gained, (normal, s)


def normalize_gates_backward(
    spec: Spec, P: dict[str, Array], d: dict[str, Array], letter: str, tape: Any, d_z: Any
) -> Any:
    """The gradients of each gate's product; adds those of the gains to d."""
    if tape is None:
        return d_z
    normal, s = tape
    each = np.split(normal, len(spec.gates), axis=-1)
    d_each = []
    for k, each_k in zip(spec.gates, each, strict=True):
        name = f"gain_{letter}_{k}"
        d[name] = d[name] + (d_z[k] * each_k).sum(axis=0)
        d_each.append(d_z[k] * P[name])
    d_together = normalize_backward(normal, s, np.concatenate(d_each, axis=-1))
    d_products = np.split(d_together, len(spec.gates), axis=-1)
    return d_z | dict(zip(spec.gates, d_products, strict=True))


def normalize_cell(spec: Spec, P: dict[str, Array], c: Array) -> tuple[Array, Any]:
    """What the cell's activation is given; and a tape."""
    if not spec.layer_norm:
        return c, None
    normal, s = normalize(c, spec.layer_norm_epsilon)
    return P["gain_c"] * normal + P["shift_c"], (normal, s)


def normalize_cell_backward(
    P: dict[str, Array], d: dict[str, Array], tape: Any, d_a_c: Array
) -> Array:
    """The gradient of the cell; adds those of gain and shift to d."""
    if tape is None:
        return d_a_c
    normal, s = tape
    d["gain_c"] = d["gain_c"] + (d_a_c * normal).sum(axis=0)
    d["shift_c"] = d["shift_c"] + d_a_c.sum(axis=0)
    return normalize_backward(normal, s, d_a_c * P["gain_c"])


# --- one step -------------------------------------------------------------------------------------


def step_forward(
    spec: Spec, P: dict[str, Array], xs: dict[str, Array], rs: dict[str, Array], c_prev: Array
) -> dict[str, Any]:
    """A step; xs and rs are each gate's own input, dropout applied."""
    by_w = {k: xs[k] @ P["W_" + k] for k in "ifgo"}
    by_u = {k: rs[k] @ P["U_" + k] for k in "ifgo"}
    w, tape_w = normalize_gates(spec, P, "W", by_w)
    u, tape_u = normalize_gates(spec, P, "U", by_u)
    z_i = w["i"] + u["i"] + P["b_i"] + P["p_i"] * c_prev
    z_f = w["f"] + u["f"] + P["b_f"] + P["p_f"] * c_prev
    z_g = w["g"] + u["g"] + P["b_g"]
    a_i = clip(z_i, spec.activation_clip)
    a_f = clip(z_f, spec.activation_clip)
    a_g = clip(z_g, spec.activation_clip)
    f = activate(spec.f_activation, a_f)
    i = 1 - f if spec.coupled else activate(spec.i_activation, a_i)
    g = activate(spec.g_activation, a_g)
    c_free = f * c_prev + i * g
    c = clip(c_free, spec.cell_clip)
    z_o = w["o"] + u["o"] + P["b_o"] + P["p_o"] * c
    a_o = clip(z_o, spec.activation_clip)
    o = activate(spec.o_activation, a_o)
    a_c, tape_c = normalize_cell(spec, P, c)
    s = activate(spec.c_activation, a_c)
    h = o * s
    r = h @ P["V"] if "V" in P else h
    return {
        "xs": xs, "rs": rs, "c_prev": c_prev, "z_i": z_i, "z_f": z_f, "z_g": z_g, "z_o": z_o,
        "a_i": a_i, "a_f": a_f, "a_g": a_g, "a_o": a_o, "i": i, "f": f, "g": g, "o": o,
        "c_free": c_free, "c": c, "s": s, "h": h, "r": r, "a_c": a_c,
        "tape_w": tape_w, "tape_u": tape_u, "tape_c": tape_c,
    }  # fmt: skip


def step_backward(
    spec: Spec, P: dict[str, Array], m: dict[str, Any], d: dict[str, Array], d_r: Array, d_c: Array
) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Adds to the weight gradients d; gives d_x and d_r_prev of every gate, and d_c_prev."""
    if "V" in P:
        d["V"] = d["V"] + m["h"].T @ d_r
        d_h = d_r @ P["V"].T
    else:
        d_h = d_r
    d_o = d_h * m["s"]
    d_z_o = d_o * derivative(spec.o_activation, m["a_o"], m["o"])
    d_z_o = d_z_o * inside(m["z_o"], spec.activation_clip)
    d_s = d_h * m["o"]
    d_a_c = d_s * derivative(spec.c_activation, m["a_c"], m["s"])
    d_c = d_c + normalize_cell_backward(P, d, m["tape_c"], d_a_c)
    d_c = d_c + d_z_o * P["p_o"]
    d_c = d_c * inside(m["c_free"], spec.cell_clip)
    d_i = d_c * m["g"]
    d_f = d_c * m["c_prev"]
    d_g = d_c * m["i"]
    if spec.coupled:
        d_f = d_f - d_i
        d_i = np.zeros_like(d_i)
    d_z_i = d_i * derivative(spec.i_activation, m["a_i"], m["i"])
    d_z_i = d_z_i * inside(m["z_i"], spec.activation_clip)
    d_z_f = d_f * derivative(spec.f_activation, m["a_f"], m["f"])
    d_z_f = d_z_f * inside(m["z_f"], spec.activation_clip)
    d_z_g = d_g * derivative(spec.g_activation, m["a_g"], m["g"])
    d_z_g = d_z_g * inside(m["z_g"], spec.activation_clip)
    d_c_prev = d_c * m["f"]
    d_c_prev = d_c_prev + d_z_i * P["p_i"]
    d_c_prev = d_c_prev + d_z_f * P["p_f"]
    d["p_i"] = d["p_i"] + (d_z_i * m["c_prev"]).sum(axis=0)
    d["p_f"] = d["p_f"] + (d_z_f * m["c_prev"]).sum(axis=0)
    d["p_o"] = d["p_o"] + (d_z_o * m["c"]).sum(axis=0)
    d_z = {"i": d_z_i, "f": d_z_f, "g": d_z_g, "o": d_z_o}
    d_w = normalize_gates_backward(spec, P, d, "W", m["tape_w"], d_z)
    d_u = normalize_gates_backward(spec, P, d, "U", m["tape_u"], d_z)
    for k in "ifgo":
        d["W_" + k] = d["W_" + k] + m["xs"][k].T @ d_w[k]
        d["U_" + k] = d["U_" + k] + m["rs"][k].T @ d_u[k]
        d["b_" + k] = d["b_" + k] + d_z[k].sum(axis=0)
    d_xs = {k: d_w[k] @ P["W_" + k].T for k in "ifgo"}
    d_rs = {k: d_u[k] @ P["U_" + k].T for k in "ifgo"}
    return d_xs, d_rs, d_c_prev


# --- one layer over a sequence --------------------------------------------------------------------


def complete(spec: Spec, params: dict[str, Array]) -> dict[str, Array]:
    """The parameters, with zeros for those that the layer does not have."""
    I, H, R = spec.input_size, spec.hidden_size, spec.recurrent_size
    absent = {"W": (I, H), "U": (R, H), "b": (H,), "p": (H,)}
    zeros = {f"{n}_{k}": np.zeros(shape) for n, shape in absent.items() for k in "ifgo"}
    return zeros | params


def multipliers(spec: Spec, dropout: Array | None, t: int) -> dict[str, Any]:
    """What every gate's input is multiplied by at step t."""
    if dropout is None:
        return {"i": 1, "f": 1, "g": 1, "o": 1}
    if dropout.ndim == 2:
        return {"i": dropout, "f": dropout, "g": dropout, "o": dropout}
    now = dropout[:, 0 if dropout.shape[1] == 1 else t]
    if now.ndim == 2:
        return {"i": now, "f": now, "g": now, "o": now}
    # A coupled layer has no gate i; what stands for it is not used.
    gates = {k: now[:, n] for n, k in enumerate(spec.gates)}
    return {"i": gates["f"]} | gates


def kept(rate: float, mask: Array | None, t: int) -> Any:
    """How much of its previous value a state keeps at step t."""
    if mask is None:
        return rate
    if mask.ndim == 2:
        return mask
    return mask[:, 0 if mask.shape[1] == 1 else t]


def zoneout(
    spec: Spec, dropout: Dropout, t: int, step: dict[str, Any], r: Array, c: Array
) -> tuple[dict[str, Any], Any]:
    """The r and c that leave a step; and what they kept of the old ones."""
    if not spec.zoneout:
        return step, None
    keep_r = kept(spec.zoneout_h, dropout.zoneout_h, t)
    keep_c = kept(spec.zoneout_c, dropout.zoneout_c, t)
    new_r = keep_r * r + (1 - keep_r) * step["r"]
    new_c = keep_c * c + (1 - keep_c) * step["c"]
    return step | {"r": new_r, "c": new_c}, (keep_r, keep_c)


def share_zoneout(keep: Any, d_r: Array, d_c: Array) -> tuple[Array, Array]:
    """What the new r and c get of the gradient of those that leave a step."""
    if keep is None:
        return d_r, d_c
    return (1 - keep[0]) * d_r, (1 - keep[1]) * d_c


def pass_zoneout(
    keep: Any, d_r: Array, d_c: Array, kept_r: Array, kept_c: Array
) -> tuple[Array, Array]:
    """The gradients of the old r and c, with what they were kept for."""
    if keep is None:
        return d_r, d_c
    return d_r + keep[0] * kept_r, d_c + keep[1] * kept_c


def apply(multiplier: dict[str, Any], a: Array) -> dict[str, Array]:
    """Each gate's own input."""
    return {k: a * multiplier[k] for k in "ifgo"}


def gather(multiplier: dict[str, Any], d: dict[str, Array]) -> Array:
    """The gradient of what was given to all gates."""
    return sum(d[k] * multiplier[k] for k in "ifgo")


def layer_forward(
    spec: Spec, params: Any, x: Array, state: State, mask: Mask, dropout: Dropout
) -> tuple[Array, State, Any]:
    """One layer, forwards in time."""
    P = complete(spec, params)
    r, c = state
    emitted = np.where(mask.started[:, None], r, 0)
    ys, steps = [], []
    for t in range(x.shape[1]):
        real = mask.real[:, t, None]
        x_t = np.where(real, x[:, t], 0)
        by_x, by_r = multipliers(spec, dropout.x, t), multipliers(spec, dropout.h, t)
        step = step_forward(spec, P, apply(by_x, x_t), apply(by_r, r), c)
        m, keep = zoneout(spec, dropout, t, step, r, c)
        r, c = np.where(real, m["r"], r), np.where(real, m["c"], c)
        emitted = np.where(real, m["r"], emitted)
        y_t = {"previous": emitted, "zero": np.where(real, m["r"], 0), "state": r}
        ys.append(y_t[spec.masked_output])
        steps.append((step, real, by_x, by_r, keep))
    return np.stack(ys, axis=1), State(r, c), (spec, P, steps, mask)


def layer_backward(tape: Any, d_y: Array, d_state: State) -> tuple[Any, Array, State]:
    """Gradients of the parameters, of x and of the initial state."""
    spec, P, steps, mask = tape
    d = {name: np.zeros_like(value) for name, value in P.items()}
    d_r, d_c = d_state
    d_emitted = np.zeros_like(d_r)
    d_x = [np.zeros(0)] * len(steps)
    for t in reversed(range(len(steps))):
        m, real, by_x, by_r, keep = steps[t]
        d_y_t = d_y[:, t]
        if spec.masked_output == "previous":
            d_emitted = d_emitted + d_y_t
            d_r = d_r + np.where(real, d_emitted, 0)
            d_emitted = np.where(real, 0, d_emitted)
        elif spec.masked_output == "zero":
            d_r = d_r + np.where(real, d_y_t, 0)
        else:
            d_r = d_r + d_y_t
        new_r, new_c = np.where(real, d_r, 0), np.where(real, d_c, 0)
        step_r, step_c = share_zoneout(keep, new_r, new_c)
        d_xs, d_rs, d_c_prev = step_backward(spec, P, m, d, step_r, step_c)
        d_x[t] = gather(by_x, d_xs)
        d_r = gather(by_r, d_rs) + np.where(real, 0, d_r)
        d_c = d_c_prev + np.where(real, 0, d_c)
        d_r, d_c = pass_zoneout(keep, d_r, d_c, new_r, new_c)
    d_r = d_r + np.where(mask.started[:, None], d_emitted, 0)
    d_params = {name: d[name] for name in spec.param_shapes}
    return d_params, np.stack(d_x, axis=1), State(d_r, d_c)


# --- layers put together --------------------------------------------------------------------------


def flip(a: Array) -> Array:
    """Time, the other way round."""
    return a[:, ::-1]


def flip_dropout(architecture: Any, dropout: Any) -> Any:
    """Dropout that belongs to steps goes with them."""
    if isinstance(architecture, Spec):
        return Dropout(*(a if a is None or a.ndim == 2 else flip(a) for a in dropout))
    if isinstance(architecture, (Reverse, Chunks)):
        return flip_dropout(architecture.layer, dropout)
    pair = isinstance(architecture, Bidirectional)
    layers = (architecture.forward, architecture.backward) if pair else architecture.layers
    return tuple(flip_dropout(a, b) for a, b in zip(layers, dropout, strict=True))


def run_forward(
    architecture: Any, params: Any, x: Array, state: Any, mask: Mask, dropout: Any
) -> tuple[Any, Any, Any]:
    """Output, final state and tape of any architecture."""
    inputs = (architecture, params, x, state, mask, dropout)
    return FORWARD[type(architecture)](*inputs)


def run_backward(architecture: Any, tape: Any, d_y: Any, d_state: Any) -> tuple[Any, Array, Any]:
    """Gradients of the parameters, of x and of the initial state of any architecture."""
    if isinstance(architecture, Spec):
        return layer_backward(tape, d_y, d_state)
    return BACKWARD[type(architecture)](architecture, tape, d_y, d_state)


def reverse_forward(
    architecture: Reverse, params: Any, x: Array, state: Any, mask: Mask, dropout: Any
) -> tuple[Any, Any, Any]:
    """A layer that reads from the last step to the first."""
    dropout = flip_dropout(architecture.layer, dropout)
    x = flip(x)
    mask = Mask(flip(mask.real), mask.started)
    y, state, tape = run_forward(architecture.layer, params, x, state, mask, dropout)
    if architecture.output_order == "original":
        y = flip(y)
    return y, state, tape


def reverse_backward(
    architecture: Reverse, tape: Any, d_y: Array, d_state: Any
) -> tuple[Any, Array, Any]:
    """Its gradients."""
    if architecture.output_order == "original":
        d_y = flip(d_y)
    d_params, d_x, d_initial = run_backward(architecture.layer, tape, d_y, d_state)
    d_x = flip(d_x)
    return d_params, d_x, d_initial


def bidirectional_forward(
    architecture: Bidirectional, params: Any, x: Array, state: Any, mask: Mask, dropout: Any
) -> tuple[Any, Any, Any]:
    """Both directions, merged."""
    halves = architecture.forward, Reverse(architecture.backward)
    a, state_a, tape_a = run_forward(halves[0], params[0], x, state[0], mask, dropout[0])
    b, state_b, tape_b = run_forward(halves[1], params[1], x, state[1], mask, dropout[1])
    y = {
        "concat": lambda: np.concatenate([a, b], axis=-1),
        "sum": lambda: a + b,
        "mul": lambda: a * b,
        "ave": lambda: (a + b) / 2,
        None: lambda: Directions(a, b),
    }[architecture.merge]()
    return y, Directions(state_a, state_b), (halves, tape_a, tape_b, a, b)


def bidirectional_backward(
    architecture: Bidirectional, tape: Any, d_y: Any, d_state: Any
) -> tuple[Any, Array, Any]:
    """Its gradients."""
    halves, tape_a, tape_b, a, b = tape
    width = a.shape[-1]
    d_a, d_b = {
        "concat": lambda: (d_y[..., :width], d_y[..., width:]),
        "sum": lambda: (d_y, d_y),
        "mul": lambda: (d_y * b, d_y * a),
        "ave": lambda: (d_y / 2, d_y / 2),
        None: lambda: d_y,
    }[architecture.merge]()
    d_params_a, d_x_a, d_initial_a = run_backward(halves[0], tape_a, d_a, d_state[0])
    d_params_b, d_x_b, d_initial_b = run_backward(halves[1], tape_b, d_b, d_state[1])
    d_x = d_x_a + d_x_b
    return Directions(d_params_a, d_params_b), d_x, Directions(d_initial_a, d_initial_b)


def stack_forward(
    architecture: Stack, params: Any, x: Array, state: Any, mask: Mask, dropout: Any
) -> tuple[Any, Any, Any]:
    """Each layer reads what the one below emits."""
    states, tapes = [], []
    for n, layer in enumerate(architecture.layers):
        x, final, tape = run_forward(layer, params[n], x, state[n], mask, dropout[n])
        states.append(final)
        tapes.append(tape)
    return x, tuple(states), tapes


def stack_backward(
    architecture: Stack, tape: Any, d_y: Any, d_state: Any
) -> tuple[Any, Array, Any]:
    """From the top layer to the lowest."""
    d_params, d_initial = [], []
    for n in reversed(range(len(architecture.layers))):
        p, d_y, initial = run_backward(architecture.layers[n], tape[n], d_y, d_state[n])
        d_params.append(p)
        d_initial.append(initial)
    return tuple(d_params[::-1]), d_y, tuple(d_initial[::-1])


def chunks_forward(
    architecture: Chunks, params: Any, x: Array, state: Any, mask: Mask, dropout: Any
) -> tuple[Any, Any, Any]:
    """Piece after piece, the state handed on."""
    ys, tapes = [], []
    started = mask.started
    for start in range(0, x.shape[1], architecture.length):
        piece = slice(start, start + architecture.length)
        cut = cut_dropout(architecture.layer, dropout, piece)
        now = Mask(mask.real[:, piece], started)
        y, state, tape = run_forward(architecture.layer, params, x[:, piece], state, now, cut)
        started = started | now.real.any(axis=1)
        ys.append(y)
        tapes.append((tape, y.shape[1]))
    return np.concatenate(ys, axis=1), state, tapes


def chunks_backward(
    architecture: Chunks, tape: Any, d_y: Array, d_state: Any
) -> tuple[Any, Array, Any]:
    """Piece after piece from the last; truncated, nothing is handed back."""
    stop = d_y.shape[1]
    d_params: Any = None
    d_x = []
    for inner, length in reversed(tape):
        piece = d_y[:, stop - length : stop]
        p, d_x_piece, d_state = run_backward(architecture.layer, inner, piece, d_state)
        d_params = p if d_params is None else add(d_params, p)
        d_x.append(d_x_piece)
        d_initial = d_state
        if architecture.truncate:
            d_state = nothing(d_state)
        stop = stop - length
    return d_params, np.concatenate(d_x[::-1], axis=1), d_initial


def cut_dropout(architecture: Any, dropout: Any, piece: slice) -> Any:
    """Dropout of these steps."""
    if isinstance(architecture, Stack):
        parts = zip(architecture.layers, dropout, strict=True)
        return tuple(cut_dropout(layer, part, piece) for layer, part in parts)
    whole = [a is None or a.ndim == 2 or a.shape[1] == 1 for a in dropout]
    return Dropout(*(a if w else a[:, piece] for a, w in zip(dropout, whole, strict=True)))


def add(a: Any, b: Any) -> Any:
    """The sum of two nested gradients."""
    if isinstance(a, dict):
        return {name: add(a[name], b[name]) for name in a}
    if isinstance(a, tuple):
        return tuple(add(x, y) for x, y in zip(a, b, strict=True))
    return a + b


def nothing(a: Any) -> Any:
    """Zeros in the nesting of a state."""
    if isinstance(a, tuple):
        parts = (nothing(part) for part in a)
        return type(a)(*parts) if hasattr(a, "_fields") else tuple(parts)
    return np.zeros_like(a)


FORWARD: dict[type, Any] = {
    Spec: layer_forward,
    Reverse: reverse_forward,
    Bidirectional: bidirectional_forward,
    Stack: stack_forward,
    Chunks: chunks_forward,
}
BACKWARD: dict[type, Any] = {
    Reverse: reverse_backward,
    Bidirectional: bidirectional_backward,
    Stack: stack_backward,
    Chunks: chunks_backward,
}


# --- a case ---------------------------------------------------------------------------------------


def fill_state(architecture: Any, state: Any, B: int) -> Any:
    """The state, zero where none is given."""
    if isinstance(architecture, (Reverse, Chunks)):
        return fill_state(architecture.layer, state, B)
    if isinstance(architecture, Stack):
        given = (None,) * len(architecture.layers) if state is None else state
        pairs = zip(architecture.layers, given, strict=True)
        return tuple(fill_state(layer, part, B) for layer, part in pairs)
    if isinstance(architecture, Bidirectional):
        a, b = (None, None) if state is None else state
        return Directions(
            fill_state(architecture.forward, a, B), fill_state(architecture.backward, b, B)
        )
    h, c = (None, None) if state is None else state
    h = np.zeros((B, architecture.recurrent_size)) if h is None else h
    c = np.zeros((B, architecture.hidden_size)) if c is None else c
    return State(h, c)


def fill_dropout(architecture: Any, dropout: Any) -> Any:
    """Dropout in the nesting of the architecture, nothing where none is given."""
    if isinstance(architecture, (Reverse, Chunks)):
        return fill_dropout(architecture.layer, dropout)
    if isinstance(architecture, Stack):
        given = (None,) * len(architecture.layers) if dropout is None else dropout
        pairs = zip(architecture.layers, given, strict=True)
        return tuple(fill_dropout(layer, part) for layer, part in pairs)
    if isinstance(architecture, Bidirectional):
        a, b = (None, None) if dropout is None else dropout
        return fill_dropout(architecture.forward, a), fill_dropout(architecture.backward, b)
    return Dropout() if dropout is None else dropout


def run(case: Case) -> Result:
    """The textbook's answer, in the arithmetic of the case's arrays."""
    B, T, _ = case.x.shape
    real = np.ones((B, T), bool) if case.mask is None else case.mask
    mask = Mask(real, np.zeros(B, bool))
    state = fill_state(case.architecture, case.state, B)
    dropout = fill_dropout(case.architecture, case.dropout)
    d_state = fill_state(case.architecture, case.d_state, B)
    y, final, tape = run_forward(case.architecture, case.params, case.x, state, mask, dropout)
    d_y = np.zeros_like(y) if case.d_y is None else case.d_y
    d_params, d_x, d_initial = run_backward(case.architecture, tape, d_y, d_state)
    return Result(y, final, d_params, d_x, d_initial)
