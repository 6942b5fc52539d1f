"""`lstm-oracle study`: tables, JSON and pages, of built-in tasks and of a user's model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lstm_oracle.cli.main import main

pytest.importorskip("jax")
QUICK = ["--seeds", "2", "--length", "8", "--hidden-size", "4", "--sequences", "4"]
# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_gates_of_a_built_in_task_as_json(capsys):
    assert main(["study", "gates", *QUICK, "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["facts"]["seeds"] == 2
    quantities = {row[1]: row[2] for row in report["tables"][0]["rows"]}
    assert 0 < quantities["forget gate f: mean"]["mean"] < 1
    assert len(quantities["dead units"]["seeds"]) == 2


def test_gradient_flow_after_training_as_a_table(capsys):
    words = ["study", "gradient-flow", *QUICK, "--steps", "5", "--task", "copy memory"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "largest Lyapunov exponent" in out
    assert "training steps: 5" in out


def test_initialization_is_what_was_kept(tmp_path):
    page = tmp_path / "page.html"
    words = ["study", "initialization", "--format", "html", "--output", str(page)]
    assert main(words) == 0
    assert "Claims of the literature" in page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """A user's model, and data with padding."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("user")
    model = keras.Sequential(
        [
            keras.Input((6, 2)),
            keras.layers.Masking(),
            keras.layers.Bidirectional(keras.layers.LSTM(3, name="both")),
            keras.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)  # as after a training
    model.save(folder / "m.keras")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 6, 2)).astype("float32")
    x[:, 4:] = 0
    np.savez(folder / "d.npz", x=x, y=x.sum(axis=(1, 2))[:, None])
    return folder


@pytest.mark.parametrize("study", ["gates", "gradient-flow"])
def test_a_user_s_model_is_looked_into_in_both_directions(capsys, user, study):
    files = ["--model", str(user / "m.keras"), "--data", str(user / "d.npz")]
    words = ["study", study, *files, "--seeds", "2", "--sequences", "8", "--format", "json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    layers = {row[0] for row in report["tables"][0]["rows"]}
    assert len(layers) == 2
    assert report["facts"]["gradient"] == "of the model's loss"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gates", "--task", "nothing"], "--task: got 'nothing', expected one of adding"),
        (["gates", "--initializer", "good"], "--initializer: got 'good'"),
        (["gates", "--bias", "2"], "--bias: got '2'"),
        (["gates", "--task", "digits", "--length", "9"], "--length: got 9"),
        (["gates", "--model", "m.keras"], "got one of --model and --data"),
        (["initialization", "--model", "m", "--data", "d"], "expected a built-in task"),
    ],
)
def test_a_mistake_is_told_in_one_line(capsys, words, message):
    assert main(["study", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_model_without_an_lstm_is_refused(capsys, tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.GRU(3)])
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "d.npz", x=np.ones((4, 6, 2), "float32"))
    files = ["--model", str(tmp_path / "m.keras"), "--data", str(tmp_path / "d.npz")]
    assert main(["study", "gates", *files]) == 2
    assert "no LSTM that can be looked into" in capsys.readouterr().err
