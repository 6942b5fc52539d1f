"""Once a set-up fits its training data: does what it learnt hold on other data, and if not, why?"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lstm_oracle.diagnosis import recordings
from lstm_oracle.diagnosis.baselines import Baselines, last_values, of_outputs
from lstm_oracle.diagnosis.baselines import baselines as fitted_baselines
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.interventions import data, network
from lstm_oracle.diagnosis.interventions.alternatives import AGAINST_OVERFITTING
from lstm_oracle.diagnosis.lab import EVALUATED, Lab, Run
from lstm_oracle.diagnosis.outcome import BEHIND, REAL, Outcome, chance_of
from lstm_oracle.diagnosis.plain import plain
from lstm_oracle.diagnosis.setup import Setup

APART = 0.25  # of skill, between training and held-out data: then the reason is looked for
SMALL = 200  # training sequences: with fewer, more of them may well help
LONGER = 1.3  # times as many updates: fewer show nothing new
BY_HEART = 0.9  # of the training data: a longer training has nothing left to learn from them
SEEN = 0.8  # of the updates that the user would make
SURE = 0.9  # of a constant's loss: what the loss was below once
FEW = 60  # held-out sequences: with fewer, one split's skill may be off by 0.15 by chance alone


class Learnt(NamedTuple):
    """Findings about what is learnt, notes on what is no bug, and a set-up that does better."""

    findings: list[Finding]
    not_a_bug: list[str]
    setup: Setup | None = None


def learnt(
    lab: Lab,
    setup: Setup,
    run: Run,
    outcome: Outcome,
    baselines: Baselines,
    *,
    seed: int,
    reserve: float,
) -> Learnt:
    """What a set-up that trains has learnt: more than repeating, than a constant, than by heart?"""
    held_out = len(setup.held_out)
    best_name, best = baselines.best
    reached = max(run.generalized, outcome.by_others)
    persistence = baselines.skills.get("persistence", -1.0)
    chance = _chance(setup, held_out)
    asked = max(chance, persistence + 0.05 if persistence > 0.5 else 0.0)
    if max(reached, best if asked == chance else 0.0) < asked:
        # Whether there is so little to learn is seen at the end of the training, not before it.
        run, outcome = _to_the_end(lab, setup, run, outcome, seed)
        reached = max(run.generalized, outcome.by_others)
    steps = _settled(run, held_out)
    judged = held_out
    if held_out < FEW:
        run, best, judged = _over_splits(lab, setup, run, best, steps, seed, reserve)
        reached, chance = run.generalized, _chance(setup, judged)
    apart = run.fitted - run.generalized > APART
    if persistence > 0.5 and reached < asked:
        naive = _naive(lab, setup, run, outcome, persistence, seed)
        starved = len(setup.train) <= SMALL and run.fitted - run.generalized > REAL
        if naive.setup or not starved:
            return naive
    # Of a few held-out sequences none may be predicted by chance: what is fitted may be a signal.
    elif max(reached, best) < chance and not (apart and judged < FEW):
        # Windows that overlap would be known from their neighbours.
        alone = apart and recordings.of_both_parts(setup, fewest=1) is None
        other = _other_split(lab, setup, run, steps, seed, reserve) if alone else None
        return other or _no_signal(run, best_name, best, chance)
    return _fits_better(lab, setup, run, steps, seed, reserve, (best_name, best))


def to_its_end(lab: Lab, setup: Setup, run: Run, *, seed: int) -> Run:
    """The training that the user is about to make, where that is longer and time allows it.

    What is learnt by heart shows late.
    """
    made = int(run.steps[-1])
    steps = min(setup.total_steps, int(0.4 * lab.left * run.steps_per_second))
    if steps <= LONGER * made:
        return run
    lab.say(f"training the set-up as it is for {steps} updates")
    return lab.train(setup, steps=steps, seed=seed)


def too_sure(setup: Setup, run: Run) -> tuple[list[Finding], Setup | None]:
    """Whether held-out classes are told apart while their loss ends worse than a constant's.

    With it the set-up that stops where the loss was lowest. Asked of a training that was seen to
    its end.
    """
    task, surprise = setup.tasks[0], run.surprise
    whole = run.steps[-1] >= SEEN * setup.total_steps and len(setup.held_out) >= FEW
    weighted = setup.class_weight is not None or setup.train.weight is not None
    if surprise is None or not np.isfinite(surprise).all() or not whole or weighted:
        return [], None
    shares = np.bincount(task.labels(setup.train.y[0]), minlength=task.class_count)
    judged = setup.held_out.y[0][:EVALUATED]
    constant = task.surprise(judged, np.tile(shares / shares.sum(), (len(judged), 1)))
    best, end = int(surprise.argmin()), float(surprise[run.end].mean())
    if not (end > constant and surprise[best] < SURE * constant):
        return [], None
    epochs = max(1, round(int(run.steps[best]) / setup.steps_per_epoch))
    text = "Stop where the held-out loss is lowest."
    finding = Finding(
        "LSTM091", "too-large", "warning", 0.6,
        f"The held-out loss falls to {surprise[best]:.2f} in epoch {epochs} and ends at {end:.2f}, "
        f"worse than a constant's {constant:.2f}: the classes are still told apart (skill "
        f"{run.generalized:.2f}), but the network is far too sure of them.",
        (Evidence("held-out cross-entropy at its lowest", round(float(surprise[best]), 3)),
         Evidence("held-out cross-entropy at the end", round(end, 3), round(constant, 3),
                  "that of a constant")),
        Remedy("stop-early", text,
               'keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)',
               True),
        "The held-out loss at the end is lower than a constant's.",
    )  # fmt: skip
    return [finding], setup.changed(epochs=epochs)


def on_new_recordings(
    lab: Lab, setup: Setup, run: Run, *, seed: int, reserve: float
) -> list[Finding]:
    """Whether windows are predicted because others of the same recording were trained on."""
    apart = recordings.held_apart(setup, seed)
    steps = _settled(run, len(setup.held_out))
    if apart is None or steps > (lab.left - reserve) * run.steps_per_second:
        return []
    lab.say("holding out whole recordings")
    made = lab.train(apart, steps=steps, seed=seed, deadline=reserve)
    found = recordings.known_again(run, made, max(0.2, _real(apart)))
    return [] if found is None else [found]


def _to_the_end(
    lab: Lab, setup: Setup, run: Run, outcome: Outcome, seed: int
) -> tuple[Run, Outcome]:
    """The set-up and a plain network trained for as long as the user would, or as time allows."""
    steps = min(setup.total_steps, int(0.3 * lab.left * run.steps_per_second))
    by_heart = max(other.fitted for other in outcome.others) >= BY_HEART
    if steps <= outcome.steps or (by_heart and steps <= run.steps[-1]):
        return run, outcome
    longer = run
    if steps > run.steps[-1]:
        lab.say(f"training the set-up as it is for {steps} updates")
        longer = lab.train(setup, steps=steps, seed=seed)
    lab.say(f"training a plain network for {steps} updates")
    simple = plain(setup, seed)
    reference = lab.train(simple, steps=steps, seed=seed) if simple else outcome.reference
    return longer, replace(outcome, steps=steps, reference=reference)


def _over_splits(
    lab: Lab, setup: Setup, run: Run, best: float, steps: int, seed: int, reserve: float
) -> tuple[Run, float, int]:
    """The run with its held-out skill averaged over up to four random splits more.

    With it the skill of the best baseline, likewise, and how many sequences were held out in all.
    """
    skills, bests, total = [run.generalized], [best], len(setup.train) + len(setup.held_out)
    for draw in range(1, 5):
        split = data.shuffle_split(setup, draw)
        if split is None or lab.left < 4 * reserve:  # what follows needs its time
            break
        lab.say("training on another random split: few sequences are held out")
        again = lab.train(split, steps=steps, seed=seed, deadline=reserve)
        if again.complete:
            skills.append(again.generalized)
            bests.append(of_outputs(split.tasks, split.train, split.held_out).best[1])
    run = replace(run, held_out_skill=np.where(run.end, np.mean(skills), run.held_out_skill))
    return run, float(np.mean(bests)), min(total, len(skills) * len(setup.held_out))


def _settled(run: Run, held_out: int) -> int:
    """The updates after which skill was not to move again by more than chance moves it."""
    chance = max(0.05, 0.5 / held_out**0.5)
    moved = np.abs(run.held_out_skill - run.generalized) > chance
    moved |= np.abs(run.train_skill - run.fitted) > 0.05
    moved &= ~run.end
    return int(run.steps[int(np.flatnonzero(moved)[-1]) + 1 if moved.any() else 0])


def _naive(
    lab: Lab, setup: Setup, run: Run, outcome: Outcome, persistence: float, seed: int
) -> Learnt:
    """Nothing beyond the last value: is there more in the inputs, or is it a random walk?

    Skill beyond persistence is 1 - SSE / SSE of persistence; of a model of the differences it is
    the skill that it has for the differences.
    """
    skills = last_values(setup.tasks[0], setup.held_out)
    feature = int(np.argmax(skills))
    differences = data.difference_targets(setup, feature)
    easy = fitted_baselines(differences.tasks[0], differences.train, differences.held_out).best[1]
    lab.say("predicting the change in place of the value")
    simple = plain(differences, seed)
    changes = lab.train(simple, steps=outcome.steps, seed=seed) if simple else None
    beyond = max(easy, changes.generalized if changes else 0.0)
    own, plain_own = (
        1 - (1 - one.generalized) / max(1 - persistence, 1e-9) for one in (run, outcome.reference)
    )
    trained = outcome.steps >= setup.total_steps / 2
    # Not where another network finds as much in the levels: then they hide nothing.
    real = _real(setup)
    if trained and beyond > max(own, 0) + real and beyond > plain_own + real / 2:
        better, fed = _of_changes(lab, differences, simple, changes, outcome.steps, seed)
        return _levels_hide_changes(persistence, own, beyond, better, feature, fed)
    behind = run.generalized < persistence - max(REAL, real)
    if behind and not trained:
        return Learnt([], [])  # not even the last value yet: what it ends with is not known
    finding = Finding(
        "LSTM061", "naive-forecast", "warning" if behind else "info", 0.8,
        f"Repeating the last value has skill {persistence:.2f}, the network {run.generalized:.2f}: "
        + ("it has not found even that." if behind else
           "it has not found more than that, and neither has a model of the changes."),
        (Evidence("skill of the last value", persistence),
         Evidence("skill of the network", run.generalized, persistence, "the persistence forecast"),
         Evidence("skill of a model of the changes", round(beyond, 3), real)),
        refuted_by="A model of the differences has held-out skill above zero.",
    )  # fmt: skip
    return Learnt([finding], [] if behind else [
        "The forecast is as good as repeating the last value, and no set-up tried is better: "
        "a random walk looks like this."
    ])  # fmt: skip


def _of_changes(
    lab: Lab, differences: Setup, simple: Setup | None, changes: Run | None, steps: int, seed: int
) -> tuple[Setup, bool]:
    """A network that is fed the changes before it in place of the levels, where that is ahead.

    And whether it is.
    """
    fed = plain(differences.changed(x_scale=()).with_inputs(data.steps_between), seed)
    if fed is None or simple is None or changes is None:
        return simple or differences, False
    lab.say("predicting the change from the changes before it")
    run = lab.train(fed, steps=steps, seed=seed)
    ahead = run.generalized > changes.generalized
    return (fed if ahead else simple), ahead


def _levels_hide_changes(
    persistence: float, own: float, beyond: float, differences: Setup, feature: int, fed: bool
) -> Learnt:
    code = f"y = y - x[:, -1, {feature}].reshape(y.shape)   # and to deviation 1"
    code += "\nx = np.diff(x, axis=1, prepend=x[:, :1])   # and this" if fed else ""
    text = "Predict the change from the last value, and judge by it."
    finding = Finding(
        "LSTM061", "naive-forecast", "warning", 0.8,
        f"The network repeats the last value (skill {persistence:.2f} by itself): beyond that it "
        f"has {own:.2f}, and a model of the changes has {beyond:.2f}.",
        (Evidence("skill of the last value", round(persistence, 4)),
         Evidence("skill of the network beyond the last value", round(own, 3), 0.0, "persistence"),
         Evidence("skill of a model of the changes", round(beyond, 3))),
        Remedy("difference-target", text, code, True, own, beyond),
        "A model of the differences has no held-out skill.",
    )  # fmt: skip
    return Learnt([finding], [], differences)


def _chance(setup: Setup, n: int) -> float:
    """The skill that the best of five guessers without knowledge may well have on n sequences.

    Balanced accuracy over K classes gives skill a deviation of 1 / sqrt((K - 1) n); 2.3 deviations
    are the 95 % point of the largest of five.
    """
    task = setup.tasks[0]
    if task.kind == "regression" or n < FEW:
        return 0.08
    return float(max(0.08, 2.3 / ((task.class_count - 1) * n) ** 0.5))


def _no_signal(run: Run, best_name: str, best: float, chance: float) -> Learnt:
    finding = Finding(
        "LSTM060", "no-signal", "info", 0.7,
        f"Neither the network ({run.generalized:.2f}) nor any baseline ({best_name}: {best:.2f}) "
        "predicts held-out targets better than a constant.",
        (Evidence("held-out skill of the network", run.generalized, round(chance, 3),
                  "what guessing reaches on so many sequences"),
         Evidence(f"held-out skill of {best_name}", best, round(chance, 3))),
        refuted_by="Any model with held-out skill above zero on these arrays.",
    )  # fmt: skip
    return Learnt(
        [finding],
        [
            "No model tried finds anything in these inputs that tells the targets. Where there "
            "should be something, look whether x and y still belong together: one may have been "
            "shuffled, sorted or cut without the other."
        ],
    )


def _fits_better(
    lab: Lab,
    setup: Setup,
    run: Run,
    steps: int,
    seed: int,
    reserve: float,
    baseline: tuple[str, float],
) -> Learnt:
    """What is fitted better than held-out data are predicted: by far, a little, or no better."""
    apart = run.fitted - run.generalized
    if apart > APART:
        by_heart = _overfitted(lab, setup, run, steps, seed, reserve)
        if by_heart.findings:
            return by_heart
        simpler = baseline[1] - run.generalized > max(BEHIND, _real(setup))
        return Learnt([_simpler(run, *baseline) if simpler else _apart(run)], [])
    if len(setup.train) <= SMALL and apart > REAL:
        return Learnt(_starved(lab, setup, run, steps, seed, reserve), [])
    if apart > _real(setup):
        return _partly_by_heart(lab, setup, run, steps, seed, reserve)
    return Learnt([], [])


def _overfitted(lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float) -> Learnt:
    """Fits and does not generalize: split, size, or too few sequences."""

    def tried(changed: Setup | None) -> Run | None:
        if changed is None or lab.left < reserve:
            return None
        made = lab.train(changed, steps=steps, seed=seed, deadline=reserve / 2)
        return made if made.complete else None

    real = _real(setup)
    other = _other_split(lab, setup, run, steps, seed, reserve)
    if other is not None:
        return other
    found = _subset_curve(lab, setup, run, steps, seed, reserve)
    lab.say("trying a smaller network")
    small_setup = network.narrower(setup)
    small = tried(small_setup)
    contenders = [] if small is None else [(small.generalized, "narrower", small_setup)]
    if (
        small is not None
        and small.generalized > run.generalized + real
        and _repeats(lab, setup, small_setup, steps, seed, reserve)
    ):
        found.append(
            _finding("LSTM091", "too-large", "narrower", run, small,
                     "A quarter of the units does better on held-out data.",
                     "keras.layers.LSTM(units // 4)")
        )  # fmt: skip
    for change in AGAINST_OVERFITTING:
        changed = change.apply(setup)
        made = tried(changed)
        if made is not None:
            contenders.append((made.generalized, change.key, changed))
    return _with_the_best(found, contenders, run, real)


def _other_split(
    lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float
) -> Learnt | None:
    """Whether held-out data that are drawn at random are predicted far better than the user's."""
    if setup.drawn or lab.left < reserve:
        return None  # drawn by us: another random split differs by chance alone
    mixed_setup = data.shuffle_split(setup)
    if mixed_setup is None or recordings.of_both_parts(setup) is not None:
        return None  # overlapping windows: at random, each would be known from its neighbours
    lab.say("comparing with a random split")
    # In fewer updates it is predicted no better than it would be.
    steps = max(1, min(steps, int(0.9 * (lab.left - reserve / 2) * run.steps_per_second)))
    mixed = lab.train(mixed_setup, steps=steps, seed=seed, deadline=reserve / 2)
    if mixed.complete and mixed.generalized > run.generalized + max(0.2, _real(setup)):
        return Learnt([_unlike(run, mixed)], [], mixed_setup)
    return None


def _partly_by_heart(
    lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float
) -> Learnt:
    """Generalizes, and fits its training data still better: notes on what would narrow that."""
    found = _overfitted(lab, setup, run, steps, seed, reserve).findings
    return Learnt([replace(finding, severity="info") for finding in found or [_apart(run)]], [])


def _apart(run: Run) -> Finding:
    return Finding(
        "LSTM150", "insufficient-data", "info", 0.3,
        f"The training data are fitted ({run.fitted:.2f}) better than held-out data "
        f"({run.generalized:.2f}), and no change tried narrows that: more sequences might.",
        (Evidence("skill on training data", round(run.fitted, 3)),
         Evidence("skill on held-out data", round(run.generalized, 3))),
        refuted_by="A smaller network or a regularized one does better on held-out data.",
    )  # fmt: skip


def _simpler(run: Run, name: str, skill: float) -> Finding:
    """What no change of the network narrows, and a model without one does."""
    return Finding(
        "LSTM091", "too-large", "warning", 0.6,
        f"The training data are learnt by heart ({run.fitted:.2f}, held out {run.generalized:.2f}) "
        f"where a simpler model, {name}, predicts held-out data with skill {skill:.2f}: there are "
        "too few sequences for this network.",
        (Evidence("skill on training data", round(run.fitted, 3)),
         Evidence("skill on held-out data", round(run.generalized, 3)),
         Evidence(f"held-out skill of {name}", round(skill, 3), round(run.generalized, 3),
                  "the network")),
        Remedy("narrower", "Begin with the simpler model, or with few units; collect more "
               "sequences, or augment these, before a larger network.", ""),
        "The network predicts held-out data as well as the simpler model.",
    )  # fmt: skip


def _unlike(run: Run, mixed: Run) -> Finding:
    text = "The held-out part is unlike the training part: drawn at random it is predicted far"
    order = "order = np.random.default_rng(0).permutation(len(x))"
    code = f"{order}\nx, y = x[order], y[order]   # before fit"
    return _finding("LSTM030", "data-split", "shuffle-split", run, mixed, f"{text} better.", code)


def _with_the_best(
    found: list[Finding], contenders: list[tuple[float, str, Setup | None]], run: Run, real: float
) -> Learnt:
    """The findings with the change that helped most as their remedy, where one did."""
    best = max(contenders, default=None, key=lambda c: c[0])
    if best is None or best[0] < run.generalized + real / 2:
        return Learnt(found, [])
    return Learnt([_with_remedy(f, best, run) for f in found], [], best[2] if found else None)


def _repeats(
    lab: Lab, setup: Setup, small: Setup | None, steps: int, seed: int, reserve: float
) -> bool:
    """Whether the smaller network is ahead with another seed, and split where it is ours, too."""
    pair = [data.shuffle_split(s, seed + 1) if setup.drawn and s else s for s in (setup, small)]
    skills = []
    for one in pair:
        if one is None or lab.left < reserve:
            return True  # no time for it: what was measured stands
        lab.say("trying a smaller network, with another seed")
        skills.append(lab.train(one, steps=steps, seed=seed + 1, deadline=reserve / 2).generalized)
    return skills[1] > skills[0] + REAL / 2


def _real(setup: Setup) -> float:
    """A gain in held-out skill beyond what so few held-out sequences differ by: two deviations."""
    return max(REAL, 2 * chance_of(setup))


def _with_remedy(finding: Finding, best: tuple[float, str, Setup | None], run: Run) -> Finding:
    """The finding with the change that helped most on held-out data as its remedy."""
    skill, key, _ = best
    change = next((c for c in AGAINST_OVERFITTING if c.key == key), None)
    if change is None:
        return finding
    evidence = Evidence(f"held-out skill with {key}", round(skill, 3), round(run.generalized, 3),
                        "without it")  # fmt: skip
    remedy = Remedy(key, change.text, change.code, True, run.generalized, skill)
    return replace(finding, remedy=remedy, evidence=(*finding.evidence, evidence))


def _subset_curve(
    lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float
) -> list[Finding]:
    """Held-out skill against the number of sequences: still rising at all of them?"""
    points = _points(lab, setup, run, steps, seed, reserve)
    gain = points[-1][1] - points[-2][1] if len(points) > 1 else 0.0
    rising = len(points) > 2 and gain > 0.05 and points[-1][1] > points[0][1] + 0.08
    return [_insufficient(run, points)] if rising or len(setup.train) <= SMALL else []


def _starved(
    lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float
) -> list[Finding]:
    """Few sequences, fitted somewhat better than others: would four times as many help?"""
    points = _points(lab, setup, run, steps, seed, reserve)
    return [_insufficient(run, points)] if expected_gain([p[1] for p in points]) >= REAL else []


def expected_gain(skills: list[float]) -> float:
    """What four times the sequences are expected to gain, from the skills of n/4, n/2 and n.

    The gain of each doubling stands to that before it as the last two do: skill a - b n^-c.
    """
    if len(skills) < 3:
        return 0.0
    before, last = skills[1] - skills[0], skills[2] - skills[1]
    if last <= 0 or before <= 0:
        return 0.0
    ratio = min(1.0, last / before)
    return last * (ratio + ratio**2)


def _points(
    lab: Lab, setup: Setup, run: Run, steps: int, seed: int, reserve: float
) -> list[tuple[int, float]]:
    """Held-out skill with a quarter, a half and all of the sequences, drawn at random, nested."""
    n = len(setup.train)
    few = setup.drawn and len(setup.held_out) < FEW
    draws = [data.shuffle_split(setup, draw) for draw in (0, 1, 2)] if few else []
    order = np.random.default_rng(seed).permutation(n)
    splits = [s for s in draws if s] or [setup.changed(train=setup.train.take(order))]
    points = []
    for rows in (n // 4, n // 2):
        lab.say(f"training on {rows} sequences")
        skills = [
            lab.train(s, steps=steps, seed=seed, rows=rows, deadline=reserve / 2).generalized
            for s in splits
            if lab.left > reserve and rows >= 4
        ]
        if skills:
            points.append((rows, float(np.mean(skills))))
    return [*points, (n, run.generalized)]


def _insufficient(run: Run, points: list[tuple[int, float]]) -> Finding:
    n = points[-1][0]
    gain = points[-1][1] - points[-2][1] if len(points) > 1 else 0.0
    measured = (
        f"; from {points[-2][0]} to {n} sequences held-out skill "
        f"{'still rises' if gain > 0 else 'changes'} by {gain:+.2f}"
        if len(points) > 1
        else f", and {n} sequences are few"
    )
    how = "not" if run.fitted - run.generalized > APART else "less"
    return Finding(
        "LSTM150", "insufficient-data", "warning", 0.6,
        f"The training data are fitted ({run.fitted:.2f}), held-out data {how} "
        f"({run.generalized:.2f}){measured}.",
        (Evidence("sequences", [p[0] for p in points]),
         Evidence("held-out skill", [round(p[1], 3) for p in points])),
        Remedy("more-data", "Collect more sequences, or augment these.", ""),
        "Held-out skill is the same for half of the sequences.",
    )  # fmt: skip


def _finding(
    id_: str, cause: str, key: str, before: Run, after: Run, text: str, code: str
) -> Finding:
    return Finding(
        id_, cause, "warning", 0.75,
        f"{text} Held-out skill {before.generalized:.2f}, with the change {after.generalized:.2f}.",
        (Evidence("held-out skill as it is", round(before.generalized, 3)),
         Evidence("held-out skill with the change", round(after.generalized, 3))),
        Remedy(key, text, code, True, before.generalized, after.generalized),
        "The same pair of trainings shows no difference.",
    )  # fmt: skip
