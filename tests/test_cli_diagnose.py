"""`diagnose` and `explain` from the command line: files, a user's own script, every format."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from lstm_oracle.cli import script
from lstm_oracle.cli.errors import CommandError
from lstm_oracle.cli.main import main
from lstm_oracle.diagnosis.catalog import ENTRIES

# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T, I = 24, 4, 2
BUDGET = ("--budget", "3")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, its data, and the same data with one label that cannot be."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, T, I)).astype("float32")
    y = (x.sum((1, 2)) > 0).astype("int32")
    np.savez(folder / "good.npz", x=x, y=y)
    np.savez(folder / "no_y.npz", x=x)
    broken = y.copy()
    broken[3] = 7
    np.savez(folder / "named.npz", inputs=x, wrong=broken, x=x[:, :1], y=y)
    np.savez(folder / "nan.npz", x=np.full_like(x, np.nan), y=y)
    model = keras.Sequential(
        [keras.Input((T, I)), keras.layers.LSTM(3), keras.layers.Dense(2, activation="softmax")]
    )
    model.save(folder / "uncompiled.keras")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)  # as after a training
    model.save(folder / "model.keras")
    return folder


def command(capfd, *words):
    status = main(["diagnose", *map(str, words)])
    captured = capfd.readouterr()
    return status, captured.out, captured.err


# --- explain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LSTM010", "lstm10", "inputs-unscaled"])
def test_explain_prints_the_page_of_a_finding(name, capfd):
    assert main(["explain", name]) == 0
    assert capfd.readouterr().out == ENTRIES["LSTM010"].page


def test_explain_alone_lists_every_finding(capfd):
    assert main(["explain"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ENTRIES)


def test_explain_refuses_what_is_no_finding(capfd):
    assert main(["explain", "LSTM999"]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "LSTM999" in captured.err


# --- from files -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reports(files, tmp_path_factory):
    """The report on data of nothing but NaN, in every format, written to files."""
    folder = tmp_path_factory.mktemp("reports")
    texts = {}
    for kind in ("text", "json", "junit", "html"):
        path = folder / f"report.{kind}"
        words = (files / "model.keras", "--data", files / "nan.npz", *BUDGET)
        assert main(["diagnose", *map(str, words), "--format", kind, "--output", str(path)]) == 1
        texts[kind] = path.read_text(encoding="utf-8")
    return texts


def test_the_text_names_the_finding_first(reports):
    assert re.search(r"1\. ERROR +LSTM001", reports["text"])


def test_the_json_is_the_diagnosis(reports):
    found = json.loads(reports["json"])
    assert found["healthy"] is False
    assert found["findings"][0]["id"] == "LSTM001"


def test_the_junit_xml_has_a_failure(reports):
    root = ElementTree.fromstring(reports["junit"])
    assert root.findall(".//failure")


def test_the_page_opens_and_loads_nothing(reports):
    page = reports["html"]
    assert page.startswith("<!DOCTYPE html>")
    assert page.rstrip().endswith("</html>")
    assert "LSTM001" in page
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)


def test_arrays_of_other_names_can_be_named(files, capfd):
    status, out, _ = command(
        capfd, files / "model.keras", "--data", files / "named.npz", "--x", "inputs",
        "--y", "wrong", "--format", "json", *BUDGET,
    )  # fmt: skip
    assert status == 1
    assert json.loads(out)["findings"][0]["cause"] == "output-loss-mismatch"


def test_a_healthy_diagnosis_ends_with_status_0(files, capfd, monkeypatch):
    import lstm_oracle.diagnosis as room

    given = {}

    def healthy(model, x, y, **options):
        given.update(options, x=x, y=y)
        return room.Diagnosis((), "No fault was found.")

    monkeypatch.setitem(vars(room), "diagnose", healthy)
    status, out, err = command(
        capfd, files / "model.keras", "--data", files / "good.npz", "--epochs", "7",
        "--batch-size", "5", "--validation-split", "0.25", "--budget", "quick", "--seed", "4",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert "No fault was found." in out
    assert (given["epochs"], given["batch_size"], given["validation_split"]) == (7, 5, 0.25)
    assert (given["budget"], given["seed"], given["x"].shape) == ("quick", 4, (N, T, I))


REFUSED = {
    "nothing": ([], "expected one MODEL"),
    "no data": (["m.keras"], "--data"),
    "a model and a script": (["--script", "t.py", "--data", "d.npz"], "--data"),
    "epochs for a script": (["--script", "t.py", "--epochs", "3"], "--epochs"),
    "fit without a script": (["m.keras", "--data", "d.npz", "--fit", "2"], "--fit"),
    "no such script": (["--script", "missing.py"], "does not exist"),
    "a folder for a script": (["--script", "."], "folder"),
    "a notebook for a script": (["--script", "{notebook}"], "nbconvert"),
    "an unknown budget": (["m.keras", "--budget", "fast"], "'fast'"),
    "budget 0": (["m.keras", "--budget", "0"], "'0'"),
    "budget inf": (["m.keras", "--budget", "inf"], "'inf'"),
    "split 1": (["m.keras", "--validation-split", "1"], "'1'"),
    "split text": (["m.keras", "--validation-split", "a"], "'a'"),
    "epochs 0": (["m.keras", "--epochs", "0"], "'0'"),
    "a folder to write to": (["m.keras", "--data", "d.npz", "--output", "."], "--output"),
    "no such model": (["missing.keras", "--data", "d.npz"], "does not exist"),
    "a model that is not compiled": (["{uncompiled}", "--data", "{good}"], "not compiled"),
    "data without y": (["{model}", "--data", "{no_y}"], "'y'"),
    "a name that is not there": (["{model}", "--data", "{good}", "--x", "z"], "'z'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_ends_with_status_2_and_one_line(name, files, capfd, tmp_path):
    notebook = tmp_path / "train.ipynb"
    notebook.write_text("{}")
    places = {
        "notebook": notebook,
        "uncompiled": files / "uncompiled.keras",
        "model": files / "model.keras",
        "good": files / "good.npz",
        "no_y": files / "no_y.npz",
    }
    words, part = REFUSED[name]
    status, out, err = command(capfd, *(word.format(**places) for word in words))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert part in err, err


# --- from a script --------------------------------------------------------------------------------

HEAD = """\
import sys
import numpy as np
import keras
rng = np.random.default_rng(0)
x = rng.normal(size=(24, 4, 2)).astype("float32")
y = (x.sum((1, 2)) > 0).astype("int32")
model = keras.Sequential(
    [keras.Input((4, 2)), keras.layers.LSTM(3), keras.layers.Dense(2, activation="softmax")]
)
model.compile("adam", "sparse_categorical_crossentropy")
"""


@pytest.fixture
def write(tmp_path):
    """Write a script; its head, unless it brings its own, makes a model and data."""

    def write(body, head=HEAD):
        path = tmp_path / "train.py"
        path.write_text(head + textwrap.dedent(body))
        return path

    return write


@pytest.fixture
def seen(monkeypatch):
    """What diagnose is called with; it finds nothing."""
    import lstm_oracle.diagnosis as room

    calls = []

    def healthy(model, x, y=None, **options):
        calls.append({"model": model, "x": x, "y": y, **options})
        return room.Diagnosis((), "No fault was found.")

    monkeypatch.setitem(vars(room), "diagnose", healthy)
    return calls


def test_a_script_is_diagnosed_with_the_arguments_of_its_fit_and_stopped(write, seen, capfd):
    path = write("""
        print("arguments", sys.argv[1:], __name__)
        try:
            model.fit(x, y, 6, epochs=3, validation_split=0.25, class_weight={0: 1.0, 1: 2.0})
        except Exception:
            print("swallowed")
        print("went on")
    """)
    status, out, err = command(capfd, "--script", path, "--", "--rate", "0.1", "a")
    assert status == 0
    assert "No fault was found." in out
    assert "arguments ['--rate', '0.1', 'a'] __main__" in err  # what the script prints
    assert "arguments" not in out
    assert "swallowed" not in err
    assert "went on" not in err
    [call] = seen
    assert (call["batch_size"], call["epochs"], call["validation_split"]) == (6, 3, 0.25)
    assert call["class_weight"] == {0: 1.0, 1: 2.0}
    assert call["x"].shape == (24, 4, 2)


def test_fit_and_the_process_are_as_they_were_afterwards(write, seen, capfd):
    keras = pytest.importorskip("keras")
    before = keras.Model.fit, list(sys.argv), list(sys.path), os.getcwd(), sys.modules["__main__"]
    command(capfd, "--script", write("model.fit(x, y)"))
    after = keras.Model.fit, list(sys.argv), list(sys.path), os.getcwd(), sys.modules["__main__"]
    assert before == after


def test_a_later_fit_can_be_chosen_and_earlier_ones_train(write, seen, capfd):
    path = write("""
        before = model.get_weights()[0].copy()
        model.fit(x, y, epochs=1, verbose=0)
        print("trained", bool((model.get_weights()[0] != before).any()))
        model.fit(x[:12], y[:12], epochs=2)
    """)
    status, _, err = command(capfd, "--script", path, "--fit", "2")
    assert status == 0
    assert "trained True" in err
    assert (len(seen[0]["x"]), seen[0]["epochs"]) == (12, 2)


def test_a_script_finds_the_modules_beside_it(write, seen, capfd, tmp_path):
    (tmp_path / "my_settings_of_this_test.py").write_text("EPOCHS = 9\n")
    path = write("from my_settings_of_this_test import EPOCHS\nmodel.fit(x, y, epochs=EPOCHS)\n")
    assert command(capfd, "--script", path)[0] == 0
    assert seen[0]["epochs"] == 9


def test_a_script_that_swallows_everything_is_diagnosed_once(write, seen, capfd):
    path = write("""
        for _ in range(3):
            try:
                model.fit(x, y)
            except BaseException:
                pass
        sys.exit(5)
    """)
    assert command(capfd, "--script", path)[0] == 0
    assert len(seen) == 1


def test_a_generator_is_passed_whole_with_the_size_of_its_batches(write, seen, capfd):
    path = write("""
        def batches():
            while True:
                for n in range(0, 24, 6):
                    yield x[n : n + 6], y[n : n + 6]
        model.fit(batches(), steps_per_epoch=4, epochs=2)
    """)
    assert command(capfd, "--script", path)[0] == 0
    given = list(seen[0]["x"])
    assert len(given) == 8
    assert given[0][0].shape == (6, 4, 2)
    assert seen[0]["batch_size"] == 6


SCRIPTS = {
    "no fit": ("print('done')", HEAD, "without calling model.fit"),
    "no Keras": ("x = 1", "", "train.py ended"),
    "an exit before": ("sys.exit('wrong arguments')", HEAD, "'wrong arguments'"),
    "an exit without a status": ("sys.exit()", HEAD, "sys.exit()"),
    "an error before": ("1 / 0", HEAD, "ZeroDivisionError in line 11"),
    "a module that is missing": ("import not_installed_anywhere", "", "not_installed_anywhere"),
    "a syntax error": ("def :", "", "SyntaxError in line 1"),
    "too few fits": ("pass", HEAD, "without calling"),
    "arguments that fit has not": ("model.fit(x, y, epoch=3)", HEAD, "epoch"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_that_does_not_come_to_fit_ends_with_status_2(name, write, seen, capfd):
    body, head, part = SCRIPTS[name]
    status, out, err = command(capfd, "--script", write(body, head))
    assert (status, out) == (2, "")
    assert part in err, err
    assert "Traceback" not in err
    assert seen == []


def test_what_goes_wrong_in_the_diagnosis_is_told_though_the_script_swallows_it(write, capfd):
    path = write("""
        try:
            model.fit(x, y[:-1])
        except BaseException:
            pass
    """)
    status, out, err = command(capfd, "--script", path, *BUDGET)
    assert (status, out) == (2, "")
    assert "same number" in err


def test_fewer_fits_than_asked_for_are_counted(write, seen, capfd):
    status, _, err = command(capfd, "--script", write("model.fit(x, y, verbose=0)"), "--fit", "3")
    assert status == 2
    assert "called fit 1 times" in err


IN_BATCHES = """\
for epoch in range(3):
    model.reset_metrics()
    for i in range(0, len(x), 8):
        loss = model.train_on_batch(x[i:i + 8], y[i:i + 8])
raise ValueError("never reached")
"""


def fed(given):
    """The rows that diagnose was given, and the rest of its arguments."""
    batches = list(given["x"])
    return batches, (given["epochs"], given["batch_size"], given["shuffle"])


def test_a_loop_over_batches_is_diagnosed_as_a_whole(write, seen, capfd):
    assert command(capfd, "--script", write(IN_BATCHES))[0] == 0
    batches, rest = fed(*seen)
    assert [(x.shape, y.shape) for x, y in batches] == [((8, 4, 2), (8,))] * 3
    assert rest == (3, 8, False)


EPOCHS = {
    "attribute": "class args: epochs = 10\nfor e in range(args.epochs):",
    "entry": "told = {'epochs': np.int64(10)}\nfor e in range(told['epochs']):",
    "wrapped": "def tqdm(x, **named): return x\nfor e in tqdm(range(10), leave=False):",
}


@pytest.mark.parametrize("loop", EPOCHS.values(), ids=EPOCHS)
def test_the_passes_over_all_batches_are_counted(loop, write, seen, capfd):
    body = "\n    for i in range(len(x) // 8):\n"
    body += "        model.train_on_batch(x[8 * i:8 * i + 8], y[8 * i:8 * i + 8])\n"
    assert command(capfd, "--script", write(loop + body))[0] == 0
    assert fed(*seen)[1] == (10, 8, False)


def test_a_function_for_a_step_is_followed_to_its_loop(write, seen, capfd):
    body = """
    def step(some, answers):
        return model.train_on_batch(some, answers)
    def main():
        for epoch in range(5):
            for start in (0, 8, 16):
                step(x[start:start + 8], y[start:start + 8])
    main()
    """
    assert command(capfd, "--script", write(body))[0] == 0
    assert fed(*seen)[1] == (5, 8, False)


def test_batches_drawn_at_random_count_all_updates(write, seen, capfd):
    body = """
    for step in range(32):
        rows = np.random.default_rng(step).choice(24, 6, replace=False)
        model.train_on_batch(x[rows], y[rows], class_weight={0: 1.0, 1: 2.0})
    """
    assert command(capfd, "--script", write(body))[0] == 0
    batches, rest = fed(*seen)
    assert len(batches) == 32
    assert rest == (8, 6, True)
    assert seen[0]["class_weight"] == {0: 1.0, 1: 2.0}


def test_a_second_update_with_the_same_batch_is_no_second_pass(write, seen, capfd):
    body = """
    for epoch in range(4):
        for i in (0, 8, 16):
            for twice in range(2):
                model.train_on_batch(x[i:i + 8], y[i:i + 8])
    """
    assert command(capfd, "--script", write(body))[0] == 0
    batches, rest = fed(*seen)
    assert len(batches) == 3
    assert rest[0] >= 8


def test_batches_by_name_and_with_weights_are_given_as_they_are(write, seen, capfd):
    body = """
    named = {"in": keras.Input((4, 2), name="in")}
    answer = keras.layers.Dense(2, activation="softmax")(keras.layers.LSTM(3)(named["in"]))
    model = keras.Model(named, answer)
    model.compile("adam", "sparse_categorical_crossentropy")
    for step in range(6):
        loss = model.train_on_batch({"in": x}, y, sample_weight=np.ones(24), return_dict=True)
        assert loss["loss"] > 0
    """
    assert command(capfd, "--script", write(body))[0] == 0
    ((inputs, _, weight),), rest = fed(*seen)
    assert (inputs["in"].shape, weight.shape) == ((24, 4, 2), (24,))
    assert rest == (6, 24, True)


SAVING = ("model.save({0})", "keras.saving.save_model(model, {0})", "model.export({0})")


@pytest.mark.parametrize("saving", SAVING)
def test_a_model_that_was_not_trained_is_not_written(saving, write, seen, capfd, tmp_path):
    mine = tmp_path / "mine.keras"
    body = f"""
    for rows in [[0, 1, 2], [3, 4, 5], [6, 7]]:
        {saving.format(repr(str(mine)))}
        model.train_on_batch(x[rows], y[rows])
        mine = {str(mine)!r}
        {saving.format(repr(str(mine)) + "[:-6] + 'later.keras'")}
    model.save({str(mine)!r} + ".keras")
    """
    body = body.replace(f"        {saving.format(repr(str(mine)))}\n", "", 1)
    assert command(capfd, "--script", write(body))[0] == 0
    assert len(fed(*seen)[0]) == 3
    assert not list(tmp_path.glob("*later*"))
    assert not list(tmp_path.glob("*.keras.keras"))


def test_batches_of_their_own_lengths_are_diagnosed(write, capfd):
    head = HEAD.replace("keras.Input((4, 2))", "keras.Input((None, 2))")
    body = """
    for epoch in range(3):
        for i in range(0, 24, 8):
            model.train_on_batch(x[i:i + 8, : 2 + i // 8], y[i:i + 8])
    """
    status, out, err = command(capfd, "--script", write(body, head), *BUDGET)
    assert status in (0, 1), err
    assert "sequences 20; held_out 4; input_shapes 4, 2" in " ".join(out.split())


def test_what_does_not_fit_together_is_for_the_diagnosis_to_say(write, seen, capfd):
    body = """
    for step in range(9):
        loss, accuracy = model.train_on_batch(x, np.ones((24, 3, 7)))
    """
    assert command(capfd, "--script", write(body))[0] == 0
    ((_, y),), _ = fed(*seen)
    assert y.shape == (24, 3, 7)


def test_what_was_fed_before_a_script_fails_is_diagnosed(write, seen, capfd):
    body = """
    for i in (0, 8):
        model.train_on_batch(x[i:i + 8], y[i:i + 8])
    open("no such file")
    """
    assert command(capfd, "--script", write(body))[0] == 0
    assert len(fed(*seen)[0]) == 2


def test_keras_is_as_before_after_a_loop_over_batches(write, seen, capfd):
    import keras

    before = {name: vars(keras.Model).get(name) for name in ("train_on_batch", "save", "fit")}
    command(capfd, "--script", write(IN_BATCHES))
    assert {name: vars(keras.Model).get(name) for name in before} == before


def test_the_script_chooses_its_backend_before_keras_is_imported(tmp_path):
    pytest.importorskip("jax")
    path = tmp_path / "train.py"
    choice = "import os\nos.environ['KERAS_BACKEND'] = 'jax'\n"
    path.write_text(choice + HEAD + "x[3] = np.nan\nmodel.fit(x, y)\n")
    words = ["diagnose", "--script", str(path), "--format", "json", *BUDGET]
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from lstm_oracle.cli.main import main; "
         "sys.exit(main(sys.argv[1:]))", *words],
        env={k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert run.returncode == 1, run.stderr[-3000:]
    found = json.loads(run.stdout)
    assert found["versions"]["backend"] == "jax"
    assert found["findings"][0]["cause"] == "data-quality"


def test_fit_is_put_back_where_the_script_cannot_be_read(tmp_path):
    keras = pytest.importorskip("keras")
    path = tmp_path / "train.py"
    path.write_bytes(b"x = '\xff\xfe'\n")
    with pytest.raises(CommandError, match="SyntaxError"):
        script.run_until_fit(path, [], 1, lambda model, given: None)
    assert "fit" not in vars(keras.Model)
