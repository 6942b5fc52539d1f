"""Whether the first update runs at all, and what was put together wrongly where it does not."""

from __future__ import annotations

import pathlib
import traceback
from collections.abc import Iterator

from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis import typed
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.setup import Setup


def not_ours(error: BaseException) -> None:
    """Let an error pass that was raised in this package: it is a bug here, not the user's."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames and pathlib.Path(frames[-1].filename).parent == pathlib.Path(__file__).parent:
        raise error


def repairs(setup: Setup) -> Iterator[Setup]:
    """Set-ups whose outputs fit their targets, the least changed first."""
    steps = iv.network.match_steps(setup)
    for repaired in (
        iv.head.repair_head(setup), steps, None if steps is None else iv.head.repair_head(steps)
    ):  # fmt: skip
        if repaired is not None:
            yield repaired


def does_not_run(setup: Setup, error: Exception, repaired: Setup | None) -> Finding:
    """The finding, with the repair where one is known to run."""
    reason = iv.network.steps_do_not_match(setup) or iv.head.head_is_wrong(setup)
    reason = reason or str(error).strip().split("\n")[0][:200]
    mismatch = repaired is not None or "shape" in str(error)
    remedy = None
    if repaired is not None:
        text = "Give the targets a head, and steps, that belong to them."
        remedy = Remedy("repair-head", text, typed.difference(setup, repaired))
    return Finding(
        "LSTM071" if mismatch else "LSTM080", "output-loss-mismatch" if mismatch else "wiring",
        "error", 0.9, f"The first update fails: {reason}.",
        (Evidence("error of the first update", type(error).__name__, source=str(error)[:300]),),
        remedy, "model.train_on_batch(x, y) runs.",
    )  # fmt: skip
