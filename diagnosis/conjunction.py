"""Causes that are enough only together, found from the side of what works.

Where no change alone restores anything, because two faults each suffice to stop the training, the
search cannot start from the user's set-up: all first steps look alike. It starts from the
reference instead, which has every change made, and leaves out one after the other (delta debugging
from the passing side, Zeller & Hildebrandt 2002, section 3). What can be left out is no cause; what
cannot is one, and how far the rest gets without it is the evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from lstm_oracle.diagnosis import experiments, rates
from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.interventions import Intervention
from lstm_oracle.diagnosis.lab import Lab, Run
from lstm_oracle.diagnosis.outcome import ENOUGH, Outcome, Trial
from lstm_oracle.diagnosis.setup import Setup

_OPTIMIZER = Intervention(
    "reference-optimizer",
    "optimizer",
    "LSTM112",
    "Use Adam at 0.003, with the gradient's global norm clipped.",
    "model.compile(optimizer=keras.optimizers.Adam(3e-3, global_clipnorm=1.0), loss=...)",
    iv.optimization.reference_optimizer,
    3,
)


@dataclass(frozen=True)
class _Trainings:
    """Sets of changes, made to the user's set-up and trained."""

    lab: Lab
    user: Setup
    outcome: Outcome
    seed: int
    reserve: float

    def run(self, parts: list[Intervention]) -> Run | None:
        """None where time runs out."""
        setup = experiments.with_all(self.user, parts)
        steps = experiments.steps_for(self.user, self.outcome.steps, setup)
        if self.lab.left < self.reserve:
            return None
        self.lab.say("trying " + ", ".join(part.key for part in parts))
        run = self.lab.train(setup, steps=steps, seed=self.seed, deadline=self.reserve)
        return run if run.complete else None

    def enough(self, run: Run | None) -> bool:
        return run is not None and self.outcome.restored(run) >= ENOUGH


def together(
    lab: Lab, user: Setup, outcome: Outcome, suspicion: dict[str, float], seed: int, reserve: float
) -> list[Trial]:
    """The changes of which none can be left out, the most suspect first.

    Empty where the reference does not get there either, or where time runs out.
    """
    trainings = _Trainings(lab, user, outcome, seed, reserve)
    kept = [*experiments.repaired(user, suspicion)[0], _OPTIMIZER]
    if outcome.together is not None:
        kept = outcome.joint
    full = outcome.together or trainings.run(kept)
    if not trainings.enough(full):
        return []
    without: dict[str, Run] = {}
    for part in sorted(kept, key=lambda part: _suspicion(part, suspicion)):
        run = trainings.run([other for other in kept if other is not part])
        if run is None:
            return []
        if trainings.enough(run):
            kept, full = [other for other in kept if other is not part], run
        else:
            without[part.key] = run
    kept, full = _smaller(trainings, kept, full)
    ordered = sorted(kept, key=lambda part: _suspicion(part, suspicion), reverse=True)
    return [
        Trial(
            part, experiments.with_all(user, kept), full, outcome.restored(full),
            beside=tuple(other.key for other in ordered if other is not part),
            without=without.get(_stands_for(part)),
        )
        for part in ordered
        if full is not None
    ]  # fmt: skip


def _suspicion(part: Intervention, suspicion: dict[str, float]) -> float:
    keys = ("learning-rate-up", "learning-rate-down", "adam") if part is _OPTIMIZER else (part.key,)
    return max(suspicion.get(key, 0.0) for key in keys) - 0.1 * part.size


def _smaller(
    trainings: _Trainings, kept: list[Intervention], full: Run | None
) -> tuple[list[Intervention], Run | None]:
    """The user's own optimizer at a better rate in place of the reference's, where it is enough."""
    if _OPTIMIZER not in kept:
        return kept, full
    others = [part for part in kept if part is not _OPTIMIZER]
    base = experiments.with_all(trainings.user, others)
    steps = max(12, experiments.steps_for(trainings.user, trainings.outcome.steps, base) // 2)
    best = rates.best_rate(trainings.lab, base, steps, trainings.seed, trainings.reserve)
    smaller = [rates.another_rate(base, best), iv.BY_KEY["clip-gradients"], iv.BY_KEY["adam"]]
    for change in smaller:
        if change is None or change.apply(base) is None:
            continue
        run = trainings.run([*others, change])
        if trainings.enough(run):
            return [*others, change], run
    return kept, full


def _stands_for(part: Intervention) -> str:
    """The key of what was left out: the rate and the optimizer were one."""
    of_optimizer = ("learning-rate-up", "learning-rate-down", "clip-gradients", "adam")
    return _OPTIMIZER.key if part.key in of_optimizer else part.key
