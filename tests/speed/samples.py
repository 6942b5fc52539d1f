"""What the tests of the benchmark share: contenders by name, and small plans."""

from __future__ import annotations

from pathlib import Path

from lstm_oracle.benchmarks.speed.bench import Plan
from lstm_oracle.benchmarks.speed.contenders import contender
from lstm_oracle.benchmarks.speed.rounds import Effort
from lstm_oracle.benchmarks.speed.workload import Workload

HERE = Path(__file__).parent
RATES = {
    "device": "cpu",
    "gemm_flops": {"float32": {"rate": 1e11, "library": "numpy", "all": {"numpy": 1e11}}},
    "bandwidth_bytes": 1e10,
    "step_seconds": 1e-8,
}
FAILING = ("wrong_gradient", "wrong_output", "raises", "crashes", "hangs", "cannot_start")
SMALL = (Workload(3, 2, 2, 4), Workload(4, 2, 2, 4))


def own(name):
    return f"contenders_for_tests:{name}"


def plan(names, workloads=SMALL, **fields):
    fields = {"threads": 1, "effort": Effort(2, 0.002, 2), "limit_seconds": 8.0} | fields
    return Plan(workloads, tuple(contender(name) for name in names), **fields)
