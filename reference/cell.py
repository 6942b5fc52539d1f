r"""One step of an LSTM, forward and backward, gate by gate.

Equations
---------
::

    z_k = x_t @ W_k + r_{t-1} @ U_k + b_k [+ p_k * c_{t-1}]      k in i, f, g
    i = sigma_i(z_i)   f = sigma_f(z_f)   g = sigma_g(z_g)       (coupled: i = 1 - f)
    c_t = clip(f * c_{t-1} + i * g)
    z_o = x_t @ W_o + r_{t-1} @ U_o + b_o [+ p_o * c_t]          o = sigma_o(z_o)
    h_t = o * sigma_c(c_t)                                       (layer_norm: of gain*N(c)+shift)

    d_o = d_h * sigma_c(c)               d_z_o = d_o * o'
    d_c = d_c(next) + d_h * o * sigma_c'(c) [+ d_z_o * p_o]      (then through clip)
    d_i = d_c * g    d_f = d_c * c_{t-1}    d_g = d_c * i        (coupled: d_f -= d_i)
    d_z_k = d_k * k'
    d_c_prev = d_c * f [+ d_z_i * p_i + d_z_f * p_f]

The products with W and U are not here: `sequence` makes them, those with W for all steps at once.

References
----------
Gers & Schmidhuber 2000 (peepholes); Greff et al. 2017, equations of section II and appendix A
(BPTT); Ba, Kiros & Hinton 2016, equation 22 (layer normalization). Differs from Greff et al. in
that the forget gate's c_{t-1} and the output gate's c_t are clipped where the Spec has a cell clip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from lstm_oracle.reference import normalize
from lstm_oracle.reference.activations import TABLE, clip, clip_derivative
from lstm_oracle.reference.spec import Spec

Array = np.ndarray
_SEES_PREVIOUS = frozenset("if")  # the peepholes of these gates see c_{t-1}, that of o sees c_t

Gates = dict[str, Array]  # one array per gate that has weights, keyed by its letter


class Step(NamedTuple):
    """All that a step computes, (B, H) each."""

    z: Gates  # pre-activations, peepholes included, before activation_clip
    i: Array
    f: Array
    g: Array
    o: Array
    c_free: Array  # f * c_{t-1} + i * g, before cell_clip
    c: Array
    s: Array  # the squashed cell: sigma_c(c)
    h: Array


def _activate(spec: Spec, k: str, z: Array) -> Array:
    return TABLE[getattr(spec, f"{k}_activation")].value(_bounded(spec, z))


def _bounded(spec: Spec, z: Array) -> Array:
    return z if spec.activation_clip is None else clip(z, spec.activation_clip)


def _slope(spec: Spec, k: str, z: Array) -> Array:
    slope = TABLE[getattr(spec, f"{k}_activation")].derivative(_bounded(spec, z))
    if spec.activation_clip is None:
        return slope
    return slope * clip_derivative(z, spec.activation_clip)


def _own_input_gate(spec: Spec, z: Gates, f: Array) -> Array:
    return _activate(spec, "i", z["i"])


def _own_input_gate_backward(spec: Spec, z: Gates, d_i: Array, d_f: Array) -> Gates:
    return {"i": d_i * _slope(spec, "i", z["i"]), "f": d_f * _slope(spec, "f", z["f"])}


def _coupled_input_gate(spec: Spec, z: Gates, f: Array) -> Array:
    """i = 1 - f, from z_f, so that nothing is lost where f is close to 1."""
    return TABLE[spec.f_activation].complement(_bounded(spec, z["f"]))


def _coupled_input_gate_backward(spec: Spec, z: Gates, d_i: Array, d_f: Array) -> Gates:
    return {"f": (d_f - d_i) * _slope(spec, "f", z["f"])}


class _InputGate(NamedTuple):
    forward: Callable[[Spec, Gates, Array], Array]
    backward: Callable[[Spec, Gates, Array, Array], Gates]


INPUT_GATE = {
    False: _InputGate(_own_input_gate, _own_input_gate_backward),
    True: _InputGate(_coupled_input_gate, _coupled_input_gate_backward),
}


def _plain_squash(spec: Spec, p: Gates, c: Array) -> Array:
    return TABLE[spec.c_activation].value(c)


def _plain_squash_backward(spec: Spec, p: Gates, c: Array, d_s: Array) -> Array:
    return d_s * TABLE[spec.c_activation].derivative(c)


def _no_d_squash_params(spec: Spec, p: Gates, c: Array, d_s: Array) -> Gates:
    return {}


def _normalized(spec: Spec, p: Gates, c: Array) -> Array:
    return p["gain_c"] * normalize.forward(c, spec.layer_norm_epsilon) + p["shift_c"]


def _normalized_squash(spec: Spec, p: Gates, c: Array) -> Array:
    """sigma_c(gain * N(c) + shift) (Ba et al. 2016, equation 22)."""
    return _plain_squash(spec, p, _normalized(spec, p, c))


def _normalized_squash_backward(spec: Spec, p: Gates, c: Array, d_s: Array) -> Array:
    d_normalized = _plain_squash_backward(spec, p, _normalized(spec, p, c), d_s)
    return normalize.backward(c, spec.layer_norm_epsilon, d_normalized * p["gain_c"])


def _normalized_d_squash_params(spec: Spec, p: Gates, c: Array, d_s: Array) -> Gates:
    d_normalized = _plain_squash_backward(spec, p, _normalized(spec, p, c), d_s)
    d_gain = d_normalized * normalize.forward(c, spec.layer_norm_epsilon)
    return {"gain_c": d_gain.sum(axis=(0, 1)), "shift_c": d_normalized.sum(axis=(0, 1))}


class _Squash(NamedTuple):
    forward: Callable[[Spec, Gates, Array], Array]  # c to s
    backward: Callable[[Spec, Gates, Array, Array], Array]  # c, d_s to d_c
    d_params: Callable[[Spec, Gates, Array, Array], Gates]  # of all steps: c, d_s (T, B, H)


SQUASH = {
    False: _Squash(_plain_squash, _plain_squash_backward, _no_d_squash_params),
    True: _Squash(_normalized_squash, _normalized_squash_backward, _normalized_d_squash_params),
}


def params(spec: Spec, params: dict[str, Array]) -> Gates:
    """The vectors (H,) that a step needs: peepholes by gate, gain_c and shift_c."""
    peepholes = {k: params[f"p_{k}"] for k in spec.peepholes}
    return peepholes | {name: params[name] for name in ("gain_c", "shift_c") if name in params}


def forward(spec: Spec, p: Gates, z: Gates, c_prev: Array) -> Step:
    """One step from the gates' summed products.

    Parameters
    ----------
    p : from `params`.
    z : {k: (B, H)}, x_t @ W_k + r_{t-1} @ U_k + b_k.
    c_prev : (B, H), c_{t-1}.
    """
    z = z | {k: z[k] + p[k] * c_prev for k in _SEES_PREVIOUS.intersection(p)}
    f = _activate(spec, "f", z["f"])
    i = INPUT_GATE[spec.coupled].forward(spec, z, f)
    g = _activate(spec, "g", z["g"])
    c_free = f * c_prev + i * g
    c = c_free if spec.cell_clip is None else clip(c_free, spec.cell_clip)
    if "o" in p:
        z["o"] = z["o"] + p["o"] * c
    o = _activate(spec, "o", z["o"])
    s = SQUASH[spec.layer_norm].forward(spec, p, c)
    h = o * s
    return Step(z, i, f, g, o, c_free, c, s, h)


def backward(
    spec: Spec, p: Gates, step: Step, c_prev: Array, d_h: Array, d_c: Array
) -> tuple[Gates, Array, Array]:
    """Gradients of one step: d_z {k: (B, H)}, d_c (B, H) of c_t in all, and d_c_prev (B, H).

    Parameters
    ----------
    d_h : (B, H), dL/dh_t in all.
    d_c : (B, H), the part of dL/dc_t that comes back from step t + 1.
    """
    d_o = d_h * step.s
    d_z_o = d_o * _slope(spec, "o", step.z["o"])
    d_c = d_c + SQUASH[spec.layer_norm].backward(spec, p, step.c, d_h * step.o)
    if "o" in p:
        d_c = d_c + d_z_o * p["o"]
    d_c_free = d_c
    if spec.cell_clip is not None:
        d_c_free = d_c * clip_derivative(step.c_free, spec.cell_clip)
    d_i = d_c_free * step.g
    d_f = d_c_free * c_prev
    d_g = d_c_free * step.i
    d_z = INPUT_GATE[spec.coupled].backward(spec, step.z, d_i, d_f)
    d_z |= {"g": d_g * _slope(spec, "g", step.z["g"]), "o": d_z_o}
    d_c_prev = d_c_free * step.f
    for k in _SEES_PREVIOUS.intersection(p):
        d_c_prev = d_c_prev + d_z[k] * p[k]
    return d_z, d_c, d_c_prev


def d_squash_params(spec: Spec, p: Gates, o: Array, c: Array, d_h: Array) -> Gates:
    """Gradients of gain_c and shift_c, if there are any, from all steps: (T, B, H) each."""
    return SQUASH[spec.layer_norm].d_params(spec, p, c, d_h * o)
