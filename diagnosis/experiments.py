"""The search for the cause: the smallest change that restores skill, found by trying.

The user's set-up U and a reference R (all applicable changes together, Adam, a fresh start) are
trained for the same number of updates. Where R gains nothing over U, the training is sound, or
there is nothing to learn. Where it does, every change is tried alone on U; what restores most of
the gap is a cause. Changes that are only enough together are found greedily, and pruned: a change
that can be left out is no cause (delta debugging, Zeller & Hildebrandt 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lstm_oracle.diagnosis import encoding, rates
from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.interventions import Intervention
from lstm_oracle.diagnosis.lab import Lab, Run
from lstm_oracle.diagnosis.outcome import (
    BEHIND,
    ENOUGH,
    REAL,
    Outcome,
    Trial,
    least_gain,
    score,
    worth_a_search,
)
from lstm_oracle.diagnosis.plain import plain
from lstm_oracle.diagnosis.setup import Array, Setup

FEW_UPDATES = 100  # a training of no more may end before anything has been learnt
MANY = 5  # times as many updates
LEAST = 30  # updates: in fewer, a reference may not have learnt anything either
# What the reference changes, where it applies.
REPAIRS = (
    "clean-data",
    "repair-head",
    "match-steps",
    "unfreeze",
    "mark-padding",
    "add-mask",
    "pad-in-front",
    "standardize-inputs",
    "standardize-targets",
    "gate-activations",
    "no-regularization",
    "stateless",
    "single-activation",
    "shuffle-batches",
    "batch-smaller",
    "batch-larger",
    "class-weights",
)
# And these, for it has an optimizer of its own.
OF_THE_OPTIMIZER = (
    "adam",
    "clip-gradients",
    "constant-rate",
    "learning-rate-up",
    "learning-rate-down",
)
JUMP = 10.0  # times the median of the losses before it
SUSPECT = 0.5  # of suspicion: what is tried even after a change was enough
DELETED = 0.5  # of suspicion: a mask that deletes one step in twenty
UNLIKELY = 1.0  # less suspected: what the reference speaks against
USUAL = 0.15  # of suspicion: a rate of the usual size
SHARE = 1 / 3  # of what others will have on held-out data: what starts late rises faster then
NOWHERE = 0.3  # of the gap: a reference that restores less speaks against what it changes


def repaired(setup: Setup, suspicion: dict[str, float]) -> tuple[list[Intervention], Setup]:
    """The changes that the reference makes of this set-up, its optimizer apart, and the set-up."""
    made = []
    for key in (*REPAIRS, *_suspected(suspicion), "reinitialize"):
        changed = iv.BY_KEY[key].apply(setup)
        if changed is not None:
            made.append(iv.BY_KEY[key])
            setup = changed
    return made, setup


def with_all(setup: Setup, changes: list[Intervention]) -> Setup:
    """The set-up with all of the changes that apply."""
    for change in changes:
        setup = change.apply(setup) or setup
    return setup


def _suspected(suspicion: dict[str, float]) -> list[str]:
    """Changes that do harm where nothing speaks for them."""
    keys = ("dense-head", "turn-back", "remove-mask", "wider")
    return [key for key in keys if suspicion.get(key, 0.0) >= DELETED]


def reference_of(setup: Setup, suspicion: dict[str, float]) -> Setup:
    """All changes at once, and Adam from a fresh start."""
    setup = repaired(setup, suspicion)[1].changed(fresh_weights=True)
    return iv.optimization.reference_optimizer(setup)


def got_there(user: Setup, outcome: Outcome, suspicion: dict[str, float]) -> Setup | None:
    """The set-up that reached the target: the reference, else the plain network, or None."""
    enough = outcome.target - outcome.least
    if score(outcome.reference) >= enough:
        return reference_of(user, suspicion)
    if outcome.plain is not None and score(outcome.plain) >= enough:
        return plain(user, outcome.seed)
    return None


def affordable_steps(lab: Lab, setup: Setup, rate: float, share: float) -> int:
    """Updates that fit in a share of the time left, within what the user would do himself."""
    return min(setup.total_steps, max(LEAST, int(lab.left * share * rate)))


def steps_for(user: Setup, steps: int, setup: Setup) -> int:
    """The same share of the epochs in batches of another size, or the same updates."""
    if setup.batch_size == user.batch_size:
        return max(1, round(steps * setup.epochs / user.epochs))
    epochs = steps / user.steps_per_epoch * setup.epochs / user.epochs
    most = max(4 * steps, 3 * FEW_UPDATES)  # the first so that a trial stays short
    return int(np.clip(round(epochs * setup.steps_per_epoch), 10, most))


def search(
    lab: Lab, user: Setup, suspicion: dict[str, float], *, easy: float, seed: int, reserve: float
) -> Outcome:
    """Train the user's set-up and the reference, then look for what makes the difference.

    `easy` is the held-out skill of the best baseline: a network well below it has not learnt what
    can be learnt. The search works with short trainings. What differs early must still differ when
    the user's set-up is trained for longer, and where nothing differs early, both are.
    """
    lab.say("training the set-up as it is")
    # Compiled already: the engine has made one update to see whether the set-up runs at all.
    pace = lab.train(user, steps=min(12, user.total_steps), seed=seed).steps_per_second
    arms = _Arms(user, reference_of(user, suspicion), plain(user, seed), easy - BEHIND, seed)
    outcome = arms.compared(lab, affordable_steps(lab, user, pace, 0.035))
    # Where a baseline alone got further, no change can show what it restores in so few updates.
    while outcome.steps < user.total_steps and not (
        outcome.learnable and worth_a_search(outcome, user)
    ):
        # Three arms in two fifths of the time; the rest is for the search at that length.
        steps = min(user.total_steps, int(0.4 / 3 * (lab.left - reserve) * pace))
        if steps < min(user.total_steps, 1.5 * outcome.steps):
            break
        outcome = arms.compared(lab, steps)
    if outcome.gap >= outcome.least:
        outcome = _patient(lab, arms, outcome, pace)
    elif outcome.steps == user.total_steps <= FEW_UPDATES:
        _longer(lab, user, outcome, seed, reserve)
    _encodings(lab, user, outcome, seed, reserve)
    if outcome.chosen or outcome.patient or not worth_a_search(outcome, user):
        return outcome
    suspicion = suspicion | symptoms(outcome.user, suspicion)
    _one_by_one(lab, user, outcome, suspicion, outcome.seed, reserve)
    if not outcome.patient:
        _choose(lab, user, outcome, suspicion, outcome.seed, reserve)
    return outcome


def symptoms(run: Run, suspicion: dict[str, float]) -> dict[str, float]:
    """What a loss that jumps, or overflows, speaks for, where nothing did more."""
    before = [np.median(run.losses[max(0, n - 20) : n]) for n in range(5, len(run.losses))]
    jumped = (run.losses[5:] > JUMP * np.abs(before)).any()
    if not (jumped or run.diverged):
        return {}
    return {
        key: max(weight, suspicion.get(key, 0.0))
        for key, weight in (("clip-gradients", 2.0), ("learning-rate-down", 1.5))
    }


@dataclass(frozen=True)
class _Arms:
    """The set-ups that are compared first: the user's, the reference, a plain network."""

    user: Setup
    reference: Setup
    plain: Setup | None
    easy: float
    seed: int

    def compared(self, lab: Lab, steps: int, user: Run | None = None) -> Outcome:
        """All arms trained for the same number of updates, or epochs where batches differ."""

        def trained(setup: Setup, what: str, least: int) -> Run:
            updates = max(least, steps, steps_for(self.user, steps, setup))
            lab.say(f"training {what} for {updates} updates")
            return lab.train(setup, steps=updates, seed=self.seed)

        return Outcome(
            user or trained(self.user, "the set-up as it is", 0),
            trained(self.reference, "the reference", LEAST),
            steps,
            None if self.plain is None else trained(self.plain, "a plain network", LEAST),
            self.easy,
            least=least_gain(self.user),
            seed=self.seed,
        )


def _patient(lab: Lab, arms: _Arms, early: Outcome, pace: float) -> Outcome:
    """Whether the user's set-up gets there by itself, in the updates that it is to have.

    Where the time ends before that, from how much it gains with each doubling of the updates.
    """
    user, longer = arms.user, early.user
    steps = min(user.total_steps, int(0.25 * lab.left * pace))
    if steps >= 1.5 * early.steps:
        lab.say(f"training the set-up as it is for {steps} updates")
        longer = lab.train(user, steps=steps, seed=arms.seed)
    outlook = _outlook(longer, user.total_steps)
    if not _in_sight(early, longer, user.total_steps):
        return early
    if longer is not early.user and 6 * steps / pace < lab.left:
        early = arms.compared(lab, steps, user=longer)
        if early.gap >= early.least and not _in_sight(early, longer, user.total_steps):
            return early
    whole = _whole(lab, user, longer, arms.seed)
    if whole is not longer:  # what was expected is seen
        outlook = _outlook(whole, user.total_steps)
        if not _in_sight(early, whole, user.total_steps):
            return early
    early.whole = whole
    early.patient, early.outlook = True, min(outlook, max(early.target, score(whole)))
    return early


def _whole(lab: Lab, user: Setup, run: Run, seed: int) -> Run:
    """All the updates that the user's set-up is to have, in half of the time left; else the run."""
    steps = user.total_steps
    if run.steps[-1] >= steps or steps / run.steps_per_second > lab.left / 2:
        return run
    lab.say(f"training the set-up as it is for {steps} updates")
    return lab.train(user, steps=steps, seed=seed)


def _longer(lab: Lab, user: Setup, outcome: Outcome, seed: int, reserve: float) -> None:
    """Whether a training of few updates ends too soon: the same for five times as long or more.

    Judged by held-out skill alone: what is fitted rises with any training.
    """
    longer = iv.LONGER.apply(user)
    steps = outcome.steps if longer is None else longer.total_steps
    lab.say(f"training the set-up as it is for {steps} updates in place of {outcome.steps}")
    run = lab.train(user, steps=steps, seed=seed, deadline=max(reserve, lab.left / 2))
    if run.complete and run.generalized > outcome.user.generalized + REAL:
        outcome.longer = run


def _in_sight(outcome: Outcome, run: Run, steps: int) -> bool:
    """Whether a training will have what is within reach, if its last gain per doubling goes on.

    And on held-out data a third of what the others will have then: what they have early may be
    little.
    """
    if _outlook(run, steps) < outcome.target - outcome.least:
        return False
    others = max(_course(other, other.held_out_skill, steps) for other in outcome.others)
    return _course(run, run.held_out_skill, steps) >= SHARE * min(1.0, others)


def _outlook(run: Run, steps: int) -> float:
    """The score to be expected after `steps` updates."""
    if run.diverged:
        return score(run)
    both = (np.maximum(run.train_skill, -0.5) + np.maximum(run.held_out_skill, -0.5)) / 2
    return min(1.0, _course(run, both, steps))


def _course(run: Run, skill: Array, steps: int) -> float:
    """The skill to be expected after `steps` updates: the last gain per doubling goes on."""
    end, at = float(skill[run.end].mean()), run.steps
    if len(at) < 2 or at[-1] >= steps:
        return end
    half = int(np.argmin(np.abs(at[:-1] - at[-1] / 2)))
    slope = (end - skill[half]) / np.log2(at[-1] / at[half])
    return end + max(0.0, float(slope)) * float(np.log2(steps / at[-1]))


def _encodings(lab: Lab, user: Setup, outcome: Outcome, seed: int, reserve: float) -> None:
    """Suspicious forms and orders of the input undone, beside all that was made of it as it is.

    Judged on held-out data alone: in the wrong form much can be memorised.
    """
    runs = (outcome.user, outcome.reference, outcome.plain)
    before = max(run.generalized for run in runs if run is not None)
    if before > 1 - REAL:
        return
    for candidate in (*encoding.suspects(user), iv.KEEP_ORDER):
        if lab.left < reserve:
            return
        trial = attempt(lab, user, user, outcome, candidate, seed, reserve)
        if trial is not None and trial.run.generalized > before + REAL:
            outcome.undone = trial.run
            trial.restored = 1.0
            outcome.chosen = outcome.sufficient = [trial]
            outcome.trials = [trial]
            before = trial.run.generalized


def _one_by_one(
    lab: Lab, user: Setup, outcome: Outcome, suspicion: dict[str, float], seed: int, reserve: float
) -> None:
    """Every change alone, the most suspect first, while there is time.

    The reference has most of them made: where it gets there, the cause is among those, and where
    it gets nowhere while a plain network does, it is likelier among the others.
    """
    made = {*REPAIRS, *OF_THE_OPTIMIZER, "reinitialize", *_suspected(suspicion)}
    by_reference = outcome.restored(outcome.reference)
    reached, nowhere = by_reference >= ENOUGH, by_reference < NOWHERE

    def suspected(key: str, size: int) -> float:
        unlikely = nowhere if key in made else reached
        return suspicion.get(key, 0.0) - 0.1 * size - UNLIKELY * unlikely

    queue: list[tuple[float, Intervention | None]] = [
        (suspected(c.key, c.size), c) for c in (*iv.TABLE, iv.LONGER)
    ]
    rates = max(suspected(key, 1) for key in ("learning-rate-up", "learning-rate-down"))
    queue.append(
        (max(rates, USUAL - UNLIKELY * nowhere), None)
    )  # None: the sweep of learning rates
    queue.sort(key=lambda entry: entry[0], reverse=True)
    for place, (_, candidate) in enumerate(queue):
        found = [candidate] if candidate else _rates(lab, user, outcome, seed, reserve)
        for change in found:
            if lab.left < reserve:
                # What the reference has without getting there is refuted all together.
                rest = {c.key for _, c in queue[place:] if c is not None}
                outcome.out_of_time = not (nowhere and rest <= made)
                return
            _try(lab, user, outcome, change, seed, reserve)
        if outcome.patient or _settled(lab, outcome, suspicion):
            return
        if not nowhere and _enough_together(lab, user, outcome, suspicion, seed, reserve):
            return


def _try(
    lab: Lab, user: Setup, outcome: Outcome, change: Intervention, seed: int, reserve: float
) -> None:
    """One change alone. A training that is longer, and no longer than it is to be, is none."""
    if change is iv.LONGER and MANY * outcome.steps <= user.total_steps:
        _gets_there(lab, user, outcome, seed, reserve)
        return
    trial = attempt(lab, user, user, outcome, change, seed, reserve)
    if trial is not None:
        outcome.trials.append(trial)


def _gets_there(lab: Lab, user: Setup, outcome: Outcome, seed: int, reserve: float) -> None:
    """Whether the user's set-up is patient after all: in many more updates that are its own."""
    lab.say(f"training the set-up as it is for {MANY * outcome.steps} updates")
    run = lab.train(user, steps=MANY * outcome.steps, seed=seed, deadline=reserve)
    outlook = _outlook(run, user.total_steps)
    if run.complete and _in_sight(outcome, run, user.total_steps):
        outcome.patient, outcome.outlook = True, min(outlook, max(outcome.target, score(run)))


def _enough_together(
    lab: Lab, user: Setup, outcome: Outcome, suspicion: dict[str, float], seed: int, reserve: float
) -> bool:
    """Whether the chief suspects that restore nothing alone are enough together.

    Asked of the first two, and of the first four.
    """
    order = [*REPAIRS, *_suspected(suspicion), "reinitialize"]
    in_vain = [
        trial.intervention
        for trial in outcome.trials
        if trial.intervention.key in order and trial.restored < NOWHERE
    ]
    if len(in_vain) not in (2, 4) or len(in_vain) == len(outcome.joint) or lab.left < reserve:
        return False
    in_vain.sort(key=lambda change: order.index(change.key))
    outcome.joint = in_vain
    setup = with_all(user, in_vain)
    lab.say("trying " + ", ".join(change.key for change in in_vain))
    run = lab.train(setup, steps=steps_for(user, outcome.steps, setup), seed=seed, deadline=reserve)
    if run.complete and outcome.restored(run) >= ENOUGH:
        outcome.together = run
    return outcome.together is not None


def _settled(lab: Lab, outcome: Outcome, suspicion: dict[str, float]) -> bool:
    """Whether the chief suspect restores all: the time that is left is then for proving it."""
    if lab.left > 0.85 * lab.seconds:
        return False
    return any(
        t.restored > 0.9 and suspicion.get(t.intervention.key, 0) >= 1.5 for t in outcome.trials
    )


def attempt(
    lab: Lab,
    base: Setup,
    user: Setup,
    outcome: Outcome,
    candidate: Intervention,
    seed: int,
    reserve: float,
) -> Trial | None:
    """One change made to a set-up and trained; None where it changes nothing or time ran out."""
    changed = candidate.apply(base)
    if changed is None:
        return None
    lab.say(f"trying {candidate.key}")
    try:
        run = lab.train(
            changed, steps=steps_for(user, outcome.steps, changed), seed=seed, deadline=reserve
        )
    except Exception as error:  # of the user's layers, or of Keras, at what was changed
        outcome.failed[candidate.key] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return None
    if not run.complete:
        return None  # cut short by the clock: it proves nothing
    return Trial(candidate, changed, run, outcome.restored(run))


def _rates(
    lab: Lab, user: Setup, outcome: Outcome, seed: int, reserve: float
) -> list[Intervention]:
    """A better learning rate, to be tried like every other change."""
    best = rates.best_rate(lab, user, max(12, outcome.steps // 2), seed, reserve)
    outcome.best_rate = best
    change = rates.another_rate(user, best)
    return [] if change is None else [change]


def _choose(
    lab: Lab, user: Setup, outcome: Outcome, suspicion: dict[str, float], seed: int, reserve: float
) -> None:
    """The causes: one change that is enough, else several together, without the superfluous."""

    def merit(trial: Trial) -> float:
        bonus = 0.1 * suspicion.get(trial.intervention.key, 0.0)
        return min(trial.restored, 1.1) + bonus - 0.04 * trial.intervention.size

    ranked = sorted(outcome.trials, key=merit, reverse=True)
    outcome.sufficient = [t for t in ranked if t.restored >= ENOUGH]
    if outcome.sufficient:
        outcome.chosen = [outcome.sufficient[0]]
        return
    base, restored = user, 0.0
    for trial in ranked:
        if lab.left < reserve:
            break
        helped: Trial | None = trial  # alone, it was tried before
        if outcome.chosen:
            helped = attempt(lab, base, user, outcome, trial.intervention, seed, reserve)
        if helped is None or helped.restored < restored + 0.1:
            continue
        on_top_of(helped, outcome.chosen)
        outcome.chosen.append(helped)
        base, restored = helped.setup, helped.restored
        if restored >= ENOUGH:
            break


def try_the_rest(
    lab: Lab,
    user: Setup,
    outcome: Outcome,
    suspicion: dict[str, float],
    named: set[str],
    least_left: float,
) -> None:
    """Suspects of other causes that were not tried before one was enough, while there is time.

    What is enough alone joins the others that are.
    """
    tried = {trial.intervention.key for trial in outcome.trials}
    rest = [
        c
        for c in iv.TABLE
        if c.key not in tried and c.cause not in named and suspicion.get(c.key, 0.0) >= SUSPECT
    ]
    rest.sort(key=lambda c: -suspicion[c.key])
    rates = max(suspicion.get(key, 0.0) for key in ("learning-rate-up", "learning-rate-down"))
    if rates >= SUSPECT and outcome.best_rate is None and lab.left > least_left:
        rest = [*_rates(lab, user, outcome, outcome.seed, least_left), *rest]
    for change in rest:
        if lab.left < least_left:
            return
        trial = attempt(lab, user, user, outcome, change, outcome.seed, least_left)
        if trial is not None:
            outcome.trials.append(trial)
            outcome.sufficient += [trial] if trial.restored >= ENOUGH else []


def on_top_of(trial: Trial, chosen: list[Trial]) -> None:
    """Note of a trial which changes were made before it."""
    trial.beside = tuple(one.intervention.key for one in chosen)
    trial.without = chosen[-1].run if chosen else None


def further(lab: Lab, user: Setup, outcome: Outcome, seed: int, reserve: float) -> Trial | None:
    """One more cause beside those that were found, where they leave a part of the gap.

    The changes for other causes, the best of those tried alone first, are made on top of what was
    found; None where none gains as much as seeds do not, or nothing is left to gain.
    """
    if not outcome.chosen:
        return None
    last = outcome.chosen[-1]
    named = {trial.intervention.cause for trial in outcome.chosen}
    for trial in sorted(outcome.trials, key=lambda trial: trial.restored, reverse=True):
        if lab.left < reserve or outcome.target - score(last.run) < outcome.least:
            return None
        if trial.intervention.cause in named:
            continue
        helped = attempt(lab, last.setup, user, outcome, trial.intervention, seed, reserve)
        if helped is not None and score(helped.run) - score(last.run) >= outcome.least:
            on_top_of(helped, outcome.chosen)
            return helped
    return None
