"""A report agrees where something was checked and nothing disagreed, broke or was missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.case import Result, run_oracle
from lstm_oracle.conformance.report import (
    BlockError,
    CaseReport,
    ImplementationReport,
    LayerReport,
    ModelReport,
)
from lstm_oracle.reference.spec import State


def cases(*statuses):
    return tuple(CaseReport(f"case {n}", status, "float64") for n, status in enumerate(statuses))


def test_the_worst_block_has_the_largest_ratio():
    blocks = tuple(BlockError(name, 1.0, 1.0, 1.0, ratio) for name, ratio in
                   [("y", 0.1), ("d_x", 3.0), ("d_U_f", 0.7)])  # fmt: skip
    assert CaseReport("a", "disagree", "float64", blocks).worst.block == "d_x"
    assert CaseReport("a", "error", "float64").worst is None


@pytest.mark.parametrize(
    ("statuses", "agrees"),
    [
        (("agree",), True), (("agree", "unsupported"), True), (("agree", "disagree"), False),
        (("agree", "error"), False), ((), True),
    ],
)  # fmt: skip
def test_an_implementation_agrees_unless_something_disagrees_or_breaks(statuses, agrees):
    report = ImplementationReport("ours", cases(*statuses))
    assert report.agrees == agrees
    assert not dataclasses.replace(report, unavailable="not installed").agrees
    assert report.count("agree") == statuses.count("agree")
    assert report.count("disagree") == statuses.count("disagree")
    assert (report.seconds, report.import_seconds) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("statuses", "checked", "agrees"),
    [
        (("agree",), 1, True), (("agree", "agree", "unsupported"), 2, True),
        (("unsupported",), 0, False), ((), 0, False), (("disagree", "agree"), 2, False),
        (("agree", "error"), 1, False),
    ],
)  # fmt: skip
def test_a_model_agrees_where_a_layer_was_checked_and_none_is_wrong(statuses, checked, agrees):
    layers = tuple(LayerReport(case, "LSTM") for case in cases(*statuses))
    report = ModelReport("model", "numpy", layers)
    assert (report.checked, report.agrees) == (checked, agrees)
    assert report.count("unsupported") == statuses.count("unsupported")
    assert [(layer.call, layer.masked_steps) for layer in layers] == [(0, 0)] * len(layers)
    assert (report.samples, report.seconds) == (0, 0.0)


def test_blocks_are_named_after_what_they_are():
    one = np.ones(1)
    result = Result(one, State(one, one), ({"W_i": one}, {"b_f": one}), one, (State(one, None),))
    assert list(result.blocks()) == [
        "y", "state.h", "state.c", "d_0.W_i", "d_1.b_f", "d_x", "d_state.0.h",
    ]  # fmt: skip
    assert list(Result(one, None).blocks()) == ["y"]


def test_the_oracle_runs_in_the_dtype_asked_for_whatever_the_arrays():
    case = next(case for case in matrix.cases() if case.name.startswith("plain, float64"))
    single = dataclasses.replace(case, x=case.x.astype(np.float32))
    for dtype in (np.float32, np.float64, np.longdouble):
        blocks = run_oracle(single, dtype).blocks()
        assert {block.dtype for block in blocks.values()} == {np.dtype(dtype)}
    assert run_oracle(single).y.dtype == np.float64
