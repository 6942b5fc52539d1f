"""Adapters of `conformance.adapters` as subjects."""

from __future__ import annotations

import dataclasses
from typing import Any

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.adapters.registry import Adapter
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.functions.subject import Abilities, Refused
from lstm_oracle.reference.spec import Architecture


class AdapterSubject:
    """An adapter, which takes canonical weights and says itself what it cannot do."""

    free_sizes = False

    def __init__(self, adapter: Adapter, architecture: Architecture, options: Any) -> None:
        """Take the adapter; nothing is run yet."""
        self.adapter, self.architecture = adapter, architecture
        self.dtype = options["dtype"] or "float64"
        self.name = type(adapter).__name__
        self._abilities: Abilities | None = None

    def abilities(self) -> Abilities:
        """By one call."""
        if self._abilities is None:
            case = matrix.draw(matrix.Recipe("first call", self.architecture, T=3), self.dtype)
            given = self.run(case).blocks()
            self._abilities = Abilities(
                state=True,
                state_optional=True,
                masks="any",
                dropout=True,
                outputs=frozenset({"y", "state"} & {name.partition(".")[0] for name in given}),
                gradients=any(name.startswith("d_") for name in given),
                manner=self.manner(),
            )
        return self._abilities

    def manner(self) -> str:
        """How the adapter differentiates is its own business."""
        versions = ", ".join(f"{k} {v}" for k, v in self.adapter.versions().items())
        return f"through its adapter in {self.dtype} ({versions})"

    def close(self) -> None:
        """Nothing to end."""

    def run(self, case: Case, *, gradients: bool = True) -> Result:
        """The adapter's answer."""
        options = {name: value for name, value in case.options.items() if name != "forward"}
        case = dataclasses.replace(case, options=options)
        reason = self.adapter.unsupported(case)
        if reason:
            raise Refused(reason)
        return self.adapter.run(case)
