"""Right answers are never called wrong; a small sweep of what `make no-false-alarms` runs at large.

The sweep itself is tested: a wrong implementation raises alarms, an interrupted one is taken up.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from lstm_oracle.benchmarks import no_false_alarms as bench
from lstm_oracle.conformance import textbook, tolerances
from lstm_oracle.conformance.adapters import REGISTRY
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.matrix import Recipe, build
from lstm_oracle.conformance.yardstick import truth
from lstm_oracle.reference.spec import Spec

NAMES = (
    "lstm_oracle.jax_impl",
    "jax.experimental.rnn.lstm_ref",
    "lstm_oracle.keras_impl on tensorflow",
    "torch.nn.LSTM",
)


@pytest.fixture(autouse=True)
def path(monkeypatch, repository):
    monkeypatch.setenv("PYTHONPATH", str(repository / "tests" / "adapters"))


def sweep(names, configurations, result, seconds=np.inf):
    return bench.summary(bench.sweep(list(names), configurations, result, seconds, anew=False))


def test_no_right_answer_is_called_wrong(tmp_path):
    names = [name for name in NAMES if not REGISTRY[name].missing()]
    if not names:
        pytest.skip("neither JAX nor TensorFlow nor PyTorch is installed")
    found = sweep(names, 16 * len(names), tmp_path / "kept.json")
    assert found["false_alarms"] == []
    assert found["errors"] == []
    assert found["configurations"] >= 16 * len(names)
    assert set(found["of_implementation"]) == set(names)
    assert set(found["dtypes"]) == set(bench.DTYPES)


def test_a_wrong_implementation_raises_alarms(tmp_path):
    found = sweep(["adapters_for_tests:wrong"], 12, tmp_path / "kept.json")
    assert len(found["false_alarms"]) >= 6
    assert found["configurations"] >= 12


def test_an_implementation_that_raises_is_counted(tmp_path):
    found = sweep(["adapters_for_tests:raising"], 1, tmp_path / "kept.json")
    assert len(found["errors"]) == found["configurations"] >= 1
    assert "RuntimeError: no luck" in found["errors"][0]


def test_an_interrupted_sweep_is_taken_up_where_it_stopped(tmp_path, monkeypatch):
    name, kept = "adapters_for_tests:right", tmp_path / "kept.json"
    monkeypatch.setattr(bench, "BLOCK", 5)
    whole = sweep([name], 9, tmp_path / "whole.json")
    state = json.loads((tmp_path / "whole.json").read_text())
    own = state["groups"][name]
    assert own["cases"] == len(own["verdicts"]) == 9
    state["groups"][name] = own | {"cases": 5, "verdicts": own["verdicts"][:5]}
    kept.write_text(json.dumps(state))
    assert sweep([name], 9, kept) == whole


@pytest.mark.parametrize("dtype", bench.DTYPES)
def test_the_smallest_defect_that_is_found_is_found_and_half_of_it_is_not(dtype):
    case = build(Recipe(f"smallest {dtype}", Spec(input_size=3, hidden_size=4), 2, 4), dtype)
    result = textbook.run(case)
    found = bench.judge(case, result, np.random.default_rng(0))
    u = tolerances.format_of(dtype).roundoff
    rng = np.random.default_rng(0)
    names = [name for name, block in truth(case).blocks().items() if np.any(block)]
    name = names[int(rng.integers(len(names)))]
    rng.integers(truth(case).blocks()[name].size)
    sign = float(rng.choice([-1.0, 1.0]))
    verdicts = []
    for units in (2 ** found["block"], 2 ** found["block"] / 2):
        blocks = result.blocks()[name] * (1 + sign * units * u)
        changed = bench._exchanged(result, name, blocks)
        verdicts.append(compare(case, changed).status)
    assert verdicts == ["disagree", "agree"]


def test_every_block_can_be_exchanged():
    case = build(Recipe("exchanged", Spec(input_size=3, hidden_size=4), 2, 4), "float64")
    result = textbook.run(case)
    for name, block in result.blocks().items():
        changed = bench._exchanged(result, name, block + 1.0)
        differs = {
            n for n, b in changed.blocks().items() if not np.array_equal(b, result.blocks()[n])
        }
        assert differs == {name}


def test_the_sizes_found_with_90_and_99_percent_are_quantiles_of_the_smallest_that_are_found():
    found = bench._psychometric([*np.linspace(0, 10, 1000)], 2.0**-24)
    assert found["in_unit_roundoffs"] == pytest.approx(2**9.9, rel=0.02)
    assert found["found_with_99_percent"] == pytest.approx(2 ** (9.9 - 24), rel=0.02)
    assert found["found_with_90_percent"] == pytest.approx(2 ** (9.0 - 24), rel=0.02)
    assert found["probability_by_log2_of_unit_roundoffs"]["4"] == pytest.approx(0.4, abs=0.01)


def test_the_kept_sweep_has_ten_thousand_configurations_and_no_alarm(repository):
    kept = json.loads((repository / "benchmarks/results/no_false_alarms.json").read_text())
    found = bench.summary(kept)
    assert found == kept["summary"]
    assert found["configurations"] >= bench.CONFIGURATIONS
    assert found["errors"] == []
    assert found["false_alarms"] == []
