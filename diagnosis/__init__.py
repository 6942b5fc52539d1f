"""Why does this Keras LSTM not train? Measured evidence, and a remedy that was tried."""

from __future__ import annotations

from typing import Any

from lstm_oracle.diagnosis.findings import (
    CAUSES,
    Diagnosis,
    Evidence,
    Figure,
    Finding,
    NotTested,
    Remedy,
    RuledOut,
)

__all__ = [
    "CAUSES",
    "CannotDiagnose",
    "Diagnosis",
    "Evidence",
    "Figure",
    "Finding",
    "NotTested",
    "Remedy",
    "RuledOut",
    "diagnose",
]


def __getattr__(name: str) -> Any:
    """`diagnose` and its error, importing Keras on first use."""
    if name == "diagnose":
        from lstm_oracle.diagnosis.engine import diagnose

        return diagnose
    if name == "CannotDiagnose":
        from lstm_oracle.diagnosis.intake import CannotDiagnose

        return CannotDiagnose
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
