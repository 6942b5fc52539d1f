"""What a diagnosis says: findings with stable ids, ranked, with their evidence and remedy.

Nothing here measures or decides; `examination` and `experiments` make findings, `report` shows
them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]

CAUSES = (
    "insufficient-data",
    "class-imbalance",
    "data-scale",
    "data-quality",
    "input-encoding",
    "data-split",
    "masking",
    "window",
    "no-signal",
    "naive-forecast",
    "output-loss-mismatch",
    "wiring",
    "too-small",
    "too-large",
    "activation",
    "learning-rate-high",
    "learning-rate-low",
    "optimizer",
    "batch-size",
    "vanishing-gradient",
    "exploding-gradient",
    "initialization",
    "over-regularized",
    "under-trained",
)


@dataclass(frozen=True)
class Evidence:
    """One measured quantity, with what it was held against."""

    name: str  # "validation skill of the user's set-up"
    value: Any  # a number, a short string, or a list of numbers
    limit: Any = None  # what it was held against
    source: str = ""  # where the limit comes from: arithmetic, a paper, the paired control
    interval: tuple[float, float] | None = None  # 95 % interval of the value
    unit: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture's data: drawn by `report`, with the same numbers as a table."""

    kind: Literal["curves", "bars", "heatmap", "histogram", "confusion", "scatter"]
    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Any]  # {"before": {"x": [...], "y": [...], "low": [...], "high": [...]}}
    log_y: bool = False
    log_x: bool = False


@dataclass(frozen=True)
class Remedy:
    """A change that was tried, or, where `tried` is False, only advised."""

    key: str  # the intervention's name, "standardize-inputs"
    text: str  # what to change, in a sentence
    code: str = ""  # what to type
    tried: bool = False
    before: float | None = None  # skill without and with it, on held-out data
    after: float | None = None
    gain_interval: tuple[float, float] | None = None  # 95 %, paired over seeds


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (error, warning) or worth knowing (info)."""

    id: str  # "LSTM012"
    cause: str  # one of CAUSES
    severity: Severity
    confidence: float  # 0 to 1
    summary: str  # one sentence, with the numbers
    evidence: tuple[Evidence, ...] = ()
    remedy: Remedy | None = None
    refuted_by: str = ""  # what would show that this finding is wrong
    layer: str | None = None
    consequence_of: str = ""  # the id of the finding that brings this one about
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        """Reject a cause that users cannot rely on."""
        if self.cause not in CAUSES:
            raise ValueError(
                f"finding {self.id}: cause is {self.cause!r}, expected one of "
                f"{', '.join(CAUSES)}. Add it to CAUSES first."
            )


@dataclass(frozen=True)
class RuledOut:
    """A cause that was tested and is not at work here."""

    cause: str
    test: str  # by which test
    result: str  # with its number


@dataclass(frozen=True)
class NotTested:
    """A cause about which nothing can be said, and what it would take."""

    cause: str
    needs: str


@dataclass(frozen=True)
class Diagnosis:
    """The answer of `diagnose`."""

    findings: tuple[Finding, ...]  # the strongest first
    verdict: str  # one or two sentences
    ruled_out: tuple[RuledOut, ...] = ()
    not_tested: tuple[NotTested, ...] = ()
    not_a_bug: tuple[str, ...] = ()  # "the target is noise: no baseline …"
    facts: Mapping[str, Any] = field(default_factory=dict)  # sizes, skills, loss, head, seeds
    figures: tuple[Figure, ...] = ()  # that belong to no single finding: gates, gradient flow
    seconds: Mapping[str, float] = field(default_factory=dict)  # cost per stage
    versions: Mapping[str, str] = field(default_factory=dict)
    undecided: str = ""  # why it cannot be told, and what would tell
    remedy: Callable[[], Any] | None = field(default=None, compare=False, repr=False)

    @property
    def healthy(self) -> bool:
        """Whether there is no error and no warning, and nothing was left undecided."""
        bad = any(finding.severity in ("error", "warning") for finding in self.findings)
        return not (bad or self.undecided)

    def remedied(self) -> Any:
        """A `Remedied(model, x, y, fit_arguments)`: a compiled clone with the remedies applied.

        Raises
        ------
        ValueError
            Where no finding has a remedy that could be applied.
        """
        if self.remedy is None:
            raise ValueError(
                "the diagnosis has no remedy that could be applied, expected a finding with one. "
                "Read .findings for what to change by hand."
            )
        return self.remedy()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `docs/diagnosis.schema.json`."""
        plain = {k: v for k, v in self.__dict__.items() if k != "remedy"}
        plain["findings"] = [asdict(finding) for finding in self.findings]
        for name in ("ruled_out", "not_tested", "figures"):
            plain[name] = [asdict(item) for item in plain[name]]
        return {"schema": 1, "healthy": self.healthy, **plain}

    def to_json(self) -> str:
        """JSON text of `to_dict`; numbers that JSON has no word for become null."""
        return json.dumps(_finite(self.to_dict()), indent=2, ensure_ascii=False)

    def to_html(self) -> str:
        """One self-contained HTML page."""
        from lstm_oracle.diagnosis.report import html

        return html(self)

    def to_junit(self) -> str:
        """JUnit XML: a test case per finding and per cause that was ruled out."""
        from lstm_oracle.diagnosis.report import junit

        return junit(self)

    def __str__(self) -> str:
        """The report for a terminal."""
        from lstm_oracle.diagnosis.report import text

        return text(self)


def _finite(value: Any) -> Any:
    """Plain JSON data; NaN and infinities, for which JSON has no word, as null."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return None
    return value
