"""`lstm-oracle verify` finds every LSTM of a model and tells right from wrong, in every format."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lstm_oracle.cli.main import main
from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.known_defects import explain
from lstm_oracle.reference.tree import map_leaves

keras = pytest.importorskip("keras")

from lstm_oracle import keras_impl  # noqa: E402  needs Keras
from lstm_oracle.conformance.model import verify_model  # noqa: E402

pytestmark = [
    # Keras 3.15.1 on TensorFlow, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # Said of a Sequential, which passes the mask on all the same.
    pytest.mark.filterwarnings("ignore:Layer 'sub' .* was passed an input with a mask:UserWarning"),
]

ROWS, STEPS, FEATURES, CLASSES = 6, 5, 3, 4
layers = keras.layers


@keras.saving.register_keras_serializable(package="tests")
class SwappedGates(layers.LSTMCell):
    """Takes the input gate for the forget gate, as a port from another framework may.

    A cell that overrides a method of Keras' is named as a custom one, not checked; this one looks
    like Keras' own until its numbers are seen.
    """

    def __init__(self, units, **options):
        super().__init__(units, **options)
        right = self._compute_carry_and_output_fused
        self._compute_carry_and_output_fused = lambda z, c: right((z[1], z[0], *z[2:]), c)


@keras.saving.register_keras_serializable(package="tests")
class SwappedLSTM(layers.LSTM):
    """A layer around that cell."""

    def __init__(self, units, **options):
        super().__init__(units, **options)
        self.cell = SwappedGates(units)


@keras.saving.register_keras_serializable(package="tests")
class OwnCell(layers.LSTMCell):
    """Says itself that it is no LSTM of Keras'."""

    def call(self, inputs, states, training=False):
        return inputs, states


@keras.saving.register_keras_serializable(package="tests")
class Talkative(layers.Layer):
    """Prints, as some layers do."""

    def __init__(self, **options):
        super().__init__(**options)
        self.supports_masking = True

    def call(self, inputs):
        print("a layer prints this")
        return inputs


def compiled(inputs, outputs, loss="sparse_categorical_crossentropy", name="speaker"):
    model = keras.Model(inputs, outputs, name=name)
    model.compile("sgd", loss)
    return model


def classes(x):
    return layers.Dense(CLASSES, activation="softmax")(x)


def many_layers():
    """Keras' own, ours, both directions, a stack in an RNN, a submodel; a GRU beside them."""
    inputs = keras.Input((STEPS, FEATURES))
    x = layers.Masking()(inputs)
    x = layers.Bidirectional(layers.LSTM(2, return_sequences=True, name="lstm"), name="both")(x)
    beside = layers.GRU(2, return_sequences=True, name="gru")(x)
    x = layers.Concatenate()([x, beside])
    x = Talkative()(x)
    x = keras_impl.LSTM(3, return_sequences=True, peepholes="ifo", name="ours")(x)
    x = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(3)], return_sequences=True, name="rnn")(x)
    sub = keras.Sequential([keras.Input((STEPS, 3)), layers.LSTM(2, name="deep")], name="sub")
    return compiled(inputs, classes(sub(x)))


def wrong_layer():
    inputs = keras.Input((STEPS, FEATURES))
    x = layers.RNN(SwappedGates(3), return_sequences=True, name="swapped")(inputs)
    x = layers.RNN(OwnCell(3), return_sequences=True, name="own")(x)
    return compiled(inputs, classes(layers.LSTM(2, name="right")(x)))


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
    x[1, 3:] = 0
    x[2, :] = 0
    return x, rng.integers(0, CLASSES, ROWS)


@pytest.fixture(scope="module")
def files(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("models")
    x, y = data
    np.savez(folder / "data.npz", x=x, y=y, extra=y)
    np.savez(folder / "no_y.npz", x=x)
    many_layers().save(folder / "many.keras")
    wrong_layer().save(folder / "wrong.keras")
    return folder


@pytest.fixture
def verify(files, capfd):
    """Run the command on a model of the folder; gives status, stdout and stderr."""

    def run(model, *words, data="data.npz"):
        status = main(["verify", str(files / model), "--data", str(files / data), *words])
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


# --- the command ----------------------------------------------------------------------------------


def test_every_lstm_of_a_saved_model_is_found_and_agrees(verify):
    status, out, err = verify("many.keras", "--format", "json")
    model = json.loads(out)["model"]
    statuses = {layer["name"]: layer["status"] for layer in model["layers"]}
    assert status == 0, statuses
    assert err == ""
    names = ("both/forward_lstm", "both/backward_lstm", "ours", "rnn", "sub/deep")
    assert statuses == {f"speaker/{name}": "agree" for name in names} | {
        "speaker/gru": "unsupported"
    }
    assert model["cotangent"] == "the model's own loss"
    assert model["samples"] == ROWS
    assert any("'extra'" in note for note in model["notes"])


def test_every_layer_is_reported_with_what_was_checked(verify):
    _, out, _ = verify("many.keras", "--format", "json", "--samples", "4")
    found = {layer["name"].split("/", 1)[1]: layer for layer in json.loads(out)["model"]["layers"]}
    backward = found["both/backward_lstm"]
    assert backward["direction"] == "backward"
    assert backward["sizes"] == {"B": 4, "T": STEPS, "I": FEATURES, "H": 2}
    assert backward["masked_steps"] == 2 + STEPS
    blocks = {block["block"] for block in found["ours"]["blocks"]}
    assert {"y", "d_x", "d_W_i", "d_U_f", "d_b_g", "d_p_o", "d_state.c"} <= blocks
    assert {"d_0.W_i", "d_1.U_o"} <= {block["block"] for block in found["rnn"]["blocks"]}
    assert all(block["ratio"] < 1 for layer in found.values() for block in layer["blocks"])
    assert "GRU" in found["gru"]["message"]


def test_a_wrong_layer_is_told_from_a_right_one(verify):
    status, out, _ = verify("wrong.keras", "--format", "json")
    found = {layer["name"]: layer for layer in json.loads(out)["model"]["layers"]}
    assert status == 1
    assert found["speaker/swapped"]["status"] == "disagree"
    assert "blocks are wrong" in found["speaker/swapped"]["message"]
    assert found["speaker/right"]["status"] == "agree"


def test_the_table_names_the_wrong_layer(verify):
    status, out, err = verify("wrong.keras")
    assert (status, err) == (1, "")
    assert "speaker/swapped" in out
    assert "1 of 3 layers disagree or broke." in out
    assert "OwnCell is not one of" in out
    assert "a layer prints this" not in out


def test_junit_of_a_model_has_a_failure_for_the_wrong_layer(verify):
    status, out, _ = verify("wrong.keras", "--format", "junit")
    suite = ET.fromstring(out).find("testsuite")
    failed = [c.get("name") for c in suite.findall("testcase") if c.find("failure") is not None]
    assert (status, failed, suite.get("tests")) == (1, ["speaker/swapped"], "3")


def test_junit_of_a_model_skips_what_cannot_be_checked(verify):
    _, out, _ = verify("many.keras", "--format", "junit")
    suite = ET.fromstring(out).find("testsuite")
    skipped = [c.get("name") for c in suite.findall("testcase") if c.find("skipped") is not None]
    assert skipped == ["speaker/gru"]
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


def test_without_y_gradients_start_from_random_numbers(verify):
    first, second, third = (
        json.loads(verify("many.keras", "--format", "json", "--seed", seed, data="no_y.npz")[1])
        for seed in ("1", "1", "2")
    )
    assert "random numbers" in first["model"]["cotangent"]
    assert first["exit_status"] == 0

    def errors(report):
        return [
            [block["error"] for block in layer["blocks"]] for layer in report["model"]["layers"]
        ]

    assert errors(first) == errors(second)
    assert errors(first) != errors(third)


def test_the_report_goes_to_the_file_that_is_named(verify, tmp_path):
    path = tmp_path / "report.json"
    status, out, err = verify("wrong.keras", "--format", "json", "--output", str(path))
    assert (status, out, err) == (1, "", "")
    assert json.loads(path.read_text())["exit_status"] == 1
    assert list(tmp_path.iterdir()) == [path]


# --- a live model ---------------------------------------------------------------------------------


def statuses(report):
    return {layer.case.name: layer.case.status for layer in report.layers}


def test_a_wrong_subclass_in_a_live_model_disagrees(data):
    inputs = keras.Input((STEPS, FEATURES))
    model = compiled(inputs, classes(SwappedLSTM(2, name="ported")(inputs)))
    before = [np.array(w) for w in model.get_weights()]
    report = verify_model(model, *data)
    assert statuses(report) == {"speaker/ported": "disagree"}
    assert not report.agrees
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_two_inputs_and_two_outputs(data):
    x, y = data
    left, right = keras.Input((STEPS, FEATURES), name="left"), keras.Input((STEPS, 1), name="right")
    shared = layers.LSTM(2, return_state=True, name="shared")
    h, _, c = shared(layers.Concatenate()([left, right]))
    model = compiled([left, right], [classes(h), layers.Dense(1)(c)], [None, "mse"])
    model.compile("sgd", ["sparse_categorical_crossentropy", "mse"])
    inputs = {"left": x, "right": x[..., :1]}
    for given in (inputs, list(inputs.values())):
        report = verify_model(model, given, [y, np.ones((ROWS, 1))])
        assert statuses(report) == {"speaker/shared": "agree"}
    blocks = {block.block for block in report.layers[0].case.blocks}
    assert {"state.h", "state.c"} <= blocks


def test_a_layer_that_is_called_twice_has_a_row_for_each_call(data):
    inputs = keras.Input((STEPS, FEATURES))
    shared = layers.LSTM(FEATURES, return_sequences=True, name="shared")
    model = compiled(inputs, classes(layers.Flatten()(shared(shared(inputs)))))
    report = verify_model(model, *data)
    assert [layer.call for layer in report.layers] == [0, 1]
    assert report.agrees


def test_tokens_with_masked_padding():
    tokens = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [5, 1, 1, 2, 6]])
    inputs = keras.Input((STEPS,), dtype="int32")
    x = layers.Embedding(7, FEATURES, mask_zero=True)(inputs)
    model = compiled(inputs, classes(layers.LSTM(2, name="encoder")(x)))
    report = verify_model(model, tokens, np.array([0, 1, 2]))
    assert report.agrees
    assert report.layers[0].masked_steps == 6


def test_a_model_without_a_loss_is_checked_with_random_cotangents(data):
    model = keras.Sequential([keras.Input((STEPS, FEATURES)), layers.LSTM(2)])
    report = verify_model(model, *data)
    assert report.agrees
    assert "not compiled" in report.cotangent


def test_low_precision_is_held_to_its_own_yardstick(data):
    inputs = keras.Input((STEPS, FEATURES))
    x = keras_impl.LSTM(3, dtype="mixed_bfloat16", name="encoder")(inputs)
    report = verify_model(compiled(inputs, classes(x)), *data)
    assert [layer.case.dtype for layer in report.layers] == ["bfloat16"]
    assert report.agrees, report.layers


def test_nan_from_a_layer_below_is_no_disagreement(data):
    x, y = data
    inputs = keras.Input((STEPS, FEATURES))
    below = layers.Rescaling(float("inf"))(inputs)
    model = compiled(inputs, classes(layers.LSTM(2)(below)))
    report = verify_model(model, x, y)
    assert [layer.case.status for layer in report.layers] == ["error"]
    assert "NaN or Inf" in report.layers[0].case.message
    assert not report.agrees


def test_sample_weights_reach_the_gradient(data):
    x, y = data
    inputs = keras.Input((STEPS, FEATURES))
    model = compiled(inputs, classes(layers.LSTM(2)(inputs)))
    report = verify_model(model, x, y, np.linspace(0, 2, ROWS))
    assert report.agrees


def test_a_model_without_weights_is_refused():
    class Unbuilt(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="has no weights yet, expected a built one"):
        verify_model(Unbuilt(), np.ones((1, 2, 3)))


def test_a_known_defect_of_the_initial_state_explains_nothing_where_that_is_zero():
    cases = {case.name: case for case in matrix.cases("quick")}
    case = next(case for name, case in cases.items() if name.startswith("mask left"))
    asked = ("keras.layers.LSTM", "jax", {"keras": "3.15.1"})
    assert "emits the initial state" in explain(*asked, dataclasses.replace(case, dtype="float32"))
    zero = dataclasses.replace(case, dtype="float32", state=map_leaves(np.zeros_like, case.state))
    assert explain(*asked, zero) == ""


# --- the implementations --------------------------------------------------------------------------


ADAPTER = """
from lstm_oracle.conformance.case import run_oracle
import numpy as np

class Oracle:
    def __init__(self, dtype):
        self.dtype = dtype

    def unsupported(self, case):
        return "" if case.dtype in ("float32", "float64") else "no half precision"

    def run(self, case):
        print("an implementation prints this")
        return run_oracle(case, self.dtype)

    def versions(self):
        return {"numpy": np.__version__}

def right():
    return Oracle(np.float64)

def careless():
    return Oracle(np.float32)  # in float64 cases as well
"""


def test_implementations_are_held_against_the_oracle(run_python, tmp_path):
    """Adapters of a user's own, which need no framework: the oracle itself, once in float32."""
    (tmp_path / "mine.py").write_text(ADAPTER)
    script = (
        f"import os, sys; os.environ['PYTHONPATH'] += os.pathsep + {str(tmp_path)!r}\n"
        "from lstm_oracle.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    names = ("--implementation", "mine:right", "--implementation", "mine:careless")
    done = run_python(script, "verify", "--quick", *names, "--format", "json", "--progress")
    report = json.loads(done.stdout)
    assert done.returncode == report["exit_status"] == 1, done.stderr
    right, careless = report["implementations"]
    assert right["agrees"]
    assert {case["status"] for case in right["cases"]} == {"agree", "unsupported"}
    wrong = [case for case in careless["cases"] if case["status"] == "disagree"]
    assert {case["dtype"] for case in wrong} == {"float64"}
    assert sorted(done.stderr.splitlines()) == [
        f"{name}: {len(right['cases'])} cases" for name in ("mine:careless", "mine:right")
    ]


def test_the_list_names_every_implementation(capfd):
    assert main(["verify", "--list"]) == 0
    listed = capfd.readouterr().out
    for name in ("lstm_oracle.jax_impl", "keras.layers.LSTM on tensorflow", "torch.nn.LSTM"):
        assert name in listed


def test_the_command_answers_before_numpy_is_imported(run_python):
    script = (
        "import sys\n"
        "from lstm_oracle.cli.main import main\n"
        "assert main(['--help']) == 0 and main(['verify', '--help']) == 0\n"
        "assert main(['--version']) == 0 and main(['verify', '--samples', 'x']) == 2\n"
        "heavy = {'numpy', 'rich', 'keras', 'jax', 'tensorflow', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = run_python(script)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout


def test_an_interruption_ends_with_one_line(monkeypatch, capfd):
    from lstm_oracle.conformance import runner

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "verify_implementations", interrupted)
    assert main(["verify"]) == 130
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "lstm-oracle: interrupted\n")


def test_what_nobody_foresaw_is_one_line_too_and_debug_shows_where(monkeypatch, capfd):
    from lstm_oracle.conformance import runner

    def broken(*_, **__):
        raise RuntimeError("of all\nthings")

    monkeypatch.setattr(runner, "verify_implementations", broken)
    assert main(["verify"]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "unexpected RuntimeError: of all things" in lines[0]
    assert main(["verify", "--debug"]) == 2
    assert "Traceback" in capfd.readouterr().err
