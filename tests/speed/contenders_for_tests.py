"""Contenders that a worker can be told to load: one that is right, and every way to fail."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import numpy as np

from lstm_oracle.benchmarks.speed.on_numpy import Oracle
from lstm_oracle.reference.tree import map_leaves

HANGS_AT, CRASHES_AT = 3, 3  # steps: at other workloads all is well


class Changed(Oracle):
    """The oracle, with something done to what `prepare` gives."""

    def __init__(self, change):
        self.change = change

    def versions(self):
        return {"numpy": np.__version__, "changed": "1.0"}

    def prepare(self, workload, mode):
        return self.change(super().prepare(workload, mode), workload)


class Wrapped:
    def __init__(self, prepared, workload):
        self.prepared, self.workload = prepared, workload

    def place(self, case):
        return self.prepared.place(case)

    def run(self, inputs):
        return self.prepared.run(inputs)

    def result(self, case, outputs):
        return self.prepared.result(case, outputs)


class WrongGradient(Wrapped):
    """One entry of one gradient, in training only."""

    def result(self, case, outputs):
        found = super().result(case, outputs)
        if found.d_params is None:
            return found
        params = map_leaves(np.copy, found.d_params)
        params["U_f"][0, 0] += 0.01 * np.abs(params["U_f"]).max()
        return replace(found, d_params=params)


class WrongOutput(Wrapped):
    def result(self, case, outputs):
        found = super().result(case, outputs)
        return replace(found, y=found.y * np.float32(1.001))


class Raises(Wrapped):
    def run(self, inputs):
        raise FloatingPointError("it had a bad day")


class Crashes(Wrapped):
    def run(self, inputs):
        if self.workload.T == CRASHES_AT:
            print("about to go", flush=True)
            os._exit(3)
        return super().run(inputs)


class Hangs(Wrapped):
    def run(self, inputs):
        if self.workload.T == HANGS_AT:
            time.sleep(3600)
        return super().run(inputs)


def right():
    return Changed(Wrapped)


def wrong_gradient():
    return Changed(WrongGradient)


def wrong_output():
    return Changed(WrongOutput)


def raises():
    return Changed(Raises)


def crashes():
    return Changed(Crashes)


def hangs():
    return Changed(Hangs)


def cannot_start():
    raise ImportError("no such library as libnothing.so")
