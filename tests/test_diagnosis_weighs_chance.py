"""What few sequences show by chance is no finding; what several changes cure is said of each."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import engine, examination, experiments, generalization  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Run  # noqa: E402
from lstm_oracle.diagnosis.outcome import (  # noqa: E402
    REAL,
    Outcome,
    Trial,
    chance_of,
    guessing,
    least_gain,
    worth_a_search,
)
from lstm_oracle.diagnosis.task import Task  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def setup_with(x=None, y=None, validation=None, n=40, layers=(), loss="mse"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6, 2)).astype("float32") if x is None else x
    y = rng.normal(size=(len(x), 1)).astype("float32") if y is None else y
    layers = layers or (keras.layers.LSTM(2), keras.layers.Dense(1))
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile("adam", loss)
    return setup_of(
        model, x, y, validation_data=validation, validation_split=0.0, batch_size=8, epochs=4,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def run(fitted, generalized=None, losses=None, steps=30):
    held_out = fitted if generalized is None else generalized
    losses = np.ones(steps) if losses is None else np.asarray(losses, float)
    return Run(losses, np.array([steps]), np.array([fitted]), np.array([held_out]), 1e3)


class Lab:
    """Trainings that end as they are told; what was asked for is noted."""

    seconds = left = 1e3

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def say(self, message):
        pass

    def clock(self):
        return 0.0

    def train(self, setup, *, steps, seed=0, rows=None, deadline=0, every=None):
        self.asked.append((setup, steps, seed, rows))
        return self.answer(setup, steps, seed, rows)


@pytest.mark.parametrize("classes", [0, 2, 5])
def test_the_deviation_of_a_skill_is_never_above_what_is_allowed_for(classes):
    """Predictors of every quality, on many draws of 20 held-out sequences."""
    rng = np.random.default_rng(1)
    n, kind = 20, "regression" if classes == 0 else "binary" if classes == 2 else "multiclass"
    task = Task(kind, np.arange(classes), "values" if classes == 0 else "labels",
                np.zeros(1 if classes == 0 else 0), False)  # fmt: skip
    y = np.zeros((n, 1), "float32")
    setup = setup_with(n=100).changed(tasks=(task,))
    setup = setup.changed(held_out=setup.held_out.take(np.arange(n)))
    allowed = chance_of(setup)
    for quality in (0.2, 0.5, 0.8):
        found = []
        for _ in range(400):
            if classes == 0:
                y = rng.normal(size=(n, 1))
                noise = (1 - quality) ** 0.5 * rng.normal(size=(n, 1))
                found.append(1 - np.square(noise).sum() / np.square(y + noise).sum())
            else:
                y = np.arange(n) % classes
                right = rng.random(n) < quality
                found.append(task.skill(y, np.eye(classes)[np.where(right, y, (y + 1) % classes)]))
        assert np.std(found) < 1.15 * allowed
    assert allowed < 0.3


def test_many_held_out_sequences_leave_the_least_gain_as_it_is():
    setup = setup_with(n=2000)
    assert least_gain(setup) == REAL
    few = setup.changed(held_out=setup.held_out.take(np.arange(9)))
    assert least_gain(few) == pytest.approx(0.77 / 3)


def test_a_held_out_part_of_ours_is_drawn_again_for_a_fresh_seed_and_the_users_never():
    mine, x = setup_with(n=60), np.ones((9, 6, 2), "float32")
    theirs = setup_with(n=60, validation=(x, np.zeros((9, 1), "float32")))
    assert mine.drawn
    assert not theirs.drawn
    first, second = engine._on_fresh_data((mine, mine.changed(batch_size=4)), 3)
    np.testing.assert_array_equal(first.held_out.x[0], second.held_out.x[0])
    assert not np.array_equal(first.held_out.x[0], mine.held_out.x[0])
    assert second.batch_size == 4
    assert engine._on_fresh_data((theirs, theirs), 3) == (theirs, theirs)
    many = setup_with(n=2000)
    assert engine._on_fresh_data((many, many), 3) == (many, many)


def test_a_lead_on_held_out_data_alone_is_not_blamed_on_the_layers():
    fits_alike = Outcome(run(0.95, 0.3), run(1.0, 0.9), 30, trials=["any"])
    fits_worse = Outcome(run(0.5, 0.3), run(1.0, 0.9), 30, trials=["any"])
    examiner = engine._Examiner(Lab(None), setup_with(), 0)
    assert examiner._unsolved(fits_alike, {}) == []
    assert [f.cause for f in examiner._unsolved(fits_worse, {})] == ["wiring"]


def sufficient(*keys):
    outcome = Outcome(run(0.1), run(0.9), 30)
    setup = setup_with().changed(drawn=False)
    outcome.sufficient = [Trial(iv.BY_KEY[key], setup, run(0.9), 1.0) for key in keys]
    outcome.chosen = outcome.sufficient[:1]
    return outcome, setup


@pytest.mark.parametrize(("gain", "severity"), [(0.8, "warning"), (0.02, "info")])
def test_another_change_that_is_enough_is_a_warning_where_it_repeats(gain, severity):
    outcome, setup = sufficient("adam", "batch-smaller", "standardize-inputs")
    theirs = {id(trial.setup) for trial in outcome.sufficient}
    mine = setup.changed(batch_size=7)
    answers = lambda one, *_: run(0.1 + (gain if id(one) in theirs else 0.0))  # noqa: E731
    examiner = engine._Examiner(Lab(answers), mine, 0)
    examiner._look_for_equivalents(outcome, {})
    assert [f.cause for f in examiner.findings] == ["batch-size", "data-scale"]
    assert {f.severity for f in examiner.findings} == {severity}
    assert "in place of optimizer" in examiner.findings[0].summary


def test_two_changes_for_the_same_cause_are_one_finding():
    outcome, setup = sufficient("from-the-end", "chrono-bias")
    examiner = engine._Examiner(Lab(lambda *_: run(0.5)), setup, 0)
    examiner._look_for_equivalents(outcome, {})
    assert examiner.findings == []


@pytest.mark.parametrize(
    ("losses", "seen"),
    [
        (np.geomspace(100, 0.1, 30), False),
        (np.r_[np.geomspace(2, 1, 20), 80, np.ones(9)], True),
        (np.r_[np.ones(20), np.nan], True),
    ],
    ids=["falls", "jumps", "overflows"],
)
def test_a_loss_that_jumps_speaks_for_clipping(losses, seen):
    found = experiments.symptoms(run(0.0, losses=losses), {"learning-rate-down": 2.5})
    assert found == ({"clip-gradients": 2.0, "learning-rate-down": 2.5} if seen else {})


@pytest.mark.parametrize(
    ("skills", "gain"),
    [
        ([0.1, 0.3, 0.5], 0.4),
        ([0.4, 0.6, 0.7], 0.075),
        ([0.4, 0.6, 0.6], 0.0),
        ([0.4, 0.3, 0.6], 0.0),
        ([0.4, 0.6], 0.0),
    ],
)
def test_what_more_sequences_gain_is_read_from_the_doublings(skills, gain):
    assert generalization.expected_gain(skills) == pytest.approx(gain)


@pytest.mark.parametrize(
    ("skills", "named"), [((0.1, 0.4, 0.75), True), ((0.7, 0.75, 0.76), False)]
)
def test_few_sequences_are_too_few_where_skill_still_rises_with_them(skills, named):
    setup = setup_with(n=400)
    by_rows = dict(zip((80, 160), skills, strict=False))
    lab = Lab(lambda setup, steps, seed, rows: run(0.9, by_rows[rows]))
    found = generalization._starved(lab, setup, run(0.9, skills[2]), 30, 0, 0.0)
    assert [f.cause for f in found] == (["insufficient-data"] if named else [])


def test_parts_of_the_sequences_are_drawn_at_random():
    """The first of sorted sequences are of one class, and no smaller sample of all."""
    setup = setup_with(n=2000)
    lab = Lab(lambda *_: run(0.9, 0.5))
    generalization._points(lab, setup, run(0.9, 0.6), 30, 0, 0.0)
    rows = [(s.train.x[0][:rows], rows) for s, _, _, rows in lab.asked]
    assert [n for _, n in rows] == [len(setup.train) // 4, len(setup.train) // 2]
    np.testing.assert_array_equal(rows[0][0], rows[1][0][: rows[0][1]])
    assert not np.array_equal(rows[0][0], setup.train.x[0][: rows[0][1]])


@pytest.mark.parametrize("ours", [True, False])
def test_a_split_of_ours_is_not_compared_with_another(ours):
    setup = setup_with(n=400).changed(drawn=ours)
    lab = Lab(lambda *_: run(0.9, 0.5))
    generalization._overfitted(lab, setup, run(0.9, 0.5), 30, 0, 0.0)
    targets = [np.sort(one.train.y[0], axis=0) for one, *_ in lab.asked]
    own = np.sort(setup.train.y[0], axis=0)
    other = [y for y in targets if y.shape == own.shape and not np.array_equal(y, own)]
    assert bool(other) is not ours


def test_what_is_only_suspected_comes_after_what_was_measured():
    suspected = engine._unexplained(Outcome(run(0.1), run(0.9), 30))
    measured = generalization._insufficient(run(1.0, 0.2), [(10, 0.1), (20, 0.2)])
    examiner = engine._Examiner(Lab(None), setup_with(), 0)
    examiner.findings = [suspected, measured]
    assert [f.cause for f in examiner._finished().findings] == ["insufficient-data", "wiring"]


# ---- scale


def columns(a, b=1.0):
    rng = np.random.default_rng(5)
    return (rng.normal(size=(40, 6, 2)) * [a, b]).astype("float32")


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_one_feature_off_scale_is_enough_to_be_suspected_and_standardized(factor):
    setup = setup_with(columns(factor))
    assert examination.suspicions(setup)["standardize-inputs"] >= 3
    fed = iv.data.standardize_inputs(setup)
    np.testing.assert_allclose(fed.fed(fed.train.x)[0].std((0, 1)), 1, rtol=1e-3)


def test_features_within_a_factor_of_a_few_are_left_alone():
    assert iv.data.standardize_inputs(setup_with(columns(0.2, 3.0))) is None
    constant = columns(1.0)
    constant[..., 1] = 0.0
    assert iv.data.standardize_inputs(setup_with(constant)) is None


def test_whole_numbers_with_a_feature_axis_are_quantities():
    setup = setup_with((columns(3000.0, 800.0)).astype("int32"))
    assert examination.suspicions(setup)["standardize-inputs"] > 2
    fed = iv.data.standardize_inputs(setup)
    np.testing.assert_allclose(fed.fed(fed.train.x)[0].std((0, 1)), 1, rtol=1e-3)


def test_numbers_of_words_are_never_standardized():
    words = np.random.default_rng(6).integers(0, 300, (40, 6)).astype("float32")
    layers = (keras.layers.Embedding(300, 4), keras.layers.LSTM(2), keras.layers.Dense(1))
    assert iv.data.standardize_inputs(setup_with(words, layers=layers)) is None


# ---- few sequences


def labelled(n, units=2):
    y = np.random.default_rng(7).integers(0, 3, n).astype("int32")
    layers = (keras.layers.LSTM(units), keras.layers.Dense(3, activation="softmax"))
    x = np.random.default_rng(8).normal(size=(n, 6, 2)).astype("float32")
    return setup_with(x, y, layers=layers, loss="sparse_categorical_crossentropy")


@pytest.mark.parametrize(
    ("n", "held_out", "causes"),
    [
        (150, 0.09, ["no-signal"]),  # 0.09 on one split, of 30: within chance on 150 in all
        (150, 0.5, ["insufficient-data"]),
        (25, 0.05, ["insufficient-data"]),  # too few to tell noise from a signal
        (50, 0.05, ["insufficient-data"]),
    ],
)
def test_few_sequences_without_a_signal_are_told_from_too_few_with_one(n, held_out, causes):
    setup = labelled(n)
    user = run(1.0, held_out)
    lab = Lab(lambda *_: run(1.0, held_out))
    found = generalization.learnt(
        lab, setup, user, Outcome(user, user, setup.total_steps),
        generalization.Baselines({"ridge": 0.05}), seed=0, reserve=0.0,
    )  # fmt: skip
    assert [f.cause for f in found.findings] == causes
    assert bool(found.not_a_bug) is (causes == ["no-signal"])


@pytest.mark.parametrize(
    ("fitted", "smaller", "cause", "severity"),
    [
        (0.8, 0.8, None, None),  # as good on data that it has not seen
        (0.97, 0.75, "insufficient-data", "info"),  # somewhat by heart, and nothing narrows it
        (0.97, 0.97, "too-large", "info"),
        (1.0, 0.97, "too-large", "warning"),  # by heart
    ],
)
def test_what_is_partly_learnt_by_heart_is_a_note(fitted, smaller, cause, severity):
    setup = labelled(3000, units=16)
    user = run(fitted, 0.74)

    def answer(changed, *_):
        narrow = changed.model.count_params() < setup.model.count_params()
        return run(fitted, smaller if narrow else 0.74)

    found = generalization.learnt(
        Lab(answer), setup, user, Outcome(user, user, setup.total_steps),
        generalization.Baselines({"ridge": 0.05}), seed=0, reserve=0.0,
    )  # fmt: skip
    named = [(f.cause, f.severity) for f in found.findings]
    assert named == ([] if cause is None else [(cause, severity)])


def test_what_is_learnt_by_heart_is_looked_for_at_the_end_of_the_users_training():
    setup = setup_with(n=400).changed(epochs=50)
    lab = Lab(lambda setup, steps, *_: run(1.0, 0.1, steps=steps))
    longer = generalization.to_its_end(lab, setup, run(0.5, 0.4, steps=30), seed=0)
    assert longer.steps[-1] == setup.total_steps
    whole = run(0.5, 0.4, steps=setup.total_steps)
    assert generalization.to_its_end(lab, setup, whole, seed=0) is whole


def test_suspects_that_were_not_tried_before_one_was_enough_are_tried_after_it(monkeypatch):
    outcome, setup = sufficient("standardize-inputs")
    outcome.trials = list(outcome.sufficient)

    def attempt(lab, base, user, outcome, change, seed, reserve):
        return Trial(change, setup, run(0.9), 1.0 if change.key == "wider" else 0.2)

    monkeypatch.setattr(experiments, "attempt", attempt)
    suspicion = {"wider": 2.0, "standardize-inputs": 3.0, "standardize-targets": 3.0,
                 "reinitialize": 1.0, "unfreeze": 0.1}  # fmt: skip
    experiments.try_the_rest(Lab(None), setup, outcome, suspicion, {"data-scale"}, 0.0)
    assert [t.intervention.key for t in outcome.trials] == [
        "standardize-inputs", "wider", "reinitialize"
    ]  # fmt: skip
    assert [t.intervention.key for t in outcome.sufficient] == ["standardize-inputs", "wider"]


def test_an_undecided_diagnosis_says_what_restored_most():
    examiner = engine._Examiner(Lab(None), setup_with(), 0)
    trial = Trial(iv.BY_KEY["wider"], examiner.setup, run(0.4), 0.4)
    examiner.outcome = Outcome(run(0.1), run(0.9), 30, trials=[trial])
    assert "40 % (wider, too-small)" in examiner._undecided(())
    examiner.outcome.trials = []
    assert "restores it. A larger budget" in examiner._undecided(())


@pytest.mark.parametrize(
    ("held_out", "easy", "worth"), [(0.02, -1.0, False), (0.3, -1.0, True), (0.02, 0.1, True)]
)
def test_what_is_learnt_by_heart_alone_is_not_worth_a_search(held_out, easy, worth):
    """A network that fits more of what no network predicts has no cause to be named."""
    outcome = Outcome(run(0.3, 0.0), run(0.9, held_out), 30, easy=easy)
    assert outcome.gap >= outcome.least
    assert worth_a_search(outcome, setup_with(n=600)) is worth
    assert not worth_a_search(Outcome(run(0.9), run(0.95), 30), setup_with(n=600))


def test_nothing_is_suspected_where_what_got_further_is_no_better_than_a_constant():
    examiner = engine._Examiner(Lab(None), setup_with(n=600), 0)
    outcome = Outcome(run(-0.24), run(-0.01), 30)
    assert outcome.learnable
    assert not examiner._is_unsolved(outcome)


@pytest.mark.parametrize(
    ("reference", "plain_skill", "units"),
    [(0.9, 0.9, [2]), (0.1, 0.9, [32, 32])],
    ids=["the reference got there", "the plain network alone did"],
)
def test_what_got_there_is_given_where_no_single_change_does(reference, plain_skill, units):
    given = setup_with(n=600, layers=(keras.layers.LSTM(2), keras.layers.Dense(1)))
    outcome = Outcome(run(0.0), run(reference), 30, plain=run(plain_skill))
    made = experiments.got_there(given, outcome, {})
    layers = [layer for layer in made.model.layers if isinstance(layer, keras.layers.LSTM)]
    assert [layer.units for layer in layers] == units


def test_nothing_is_given_where_a_baseline_alone_got_there():
    outcome = Outcome(run(0.0), run(0.0), 30, plain=run(0.1), easy=0.9)
    assert experiments.got_there(setup_with(n=600), outcome, {}) is None


def test_guessing_reaches_more_on_few_sequences():
    many, few = labelled(4000), labelled(60)
    assert guessing(many) == 0.08
    assert guessing(few) == pytest.approx(2.3 / (2 * 12) ** 0.5)
    assert guessing(few.changed(held_out=few.held_out.take(np.arange(3)))) == 0.5


def test_a_rare_feature_is_not_taken_for_a_small_one():
    x = columns(1.0)
    x[..., 1] = np.where(np.arange(40)[:, None] % 13 == 3, 0.3, 0.0)
    assert x[..., 1].std() < 0.1
    assert iv.data.standardize_inputs(setup_with(x)) is None
    x[..., 1] *= 1e-3
    assert iv.data.standardize_inputs(setup_with(x)) is not None
