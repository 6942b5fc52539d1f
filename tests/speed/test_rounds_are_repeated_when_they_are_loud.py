"""A disturbed round is thrown away, a spread is measured again, and what stays loud says so."""

import pytest

from lstm_oracle.benchmarks.speed import rounds
from lstm_oracle.benchmarks.speed.rounds import Effort, Timed, run_rounds

EFFORT = Effort(rounds=3, round_seconds=1.0, most_rounds=6)


class Worker:
    """Answers with the next of some times."""

    pid = 0

    def __init__(self, times):
        self.times, self.asked = list(times), 0

    def ask(self, **question):
        self.asked += 1
        value = self.times.pop(0) if self.times else 1.0
        if value is None:
            return {"status": "crash", "message": "gone"}
        return {"status": "ok", "seconds": [value] * question["calls"]}


@pytest.fixture
def neighbours(monkeypatch):
    """Seconds that others take in each round; none where the list is used up."""
    taken = []

    class Neighbours:
        def __init__(self, pids):
            pass

        def seconds(self):
            return taken.pop(0) if taken else 0.0

    monkeypatch.setattr(rounds, "Neighbours", Neighbours)
    monkeypatch.setattr(rounds, "_SETTLE_SECONDS", 0.0)
    return taken


def test_quiet_rounds_all_count(neighbours):
    timed = Timed(Worker([1.0, 1.0, 1.0]), 0.1)
    assert run_rounds([timed], EFFORT) == {"counted": 3, "thrown_away": 0}
    assert timed.rounds == [1.0, 1.0, 1.0]
    assert not timed.noisy


def test_a_round_that_others_disturbed_is_thrown_away(neighbours):
    neighbours += [0.0, 1e9, 0.0, 0.0]
    timed = Timed(Worker([1.0, 50.0, 1.01, 1.02]), 0.1)
    assert run_rounds([timed], EFFORT) == {"counted": 3, "thrown_away": 1}
    assert timed.rounds == [1.0, 1.01, 1.02]


def test_a_spread_is_measured_again(neighbours):
    timed = Timed(Worker([1.0, 2.0, 1.0, 1.0, 1.0]), 0.1)
    counts = run_rounds([timed], EFFORT)
    assert counts["counted"] > 3
    assert not timed.noisy


def test_what_stays_loud_ends_and_says_so(neighbours):
    timed = Timed(Worker([1.0, 2.0] * 10), 0.1)
    assert run_rounds([timed], EFFORT) == {"counted": 6, "thrown_away": 0}
    assert timed.noisy


def test_where_it_is_never_quiet_the_last_rounds_count(neighbours):
    neighbours += [1e9] * 20
    timed = Timed(Worker([]), 0.1)
    counts = run_rounds([timed], EFFORT)
    assert counts == {"counted": 3, "thrown_away": 3}
    assert len(timed.rounds) == 3


def test_contenders_take_turns_in_an_order_that_alternates(neighbours):
    order = []

    class Noting(Worker):
        def __init__(self, name):
            super().__init__([])
            self.name = name

        def ask(self, **question):
            order.append(self.name)
            return super().ask(**question)

    run_rounds([Timed(Noting("a"), 0.1), Timed(Noting("b"), 0.1)], EFFORT)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_one_that_dies_in_the_rounds_is_asked_no_more(neighbours):
    dying, other = Timed(Worker([1.0, None]), 0.1), Timed(Worker([]), 0.1)
    run_rounds([dying, other], EFFORT)
    assert dying.failure == {"status": "crash", "message": "gone"}
    assert dying.worker.asked == 2
    assert len(other.rounds) == 3
