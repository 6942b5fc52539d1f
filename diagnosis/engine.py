"""`diagnose`: examination, experiments, verdict."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import (
    alignment,
    callbacks,
    conjunction,
    data_tests,
    examination,
    experiments,
    generalization,
    microscope,
    rates,
    smells,
    surgery,
    typed,
)
from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.baselines import Baselines, of_outputs
from lstm_oracle.diagnosis.findings import (
    Diagnosis,
    Evidence,
    Figure,
    Finding,
    NotTested,
    Remedy,
    RuledOut,
)
from lstm_oracle.diagnosis.first_update import does_not_run, not_ours, repairs
from lstm_oracle.diagnosis.intake import setup_of
from lstm_oracle.diagnosis.interventions.alternatives import ALTERNATIVES
from lstm_oracle.diagnosis.lab import Lab, Run
from lstm_oracle.diagnosis.outcome import (
    ENOUGH,
    REAL,
    Outcome,
    Trial,
    chance_of,
    held_out_score,
    score,
    worth_a_search,
)
from lstm_oracle.diagnosis.remedied import Remedied, one, remedied
from lstm_oracle.diagnosis.setup import Setup

# Two-sided 95 % quantiles of Student's t by degrees of freedom.
_STUDENT = {2: 4.303, 3: 3.182, 4: 2.776}
LITTLE = 0.75  # held-out skill, below which what is fed may have lost what it told
PARTLY = 0.2  # of the gap: less is not worth a word
SUSPICION = 0.5  # of confidence: no experiment has shown it
LOOK_INSIDE = 3.0  # seconds that have to be left for it
BUDGETS = {"quick": 18.0, "standard": 110.0, "thorough": 900.0}


def diagnose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    validation_split: float = 0.0,
    batch_size: int = 32,
    epochs: int = 10,
    class_weight: dict[int, float] | None = None,
    sample_weight: Any = None,
    shuffle: bool = True,
    callbacks: Any = (),
    steps_per_epoch: int | None = None,
    budget: str | float = "standard",
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Diagnosis:
    """Why does this model not train? Measured on clones; nothing of the user's is touched.

    Parameters
    ----------
    model : keras.Model
        Compiled, with an LSTM somewhere in it.
    x, y, validation_data, validation_split, batch_size, epochs, class_weight, sample_weight,
    shuffle, callbacks, steps_per_epoch
        What would be passed to `model.fit`. Callbacks are not run; of EarlyStopping it is worked
        out when it would stop, and the rate is changed as LearningRateScheduler would, and
        ReduceLROnPlateau for a loss. Of a dataset or generator that has no end, rows
        that come again are taken once.
    budget : "quick" (20 s), "standard" (2 min), "thorough" (15 min), or seconds
        How long the experiments may take, the import of the backend apart.
    seed : int
        Of everything random: the same call gives the same diagnosis, as long as the budget, not
        the clock, ends the experiments.
    progress : callable, optional
        Called with one line per experiment.
    clock : callable, optional
        What the budget's seconds are read from. With `time.process_time` a loaded machine gets the
        same diagnosis as a quiet one, only later.

    Raises
    ------
    CannotDiagnose
        (a ValueError) where what was passed cannot be diagnosed: an uncompiled model, no LSTM,
        shapes that do not fit.
    """
    seconds = _seconds(budget)
    lab = Lab(seconds, progress, clock)
    setup = setup_of(
        model, x, y, validation_data=validation_data, validation_split=validation_split,
        batch_size=batch_size, epochs=epochs, class_weight=class_weight,
        sample_weight=sample_weight, shuffle=shuffle, seed=seed, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip
    with _many_models():
        return _Examiner(lab, setup, seed, callbacks).diagnosis()


def _seconds(budget: str | float) -> float:
    if isinstance(budget, str):
        if budget in BUDGETS:
            return BUDGETS[budget]
        try:
            budget = float(budget)
        except ValueError:
            raise ValueError(
                f"budget is {budget!r}, expected one of {', '.join(BUDGETS)}, or seconds. "
                "Choose a name, or pass a number."
            ) from None
    if not isinstance(budget, (int, float)) or not budget > 0:
        raise ValueError(
            f"budget is {budget!r}, expected more than 0 seconds. Pass for example 60."
        )
    return float(budget)


@contextlib.contextmanager
def _many_models() -> Iterator[None]:
    """Keep TensorFlow from warning that many functions are traced: many models are trained here."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class _Examiner:
    """One diagnosis in the making."""

    def __init__(self, lab: Lab, setup: Setup, seed: int, callbacks: Any = ()) -> None:
        self.callbacks = callbacks
        self.lab, self.original, self.setup, self.seed = lab, setup, setup, seed
        self.findings: list[Finding] = []
        self.ruled_out: list[RuledOut] = []
        self.not_a_bug: list[str] = []
        self.seconds: dict[str, float] = {}
        self.applied: list[Trial] = []
        self.figures: tuple[Figure, ...] = ()
        self.better: Setup | None = None  # what generalizes better than what the search ended with
        self.inside: dict[str, Any] = {}
        self.outcome: Outcome | None = None
        self.gains: dict[str, list[float]] = {}  # of an intervention, on fresh seeds
        self.together: list[float] = []  # gains of several that are enough only together
        self.baselines: Baselines = Baselines({})
        self.blocked = False  # an input reaches no output: what is learnt says nothing of the data
        self.reserve = 0.12 * lab.seconds

    def diagnosis(self) -> Diagnosis:
        """All stages in order; a stage without time is left out and said so."""
        for stage in (self._examine, self._experiment, self._generalize):
            if not self._timed(stage):
                break
        if self.lab.left > LOOK_INSIDE:
            self._timed(self._look_inside)
        return self._finished()

    def _timed(self, stage: Callable[[], bool]) -> bool:
        began = self.lab.clock()
        go_on = stage()
        self.seconds[stage.__name__.strip("_")] = self.lab.clock() - began
        return go_on

    # Stages

    def _examine(self) -> bool:
        self.lab.say("examining data and model")
        self.findings += examination.certain_findings(self.setup)
        self.setup = iv.data.clean_data(self.setup) or self.setup
        if iv.head.out_of_reach(self.setup) or iv.head.gives_a_constant(self.setup):
            self.setup = iv.head.repair_head(self.setup) or self.setup
        still_broken = {f.cause for f in examination.certain_findings(self.setup)}
        if "data-quality" in still_broken:
            return False
        self.blocked = "wiring" in still_broken
        self.baselines = of_outputs(self.setup.tasks, self.setup.train, self.setup.held_out)
        if len(self.setup.tasks) == 1:
            self._examine_data()
        return self._trainable()

    def _examine_data(self) -> None:
        """What comparing rows and fitting baselines shows; the search goes on with it put right."""
        if len(self.setup.train.x) != 1:
            return
        for test in (*data_tests.TESTS, *alignment.TESTS):
            for finding, repaired in list(test(self.setup)):
                self.findings.append(finding)
                self.setup = repaired or self.setup

    def _trainable(self) -> bool:
        """Whether one update runs at all; where not, what was put together wrongly is repaired."""
        error = self._fails(self.setup)
        if error is None:
            return True
        for repaired in repairs(self.setup):
            if self._fails(repaired) is None:
                self.findings.append(does_not_run(self.setup, error, repaired))
                self.setup = repaired
                return True
        if not any(finding.severity == "error" for finding in self.findings):
            self.findings.append(does_not_run(self.setup, error, None))
        return False  # what was found before is why

    def _fails(self, setup: Setup) -> Exception | None:
        """What the first update raises."""
        try:
            self.lab.train(setup, steps=1, seed=self.seed)
        except Exception as error:
            not_ours(error)
            return error
        return None

    def _experiment(self) -> bool:
        plateau = callbacks.rate_cut_on_plateaus(self.callbacks)
        self.setup = self.setup if plateau is None else self.setup.changed(plateau=plateau)
        schedule = callbacks.rate_of_epoch(self.callbacks)
        self.setup = self.setup if schedule is None else self.setup.changed(rate_of_epoch=schedule)
        suspicion = examination.suspicions(self.setup)
        stopped = callbacks.stopped_early(self.lab, self.setup, self.callbacks, self.seed)
        if stopped is not None:
            suspicion["train-longer"] = 3.0
            self.setup = stopped
        self.outcome = experiments.search(
            self.lab,
            self.setup,
            suspicion,
            easy=self.baselines.best[1],
            seed=self.seed,
            reserve=self.reserve,
        )
        self._look_together(self.outcome, suspicion)
        if self.outcome.chosen and not self._confirmed(self.outcome):
            self._rule_out(self.outcome)
            return True
        self._look_further(self.outcome)
        self.applied = self.outcome.chosen
        for trial in self.outcome.chosen:
            finding = self._finding(self.outcome, trial, "error")
            more = [*self._together(trial), *self._other_remedies(self.outcome, trial)]
            self.findings.append(replace(finding, evidence=(*finding.evidence, *more)))
        self._look_for_equivalents(self.outcome, suspicion)
        if self._is_unsolved(self.outcome):
            self.findings += self._unsolved(self.outcome, suspicion)
            self.better = experiments.got_there(self.setup, self.outcome, suspicion)
        if not (self.blocked or self._bad()):
            self.findings += smells.without_effect(self.setup, suspicion, self.outcome)
        self._rule_out(self.outcome)
        return True

    def _generalize(self) -> bool:
        outcome = self.outcome
        if outcome is None or self.blocked or len(self.setup.train) == 1:
            return False  # of one sequence there is no other to tell it by
        last = self.applied[-1] if self.applied else None
        setup = last.setup if last else self.setup
        run = last.run if last else outcome.whole or outcome.user
        if not self._bad():
            run = generalization.to_its_end(self.lab, setup, run, seed=self.seed)
        learnt = generalization.learnt(
            self.lab, setup, run, outcome, self.baselines, seed=self.seed, reserve=self.reserve / 2
        )
        explained = self._bad() and any(f.cause == "no-signal" for f in learnt.findings)
        if not explained:  # else what was found is why nothing is learnt
            self.findings += learnt.findings
            self.not_a_bug += learnt.not_a_bug
        self.better = self.better or learnt.setup
        if not self._bad():
            self.findings += generalization.on_new_recordings(
                self.lab, setup, run, seed=self.seed, reserve=self.reserve / 2
            )
        if not self._bad() and not callbacks.keeps_the_best(self.callbacks):
            found, sooner = generalization.too_sure(setup, run)
            self.findings += found
            self.better = sooner or self.better
        if not self._bad() and max(run.generalized, outcome.reference.generalized) < LITTLE:
            self.findings += examination.hardly_used_table(self.setup)
        return True

    def _bad(self) -> bool:
        return any(f.severity in ("error", "warning") for f in self.findings)

    def _look_inside(self) -> bool:
        """Gates and gradients through time of the user's layers as they are, by the oracle."""
        self.lab.say("looking inside the LSTM layers")
        setup = self.setup
        model = surgery.twin(setup.model, seed=self.seed)
        model.compile(keras.optimizers.SGD(0.0), loss=setup.loss, loss_weights=setup.loss_weights)
        x, y = one(setup.train.x), one(setup.train.y)
        try:
            views = microscope.look(model, x, y, samples=32, seed=self.seed)
        except Exception as error:
            not_ours(error)
            self.inside = {"not looked into": str(error)[:200]}
            return False
        for view in views:
            self.figures += view.figures
            self.inside[view.path] = view.reason or {
                e.name.removeprefix(f"{view.path}: "): e.value for e in view.evidence
            }
        return True

    # What was found

    def _finding(self, outcome: Outcome, trial: Trial, severity: Any) -> Finding:
        change = trial.intervention
        before = _before(outcome, trial)
        restored = (score(trial.run) - before) / max(outcome.gap, 1e-9)
        over = f" beside {', '.join(trial.beside)}" if trial.beside else ""
        interval = self._interval(outcome, trial) if severity == "error" else None
        reason = iv.head.head_is_wrong(self.setup) if change.key == "repair-head" else ""
        summary = f"{reason[:1].upper()}{reason[1:]}. " if reason else ""
        summary += (
            f"{change.text} In {outcome.steps} updates{over} skill goes from {before:.2f} to "
            f"{score(trial.run):.2f}; {outcome.target:.2f} is within reach."
        )
        evidence = (
            Evidence("skill without it", round(before, 3), unit="skill (0 constant, 1 perfect)"),
            Evidence(f"skill with it{over}", round(score(trial.run), 3)),
            *((Evidence("gain over several seeds", round(sum(interval) / 2, 3), 0.0,
                        "no gain", interval),) if interval else ()),
            Evidence("fraction of the gap that it restores", round(restored, 3),
                     ENOUGH, "a cause restores most of the gap alone"),
            *((Evidence("head against targets", reason, source="arithmetic"),) if reason else ()),
        )  # fmt: skip
        return Finding(
            change.finding, change.cause, severity,
            float(np.clip(0.5 + 0.4 * min(restored, 1), 0, 0.95)), summary,
            evidence,
            Remedy(change.key, change.text, self._code(trial), True, before, score(trial.run),
                   interval),
            "The same pair of trainings, without and with the change, shows no difference.",
            figures=(_curves(trial.without or outcome.user, trial.run, change.key),),
        )  # fmt: skip

    def _code(self, trial: Trial) -> str:
        """What to type for a change: of the user's own layers, where it edits those."""
        change = trial.intervention
        told = change.code.replace("{epochs}", str(trial.setup.epochs))
        if change.cause == "input-encoding" or trial.beside:
            return told
        return typed.difference(self.setup, trial.setup) or told

    def _together(self, trial: Trial) -> list[Evidence]:
        """On fresh seeds, the gain of the changes that are enough only together."""
        if not trial.beside or len(self.together) < 3:
            return []
        interval = _student(self.together)
        gain = round(sum(interval) / 2, 3)
        self.together = []
        return [Evidence("gain of these changes together", gain, 0.0, "no gain", interval)]

    def _other_remedies(self, outcome: Outcome, trial: Trial) -> list[Evidence]:
        """Skill with the other cures of the same cause, where time is left to try them."""
        found = []
        for change in ALTERNATIVES.get(trial.intervention.cause, ()):
            if self.lab.left < 3 * self.reserve:
                break
            other = experiments.attempt(
                self.lab, self.setup, self.setup, outcome, change, outcome.seed, self.reserve
            )
            if other is not None:
                found.append(
                    Evidence(f"skill with {change.key} instead", round(score(other.run), 3))
                )
        return found

    def _is_unsolved(self, outcome: Outcome) -> bool:
        """Whether a network got further, with skill, and no change tried restores that.

        Where no network got there, only a baseline, `_undecided` says so.
        """
        open_ = outcome.learnable and not (outcome.chosen or outcome.patient)
        return open_ and worth_a_search(outcome, self.setup)

    def _unsolved(self, outcome: Outcome, suspicion: dict[str, float]) -> list[Finding]:
        """What can be said of that."""
        if not outcome.trials or outcome.out_of_time:
            return self._untried(outcome, suspicion)
        # Where all fit alike, or this one still learns, it is not the layers that hold it back.
        slow = outcome.steps < self.setup.total_steps and outcome.user.still_falls
        return [_unexplained(outcome)] if outcome.fits_worse and not slow else []

    def _untried(self, outcome: Outcome, suspicion: dict[str, float]) -> list[Finding]:
        """The chief suspects, where the time was too short to try all changes.

        First what restored a part, then what stands in the set-up and was not tried.
        """
        tried = {t.intervention.key: t.restored for t in outcome.trials}
        rate = outcome.best_rate and rates.another_rate(self.setup, outcome.best_rate)
        hopes = {
            c: tried.get(c.key, 0.3 * suspicion.get(c.key, 0))
            for c in (*iv.TABLE, *([rate] if rate else []))
            if tried.get(c.key, 0.3 * suspicion.get(c.key, 0)) >= 0.3
        }
        known = [c for c in sorted(hopes, key=lambda c: -hopes[c]) if c.apply(self.setup)]
        return [
            Finding(
                change.finding, change.cause, "warning", 0.3,
                f"A plain set-up reaches skill {outcome.target:.2f} where this one has "
                f"{score(outcome.user):.2f}. The budget ended before all changes were tried; "
                + (f"{change.key} restores {100 * tried[change.key]:.0f} % of it."
                   if change.key in tried else
                   f"from what stands in the set-up, the chief suspect is {change.key}."),
                (Evidence("skill as it is", round(score(outcome.user), 3)),
                 Evidence("skill within reach", round(outcome.target, 3))),
                Remedy(change.key, change.text, change.code),
                "A larger budget tries it, and finds no difference.",
            )
            for change in known[:2]
        ]  # fmt: skip

    def _confirmed(self, outcome: Outcome) -> bool:
        """Whether what was chosen among many on one seed gains on seeds it was not chosen on.

        One test, of one change, on fresh seeds: the many that were tried before it do not add to
        the chance of a false alarm. What does not repeat is dropped for the next that was enough.
        """
        candidates = outcome.sufficient or outcome.chosen[-1:]
        for n, trial in enumerate(candidates[:3]):
            # Where a part of the gap is left, time is for looking for what else is wrong.
            left = outcome.target - score(trial.run) >= outcome.least
            gains = self._fresh_gains(outcome, trial, most=2 if left else 4)
            if not gains or float(np.mean(gains)) >= outcome.least / 2:
                if outcome.sufficient:
                    outcome.chosen, outcome.sufficient = [trial], candidates[n:]
                if trial.beside:
                    self.together = gains
                else:
                    self.gains[trial.intervention.key] = gains
                return True
            self.ruled_out.append(
                RuledOut(
                    trial.intervention.cause, trial.intervention.key,
                    f"gains {score(trial.run) - score(outcome.user):+.2f} with one seed, and "
                    f"{float(np.mean(gains)):+.2f} with {len(gains)} others",
                )
            )  # fmt: skip
        return False

    def _look_together(self, outcome: Outcome, suspicion: dict[str, float]) -> None:
        """Causes that only show together, where those found one by one do not restore enough."""
        reached = outcome.chosen[-1].restored if outcome.chosen else 0.0
        if not outcome.trials or outcome.patient or reached >= ENOUGH:
            return
        found = conjunction.together(
            self.lab, self.setup, outcome, suspicion, outcome.seed, self.reserve
        )
        outcome.chosen = found or outcome.chosen

    def _look_further(self, outcome: Outcome) -> None:
        """Causes beside the confirmed ones, each confirmed on seeds it was not chosen on."""
        while trial := experiments.further(
            self.lab, self.setup, outcome, outcome.seed, self.reserve
        ):
            gains = self._fresh_gains(outcome, trial, before=outcome.chosen[-1].setup)
            if not gains or float(np.mean(gains)) < outcome.least / 2:
                return
            self.gains[trial.intervention.key] = gains
            outcome.chosen.append(trial)

    def _look_for_equivalents(self, outcome: Outcome, suspicion: dict[str, float]) -> None:
        """Other changes that restore the gap alone: which of them is the fault cannot be told.

        A warning where the change repeats on a fresh seed, else a note.
        """
        named = {trial.intervention.cause for trial in outcome.chosen}
        if outcome.sufficient and outcome.trials and len(outcome.chosen) == 1:
            experiments.try_the_rest(
                self.lab, self.setup, outcome, suspicion, named, 3 * self.reserve
            )
        for trial in outcome.sufficient[1:4]:
            if trial.intervention.cause in named:
                continue
            named.add(trial.intervention.cause)
            enough = self.lab.left > 3 * self.reserve
            gains = self._fresh_gains(outcome, trial, most=1) if enough else []
            repeats = bool(gains) and gains[0] >= max(outcome.least, outcome.gap / 2)
            finding = self._finding(outcome, trial, "warning" if repeats else "info")
            first = outcome.chosen[0].intervention
            text = f"Or it is this, in place of {first.cause}: either change is enough. "
            more = (Evidence("gain with another seed", round(gains[0], 3)),) if gains else ()
            self.findings.append(
                replace(
                    finding,
                    summary=text + finding.summary,
                    evidence=(*finding.evidence, *more),
                    confidence=min(finding.confidence, 0.6),
                )
            )

    def _fresh_gains(
        self, outcome: Outcome, trial: Trial, before: Setup | None = None, most: int = 4
    ) -> list[float]:
        """Paired gains in skill on a few seeds other than the one that chose the trial.

        Over the user's set-up, or that with the causes found before.
        """
        gains: list[float] = []
        pair = (self.setup if before is None else before, trial.setup)
        for seed in range(outcome.seed + 1, outcome.seed + 1 + most):
            if self.lab.left < 2 * self.reserve:
                break
            self.lab.say(f"{trial.intervention.key} again, with another seed")
            mine, theirs = (
                self.lab.train(
                    setup, steps=experiments.steps_for(self.setup, outcome.steps, setup),
                    seed=seed, deadline=self.reserve,
                )
                for setup in _on_fresh_data(pair, seed)
            )  # fmt: skip
            if not (mine.complete and theirs.complete):
                break
            # In the wrong form much can be memorised: what is held out decides.
            judge = held_out_score if trial.intervention.cause == "input-encoding" else score
            gains.append(judge(theirs) - judge(mine))
        return gains

    def _interval(self, outcome: Outcome, trial: Trial) -> tuple[float, float] | None:
        """95 % interval of the paired gain over seeds (Student's t), from three seeds on."""
        gains = self.gains.get(trial.intervention.key, [])
        if len(gains) < 3:
            gains = [score(trial.run) - _before(outcome, trial), *gains]
        return _student(gains) if len(gains) >= 3 else None

    def _rule_out(self, outcome: Outcome) -> None:
        blamed = {finding.cause for finding in self.findings}
        for trial in outcome.trials:
            cause = trial.intervention.cause
            if cause not in blamed and trial.restored < 0.3:
                self.ruled_out.append(
                    RuledOut(
                        cause, trial.intervention.key,
                        f"restores {100 * max(trial.restored, 0):.0f} % of the gap",
                    )
                )  # fmt: skip
        if outcome.patient:
            self.ruled_out.append(
                RuledOut(
                    "learning-rate-low", "longer training",
                    f"a reference is ahead by {outcome.gap:+.2f} after {outcome.steps} updates; in "
                    f"its {self.setup.total_steps} this gets to {outcome.outlook:.2f} by itself",
                )
            )  # fmt: skip
        if not outcome.trials:
            self.ruled_out.append(
                RuledOut(
                    "optimizer", "reference",
                    f"a reference set-up gains {outcome.gap:+.2f} skill in {outcome.steps} updates",
                )
            )  # fmt: skip

    def _finished(self) -> Diagnosis:
        order = {"error": 0, "warning": 1, "info": 2}
        # What is only a suspicion comes after what was measured.
        findings = tuple(
            sorted(self.findings, key=lambda f: (order[f.severity], f.confidence < SUSPICION))
        )
        undecided = self._undecided(findings)
        return Diagnosis(
            findings,
            undecided or self._verdict(findings),
            tuple(self.ruled_out),
            self._not_tested(),
            tuple(self.not_a_bug),
            self._facts(),
            figures=self.figures,
            seconds=self.seconds,
            versions=_versions(),
            undecided=undecided,
            remedy=self._remedied if self._is_remedied() else None,
        )

    def _is_remedied(self) -> bool:
        return bool(self.applied or self.better or self.setup is not self.original)

    def _undecided(self, findings: tuple[Finding, ...]) -> str:
        """Why it cannot be told, where more is within reach and nothing is named."""
        outcome = self.outcome
        named = self.not_a_bug or any(f.severity in ("error", "warning") for f in findings)
        if outcome is None or named or outcome.patient or outcome.gap < outcome.least:
            return ""
        partly = sorted(outcome.trials, key=lambda trial: -trial.restored)[:2]
        most = " and ".join(
            f"{100 * t.restored:.0f} % ({t.intervention.key}, {t.intervention.cause})"
            for t in partly
            if t.restored >= PARTLY
        )
        return (
            f"Cannot tell: after {outcome.steps} of {self.setup.total_steps} updates skill is "
            f"{score(outcome.user):.2f}, and {outcome.target:.2f} is within reach; no change that "
            f"was tried restores it{f': the most that one does is {most}' if most else ''}. A "
            "larger budget would tell."
        )

    def _verdict(self, findings: tuple[Finding, ...]) -> str:
        bad = [f for f in findings if f.severity in ("error", "warning")]
        if bad:
            more = f" And {len(bad) - 1} more." if len(bad) > 1 else ""
            return f"{bad[0].cause}: {bad[0].summary}{more}"
        if self.not_a_bug:
            return f"Not a bug. {self.not_a_bug[0]}"
        if self.outcome is None:
            return "Nothing could be measured."
        if self.outcome.patient:
            return (
                f"Healthy: it learns more slowly than a reference, and gets there within its own "
                f"{self.setup.total_steps} updates (skill {self.outcome.outlook:.2f})."
            )
        return (
            f"Healthy: skill {score(self.outcome.user):.2f} after {self.outcome.steps} updates, "
            f"and a reference set-up gains {self.outcome.gap:+.2f}."
        )

    def _facts(self) -> dict[str, Any]:
        facts = {
            "sequences": len(self.original.train),
            "held_out": len(self.original.held_out),
            "input_shapes": [list(a.shape[1:]) for a in self.original.train.x],
            "parameters": int(self.original.model.count_params()),
            "task": [task.kind for task in self.original.tasks],
            "loss": iv.head.loss_name(self.original.loss),
            "optimizer": self.original.optimizer["class_name"],
            "learning_rate": iv.optimization.rate_of(self.original),
            "baselines": dict(self.baselines.skills),
            "seed": self.seed,
        }
        if self.outcome is not None:
            facts |= {
                "updates": self.outcome.steps,
                "skill": score(self.outcome.user),
                "reference_skill": score(self.outcome.reference),
                "plain_skill": score(self.outcome.plain) if self.outcome.plain else None,
                "best_learning_rate": self.outcome.best_rate,
            }
            if self.applied:
                facts["skill_remedied"] = score(self.applied[-1].run)
        if self.inside:
            facts["layers"] = self.inside
        return facts

    def _not_tested(self) -> tuple[NotTested, ...]:
        if self.outcome is None:
            return ()
        tried = {t.intervention.key for t in self.outcome.trials}
        if not self.outcome.trials:
            return ()
        failed = tuple(
            NotTested(iv.BY_KEY[key].cause, f"{key}, which does not run: {error[:200]}")
            for key, error in self.outcome.failed.items()
            if key in iv.BY_KEY
        )
        return failed + tuple(
            NotTested(change.cause, f"more time: {change.key} was not tried")
            for change in iv.TABLE
            if change.key not in tried and self.lab.left < self.reserve
            and change.apply(self.setup) is not None
        )  # fmt: skip

    def _remedied(self) -> Remedied:
        setup = self.applied[-1].setup if self.applied else self.setup
        return remedied(self.better or setup, self.setup, self.original, seed=self.seed)


def _on_fresh_data(pair: tuple[Setup, Setup], seed: int) -> tuple[Setup, ...]:
    """Both with another random split, where few sequences are held out, at random.

    Else what predicts these few by chance does so with every seed.
    """
    few = chance_of(pair[0]) > REAL / 2
    if not (few and pair[0].drawn and len(pair[0].train) == len(pair[1].train)):
        return pair
    split = [iv.data.shuffle_split(setup, seed) for setup in pair]
    return pair if None in split else tuple(setup for setup in split if setup is not None)


def _student(gains: list[float]) -> tuple[float, float]:
    """95 % interval of the mean (Student's t)."""
    half = _STUDENT[len(gains) - 1] * float(np.std(gains, ddof=1)) / len(gains) ** 0.5
    return float(np.mean(gains)) - half, float(np.mean(gains)) + half


def _before(outcome: Outcome, trial: Trial) -> float:
    """The skill without a change, the others made."""
    return score(trial.without or outcome.user)


def _unexplained(outcome: Outcome) -> Finding:
    """A plain network learns the task, and no change tried makes this one learn it."""
    tried = len(outcome.trials)
    return Finding(
        "LSTM080", "wiring", "warning", 0.4,
        f"A plain set-up reaches skill {outcome.target:.2f} where this one has "
        f"{score(outcome.user):.2f}, and none of {tried} single changes restores it: look at how "
        "the layers are connected.",
        (Evidence("skill as it is", round(score(outcome.user), 3)),
         Evidence("skill of a plain set-up", round(outcome.target, 3))),
        Remedy("plain-network", "Begin with the set-up that learns it, and add what you need.",
               "better = diagnosis.remedied()   # .model, .x, .y, .fit_arguments", True,
               score(outcome.user), outcome.target),
        "A longer budget finds the change that restores it.",
    )  # fmt: skip


def _curves(user: Run, changed: Run, key: str) -> Figure:
    return Figure(
        "curves", "Held-out skill, without and with the change", "updates", "skill",
        {
            "as it is": {"x": user.steps.tolist(), "y": user.held_out_skill.tolist()},
            key: {"x": changed.steps.tolist(), "y": changed.held_out_skill.tolist()},
        },
    )  # fmt: skip


def _versions() -> dict[str, str]:
    names = ("keras", "numpy", "tensorflow", "tensorflow-cpu", "jax", "torch", "lstm-oracle")
    found = {"backend": keras.backend.backend()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
