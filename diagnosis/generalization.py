"""Once a set-up fits its training data: does what it learnt hold on other data, and if not, why?"""

from __future__ import annotations

from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis.baselines import Baselines
from lstm_oracle.diagnosis.experiments import REAL, Outcome
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.lab import Lab, Run
from lstm_oracle.diagnosis.setup import Setup


def findings(
    lab: Lab,
    setup: Setup,
    run: Run,
    outcome: Outcome,
    baselines: Baselines,
    *,
    seed: int,
    reserve: float,
) -> tuple[list[Finding], list[str]]:
    """Findings about what is learnt, and notes on what is no bug."""
    best_name, best = baselines.best
    learnt = max(run.generalized, outcome.reference.generalized)
    persistence = baselines.skills.get("persistence", -1.0)
    if persistence > 0.5 and learnt < persistence + 0.05:
        return _naive(persistence, learnt)
    if max(learnt, best) < 0.08:
        return _no_signal(lab, setup, run, best_name, best)
    if run.fitted - run.generalized > 0.25 and lab.left > reserve:
        return _overfitted(lab, setup, run, outcome, best, seed, reserve), []
    return [], []


def _naive(persistence: float, learnt: float) -> tuple[list[Finding], list[str]]:
    finding = Finding(
        "LSTM061", "naive-forecast", "info", 0.8,
        f"Repeating the last value has skill {persistence:.2f}, the network {learnt:.2f}: it has "
        "not found more than that.",
        (Evidence("skill of the last value", persistence),
         Evidence("skill of the network", learnt, persistence, "the persistence forecast")),
        Remedy("difference-target", "Predict the change from the last value, and judge by it.",
               "y = y - x[:, -1, 0]"),
        "A model of the differences has held-out skill above zero.",
    )  # fmt: skip
    return [finding], [
        "The forecast is as good as repeating the last value, and no set-up tried is better: "
        "a random walk looks like this."
    ]


def _no_signal(
    lab: Lab, setup: Setup, run: Run, best_name: str, best: float
) -> tuple[list[Finding], list[str]]:
    finding = Finding(
        "LSTM060", "no-signal", "info", 0.7,
        f"Neither the network ({run.generalized:.2f}) nor any baseline ({best_name}: {best:.2f}) "
        "predicts held-out targets better than a constant.",
        (Evidence("held-out skill of the network", run.generalized, 0.08, "two seeds' difference"),
         Evidence(f"held-out skill of {best_name}", best, 0.08)),
        refuted_by="Any model with held-out skill above zero on these arrays.",
    )  # fmt: skip
    return [finding], ["No model tried finds anything in these inputs that tells the targets."]


def _overfitted(
    lab: Lab, setup: Setup, run: Run, outcome: Outcome, best: float, seed: int, reserve: float
) -> list[Finding]:
    """Fits and does not generalize: split, size, or too few sequences."""

    def tried(changed: Setup | None) -> Run | None:
        if changed is None or lab.left < reserve:
            return None
        return lab.train(changed, steps=outcome.steps, seed=seed, deadline=reserve / 2)

    lab.say("comparing with a random split")
    mixed = tried(iv.data.shuffle_split(setup))
    if mixed is not None and mixed.generalized > run.generalized + 0.2:
        return [_finding("LSTM030", "data-split", "shuffle-split", run, mixed,
                         "The held-out part is unlike the training part: drawn at random it is "
                         "predicted far better.",
                         "order = np.random.default_rng(0).permutation(len(x))\n"
                         "x, y = x[order], y[order]   # before fit")]  # fmt: skip
    lab.say("trying a smaller network")
    small = tried(iv.network.narrower(setup))
    if small is not None and small.generalized > run.generalized + REAL:
        return [_finding("LSTM091", "too-large", "narrower", run, small,
                         "A quarter of the units does better on held-out data.",
                         "keras.layers.LSTM(units // 4)")]  # fmt: skip
    return _subset_curve(lab, setup, run, outcome, seed, reserve)


def _subset_curve(
    lab: Lab, setup: Setup, run: Run, outcome: Outcome, seed: int, reserve: float
) -> list[Finding]:
    """Held-out skill against the number of sequences: still rising at all of them?"""
    n = len(setup.train)
    points = []
    for share in (0.25, 0.5):
        rows = int(n * share)
        if lab.left < reserve or rows < 4:
            return []
        lab.say(f"training on {rows} sequences")
        part = lab.train(setup, steps=outcome.steps, seed=seed, rows=rows, deadline=reserve / 2)
        points.append((rows, part.generalized))
    points.append((n, run.generalized))
    gain = points[-1][1] - points[-2][1]
    rising = gain > 0.05 and points[-1][1] > points[0][1] + 0.08
    if not rising and n > 200:
        return []
    return [
        Finding(
            "LSTM150", "insufficient-data", "warning", 0.6,
            f"The training data are fitted ({run.fitted:.2f}), held-out data are not "
            f"({run.generalized:.2f}); from {points[-2][0]} to {n} sequences held-out skill "
            f"{'still rises' if gain > 0 else 'changes'} by {gain:+.2f}.",
            (Evidence("sequences", [p[0] for p in points]),
             Evidence("held-out skill", [round(p[1], 3) for p in points])),
            Remedy("more-data", "Collect more sequences, or augment these.", ""),
            "Held-out skill is the same for half of the sequences.",
        )
    ]  # fmt: skip


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
