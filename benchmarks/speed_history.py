"""The speed of our own implementations as pytest-benchmark cases, for a history of it.

    pytest benchmarks/speed_history.py --benchmark-autosave
    pytest-benchmark compare

`lstm-oracle bench` compares contenders; this follows one of them from commit to commit, in one
process. `make test` does not collect it. Each case is held against the oracle before it is timed.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

import pytest

from lstm_oracle.benchmarks.speed.contenders import contender, load
from lstm_oracle.benchmarks.speed.truth import Truth, checked_case, make_case
from lstm_oracle.benchmarks.speed.workload import ISSUE, MODES, Mode, Workload

OURS = ("NumPy oracle", "jax_impl scan", "jax_impl fused", "jax_impl native", "jax_impl auto")


@pytest.fixture(scope="module")
def truths() -> dict[Workload, Truth]:
    return {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("workload", ISSUE[:4], ids=lambda w: w.name)
@pytest.mark.parametrize("name", OURS)
def test_speed(
    benchmark: Any, truths: dict[Workload, Truth], name: str, workload: Workload, mode: Mode
) -> None:
    row = contender(name)
    if row.missing():
        pytest.skip(row.missing())
    made = load(row)
    reason = made.unsupported(workload, mode)
    if reason:
        pytest.skip(reason)
    truth = truths.setdefault(workload, Truth.measured(workload))
    case = make_case(workload)
    checked = checked_case(case, truth.rows)
    prepared = made.prepare(workload, mode)
    answer = prepared.result(checked, prepared.run(prepared.place(checked)))
    report = truth.judge(checked, answer, mode)
    if report.status != "agree":
        pytest.fail(f"{name} is wrong, so it is not timed: {report.message}")
    benchmark.group = f"{workload.name}: {mode}"
    benchmark.pedantic(prepared.run, (prepared.place(case),), rounds=20, warmup_rounds=2)
