"""A function in a process of its own may crash, hang, eat memory or leave: each is a result."""

from __future__ import annotations

import sys

import pytest

from lstm_oracle.conformance import check

STRANGER = """
import ctypes, os, time
import numpy as np

def lstm(x, h0, c0, W, U, b):
    h, c, ys = h0, c0, []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        ys.append(h)
    print("what a stranger prints does no harm")
    return np.stack(ys, axis=1), h, c

def crash(x, h0, c0, W, U, b):
    if x.shape[1] == 1:
        ctypes.string_at(0)
    return lstm(x, h0, c0, W, U, b)

def hang(x, h0, c0, W, U, b):
    if len(x) == 3:
        time.sleep(1000)
    return lstm(x, h0, c0, W, U, b)

def hog(x, h0, c0, W, U, b):
    if x.shape[1] == 1:
        np.ones(1 << 31)
    return lstm(x, h0, c0, W, U, b)

def leave(x, h0, c0, W, U, b):
    os._exit(3)
"""
CASES = ["plain", "one sequence, one step", "three sequences, two steps"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    path = tmp_path_factory.mktemp("stranger") / "stranger.py"
    path.write_text(STRANGER)
    return str(path)


def judged(stranger, name, **options):
    return check(f"{stranger}:{name}", cases=CASES, isolate=True, **options)


def test_what_is_right_is_right_in_another_process_too(stranger):
    assert judged(stranger, "lstm").agrees


@pytest.mark.parametrize(
    ("name", "options", "words", "wrong"),
    [
        ("crash", {}, "died of SIGSEGV", 1),
        ("hang", {"time_limit": 5.0}, "no answer for 5 s", 1),
        ("hog", {"memory_limit": 1 << 30}, "ran out of memory (limit 1024 MiB)", 1),
        ("leave", {}, "ended its process with status 3", 1),
    ],
)
def test_what_ends_the_process_is_a_result(stranger, name, options, words, wrong):
    verdict = judged(stranger, name, **options)
    assert not verdict.agrees
    assert words in verdict.explanation
    assert sum(case.status == "error" for case in verdict.cases) == wrong


def test_a_module_that_cannot_be_imported_is_a_result(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import nothing_of_that_name")
    assert "nothing_of_that_name" in check(f"{path}:f", isolate=True).explanation


def test_bad_signatures_are_refused_from_there_as_well(stranger, tmp_path):
    path = tmp_path / "odd.py"
    path.write_text("def odd(q): ...")
    with pytest.raises(TypeError, match="parameter 'q' means nothing"):
        check(f"{path}:odd", isolate=True)


def test_what_another_process_cannot_import_is_refused():
    with pytest.raises(ValueError, match="expected a function at the top of a module"):
        check(lambda x, W, U, b: x, isolate=True)


@pytest.mark.parametrize("options", [{"time_limit": 0}, {"memory_limit": 1000}])
def test_limits_that_cannot_be_kept_are_refused(stranger, options):
    with pytest.raises(ValueError, match="expected"):
        judged(stranger, "lstm", **options)
