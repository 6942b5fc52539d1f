"""What a verification found, as data: made by `conformance`, shown by the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["agree", "disagree", "unsupported", "error"]


@dataclass(frozen=True)
class BlockError:
    """How far one array lies from the oracle's.

    `error` is ||got - oracle|| / ||oracle||, or the largest entry's |got - oracle| / max |oracle|,
    whichever has the larger `ratio` to its tolerance; `yardstick` is what the oracle itself
    suffers when run in that precision with random rounding. `ratio` > 1: disagrees.
    """

    block: str  # "y", "state.h", "d_U_f", "d_x", …
    error: float
    yardstick: float
    tolerance: float
    ratio: float


@dataclass(frozen=True)
class CaseReport:
    """One case, or one layer of a user's model."""

    name: str
    status: Status
    dtype: str
    blocks: tuple[BlockError, ...] = ()
    message: str = ""  # why unsupported, what was raised, or which block, gate and step is wrong
    explanation: str = ""  # the known defect, with its public issue, where there is one
    nearest_bug: str = ""  # the seeded bug of the zoo that a disagreement resembles most

    @property
    def worst(self) -> BlockError | None:
        """The block with the largest ratio."""
        return max(self.blocks, key=lambda block: block.ratio, default=None)


@dataclass(frozen=True)
class ImplementationReport:
    """All cases of one implementation."""

    implementation: str  # "lstm_oracle.keras_impl on jax", "keras.layers.LSTM on tensorflow", …
    cases: tuple[CaseReport, ...] = ()
    seconds: float = 0.0  # without the import of the framework
    import_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    unavailable: str = ""  # why it could not be run at all (not installed, crashed)

    def count(self, status: Status) -> int:
        """How many cases ended so."""
        return sum(case.status == status for case in self.cases)

    @property
    def agrees(self) -> bool:
        """Whether nothing disagreed or broke."""
        return not self.unavailable and not self.count("disagree") and not self.count("error")


@dataclass(frozen=True)
class LayerReport:
    """One call of one recurrent layer of a user's model."""

    case: CaseReport  # its name is the layer's path in the model
    kind: str  # the layer's class
    call: int = 0  # counted from 0 where a layer is called more than once
    direction: str = ""  # "forward" or "backward"; "" where it could not be looked into
    sizes: tuple[int, int, int, int] | None = None  # B, T, I, H of what was checked
    masked_steps: int = 0


@dataclass(frozen=True)
class ModelReport:
    """All recurrent layers of a user's model, each against the oracle on its own real input."""

    model: str
    backend: str
    layers: tuple[LayerReport, ...] = ()
    cotangent: str = ""  # where the gradient that reaches the outputs came from
    samples: int = 0
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def count(self, status: Status) -> int:
        """How many layers ended so."""
        return sum(layer.case.status == status for layer in self.layers)

    @property
    def checked(self) -> int:
        """How many layers were held against the oracle."""
        return self.count("agree") + self.count("disagree")

    @property
    def agrees(self) -> bool:
        """Whether something was checked, and nothing disagreed or broke."""
        return self.checked > 0 and not self.count("disagree") and not self.count("error")
