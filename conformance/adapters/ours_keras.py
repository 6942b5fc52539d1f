"""`lstm_oracle.keras_impl.LSTM`, inside Keras' own wrappers."""

from __future__ import annotations

from typing import Any

from lstm_oracle.conformance.adapters.keras_network import KerasAdapter
from lstm_oracle.conformance.adapters.support import unknown_options
from lstm_oracle.conformance.case import Case
from lstm_oracle.keras_impl import LSTM
from lstm_oracle.reference.spec import Spec

_OPTIONS = frozenset(("unroll", "implementation"))


def unsupported(case: Case) -> str:
    """Dropout masks per gate need implementation 1, which recurrent dropout brings."""
    reason = unknown_options(case, _OPTIONS)
    if reason or case.dropout is None or case.options.get("implementation") == 1:
        return reason
    per_gate = any(a is not None and a.ndim == 4 for a in case.dropout)
    return "no dropout masks per gate" if per_gate and case.dropout.h is None else ""


def make(spec: Spec, **arguments: Any) -> LSTM:
    """The layer of a Spec."""
    return LSTM.from_spec(spec, **arguments)


def adapter() -> KerasAdapter:
    """The adapter, on the backend of this process."""
    return KerasAdapter(make, unsupported)
