"""Reports as JSON, for programs. `docs/verify-json.md` describes it, version by version."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lstm_oracle.conformance.report import (
    CaseReport,
    ImplementationReport,
    LayerReport,
    ModelReport,
)

VERSION = 1


def implementations_json(reports: Sequence[ImplementationReport], exit_status: int) -> str:
    """Every case of every implementation."""
    return _text(
        {
            **_head("implementations", exit_status),
            "implementations": [_implementation(report) for report in reports],
        }
    )


def model_json(report: ModelReport, exit_status: int) -> str:
    """Every layer of a model."""
    return _text({**_head("model", exit_status), "model": _model(report)})


def _head(subject: str, exit_status: int) -> dict[str, Any]:
    return {
        "format": "lstm-oracle verify",
        "version": VERSION,
        "subject": subject,
        "exit_status": exit_status,
    }


def _implementation(report: ImplementationReport) -> dict[str, Any]:
    return {
        "implementation": report.implementation,
        "agrees": report.agrees,
        "unavailable": report.unavailable,
        "seconds": report.seconds,
        "import_seconds": report.import_seconds,
        "versions": report.versions,
        "cases": [_case(case) for case in report.cases],
    }


def _model(report: ModelReport) -> dict[str, Any]:
    return {
        "model": report.model,
        "backend": report.backend,
        "agrees": report.agrees,
        "cotangent": report.cotangent,
        "samples": report.samples,
        "seconds": report.seconds,
        "versions": report.versions,
        "notes": list(report.notes),
        "layers": [_layer(layer) for layer in report.layers],
    }


def _layer(layer: LayerReport) -> dict[str, Any]:
    sizes = dict(zip(("B", "T", "I", "H"), layer.sizes, strict=True)) if layer.sizes else None
    return {
        **_case(layer.case),
        "kind": layer.kind,
        "call": layer.call,
        "direction": layer.direction,
        "sizes": sizes,
        "masked_steps": layer.masked_steps,
    }


def _case(case: CaseReport) -> dict[str, Any]:
    return {
        "name": case.name,
        "status": case.status,
        "dtype": case.dtype,
        "message": case.message,
        "explanation": case.explanation,
        "nearest_bug": case.nearest_bug,
        "blocks": [
            {name: _finite(value) for name, value in asdict(block).items()} for block in case.blocks
        ],
    }


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they are written as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return {True: "NaN"}.get(math.isnan(value), "Infinity" if value > 0 else "-Infinity")
    return value


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False, default=float) + "\n"
