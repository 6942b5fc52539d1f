"""Of what yields for ever, every row counts once, and an epoch is as long as it is told."""

import itertools

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis.data_tests import TESTS  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5, 2)).astype("float32")
Y = X.sum((1, 2))


@pytest.fixture(scope="module")
def model():
    made = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(2), keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def taken(model, x, **options):
    defaults = {
        "validation_data": (X[:8] + 1, Y[:8]), "validation_split": 0.0, "batch_size": 20,
        "epochs": 3, "class_weight": None, "sample_weight": None, "shuffle": True, "seed": 0,
    }  # fmt: skip
    return setup_of(model, x, None, **{**defaults, **options})


def again_and_again():
    while True:
        for n in range(0, 60, 20):
            yield X[n : n + 20], Y[n : n + 20]


def the_first_batch_only():
    while True:
        yield X[:20], Y[:20]


def copies(setup):
    return [f.finding.cause for test in TESTS for f in test(setup) if "copies" in f.finding.summary]


def test_a_generator_that_starts_again_gives_each_row_once(model):
    setup = taken(model, again_and_again(), steps_per_epoch=3)
    assert len(setup.train) == 60
    assert setup.total_steps == 9
    assert copies(setup) == []


def test_a_generator_that_is_cut_gives_each_row_once(model):
    setup = taken(model, itertools.islice(again_and_again(), 7))
    assert len(setup.train) == 60


def test_an_epoch_is_as_long_as_it_is_told(model):
    assert taken(model, again_and_again(), steps_per_epoch=10).total_steps == 30


def test_a_generator_that_gives_one_batch_for_ever_is_a_fault(model):
    setup = taken(model, itertools.islice(the_first_batch_only(), 30), steps_per_epoch=10)
    assert copies(setup) == ["data-quality"]


def test_without_the_copies_an_epoch_has_as_many_updates(model):
    setup = taken(model, itertools.islice(the_first_batch_only(), 30), steps_per_epoch=10)
    [repaired] = [f.repaired for test in TESTS for f in test(setup) if f.repaired is not None]
    assert len(repaired.train) == 20
    assert repaired.total_steps == 30


def test_arrays_and_what_ends_keep_their_rows(model):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 6

        def __getitem__(self, n):
            return X[:20], Y[:20]

    assert len(taken(model, Batches()).train) == 120
