"""Why does this Keras LSTM not train? Measured evidence, and a remedy that was tried."""

from __future__ import annotations

import importlib
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
    "LayerView",
    "Monitor",
    "NotTested",
    "Remedy",
    "RuledOut",
    "diagnose",
    "look",
]


# What needs Keras, and the module that has it.
_LAZY = {
    "CannotDiagnose": "intake",
    "LayerView": "microscope",
    "Monitor": "monitor",
    "diagnose": "engine",
    "look": "microscope",
}


def __getattr__(name: str) -> Any:
    """What needs Keras, imported on first use."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"lstm_oracle.diagnosis.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
