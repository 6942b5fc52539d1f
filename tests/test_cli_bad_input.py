"""Whatever is wrong with what a user types or brings: one clear error, status 2, no file left."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile

import numpy as np
import pytest

from lstm_oracle.cli import backend, data_file, model_file
from lstm_oracle.cli.main import main

# Keras 3.15.1 on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS, STEPS, FEATURES, CLASSES = 6, 5, 3, 4


def npy(array):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def npy_header(shape, descr="<f4"):
    stream = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def archive(path, *members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            with file.open(name, "w") as stream:
                stream.write(content)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


class Bomb:
    """Unpickling it would fail the test run, loudly."""

    def __reduce__(self):
        return (pytest.exit, ("a pickle was loaded", 3))


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """A folder of .npz files, good and bad, that need no framework to make."""
    folder = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
    y = rng.integers(0, CLASSES, ROWS)
    good = {"x": x, "y": y}

    def save(name, **content):
        np.savez(folder / f"{name}.npz", **content)

    save("good", **good)
    save("rank2", x=x[:, 0], y=y)
    save("rank4", x=x[None], y=y[:1])
    save("features", x=x[..., :2], y=y)
    save("x_nan", x=changed(x, (2, 1, 0), np.nan), y=y)
    save("x_inf", x=changed(x, (3, 0, 1), np.inf), y=y)
    save("y_nan", x=x, y=changed(y.astype(float), 4, np.nan))
    save("x_complex", x=x.astype(complex), y=y)
    save("x_text", x=x.astype(str), y=y)
    save("x_time", x=np.zeros((ROWS, STEPS, FEATURES), "datetime64[s]"), y=y)
    save("x_structured", x=np.zeros((ROWS, STEPS), [("a", "f4"), ("b", "f4")]), y=y)
    save("no_rows", x=x[:0], y=y[:0])
    save("no_steps", x=x[:, :0], y=y)
    save("scalar", x=np.float32(1.0))
    save("rows_differ", x=x, y=y[:-1])
    save("weights_differ", x=x, y=y, sample_weight=np.ones(ROWS + 1))
    save("no_x", y=y)
    save("no_arrays")
    save("x_and_x0", x=x, x_0=x, y=y)
    save("x_gap", x_0=x, x_2=x, y=y)
    save("two_x", x_0=x, x_1=x, y=y)
    save("two_y", x=x, y_0=y, y_1=y)
    save("label_high", x=x, y=changed(y, 1, CLASSES))
    save("label_low", x=x, y=changed(y, 1, -1))
    save("label_fraction", x=x, y=changed(y.astype(float), 1, 0.5))
    save("labels_from_1", x=x, y=np.arange(ROWS) % CLASSES + 1)
    save("token_fractions", x=x[:, :, 0])
    save("token_outside", x=np.full((ROWS, STEPS), 9))
    save("other_names", texts=x, y=y)
    save("one_hot", x=x, y=np.eye(CLASSES)[y])

    object_array = np.array([Bomb(), None], object)
    archive(folder / "object.npz", ("x.npy", npy(object_array)), ("y.npy", npy(y[:2])))
    archive(folder / "pickle_member.npz", ("x.npy", pickle.dumps(Bomb())))
    archive(folder / "huge_shape.npz", ("x.npy", npy_header((2**40, 2**20, 3))))
    archive(folder / "overflowing.npz", ("x.npy", npy_header((2**62, 2**62, 4)) + b"0" * 16))
    archive(folder / "negative.npz", ("x.npy", npy_header((-1, 5, 3)) + b"0" * 60))
    archive(folder / "header.npz", ("x.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"{(((((((((((((((\n"))
    archive(folder / "short.npz", ("x.npy", npy(x)[:-8]), ("y.npy", npy(y)))
    archive(folder / "traversal.npz", ("../../x.npy", npy(x)), ("y.npy", npy(y)))
    archive(folder / "absolute.npz", ("/x.npy", npy(x)), ("y.npy", npy(y)))
    archive(folder / "not_npy.npz", ("x.npy", npy(x)), ("run.py", b"raise SystemExit"))
    archive(folder / "bomb.npz", ("x.npy", npy(np.zeros((1, 2**24), np.uint8))),
            compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    archive(folder / "many.npz", *((f"a{n}.npy", b"") for n in range(1001)))
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(folder / "duplicate.npz", ("x.npy", npy(x)), ("x.npy", npy(x)))

    whole = (folder / "good.npz").read_bytes()
    (folder / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(npy_header((1,))) + 40 : len(npy_header((1,))) + 200] = b"\x00" * 160
    (folder / "flipped.npz").write_bytes(bytes(flipped))
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npz").write_text("x,y\n1,2\n")
    (folder / "pickle.npz").write_bytes(pickle.dumps(Bomb()))
    (folder / "array.npz").write_bytes(npy(x))
    (folder / "folder.npz").mkdir()

    # Models that no framework is needed to refuse.
    (folder / "empty.keras").write_bytes(b"")
    (folder / "text.keras").write_text("a model")
    (folder / "pickle.keras").write_bytes(pickle.dumps(Bomb()))
    (folder / "folder.keras").mkdir()
    (folder / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 64)
    (folder / "h5_inside.keras").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 64)
    archive(folder / "other.zip", ("a.txt", b"a"))
    archive(folder / "other.keras", ("a.txt", b"a"))
    weights = ("model.weights.h5", b"")
    archive(folder / "config_text.keras", ("config.json", b"{"), weights)
    archive(folder / "config_list.keras", ("config.json", b"[]"), weights)
    archive(folder / "config_deep.keras", ("config.json", b"[" * 200_000), weights)
    archive(folder / "air.keras", ("config.json", b"{}"),
            ("model.weights.h5", b"\x00" * (65 << 20)),
            compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    archive(folder / "plain.keras", ("config.json", b'{"class_name": "Sequential"}'), weights)
    return folder


@pytest.fixture
def refused(capfd, tmp_path, monkeypatch):
    """Run the command, and check all that holds for every refusal; gives the message."""

    def run(*words):
        before = sorted(tmp_path.rglob("*"))
        status = main([*map(str, words)])
        captured = capfd.readouterr()
        lines = captured.err.splitlines()
        assert status == 2, captured.err
        assert captured.out == "", "stdout holds reports only"
        assert len(lines) == 1, "exactly one message: " + captured.err
        assert lines[0].startswith("lstm-oracle: error: ")
        assert "Traceback" not in captured.err
        assert len(lines[0]) < 900, "never a whole array"
        assert sorted(tmp_path.rglob("*")) == before, "nothing half-written"
        return lines[0]

    return run


# --- what needs no model to be loaded ----------------------------------------------------------

WORDS = {
    "no verb": ([], "VERB"),
    "an unknown verb": (["verfy"], "'verfy'"),
    "an unknown option": (["verify", "--fast"], "--fast"),
    "an option that drives the terminal": (["verify", "--\x1b[31m\n"], "--?[31m"),
    "an abbreviated option": (["verify", "--qui"], "--qui"),
    "two models": (["verify", "a.keras", "b.keras"], "b.keras"),
    "an unknown format": (["verify", "--format", "xml"], "'xml'"),
    "a format without its value": (["verify", "--format"], "expected one argument"),
    "samples 0": (["verify", "m.keras", "--samples", "0"], "'0'"),
    "samples below 0": (["verify", "m.keras", "--samples", "-5"], "'-5'"),
    "samples with a fraction": (["verify", "m.keras", "--samples", "1.5"], "'1.5'"),
    "samples text": (["verify", "m.keras", "--samples", "all"], "'all'"),
    "seed below 0": (["verify", "m.keras", "--seed", "-1"], "'-1'"),
    "seed text": (["verify", "m.keras", "--seed", "x"], "'x'"),
    "seed of 33 bits": (["verify", "m.keras", "--seed", str(2**32)], "'4294967296'"),
    "a model without data": (["verify", "m.keras"], "--data FILE"),
    "data without a model": (["verify", "--data", "x.npz"], "no MODEL"),
    "samples without a model": (["verify", "--samples", "3"], "no MODEL"),
    "a seed without a model": (["verify", "--seed", "3"], "no MODEL"),
    "quick with a model": (["verify", "m.keras", "--data", "x.npz", "--quick"], "--quick"),
    "a list with a model": (["verify", "m.keras", "--data", "x.npz", "--list"], "--list"),
    "an implementation with a model": (
        ["verify", "m.keras", "--data", "x.npz", "--implementation", "a"],
        "--implementation",
    ),
    "an unknown implementation": (["verify", "--implementation", "nobody's"], "nobody's"),
    "an unknown backend": (["verify", "--backend", "theano"], "'theano'"),
    "a backend beside an implementation": (
        ["verify", "--backend", "jax", "--implementation", "torch.nn.LSTM"],
        "--implementation 'torch.nn.LSTM'",
    ),
    "a list as JSON": (["verify", "--list", "--format", "json"], "--format json"),
    "output without its value": (["verify", "--output"], "expected one argument"),
}


@pytest.mark.parametrize("name", WORDS)
def test_what_is_typed_wrong_is_refused(refused, name):
    words, got = WORDS[name]
    message = refused(*words)
    assert got in message
    assert message.endswith(".")


DATA = {
    "a missing file": ("nowhere.npz", "does not exist"),
    "a folder": ("folder.npz", "the folder"),
    "an empty file": ("empty.npz", "an empty file"),
    "a text file": ("text.npz", "no archive"),
    "a pickle": ("pickle.npz", "a pickle, which is never loaded"),
    "a single array": ("array.npz", "a single array (.npy)"),
}
CONTENT = {
    "no arrays": ("no_arrays.npz", "got arrays none"),
    "no x": ("no_x.npz", "got arrays 'y'"),
    "x beside x_0": ("x_and_x0.npz", "'x' beside 'x_0'"),
    "numbers with a gap": ("x_gap.npz", "'x_0', 'x_2'"),
    "an object array": ("object.npz", "dtype object"),
    "a pickled member": ("pickle_member.npz", "no NumPy array"),
    "a header of a huge shape": ("huge_shape.npz", "declares shape (1099511627776, 1048576, 3)"),
    "a header whose size overflows": ("overflowing.npz", "declares shape"),
    "a negative size": ("negative.npz", "declares shape (-1, 5, 3)"),
    "a broken header": ("header.npz", "no NumPy array"),
    "a short member": ("short.npz", "declares shape (6, 5, 3)"),
    "a path that leaves the folder": ("traversal.npz", "'../../x.npy'"),
    "an absolute path": ("absolute.npz", "'/x.npy'"),
    "a member that is no array": ("not_npy.npz", "'run.py'"),
    "two arrays of one name": ("duplicate.npz", "two arrays named 'x'"),
    "too many members": ("many.npz", "1001 members"),
    "a zip bomb": ("bomb.npz", "GiB"),
    "a truncated file": ("truncated.npz", "damaged"),
    "flipped bytes": ("flipped.npz", "Bad CRC-32"),
    "complex numbers": ("x_complex.npz", "complex"),
    "text": ("x_text.npz", "<U"),
    "dates": ("x_time.npz", "datetime64"),
    "structures": ("x_structured.npz", "dtype ["),
    "no rows": ("no_rows.npz", "(0, 5, 3)"),
    "no steps": ("no_steps.npz", "(6, 0, 3)"),
    "a number": ("scalar.npz", "()"),
    "y of other rows": ("rows_differ.npz", "'x' has 6, 'y' has 5"),
    "sample_weight of other rows": ("weights_differ.npz", "'sample_weight' has 7"),
}


@pytest.mark.parametrize("name", DATA)
def test_what_is_no_data_is_refused_before_a_framework_is_imported(refused, arrays, name):
    file, got = DATA[name]
    message = refused("verify", arrays / "plain.keras", "--data", arrays / file)
    assert got in message
    assert "expected" in message
    assert message.endswith(".")


@pytest.mark.parametrize("name", CONTENT)
def test_data_that_cannot_be_used_or_trusted_is_refused(arrays, name, monkeypatch):
    monkeypatch.setattr(data_file, "MAX_BYTES", 1 << 20)
    file, got = CONTENT[name]
    with pytest.raises(data_file.CommandError) as caught:
        data_file.read_data(arrays / file, samples=64)
    message = str(caught.value)
    assert got in message
    assert "expected" in message
    assert message.endswith(".")
    assert "\n" not in message


MODELS = {
    "a missing model": ("nowhere.keras", "does not exist"),
    "a folder as model": ("folder.keras", "a folder"),
    "an empty model": ("empty.keras", "no archive"),
    "a text file as model": ("text.keras", "no archive"),
    "a pickle as model": ("pickle.keras", "a pickle, which is never loaded"),
    "an .h5 model": ("model.h5", "HDF5"),
    "an .h5 model called .keras": ("h5_inside.keras", "HDF5"),
    "an archive of another ending": ("other.zip", "'.zip'"),
    "an archive without a model": ("other.keras", "'a.txt'"),
    "a config that is no JSON": ("config_text.keras", "no JSON"),
    "a config that is a list": ("config_list.keras", "class_name"),
    "a config nested without end": ("config_deep.keras", "no JSON"),
    "a model that is mostly air": ("air.keras", "unpacks"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_is_no_model_is_refused_before_keras_sees_it(refused, arrays, name):
    file, got = MODELS[name]
    message = refused("verify", arrays / file, "--data", arrays / "good.npz")
    assert got in message
    assert "expected" in message
    assert message.endswith(".")


def test_an_unknown_backend_is_refused(refused, arrays):
    words = ("verify", arrays / "plain.keras", "--data", arrays / "good.npz")
    message = refused(*words, "--backend", "theano")
    assert "--backend: got 'theano', expected one of tensorflow, jax, torch" in message


@pytest.mark.parametrize(
    ("environment", "installed", "got"),
    [
        ({"KERAS_BACKEND": "theano"}, {"keras", "jax"}, "KERAS_BACKEND: got 'theano'"),
        ({"KERAS_BACKEND": "torch"}, {"keras", "jax"}, "'torch', which is not installed"),
        ({}, {"keras"}, "no backend is installed"),
        ({}, {"jax"}, "Keras is not installed"),
    ],
    ids=["unknown", "missing", "none", "no-keras"],
)
def test_a_backend_that_is_missing_is_named_with_its_installation(
    monkeypatch, tmp_path, environment, installed, got
):
    monkeypatch.setattr(backend, "is_installed", installed.__contains__)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    with pytest.raises(backend.CommandError, match=got) as caught:
        backend.choose_backend(None, environment | {"KERAS_HOME": str(tmp_path)})
    assert "expected" in str(caught.value)
    assert "pip install" in str(caught.value) or "Choose" in str(caught.value)


def test_an_older_keras_is_refused():
    with pytest.raises(model_file.CommandError, match=r"got Keras 3\.14\.0, expected at least"):
        model_file._check_version("3.14.0")
    model_file._check_version("3.15.1")
    model_file._check_version("3.16.0rc1")


OUTPUTS = {
    "a folder": (lambda tmp: tmp, "which is a folder"),
    "in a missing folder": (lambda tmp: tmp / "nowhere" / "report.json", "not a folder"),
    "under a file": (lambda tmp: tmp / "file" / "report.json", "not a folder"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(refused, tmp_path, name):
    (tmp_path / "file").write_text("kept")
    place, got = OUTPUTS[name]
    message = refused("verify", "--output", place(tmp_path))
    assert got in message
    assert "--output: got" in message
    assert (tmp_path / "file").read_text() == "kept"


def test_the_right_data_are_taken(arrays):
    """The table above tests what it says: beside it, the good file is read."""
    data = data_file.read_data(arrays / "good.npz", samples=4)
    assert data.x.shape == (4, STEPS, FEATURES)
    assert data.y.shape == (4,)
    assert data.rows_in_file == ROWS
    with np.load(arrays / "good.npz") as file:
        np.testing.assert_array_equal(data.x, file["x"][:4])


def test_fortran_order_big_endian_and_version_2_arrays_are_read(tmp_path):
    x = np.arange(24, dtype=">f8").reshape(4, 3, 2)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asfortranarray(x), version=(2, 0))
    archive(tmp_path / "x.npz", ("x.npy", stream.getvalue()), compression=zipfile.ZIP_DEFLATED)
    data = data_file.read_data(tmp_path / "x.npz", samples=3)
    np.testing.assert_array_equal(data.x, x[:3])
    assert data.x.dtype == np.float64


def test_keras_json_chooses_and_a_missing_backend_in_it_is_passed_over(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(backend, "is_installed", {"keras", "jax", "torch"}.__contains__)
    environment = {"KERAS_HOME": str(tmp_path)}
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert backend.choose_backend(None, environment) == ("torch", "")
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow"}))
    chosen, note = backend.choose_backend(None, environment)
    assert chosen == "jax"
    assert "jax" in note


# --- models that have to be loaded ---------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of .keras files, on whatever backend this process runs Keras."""
    keras = pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("models")
    layers = keras.layers

    def sequential(*parts, loss="sparse_categorical_crossentropy", shape=(STEPS, FEATURES)):
        model = keras.Sequential([keras.Input(shape, name="words"), *parts])
        if loss:
            model.compile("sgd", loss)
        return model

    def head():
        return layers.Dense(CLASSES, activation="softmax")

    sequential(layers.LSTM(2), head()).save(folder / "good.keras")
    sequential(layers.LSTM(2), head(), loss="categorical_crossentropy").save(folder / "one.keras")
    sequential(layers.GRU(2), head()).save(folder / "no_lstm.keras")
    sequential(layers.Lambda(lambda x: x * 2), layers.LSTM(2)).save(folder / "lambda.keras")
    sequential(layers.Embedding(9, 3), layers.LSTM(2), shape=(STEPS,), loss="mse").save(
        folder / "tokens.keras"
    )
    first, second = (keras.Input((STEPS, FEATURES), name=name) for name in ("left", "right"))
    joined = layers.LSTM(2)(layers.Concatenate()([first, second]))
    keras.Model([first, second], joined).save(folder / "two_inputs.keras")

    whole = (folder / "good.keras").read_bytes()
    (folder / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(folder / "good.keras") as good:
        members = {name: good.read(name) for name in good.namelist()}

    def tampered(name, **changes):
        archive(folder / f"{name}.keras", *(members | changes).items())

    config = json.loads(members["config.json"])
    config["config"]["layers"][1]["class_name"] = "Mystery"
    config["config"]["layers"][1]["module"] = None
    tampered("custom", **{"config.json": json.dumps(config).encode()})
    config["config"]["layers"][1] |= {"module": "os", "class_name": "system", "config": {"c": "x"}}
    tampered("evil", **{"config.json": json.dumps(config).encode()})
    tampered("no_weights", **{"model.weights.h5": b""})
    archive(folder / "not_a_model.keras", *(members | {"config.json": json.dumps({
        "module": "keras.layers", "class_name": "Dense", "config": {"units": 1},
        "registered_name": None}).encode()}).items())  # fmt: skip
    return folder


LOADED = {
    "a truncated model": ("truncated", "good", "damaged archive"),
    "a model with a Lambda": ("lambda", "good", "Lambda"),
    "a model with a class of one's own": ("custom", "good", "Mystery"),
    "a model that names a function of the system": ("evil", "good", "system"),
    "a model without its weights": ("no_weights", "good", "Keras cannot load"),
    "a layer for a model": ("not_a_model", "good", "Dense"),
    "a model without an LSTM": ("no_lstm", "good", "no LSTM"),
    "x of rank 2": ("good", "rank2", "(6, 3)"),
    "x of rank 4": ("good", "rank4", "(1, 6, 5, 3)"),
    "x with other features": ("good", "features", "2 for 3"),
    "NaN in x": ("good", "x_nan", "1 NaN among 90 numbers, the first at (2, 1, 0)"),
    "Inf in x": ("good", "x_inf", "1 Inf among 90 numbers, the first at (3, 0, 1)"),
    "NaN in y": ("good", "y_nan", "y has 1 NaN"),
    "a label too high": ("good", "label_high", "expected 0 to 3"),
    "a label below 0": ("good", "label_low", "labels from -1"),
    "a label with a fraction": ("good", "label_fraction", "fractions"),
    "labels from 1": ("good", "labels_from_1", "Subtract 1"),
    "one-hot rows for class numbers": ("good", "one_hot", "(6, 4)"),
    "class numbers for one-hot rows": ("one", "good", "y"),
    "one input of two": ("two_inputs", "good", "x has 1 arrays, expected 2"),
    "two inputs of one": ("good", "two_x", "x has 2 arrays, expected 1"),
    "two targets of one": ("good", "two_y", "y has 2 arrays, expected 1"),
    "fractions for tokens": ("tokens", "token_fractions", "fractions"),
    "tokens outside the table": ("tokens", "token_outside", "9"),
    "arrays under names of no input": ("good", "other_names", "'words'"),
}


@pytest.mark.parametrize("name", LOADED)
def test_a_model_or_data_that_do_not_fit_are_refused(refused, arrays, models, name):
    model, data, got = LOADED[name]
    message = refused("verify", models / f"{model}.keras", "--data", arrays / f"{data}.npz")
    assert got in message
    assert "expected" in message
    assert message.endswith(".")


def test_another_backend_than_this_process_runs_is_refused(refused, arrays, models):
    import keras

    other = {"tensorflow": "jax", "jax": "torch", "torch": "jax"}[keras.backend.backend()]
    if not backend.is_installed(other):
        pytest.skip(f"{other} is not installed")
    words = ("verify", models / "good.keras", "--data", arrays / "good.npz", "--backend", other)
    assert "Keras already runs on" in refused(*words)
