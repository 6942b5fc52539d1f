"""A framework runs in a process of its own, and what happens there is a result."""

import importlib.util
import os
from pathlib import Path

import pytest

from lstm_oracle.conformance import matrix, verify_implementations
from lstm_oracle.conformance.adapters import REGISTRY, Implementation, implementation
from lstm_oracle.conformance.worker import shard

HERE = Path(__file__).parent / "adapters"


@pytest.fixture
def own(monkeypatch):
    """Names of the adapters of this folder, importable in a worker."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    return "adapters_for_tests:{}".format


def _verify(name, dtypes=("float32",), **options):
    return verify_implementations([name], "quick", dtypes=dtypes, **options)[0]


def test_an_implementation_that_is_right_agrees(own):
    heard = []
    report = _verify(own("right"), progress=lambda *event: heard.append(event))
    count = len(matrix.cases("quick", ("float32",)))
    assert report.agrees
    assert report.count("agree") == count
    assert report.versions == {"textbook": "1.0"}
    assert sorted(done for _, done, _ in heard) == list(range(1, count + 1))
    assert {(name, total) for name, _, total in heard} == {(own("right"), count)}


def test_reports_come_in_the_order_of_the_matrix(own):
    names = [case.name for case in matrix.cases("quick", ("float32",))]
    assert [case.name for case in _verify(own("right"), processes=3).cases] == names


def test_a_crash_is_an_error_of_one_case_and_the_others_go_on(own):
    report = _verify(own("crashing"))
    broken = [case for case in report.cases if case.status == "error"]
    assert [case.name for case in broken] == ["plain, weights x4, float32"]
    assert "ended by signal 6" in broken[0].message
    assert report.count("agree") == len(report.cases) - 1
    assert not report.agrees


def test_an_exception_is_an_error_with_its_message(own):
    report = _verify(own("raising"), dtypes=("bfloat16",))
    assert [case.status for case in report.cases] == ["error"]
    assert report.cases[0].message == "raised RuntimeError: no luck"


def test_silence_is_an_error(own):
    report = _verify(own("hanging"), dtypes=("bfloat16",), silence_seconds=10)
    assert [case.status for case in report.cases] == ["error"]
    assert report.cases[0].message == "no answer within 10 s"


def test_what_a_framework_prints_does_no_harm(own):
    assert _verify(own("talking"), dtypes=("bfloat16",)).agrees


def test_a_disagreement_names_the_gate_and_the_nearest_bug(own):
    report = _verify(own("wrong"))
    wrong = next(case for case in report.cases if case.name == "plain, float32")
    assert wrong.status == "disagree"
    assert "d_U_f" in wrong.message
    assert "only of gate f (forget)" in wrong.message
    assert wrong.explanation == ""


def test_what_cannot_be_started_is_unavailable(own):
    report = _verify(own("breaking"), dtypes=("bfloat16",))
    assert report.unavailable.startswith("could not be started: ")
    assert "libframework.so.7" in report.unavailable
    assert report.cases == ()


def test_what_is_not_installed_is_unavailable(monkeypatch):
    row = Implementation("missing", "nowhere:adapter", ("no_such_framework",))
    monkeypatch.setitem(REGISTRY, "missing", row)
    report = _verify("missing", dtypes=("bfloat16",))
    assert "no_such_framework not installed" in report.unavailable


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"expected one of .*torch\.nn\.LSTM"):
        implementation("no such thing")


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="expected some of float64"):
        verify_implementations([], "quick", dtypes=("int8",))


def test_shards_are_a_partition():
    cases = matrix.cases()
    parts = [shard(cases, f"{k}/3") for k in range(3)]
    assert sorted(case.name for part in parts for case in part) == sorted(c.name for c in cases)
    assert min(map(len, parts)) > 10


def _installed(*modules):
    return all(importlib.util.find_spec(module) is not None for module in modules)


BACKEND = next((b for b in ("tensorflow", "torch", "jax") if _installed("keras", b)), None)


@pytest.mark.skipif(not _installed("jax"), reason="JAX is not installed")
def test_the_jax_implementation_agrees_with_the_oracle():
    report = _verify("lstm_oracle.jax_impl", dtypes=("float64", "float32"))
    assert report.agrees, _complaints(report)
    assert report.count("unsupported") == 0


@pytest.mark.skipif(BACKEND is None, reason="Keras, or a backend of it, is not installed")
def test_the_keras_implementation_agrees_with_the_oracle():
    report = _verify(f"lstm_oracle.keras_impl on {BACKEND}", dtypes=matrix.DTYPES)
    assert report.agrees, _complaints(report)
    assert report.count("unsupported") == 0


@pytest.mark.skipif(BACKEND is None, reason="Keras, or a backend of it, is not installed")
def test_what_is_known_of_keras_is_a_disagreement_with_its_reason():
    report = _verify(f"keras.layers.LSTM on {BACKEND}")
    assert report.count("error") == 0, _complaints(report)
    poisoned = next(case for case in report.cases if "NaN" in case.name)
    if report.versions["keras"] == "3.15.1":
        assert poisoned.status == "disagree"
        assert "NaN or Inf in the padding" in poisoned.explanation
        assert all(case.explanation for case in report.cases if case.status == "disagree")


@pytest.mark.skipif(not _installed("torch"), reason="PyTorch is not installed")
def test_torch_agrees_with_the_oracle():
    report = _verify("torch.nn.LSTM", dtypes=matrix.DTYPES)
    assert report.agrees, _complaints(report)
    assert report.count("agree") > 8


def _complaints(report):
    broken = [case for case in report.cases if case.status in ("disagree", "error")]
    return report.unavailable or [(case.name, case.message) for case in broken]
