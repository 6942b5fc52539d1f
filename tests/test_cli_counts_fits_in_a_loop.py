"""A fit in a loop over the same model is diagnosed with the epochs of all its passes."""

import pytest

from lstm_oracle.cli import script

HEAD = """\
import types
model = types.SimpleNamespace(fit=fit)
X, n_epochs = [1, 2, 3], 40
"""

LOOPS = {
    "a loop of one epoch each": ("for i in range(100):\n    model.fit(X, epochs=1)", 100),
    "a loop over a name": ("for i in range(1, n_epochs):\n    model.fit(X)", 39),
    "a sum": ("for i in range(n_epochs * 2 + 1):\n    model.fit(X, initial_epoch=i)", 81),
    "a call of several lines": ("for i in range(7):\n    model.fit(\n        X,\n    )", 7),
    "a loop in a loop": (
        "for a in range(3):\n    for b in range(4):\n        model.fit(X)", 12,
    ),
    "no loop": ("model.fit(X)", 1),
    "a loop around a function": (
        "def train():\n    model.fit(X)\nfor i in range(5):\n    train()", 1,
    ),
    "a loop in a function": (
        "def train(times):\n    for i in range(times):\n        model.fit(X)\ntrain(6)", 6,
    ),
    "another model each time": (
        "for i in range(5):\n    model = types.SimpleNamespace(fit=fit)\n    model.fit(X)", 1,
    ),
    "other data each time": ("for i in range(3):\n    model.fit(X[i])", 1),
    "a loop over something else": ("for part in [1, 2]:\n    model.fit(X)", 1),
    "a loop with an end of its own": ("while True:\n    model.fit(X)", 1),
    "bounds that are looked up": ("for i in range(len(X)):\n    model.fit(X)", 3),
    "bounds that are not whole numbers": ("for i in range(int(2.5)):\n    model.fit(X)", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_the_passes_of_a_loop_are_counted(name, tmp_path):
    import runpy
    import sys

    class Stop(Exception):
        pass

    def fit(*_, **__):
        raise Stop(script.calls_of(sys._getframe(1)))

    body, times = LOOPS[name]
    path = tmp_path / "train.py"
    path.write_text(HEAD + body + "\n")
    with pytest.raises(Stop) as stopped:
        runpy.run_path(str(path), {"fit": fit})
    assert stopped.value.args == (times,)


def test_the_epochs_of_all_passes_are_given_to_diagnose(capfd):
    given = {
        "x": [1.0], "y": [1.0], "batch_size": 1, "epochs": 2, "initial_epoch": 0, "shuffle": True,
        "callbacks": None, "steps_per_epoch": 2.5, "validation_data": None,
        "validation_split": 0.0, "class_weight": None, "sample_weight": None,
    }  # fmt: skip
    options = script.arguments_of_diagnose(given, 30)
    assert (options["epochs"], options["steps_per_epoch"]) == (60, 2)
    assert "30 times in a loop: 60 epochs" in capfd.readouterr().err
