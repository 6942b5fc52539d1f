"""Which changes are tried first: what stands in the set-up, and what the reference speaks for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import conjunction, examination, experiments, rates  # noqa: E402
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Run  # noqa: E402
from lstm_oracle.diagnosis.outcome import Outcome  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def setup_with(*layers, y=None, x=None, epochs=2, loss="mse"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6, 2)).astype("float32") if x is None else x
    y = rng.normal(size=40) if y is None else y
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers])
    model.compile("adam", loss)
    return setup_of(
        model, x, y, validation_data=None, validation_split=0.0, batch_size=8, epochs=epochs,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def run(skill):
    return Run(np.zeros(30), np.array([30]), np.array([skill]), np.array([skill]), 100.0)


class Clock:
    """As much of a `Lab` as the search asks for; time ends after so many looks."""

    seconds = 100.0

    def __init__(self, looks=10**6):
        self.looks = looks

    @property
    def left(self):
        self.looks -= 1
        return 50.0 if self.looks >= 0 else 0.0


def searched(monkeypatch, outcome, suspicion=None, looks=10**6):
    """The keys of the changes in the order in which they are tried."""
    tried = []

    def attempt(lab, base, user, outcome, change, seed, reserve):
        tried.append(change.key)

    monkeypatch.setattr(experiments, "attempt", attempt)
    monkeypatch.setattr(experiments, "_rates", lambda *arguments: [])
    user = SimpleNamespace(total_steps=30)  # as many as were made
    experiments._one_by_one(Clock(looks), user, outcome, suspicion or {}, 0, 1.0)
    return tried


def reached_by(reference, plain=0.9):
    return Outcome(run(0.0), run(reference), 30, run(plain))


@pytest.mark.parametrize("suspicion", [{}, {"train-longer": 0.5, "clip-gradients": 0.5}])
def test_what_the_reference_has_comes_first_where_it_gets_there_and_last_where_not(
    monkeypatch, suspicion
):
    mine = {*experiments.REPAIRS, *experiments.OF_THE_OPTIMIZER, "reinitialize"}
    for reference, first in ((0.9, True), (0.1, False)):
        tried = searched(monkeypatch, reached_by(reference), suspicion)
        inside = [key in mine for key in tried]
        assert inside == sorted(inside, reverse=first)
        assert sorted(tried) == sorted(c.key for c in (*iv.TABLE, iv.LONGER))


def test_a_strong_suspicion_outweighs_the_reference(monkeypatch):
    assert searched(monkeypatch, reached_by(0.1), {"unfreeze": 2.5})[0] == "unfreeze"
    assert searched(monkeypatch, reached_by(0.9), {"see-all-steps": 3.0})[0] == "see-all-steps"


class Trainings:
    """Changes alone are in vain; a set of them has the skill that is told."""

    seconds = left = 1e3

    def __init__(self, skill):
        self.skill, self.trained = skill, []

    def say(self, message):
        pass

    def train(self, setup, *, steps, seed=0, rows=None, deadline=0, every=None):
        masked = any(isinstance(layer, keras.layers.Masking) for layer in setup.model.layers)
        both = masked and bool(setup.x_scale)
        self.trained.append(both)
        return run(self.skill if both else 0.0)


@pytest.mark.parametrize(("skill", "enough"), [(0.9, True), (0.2, False)])
def test_two_suspects_that_restore_nothing_alone_are_tried_together(skill, enough):
    x = 300 + 100 * np.random.default_rng(0).normal(size=(40, 12, 2)).astype("float32")
    x[:, 8:] = 0
    setup = setup_with(keras.layers.LSTM(4), keras.layers.Dense(1), x=x)
    outcome, lab = reached_by(0.9), Trainings(skill)
    suspicion = {"add-mask": 2.0, "standardize-inputs": 1.9}
    experiments._one_by_one(lab, setup, outcome, suspicion, 0, 1.0)
    assert lab.trained[:3] == [False, False, True]
    assert (outcome.together is not None) is enough
    assert (len(outcome.trials) == 2) is enough  # else the others are tried as well
    if enough:
        found = conjunction.together(lab, setup, outcome, suspicion, 0, 1.0)
        assert {trial.intervention.key for trial in found} == set(suspicion)


@pytest.mark.parametrize(("course", "patient"), [((0.1, 0.4), True), ((0.0, 0.0), False)])
def test_a_training_within_its_own_updates_is_no_longer_one(course, patient):
    setup = setup_with(keras.layers.LSTM(4), keras.layers.Dense(1), epochs=300)
    outcome = reached_by(0.9)

    class Slow(Trainings):
        def train(self, setup, *, steps, **how):
            skills = np.array(course)
            return Run(np.zeros(steps), np.array([steps // 2, steps]), skills, skills, 100.0)

    experiments._try(Slow(0.0), setup, outcome, iv.LONGER, 0, 1.0)
    assert outcome.trials == []
    assert outcome.patient is patient


def rising(skills):
    """Measured after 25, 50 and 100 updates."""
    course = np.array(skills)
    return Run(np.zeros(100), np.array([25, 50, 100]), course, course, 100.0)


@pytest.mark.parametrize(
    ("course", "by_others", "expected"),
    [
        ((0.1, 0.3, 0.5), (0.5, 0.7, 0.8), True),  # 0.2 a doubling: 0.9 after 400
        ((0.0, 0.0, 0.0), (0.5, 0.7, 0.8), False),
        ((0.1, 0.1, 0.1), (0.0, 0.1, 0.2), False),  # near enough now, and stays where it is
        ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), True),  # there is no more
    ],
)
def test_a_set_up_is_patient_where_it_will_have_what_is_within_reach(course, by_others, expected):
    outcome = Outcome(rising(course), rising(by_others), 100)
    assert experiments._in_sight(outcome, rising(course), 400) is expected


def test_a_rate_is_sought_no_further_on_a_way_on_which_the_loss_gets_worse():
    losses = {}

    def walked(loss_of):
        losses.clear()
        seen = []
        for rate in rates.outwards(1e-2, losses):
            seen.append(round(np.log10(rate)))
            losses[rate] = loss_of(rate)
        return seen

    assert walked(lambda rate: 1.0) == [-2, -1, -3, 0, -4, 1, -5, 2]
    assert walked(lambda rate: rate) == [-2, -1, -3, -4, -5]  # the higher, the worse
    assert walked(lambda rate: -rate) == [-2, -1, -3, 0, 1, 2]


@pytest.mark.parametrize(("looks", "unfinished"), [(2, True), (17, False)])
def test_what_the_reference_has_without_getting_there_need_not_be_tried_one_by_one(
    monkeypatch, looks, unfinished
):
    outcome = reached_by(0.1)
    searched(monkeypatch, outcome, looks=looks)
    assert outcome.out_of_time is unfinished


@pytest.mark.parametrize(
    ("width", "classes", "suspected"), [(1, 4, True), (2, 4, True), (3, 4, False), (1, 2, False)]
)
def test_a_layer_through_which_the_classes_cannot_be_told_apart_is_suspected(
    width, classes, suspected
):
    layers = (
        keras.layers.LSTM(8),
        keras.layers.Dense(width, activation="tanh"),
        keras.layers.Dense(classes, activation="softmax"),
    )
    y = np.arange(40) % classes
    setup = setup_with(*layers, y=y, loss="sparse_categorical_crossentropy")
    assert ("wider" in examination.suspicions(setup)) is suspected


@pytest.mark.parametrize(("epochs", "least"), [(1, 300), (30, 600)])
def test_longer_is_five_times_or_enough_updates_to_see_something(epochs, least):
    setup = setup_with(keras.layers.LSTM(2), keras.layers.Dense(1), epochs=epochs)
    assert setup.total_steps == 4 * epochs
    assert least <= iv.LONGER.apply(setup).total_steps <= 1.1 * least


def test_a_missing_value_makes_no_ramp():
    ramp = np.arange(6.0)[None, :, None] + np.arange(40.0)[:, None, None]
    layers = keras.layers.LSTM(2), keras.layers.Dense(1)
    whole = setup_with(*layers, x=ramp.astype("float32"))
    assert [f.cause for f in examination.certain_findings(whole)] == ["input-encoding"]
    ramp = np.random.default_rng(0).normal(size=(40, 6, 1)).astype("float32")
    ramp[:, 3] = np.nan
    layers = keras.layers.LSTM(2), keras.layers.Dense(1)
    holed = setup_with(*layers, x=ramp)
    assert [f.cause for f in examination.certain_findings(holed)] == ["data-quality"]


@pytest.mark.parametrize("mixed", [False, True])
def test_an_only_input_that_counts_the_rows_is_named(mixed):
    rng = np.random.default_rng(0)
    count = (np.arange(200) / 150 - 0.5).astype("float32")[:, None, None]
    count = rng.permutation(count) if mixed else count
    layers = keras.layers.LSTM(2), keras.layers.Dense(1)
    for x, causes in (
        (count, ["input-encoding"]),
        (rng.normal(size=(200, 1, 1)).astype("float32"), []),
        (rng.integers(0, 50, (200, 1, 1)).astype("float32"), []),
    ):
        given = setup_with(*layers, x=x, y=rng.normal(size=200))
        assert [f.cause for f in examination.certain_findings(given)] == causes


def test_the_same_epochs_in_smaller_batches_are_not_cut_to_a_handful():
    user = setup_with(keras.layers.LSTM(2), keras.layers.Dense(1), epochs=60).changed(batch_size=32)
    smaller = user.changed(batch_size=2)
    assert user.total_steps == 60
    assert experiments.steps_for(user, 12, user) == 12
    assert experiments.steps_for(user, 12, smaller) == 12 * 16


def test_larger_batches_are_tried_in_as_many_updates():
    user = setup_with(keras.layers.LSTM(2), keras.layers.Dense(1), epochs=60).changed(batch_size=1)
    larger = iv.optimization.batch_larger(user)
    assert larger.batch_size == 32
    assert larger.total_steps == user.total_steps
    assert experiments.steps_for(user, 300, larger) == 300
