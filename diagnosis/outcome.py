"""What the experiments measured, in skill: how far each set-up got, and what is within reach."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lstm_oracle.diagnosis.interventions import Intervention
from lstm_oracle.diagnosis.lab import Run
from lstm_oracle.diagnosis.setup import Setup

# A gain below this is within what two seeds of the same set-up differ by.
REAL = 0.12
# A baseline may be this much better without anything being wrong: it needs no training.
BEHIND = 0.25
GUESSED, MOST_GUESSED = 0.08, 0.5  # held-out skill that is nothing yet, of many and of very few
ENOUGH = 0.7  # of the gap: what the change that names the cause has to restore


@dataclass
class Trial:
    """One change on the user's set-up, and what came of it."""

    intervention: Intervention
    setup: Setup
    run: Run
    restored: float  # fraction of the gap between the user's set-up and the reference
    beside: tuple[str, ...] = ()  # keys of the changes that are made as well
    without: Run | None = None  # these alone; None: the user's set-up


@dataclass
class Outcome:
    """All that the experiments measured."""

    user: Run
    reference: Run
    steps: int
    plain: Run | None = None  # of a plain network for the same task
    easy: float = -1.0  # the skill that a baseline without a network has, with a margin
    trials: list[Trial] = field(default_factory=list)
    chosen: list[Trial] = field(default_factory=list)  # the causes, the strongest first
    sufficient: list[Trial] = field(default_factory=list)  # each restores the gap alone
    joint: list[Intervention] = field(default_factory=list)  # tried at once, each in vain alone
    together: Run | None = None  # of these, where they are enough
    failed: dict[str, str] = field(default_factory=dict)  # changes that do not run, and why
    best_rate: float | None = None
    out_of_time: bool = False  # some changes were not tried
    undone: Run | None = None  # of a plain network on the input in another form
    longer: Run | None = None  # of the user's set-up for five times its few updates
    least: float = REAL  # a smaller gain is within what chance does on what is held out
    whole: Run | None = None  # of the user's set-up, all its updates or what time allowed
    seed: int = 0  # that the user's set-up was trained on
    patient: bool = False  # the user's set-up is behind early, and gets there by itself
    outlook: float | None = None  # the skill that it then has, or is expected to have

    @property
    def target(self) -> float:
        """The skill that is within reach: the reference's, or a plain network's."""
        return max(self.easy, *(score(run) for run in self.others))

    @property
    def learnable(self) -> bool:
        """Whether a network got there in this many updates, not only a baseline."""
        return max(score(run) for run in self.others) - score(self.user) >= self.least

    @property
    def holds(self) -> float:
        """The best skill on held-out data alone, of a network or a baseline."""
        return max(self.easy + BEHIND, self.user.generalized, self.by_others)

    @property
    def fits_worse(self) -> bool:
        """Whether a network got further on the training data, not only on others."""
        return max(run.fitted for run in self.others) - self.user.fitted >= REAL

    @property
    def others(self) -> list[Run]:
        """What the networks got to that are not the user's."""
        runs = (self.reference, self.plain, self.undone, self.longer)
        return [run for run in runs if run is not None]

    @property
    def by_others(self) -> float:
        """The best skill on held-out data of these."""
        return max(run.generalized for run in self.others)

    @property
    def gap(self) -> float:
        """What is within reach beyond the user's set-up, in skill."""
        return self.target - score(self.user)

    def restored(self, run: Run) -> float:
        """The fraction of the gap that a training of a changed set-up closes."""
        return (score(run) - score(self.user)) / max(self.gap, 1e-9)


def score(run: Run) -> float:
    """Skill at the end, on training and held-out data alike; a diverged run has none."""
    if run.diverged:
        return -0.5
    return (max(run.fitted, -0.5) + max(run.generalized, -0.5)) / 2


def held_out_score(run: Run) -> float:
    """Held-out skill at the end; a diverged run has none."""
    return -0.5 if run.diverged else max(run.generalized, -0.5)


def least_gain(setup: Setup) -> float:
    """The least gain in skill that so few held-out sequences can show: two deviations.

    Of balanced accuracy over K classes, as skill, the deviation on n sequences is at most
    K / (K - 1) / (2 sqrt(n)); of R squared it is at most 0.77 / sqrt(n), with R squared at a third.
    Half of a score is measured on held-out data.
    """
    return max(REAL, chance_of(setup))


def chance_of(setup: Setup) -> float:
    """The deviation of a held-out skill, at most, that the choice of what is held out makes."""
    task, n = setup.tasks[0], len(setup.held_out)
    n *= setup.held_out.y[0].shape[1] if task.per_step else 1
    if task.kind == "regression":
        return 0.77 / n**0.5
    K = max(2, task.class_count)
    return 0.5 * K / (K - 1) / n**0.5


def worth_a_search(outcome: Outcome, user: Setup) -> bool:
    """Whether something is within reach, and not only by heart: is there anything to learn?"""
    return outcome.gap >= outcome.least and outcome.holds >= guessing(user)


def guessing(setup: Setup) -> float:
    """The held-out skill that the best of five guessers without knowledge may well have.

    Balanced accuracy over K classes, on n sequences, gives skill a deviation of
    1 / sqrt((K - 1) n); 2.3 deviations are the 95 % point of the largest of five.
    """
    task, n = setup.tasks[0], len(setup.held_out)
    n *= setup.held_out.y[0].shape[1] if task.per_step else 1
    if task.kind == "regression":
        return GUESSED
    deviation = (max(1, task.class_count - 1) * n) ** -0.5
    return float(np.clip(2.3 * deviation, GUESSED, MOST_GUESSED))
