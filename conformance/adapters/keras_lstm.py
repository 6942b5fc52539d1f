"""`keras.layers.LSTM`, as it is."""

from __future__ import annotations

from typing import Any

import keras

from lstm_oracle.conformance.adapters.keras_network import KerasAdapter
from lstm_oracle.conformance.adapters.support import first, lacking, specs, unknown_options
from lstm_oracle.conformance.case import Case
from lstm_oracle.reference.spec import Spec

_NAMES = {  # of ours that Keras has, as Keras calls them
    "hard_sigmoid_sixth": "hard_sigmoid",
    **{name: name for name in ("sigmoid", "tanh", "hard_tanh", "linear", "relu", "leaky_relu")},
    **{name: name for name in ("elu", "selu", "softplus", "softsign", "silu")},
}
_OPTIONS = frozenset(("unroll", "implementation"))


def unsupported(case: Case) -> str:
    """What `keras.layers.LSTM` does not have."""
    reasons = (_lacks(spec, case.mask is not None) for spec in specs(case.architecture))
    return first([*reasons, unknown_options(case, _OPTIONS), _dropout_lacks(case)])


def _lacks(spec: Spec, masked: bool) -> str:
    if lacking(spec):
        return lacking(spec)
    if not spec.i_activation == spec.f_activation == spec.o_activation:
        return "one activation for all gates"
    if spec.g_activation != spec.c_activation:
        return "one activation for candidate and cell"
    if not {spec.i_activation, spec.g_activation} <= _NAMES.keys():
        return "no hard sigmoid of slope 1/5"
    if masked and spec.masked_output == "state":
        return "emits the previous output or zeros at masked steps"
    return ""


def _dropout_lacks(case: Case) -> str:
    """One mask for all gates, unless recurrent dropout or implementation 1 is in use."""
    if case.dropout is None or case.options.get("implementation") == 1:
        return ""
    per_gate = any(a is not None and a.ndim == 4 for a in case.dropout)
    if per_gate and case.dropout.h is None:
        return "no dropout masks per gate"
    return ""


def make(spec: Spec, **arguments: Any) -> keras.layers.Layer:
    """The layer of a Spec."""
    layer = keras.layers.LSTM(
        spec.hidden_size,
        activation=_NAMES[spec.g_activation],
        recurrent_activation=_NAMES[spec.i_activation],
        use_bias=spec.use_bias,
        # The weights are set; the default initializer cannot draw 16-bit ones on every backend.
        recurrent_initializer="zeros",
        zero_output_for_mask=spec.masked_output == "zero",
        **arguments,
    )
    layer.build((None, None, spec.input_size))
    return layer


def adapter() -> KerasAdapter:
    """The adapter, on the backend of this process."""
    return KerasAdapter(make, unsupported)
