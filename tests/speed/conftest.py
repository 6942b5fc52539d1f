"""Contenders that workers find, and a result of all kinds."""

import os

import pytest

from lstm_oracle.benchmarks.speed import bench
from lstm_oracle.benchmarks.speed.bench import measure
from tests.speed.samples import FAILING, HERE, RATES, own, plan


@pytest.fixture(scope="session")
def importable():
    """A worker finds `contenders_for_tests`."""
    with pytest.MonkeyPatch.context() as patch:
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        patch.setenv("PYTHONPATH", path)
        patch.setattr(bench, "_rates", lambda plan, device, dtypes: RATES)
        yield


@pytest.fixture(scope="session")
def result(importable):
    """Everyone who fails, and two who do not, at two small workloads."""
    names = ["NumPy oracle", own("right"), *map(own, FAILING)]
    return measure(plan(names))
