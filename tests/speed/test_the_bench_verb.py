"""`lstm-oracle bench`: exit status 0, 1 or 2, and one line for whatever cannot be run."""

import json

import pytest

from lstm_oracle.benchmarks.speed import kept, machine
from lstm_oracle.cli.main import main
from tests.speed.samples import own

TINY = ["--shape", "4,2,2,4", "--rounds", "1", "--seconds", "0.001", "--threads", "1"]


def test_a_run_of_who_is_right_ends_with_0_and_keeps_its_result(importable, tmp_path, capsys):
    path = tmp_path / "speed.json"
    status = main(["bench", *TINY, "--contender", own("right"), "--device", "cpu",
                   "--keep", str(path), "--format", "json"])  # fmt: skip
    assert status == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == kept.read(path)
    assert printed["finished"]
    assert [case["mode"] for case in printed["cases"]] == ["forward", "training"]


def test_a_wrong_contender_ends_with_1(result, tmp_path, capsys):
    path = tmp_path / "speed.json"
    kept.write(path, result)
    assert main(["bench", "--from", str(path)]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_a_kept_result_is_made_into_a_page(result, tmp_path):
    path, out = tmp_path / "speed.json", tmp_path / "speed.html"
    kept.write(path, result)
    main(["bench", "--from", str(path), "--format", "html", "--output", str(out)])
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_comparison_ends_with_1_where_something_broke(result, tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    kept.write(old, result)
    text = kept.text(result).replace('"status": "ok"', '"status": "crash", "median_ms": null', 1)
    changed = json.loads(text)
    row = next(r for r in changed["cases"][0]["rows"] if r["status"] == "crash")
    row["median_ms"] = None
    kept.write(new, changed)
    assert main(["bench", "--compare", str(old), str(old)]) == 0
    assert "Nothing is slower" in capsys.readouterr().out
    assert main(["bench", "--compare", str(old), str(new)]) == 1
    assert "broken" in capsys.readouterr().out


def test_the_list_has_everyone_and_what_they_need(capsys):
    assert main(["bench", "--list"]) == 0
    text = capsys.readouterr().out
    for name in ("NumPy oracle", "jax_impl native", "torch.nn.LSTM", "FlashRNN", "onnxruntime"):
        assert name in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shape", "4,2,2"], "got '4,2,2', expected T,B,I,H"),
        (["--shape", "4,2,2,0"], "H is 0, expected at least 1"),
        (["--shape", "4,2,2,4,directions=3"], "directions is 3, expected 1 or 2"),
        (["--shape", "4,2,2,4,depth=3"], "expected T,B,I,H and perhaps layers=N"),
        (["--contender", "torch.nn.GRU"], "contender is 'torch.nn.GRU', expected one of"),
        (["--quick", "--grid"], "--grid: got it beside --quick"),
        (["--threads", "4096"], "--threads: got 4096, expected at most"),
        (["--seconds", "0"], "got '0', expected a positive number of seconds"),
        (["--rounds", "0"], "got '0', expected a whole number from 1"),
        (["--from", "nowhere.json"], "could not be read"),
        (["--from", "nowhere.json", "--grid"], "--grid: got it beside --from"),
        (["--compare", "a.json", "b.json", "--from", "c.json"], "--from: got it beside --compare"),
        (["--list", "--format", "json"], "--format: got json, expected table"),
        (["--keep", "no/such/folder/x.json"], "is not a folder"),
    ],
)
def test_bad_input_is_one_line_and_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert said in printed.err


def test_a_gpu_that_is_not_there_is_said(monkeypatch, capsys):
    monkeypatch.setattr(machine, "gpu", lambda: "")
    assert main(["bench", "--device", "gpu"]) == 2
    assert "nvidia-smi finds none here" in capsys.readouterr().err


def test_nobody_left_to_run_is_an_error(importable, capsys):
    words = ["bench", *TINY, "--contender", own("cannot_start"), "--device", "cpu"]
    assert main(words) == 2
    assert "libnothing.so" in capsys.readouterr().err
