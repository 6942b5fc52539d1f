"""The example's data is the published set, and its model sees no padding."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def examples(repository):
    return repository / "examples"


@pytest.fixture(scope="module")
def maker(examples):
    spec = importlib.util.spec_from_file_location(
        "make_japanese_vowels", examples / "make_japanese_vowels.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(examples):
    with np.load(examples / "japanese_vowels.npz", allow_pickle=False) as file:
        return dict(file)


def test_the_shipped_file_has_the_content_that_its_maker_writes(data, maker):
    assert tuple(data) == maker.ARRAYS
    assert maker.content_sha256(data) == maker.CONTENT_SHA256


def test_speakers_lengths_and_padding_are_as_published(data, maker):
    maker.check("test", data["x"], data["y"], data["lengths"], maker.TEST_COUNTS)
    maker.check(
        "training", data["x_train"], data["y_train"], data["lengths_train"], maker.TRAINING_COUNTS
    )
    assert data["x"].dtype == data["x_train"].dtype == np.float32
    assert np.isfinite(data["x"]).all()
    assert np.isfinite(data["x_train"]).all()


@pytest.mark.parametrize("spoil", ["zero step", "speaker", "length"])
def test_the_maker_refuses_what_is_not_the_set(data, maker, spoil):
    x, y, lengths = data["x"].copy(), data["y"].copy(), data["lengths"].copy()
    if spoil == "zero step":
        x[5, 2] = 0
    elif spoil == "speaker":
        y[0] = 8
    else:
        lengths[3] = 3
    with pytest.raises(ValueError, match="test: "):
        maker.check("test", x, y, lengths, maker.TEST_COUNTS)


def test_the_maker_reads_series_of_unequal_length(maker):
    rows = [":".join(f"{i}.5,{-i}" for i in range(12)) + ":3", ":".join(["0.25"] * 12) + ":9"]
    x, y, lengths = maker.parse("@classLabel true\n@data\n" + "\n".join(rows) + "\n")
    assert y.tolist() == [2, 8]
    assert lengths.tolist() == [2, 1]
    assert x[0, 0].tolist() == [i + 0.5 for i in range(12)]
    assert x[0, 1].tolist() == [-i for i in range(12)]
    assert x[1, 0].tolist() == [0.25] * 12
    assert not x[0, 2:].any()
    assert not x[1, 1:].any()


def test_the_maker_writes_nothing_when_a_file_is_missing(maker, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert maker.main([str(tmp_path), "--out", str(out)]) == 2
    assert "JapaneseVowels_TRAIN.ts" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


PADDING_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import train_japanese_vowels as train
with np.load(train.DATA) as data:
    x, lengths = data["x_train"][:40], data["lengths_train"][:40]
for kind in ("keras", "ours", "bidirectional"):
    model = train.build_model(kind, x, lengths, epochs=1)
    length = lengths.min()
    padded = model.predict(x[lengths == length], verbose=0)
    bare = model.predict(x[lengths == length, :length], verbose=0)
    print(kind, np.abs(padded - bare).max() < 1e-5)
"""


def test_predictions_do_not_depend_on_padding(examples, run_python):
    pytest.importorskip("keras", exc_type=ImportError)
    done = run_python(PADDING_SCRIPT, str(examples))
    assert done.stdout.split() == [
        *("keras", "True"),
        *("ours", "True"),
        *("bidirectional", "True"),
    ], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["keras", "ours", "bidirectional"])
def test_the_example_names_95_speakers_of_100(examples, layer):
    pytest.importorskip("keras", exc_type=ImportError)
    done = subprocess.run(
        [sys.executable, examples / "train_japanese_vowels.py", "--layer", layer],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_untrained_model_fails_loudly_and_is_written_whole(examples, tmp_path):
    pytest.importorskip("keras", exc_type=ImportError)
    out = tmp_path / "models" / "model.keras"
    done = subprocess.run(
        [sys.executable, examples / "train_japanese_vowels.py", "--epochs", "1", "--out", out],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "expected at least 95%" in done.stderr
    assert "of 370 right" in done.stdout
    assert [path.name for path in out.parent.iterdir()] == ["model.keras"]
