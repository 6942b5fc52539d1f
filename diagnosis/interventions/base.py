"""What an intervention is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lstm_oracle.diagnosis.setup import Setup

Change = Callable[[Setup], Setup | None]


@dataclass(frozen=True)
class Intervention:
    """One change, the cause that it stands for, and how to type it.

    `apply` gives None where it would change nothing: what the user has already is no suspect.
    `size` orders changes by how much they change: of two that do the same, the smaller names the
    cause.
    """

    key: str
    cause: str
    finding: str
    text: str
    code: str
    apply: Change
    size: int = 1
