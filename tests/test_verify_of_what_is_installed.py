"""`verify` on the implementations that are shipped with an adapter: each says what it should.

One process per implementation, on the quick matrix; what is not installed is skipped.
"""

from __future__ import annotations

import importlib.metadata

import pytest

from lstm_oracle.conformance import verify_implementations
from lstm_oracle.conformance.adapters import REGISTRY

RIGHT = [name for name in REGISTRY if not name.startswith("keras.layers.LSTM")]
# Ours, and not for every variant.
PARTIAL = ("lstm_oracle.jax_impl fused", "lstm_oracle.jax_impl native")
# Of others, and with known defects in cases of the quick matrix.
DEFECTIVE = ("onnx.reference",)
DTYPES = {"onnxruntime": "float32"}  # of those that have no float64
KERAS = [name for name in REGISTRY if name.startswith("keras.layers.LSTM")]


@pytest.fixture(autouse=True)
def installed(name, monkeypatch):
    missing = REGISTRY[name].missing()
    if missing:
        pytest.skip(missing)
    # Compiling is nearly all of JAX's time here.
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def verify(name, dtypes):
    report = verify_implementations([name], "quick", dtypes=dtypes, processes=1)[0]
    assert report.unavailable == ""
    return report


@pytest.mark.parametrize("name", [name for name in RIGHT if REGISTRY[name].ours])
def test_ours_agree(name):
    report = verify(name, ("float64",))
    assert report.count("agree") >= 4
    others = {case.name: case.message for case in report.cases if case.status != "agree"}
    if name not in PARTIAL:
        assert others == {}
    assert {case.status for case in report.cases} <= {"agree", "unsupported"}, others


@pytest.mark.parametrize("name", [name for name in RIGHT if not REGISTRY[name].ours])
def test_other_libraries_agree_where_no_known_defect_explains_it(name):
    report = verify(name, (DTYPES.get(name, "float64"),))
    assert report.count("agree") >= 4
    wrong = {c.name: c.explanation for c in report.cases if c.status in ("disagree", "error")}
    assert [case for case, explanation in wrong.items() if not explanation] == []
    assert (wrong != {}) == (name in DEFECTIVE)


@pytest.mark.parametrize("name", KERAS)
def test_keras_own_layer_disagrees_only_where_a_known_defect_explains_it(name):
    if not importlib.metadata.version("keras").startswith("3.15.1"):
        pytest.skip("the known defects were measured on Keras 3.15.1")
    report = verify(name, ("float32",))
    wrong = {c.name: c.explanation for c in report.cases if c.status in ("disagree", "error")}
    assert "NaN or Inf in the padding" in wrong["mask right, NaN in the padding, float32"]
    assert [case for case, explanation in wrong.items() if not explanation] == []
    assert report.count("agree") > len(wrong)
