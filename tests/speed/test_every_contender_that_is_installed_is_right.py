"""The wiring of each framework: weights and gradients to and from its own layout."""

import importlib.util

import numpy as np
import pytest

from lstm_oracle.benchmarks.speed import bench
from lstm_oracle.benchmarks.speed.bench import measure
from lstm_oracle.benchmarks.speed.contenders import CONTENDERS
from lstm_oracle.benchmarks.speed.floor import floor, traffic
from lstm_oracle.benchmarks.speed.truth import Truth, checked_case, make_case
from lstm_oracle.benchmarks.speed.workload import Workload
from tests.speed.samples import RATES, plan

DEEP = Workload(5, 3, 4, 8, layers=2, directions=2)
HERE = [name for name, row in CONTENDERS.items() if "cpu" in row.devices and not row.missing()]


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_a_masked_stack_of_both_directions_is_right(name, monkeypatch):
    monkeypatch.setattr(bench, "_rates", lambda plan, device, dtypes: RATES)
    masked = Workload(5, 3, 4, 8, layers=2, directions=2, masked=True)
    found = measure(plan([name], (Workload(5, 3, 4, 8), masked), limit_seconds=120.0))
    rows = [row for case in found["cases"] for row in case["rows"]]
    if not rows:
        pytest.skip(found["contenders"][0]["unavailable"])
    for row in rows:
        assert row["status"] in ("ok", "unsupported"), row["message"]
    assert any(row["status"] == "ok" for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
@pytest.mark.parametrize("workload", [Workload(4, 2, 3, 5), DEEP], ids=lambda w: w.name)
def test_weights_reach_cudnn_as_it_wants_them(workload):
    """By JAX's own reference of what cuDNN computes: there is no GPU here."""
    from jax.experimental import rnn

    from lstm_oracle.benchmarks.speed.on_jax import cudnn

    def stand_in(x, h, c, flat, lengths, I, H, layers, dropout, both, precision):
        weights = rnn.unpack_lstm_weights(flat, I, H, layers, both)
        return rnn.lstm_ref(x, h, c, *weights, lengths, I, H, layers, dropout, both)

    truth = Truth.measured(workload)
    case = checked_case(make_case(workload), truth.rows)
    prepared = cudnn(stand_in).prepare(workload, "training")
    answer = prepared.result(case, prepared.run(prepared.place(case)))
    assert truth.judge(case, answer, "training").status == "agree"


def test_the_floor_is_the_largest_of_products_traffic_and_steps():
    workload = Workload(100, 128, 512, 512)
    found = floor(workload, "training", RATES)
    assert found["products_ms"] == pytest.approx(3 * 2 * 100 * 128 * 2048 * 1024 / 1e11 * 1e3)
    values = 2 * (100 * 128 * (512 + 512) + 2048 * (512 + 512 + 1))
    assert traffic(workload, "training") == 4 * values
    assert found["traffic_ms"] == pytest.approx(4 * values / 1e10 * 1e3)
    assert found["steps_ms"] == pytest.approx(200 * 1e-8 * 1e3)
    assert found["ms"] == found["products_ms"]


def test_a_rate_that_was_not_measured_leaves_its_part_out():
    found = floor(Workload(10, 1, 1, 1), "forward", {"step_seconds": 1e-6})
    assert found == {"products_ms": None, "traffic_ms": None, "steps_ms": pytest.approx(0.01),
                     "ms": pytest.approx(0.01)}  # fmt: skip
    assert floor(Workload(10, 1, 1, 1), "forward", {})["ms"] is None


def test_random_numbers_are_exact_in_the_dtype_that_is_asked():
    case = make_case(Workload(3, 2, 2, 4, dtype="bfloat16"))
    assert np.all(case.x.astype(np.float32).view(np.uint32) << 16 == 0)
