"""`lstm-oracle check` judges a function from the command line."""

from __future__ import annotations

import json

import pytest

from lstm_oracle.cli.main import main

STRANGER = """
import numpy as np

def lstm(x, h0, c0, W, U, b):
    h, c, ys = h0, c0, []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        ys.append(h)
    return np.stack(ys, axis=1), h, c

def wrong(x, h0, c0, W, U, b):
    return lstm(x, h0, 0 * c0, W, U, b)

def flat(x, h0, c0, W, U, b):
    return lstm(x, h0, c0, W, U, b)[0][:, -1]

def odd(q):
    return q
"""


@pytest.fixture
def stranger(tmp_path):
    path = tmp_path / "stranger.py"
    path.write_text(STRANGER)
    return str(path)


def test_what_agrees_gives_status_0(stranger, capsys):
    assert main(["check", f"{stranger}:lstm", "--quick"]) == 0
    assert "lstm agrees with the oracle" in capsys.readouterr().out


def test_what_disagrees_gives_status_1_and_json(stranger, tmp_path):
    out = tmp_path / "verdict.json"
    arguments = ["--quick", "--inputs", "5", "--format", "json", "--output", str(out)]
    assert main(["check", f"{stranger}:wrong", *arguments]) == 1
    found = json.loads(out.read_text())
    assert found["nearest"][0]["id"] == "initial-c-ignored"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["odd"], "parameter 'q' means nothing"),
        (["nothing"], "has no 'nothing'"),
        (["lstm", "--layout", "nobody"], "layout is 'nobody'"),
    ],
)
def test_what_cannot_be_run_gives_status_2(stranger, capsys, arguments, words):
    assert main(["check", f"{stranger}:{arguments[0]}", *arguments[1:]]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_module_that_is_not_there_is_one_clear_error(capsys, format):
    assert main(["check", "no_such_module:lstm", "--format", format]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "lstm-oracle: error: no_such_module:lstm: cannot be imported: ModuleNotFoundError: No "
        "module named 'no_such_module'. Nothing was compared.\n"
    )


def test_a_wrong_shape_in_every_case_is_a_disagreement(stranger, capsys):
    assert main(["check", f"{stranger}:flat", "--quick"]) == 1
    assert "expected (1, 1, 4)" in capsys.readouterr().out
