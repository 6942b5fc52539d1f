"""A stranger's test of an LSTM is three lines, and costs others nothing."""

from __future__ import annotations

import importlib.metadata

import pytest

pytest_plugins = ["pytester"]

LSTM = """
def lstm(x, h0, c0, W, U, b):
    import numpy as np
    h, c, ys = h0, c0, []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        ys.append(h)
    return np.stack(ys, axis=1), h, c
"""
PLUGIN = ("-p", "lstm_oracle.cli.pytest_plugin")


@pytest.fixture
def stranger(pytester, repository, monkeypatch):
    """A stranger's project, whether or not this one is installed."""
    monkeypatch.setenv("PYTHONPATH", str(repository / ".typecheck"))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(test, *options):
        pytester.makepyfile(LSTM + test)
        return pytester.runpytest_subprocess(*PLUGIN, *options)

    return run


def test_a_right_lstm_passes_in_three_lines(stranger):
    result = stranger("def test_it(lstm_oracle):\n    lstm_oracle.check(lstm, cases='quick')\n")
    result.assert_outcomes(passed=1)


def test_a_wrong_one_fails_with_the_report(stranger):
    result = stranger(
        "def test_it(lstm_oracle):\n"
        "    wrong = lambda x, h0, c0, W, U, b: lstm(x, h0, 0 * c0, W, U, b)\n"
        "    lstm_oracle.check(wrong, cases='quick')\n"
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*DISAGREES in * cases*", "*initial-c-ignored*"])


def test_a_black_box_can_be_identified(stranger):
    result = stranger(
        "def test_it(lstm_oracle):\n"
        "    assert lstm_oracle.identify(lstm).gate_order.value == 'ifgo'\n"
    )
    result.assert_outcomes(passed=1)


def test_nothing_is_imported_unless_the_fixture_is_used(stranger):
    result = stranger(
        "import sys\n"
        "def test_it():\n"
        "    heavy = {'numpy', 'torch', 'jax', 'keras', 'lstm_oracle.conformance',\n"
        "             'lstm_oracle.reference'}\n"
        "    assert 'lstm_oracle.cli.pytest_plugin' in sys.modules\n"
        "    assert heavy & set(sys.modules) == set()\n"
    )
    result.assert_outcomes(passed=1)


def test_installed_it_is_found_by_pytest_itself():
    try:
        importlib.metadata.distribution("lstm-oracle")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("lstm-oracle is not installed")
    points = {p.name: p.value for p in importlib.metadata.entry_points(group="pytest11")}
    assert points["lstm_oracle"] == "lstm_oracle.cli.pytest_plugin"
