r"""One step of an LSTM cell in JAX: the equations of `Spec`, from pre-activations to new state.

The matrix products are not here: `layers` does those with W for all steps at once and those with
U step by step, and hands over their sum with the bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax

from lstm_oracle.jax_impl.activations import ACTIVATIONS, clip, complement
from lstm_oracle.jax_impl.normalize import normalize
from lstm_oracle.reference.spec import Spec

Gates = Mapping[str, jax.Array]  # one array per gate, keyed by its letter


def cell(spec: Spec, p: Gates, z: Gates, c_prev: jax.Array) -> tuple[jax.Array, jax.Array]:
    r"""h_t and c_t (B, H), from the gates' summed products z (B, H) each and c_{t-1} (B, H).

    Equations
    ---------
    ::

        z_k = z_k [+ p_k * c_{t-1}]        k in i, f         (every z_k: then activation_clip)
        i = sigma_i(z_i)   f = sigma_f(z_f)   g = sigma_g(z_g)         (coupled: i = 1 - f)
        c_t = f * c_{t-1} + i * g                                      (then cell_clip)
        z_o = z_o [+ p_o * c_t]   o = sigma_o(z_o)
        h_t = o * sigma_c(c_t)                       (layer_norm: of gain_c * N(c_t) + shift_c)

    References
    ----------
    Gers, Schmidhuber & Cummins 2000; Gers & Schmidhuber 2000 (peepholes); Greff et al. 2017,
    section II (coupled gates); Ba et al. 2016, equation 22 (layer normalization).
    """

    def gate_input(k: str, c: jax.Array) -> jax.Array:
        z_k = z[k] + p[k] * c if k in p else z[k]
        return _limited(z_k, spec.activation_clip)

    f = ACTIVATIONS[spec.f_activation](gate_input("f", c_prev))
    if spec.coupled:
        i = complement(spec.f_activation)(gate_input("f", c_prev))
    else:
        i = ACTIVATIONS[spec.i_activation](gate_input("i", c_prev))
    g = ACTIVATIONS[spec.g_activation](gate_input("g", c_prev))
    c = _limited(f * c_prev + i * g, spec.cell_clip)
    o = ACTIVATIONS[spec.o_activation](gate_input("o", c))
    h = o * ACTIVATIONS[spec.c_activation](_normalized(spec, p, c))
    return h, c


def _normalized(spec: Spec, p: Gates, c: jax.Array) -> jax.Array:
    if not spec.layer_norm:
        return c
    return p["gain_c"] * normalize(c, (-1,), spec.layer_norm_epsilon) + p["shift_c"]


def _limited(z: jax.Array, bound: float | None) -> jax.Array:
    return z if bound is None else clip(z, bound)
