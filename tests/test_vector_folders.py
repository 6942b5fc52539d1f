"""A folder of vectors is written whole or not at all, is read as it was written, and judges.

With three vectors, so that every sentence costs little; `test_vectors` holds all of them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat

import numpy as np
import pytest

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import run_oracle
from lstm_oracle.conformance.vectors import files, judge, names, safetensors
from lstm_oracle.conformance.vectors.cases import GROUPS, vectors
from lstm_oracle.conformance.yardstick import Deviation, yardstick

THREE = ("no-state-001", "masks-001", "plain-001")


def chosen(groups=("no-state", "masks", "plain")):
    """The first vector of each group."""
    return [next(vectors((group,))) for group in groups]


@pytest.fixture
def three(monkeypatch):
    monkeypatch.setattr(files, "vectors", chosen)


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors") / "kept"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "vectors", chosen)
        files.write_vectors(folder, groups=("no-state", "masks", "plain"))
    return folder


@pytest.fixture
def folder(kept_folder, tmp_path):
    return shutil.copytree(kept_folder, tmp_path / "folder")


@pytest.fixture(scope="module")
def kept(kept_folder):
    return {one.id: one for one in files.read_vectors(kept_folder)}


# --- writing --------------------------------------------------------------------------------------


def test_a_folder_appears_whole_and_for_everybody_and_nothing_beside_it(three, tmp_path):
    folder, heard = tmp_path / "very" / "deep" / "new", []
    before = os.umask(0o077)
    try:
        count = files.write_vectors(folder, groups=("plain",), progress=lambda *n: heard.append(n))
    finally:
        os.umask(before)
    assert (count, heard) == (1, [(0, 1), (1, 1)])
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "cases", "cases.json", "cases.schema.json", "tolerances.safetensors",
    ]  # fmt: skip
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert [path.name for path in folder.parent.iterdir()] == ["new"]
    with pytest.raises(FileExistsError, match="got a folder with 5 files"):
        files.write_vectors(folder, groups=("masks",))
    assert [path.stem for path in (folder / "cases").iterdir()] == ["plain-001"]
    files.write_vectors(folder, groups=("masks",), force=True)
    assert [path.stem for path in (folder / "cases").iterdir()] == ["masks-001"]
    assert [path.name for path in folder.parent.iterdir()] == ["new"]


def test_nothing_is_there_where_writing_fails(three, tmp_path, monkeypatch):
    def broken(case):
        raise RuntimeError

    monkeypatch.setattr(files, "run_exactly", broken)
    with pytest.raises(RuntimeError):
        files.write_vectors(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_only_nothing_or_with_force_vectors_are_replaced(folder, tmp_path):
    def refused(path, said, **options):
        with pytest.raises(FileExistsError, match=said):
            files.check_replaceable(path, **options)

    files.check_replaceable(tmp_path / "nowhere", force=False)
    (tmp_path / "empty").mkdir()
    for force in (False, True):
        files.check_replaceable(tmp_path / "empty", force=force)
        refused(folder / "README.md", "got a file", force=force)
    refused(folder, "got a folder with 5 files", force=False)
    files.check_replaceable(folder, force=True)
    (folder / "cases.json").unlink()
    refused(folder, "without cases.json", force=True)


def test_the_index_has_a_case_per_line_with_everything_that_a_reader_needs(folder):
    text = (folder / "cases.json").read_text()
    assert text.startswith('{"format": "lstm-oracle vectors 1", "cases": [\n')
    assert len(text.splitlines()) == 5
    assert ": " not in text.splitlines()[1]
    entries = json.loads(text)["cases"]
    for entry, vector in zip(entries, chosen(), strict=True):
        asked, answered = names.question(vector.case), names.answer(run_oracle(vector.case))
        B, T, I = vector.case.x.shape
        assert entry == {
            "id": vector.id,
            "group": vector.group,
            "file": f"cases/{vector.id}.safetensors",
            "architecture": names.describe(vector.case.architecture),
            "sizes": {"B": B, "T": T, "I": I},
            "given": {name: list(a.shape) for name, a in asked.items()},
            "expected": {name: list(a.shape) for name, a in answered.items()},
        }


def test_what_is_given_is_narrow_and_what_has_to_come_out_is_wide(folder):
    for vector in chosen():
        data = (folder / "cases" / f"{vector.id}.safetensors").read_bytes()
        _, dtypes, metadata = safetensors.read(data)
        given = dict.fromkeys(names.question(vector.case), "F32")
        expected = dict.fromkeys(names.answer(run_oracle(vector.case)), "F64")
        assert dtypes == given | expected | ({"mask": "U8"} if "mask" in given else {})
        assert metadata == {"format": "lstm-oracle vectors 1", "id": vector.id}


def test_tolerances_are_twice_the_yardstick_or_the_floor_of_the_worst_block(folder, kept):
    data = (folder / "tolerances.safetensors").read_bytes()
    allowed, _, metadata = safetensors.read(data)
    assert metadata == {"format": "lstm-oracle vectors 1"}
    assert {name.partition("/")[0] for name in allowed} == set(THREE)
    case = chosen()[0].case
    for row, dtype in enumerate(("float64", "float32")):
        limits = tolerances.format_of(dtype)
        measured = yardstick(dataclasses.replace(case, dtype=dtype))
        least = limits.floor * limits.roundoff
        for name in names.answer(run_oracle(case)):
            blocks = names.blocks_of(name, case.architecture)
            for column, kind in enumerate(("norm", "entry")):
                errors = [max(getattr(measured[block], kind), least) for block in blocks]
                got = allowed[f"no-state-001/{name}"][row, column]
                assert got == limits.k * max(errors), (name, dtype, kind)


# --- reading --------------------------------------------------------------------------------------


def test_a_folder_is_read_as_it_was_written(kept):
    assert tuple(kept) == THREE
    for vector in chosen():
        one = kept[vector.id]
        assert (one.group, one.case.name) == (vector.group, vector.id)
        assert one.case.architecture == vector.case.architecture
        np.testing.assert_array_equal(one.case.x, vector.case.x)
        true, answer = run_oracle(vector.case).blocks(), one.answer.blocks()
        assert list(answer) == list(true)
        for name, block in true.items():
            np.testing.assert_allclose(
                answer[name], block, rtol=0, atol=1e-13 * np.abs(block).max()
            )


def test_a_yardstick_is_half_of_what_is_allowed_or_measured_where_none_is_kept(kept):
    one = kept["plain-001"]
    for dtype, row in (("float64", 0), ("float32", 1)):
        found = one.yardstick(dtype)
        assert set(found) == set(one.answer.blocks())
        for name in ("y", "d_W", "c_T"):
            for block in names.blocks_of(name, one.case.architecture):
                assert found[block] == tuple(one.tolerances[name][row] / 2)
    narrow = yardstick(dataclasses.replace(one.case, dtype="bfloat16"))
    assert one.yardstick("bfloat16") == narrow


def edited(folder, change):
    index = json.loads((folder / "cases.json").read_text())
    change(index)
    (folder / "cases.json").write_text(json.dumps(index))


def first_entry(**changes):
    return lambda index: index["cases"][0].update(changes)


SPOILED = {
    "no index": (lambda f: (f / "cases.json").unlink(), r"folder: got no cases.json, expected"),
    "no JSON": (lambda f: (f / "cases.json").write_text("{"), "cases.json: cannot be read"),
    "a list": (lambda f: (f / "cases.json").write_text("[]"), "cases.json: cannot be read"),
    "another format": (
        lambda f: edited(f, lambda index: index.update(format="2")), "its format is '2', expected",
    ),
    "outside": (
        lambda f: edited(f, first_entry(file="../a")), r"cannot be read: '../a' is outside of",
    ),
    "far outside": (lambda f: edited(f, first_entry(file="/a")), "'/a' is outside of the folder"),
    "no name": (
        lambda f: edited(f, lambda index: index["cases"][0].pop("id")), "cannot be read: 'id'",
    ),
    "no tolerances": (
        lambda f: (f / "tolerances.safetensors").unlink(), "tolerances.safetensors: cannot be read",
    ),
    "no file": (
        lambda f: edited(f, first_entry(file="cases/none.safetensors")), "none.safetensors: cannot",
    ),
    "no architecture": (
        lambda f: edited(f, first_entry(architecture=3)), r"no-state-001.safetensors: got '3'",
    ),
    "no array": (
        lambda f: edited(f, first_entry(given={"q": [1]})), r"no-state-001.safetensors: 'q'. Write",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), SPOILED.values(), ids=SPOILED)
def test_what_is_no_folder_of_vectors_is_refused(folder, spoil, said):
    spoil(folder)
    with pytest.raises(ValueError, match=said):
        list(files.read_vectors(folder))


# --- judging --------------------------------------------------------------------------------------


@pytest.fixture
def outputs(kept, tmp_path):
    """Right answers, written as somebody else would."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    for one in kept.values():
        write(folder, one, names.answer(run_oracle(one.case)))
    return folder


def write(folder, one, arrays):
    (folder / f"{one.id}.safetensors").write_bytes(safetensors.write(arrays))


def judged(folder, outputs, **options):
    return {case.name: case for case in judge.judge(folder, outputs, **options).cases}


def test_right_outputs_agree_and_what_was_not_computed_is_not_judged(kept_folder, outputs):
    heard = []
    report = judge.judge(kept_folder, outputs, progress=lambda *n: heard.append(n))
    assert heard == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert report.implementation == f"outputs in {outputs}"
    assert [(case.name, case.status) for case in report.cases] == [(n, "agree") for n in THREE]
    assert {case.dtype for case in report.cases} == {"float64"}
    (outputs / "masks-001.safetensors").unlink()
    found = judged(kept_folder, outputs)["masks-001"]
    assert (found.status, found.message, found.dtype) == ("unsupported", "no outputs", "")
    assert judge.judge(kept_folder, outputs).agrees


def test_outputs_of_no_case_are_refused(kept_folder, outputs, tmp_path):
    for extra, said in (("b", r"got b\.safetensors.* in "), ("a", r"got a\..*\(2 such files\)")):
        shutil.copy(outputs / "plain-001.safetensors", outputs / f"{extra}.safetensors")
        with pytest.raises(ValueError, match=said) as caught:
            judge.judge(kept_folder, outputs)
        assert "expected names such as no-state-001.safetensors" in str(caught.value)
        assert ("such files" in str(caught.value)) == (extra == "a")
    with pytest.raises(ValueError, match="got no folder"):
        judge.judge(kept_folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"got no \.safetensors file"):
        judge.judge(kept_folder, tmp_path / "empty")


def test_wrong_outputs_are_told_with_what_is_wrong(kept_folder, kept, outputs, monkeypatch):
    monkeypatch.setattr(judge, "nearest_bug", lambda case, result: f"bug of {case.name}")
    one = kept["plain-001"]
    arrays = names.answer(run_oracle(one.case))
    wrong = {
        "unknown": (
            arrays | {"q": arrays["y"]},
            "error",
            "unknown array 'q', expected some of c_T",
        ),
        "shape": (arrays | {"y": arrays["y"][None]}, "disagree", "'y' has shape"),
        "number": (arrays | {"d_x": arrays["d_x"] * 1.5}, "disagree", "d_x (off by 0.5"),
    }
    for what, (some, status, said) in wrong.items():
        write(outputs, one, some)
        found = judged(kept_folder, outputs)["plain-001"]
        assert (found.status, found.dtype) == (status, "float64"), what
        assert said in found.message
        assert found.nearest_bug == ("bug of plain-001" if what == "number" else "")


def test_the_precision_is_the_narrowest_that_is_written_or_what_is_said(kept_folder, kept, outputs):
    one = kept["plain-001"]
    arrays = names.answer(run_oracle(one.case))
    single = {name: a.astype(np.float32) for name, a in arrays.items()}
    write(outputs, one, single | {"y": arrays["y"]})
    found = judged(kept_folder, outputs)["plain-001"]
    assert (found.status, found.dtype) == ("agree", "float32")
    found = judged(kept_folder, outputs, dtype="float64")["plain-001"]
    assert (found.status, found.dtype) == ("disagree", "float64")
    for some in ({"y": np.zeros(3, np.uint8)}, {"y": arrays["y"], "q": np.zeros(1, np.uint8)}, {}):
        write(outputs, one, some)
        said = r"got arrays of (U8|F64, U8|no kind), expected one of F64, F32, F16, BF16"
        with pytest.raises(ValueError, match=said):
            judge.judge(kept_folder, outputs)


def test_what_is_a_little_off_is_held_against_longer_yardsticks(
    kept_folder, kept, outputs, monkeypatch
):
    one, asked = kept["plain-001"], []

    def longer(case, measured):
        asked.append((case.name, measured))
        yield dict.fromkeys(measured, Deviation(1.0, 1.0))

    monkeypatch.setattr(judge, "longer_yardsticks", longer)
    arrays = names.answer(run_oracle(one.case))
    write(outputs, one, arrays | {"d_x": arrays["d_x"] * (1 + 1e-14)})
    assert judged(kept_folder, outputs)["plain-001"].status == "agree"
    assert asked == [("plain-001", one.yardstick("float64"))]


def test_what_a_format_cannot_hold_is_not_asked_in_it(kept, kept_folder, outputs, monkeypatch):
    one = kept["plain-001"]
    large = dataclasses.replace(one, case=dataclasses.replace(one.case, x=one.case.x * 2.0**20))
    assert judge._fits(one, "float16")
    assert judge._fits(large, "bfloat16")
    assert not judge._fits(large, "float16")
    gap = np.where(np.arange(one.case.x.size).reshape(one.case.x.shape) == 0, np.nan, one.case.x)
    assert judge._fits(
        dataclasses.replace(one, case=dataclasses.replace(one.case, x=gap)), "float32"
    )
    monkeypatch.setattr(judge, "read_vectors", lambda folder: [large])
    for path in outputs.iterdir():
        if path.stem != "plain-001":
            path.unlink()
    found = judged(kept_folder, outputs, dtype="float16")["plain-001"]
    assert (found.status, found.message) == ("unsupported", "not exact in float16")


def test_the_zoo_is_asked_of_eight_wrong_outputs_at_most(kept, outputs, monkeypatch):
    one, asked = kept["plain-001"], []
    many = [dataclasses.replace(one, id=f"copy-{n}") for n in range(11)]
    arrays = names.answer(run_oracle(one.case))
    shutil.rmtree(outputs)
    outputs.mkdir()
    for n, copy in enumerate(many):
        write(outputs, copy, arrays | ({} if n == 4 else {"d_x": arrays["d_x"] * 2}))
    monkeypatch.setattr(judge, "read_vectors", lambda folder: many)
    monkeypatch.setattr(judge, "nearest_bug", lambda case, result: f"{asked.append(1)}")
    report = judge.judge(outputs, outputs)
    assert report.count("disagree") == 10
    assert [bool(case.nearest_bug) for case in report.cases] == (
        [True] * 4 + [False] + [True] * 4 + [False] * 2
    )


# --- the vectors themselves -----------------------------------------------------------------------

PUBLISHED = {
    "plain": "8903353b16856b7b",
    "masks": "0087b7eeb098e9ea",
    "no-state": "634ace8e748dfa0d",
    "peepholes": "3933b7a9ea3d2c0b",
    "projection": "6fa056a082492b6b",
    "activations": "e0254e2cba9e7c4c",
    "clips": "c6457ce3c64f9a2d",
    "dropout": "252063f762516796",
    "reverse": "bafa0b9f80561951",
    "bidirectional": "8e30da36cf882817",
    "stack": "cce1e5b55ccf4dc0",
    "chunks": "fdbff17a9fa07249",
    "layer-norm": "35389d1c2001a9ef",
    "zoneout": "f3addec80c6429a7",
    "mixtures": "cf9b2203451298d0",
}


@pytest.mark.parametrize("group", GROUPS)
def test_vectors_are_those_that_were_published(group):
    """Whoever keeps a folder of them, or results: another vector needs another format.

    Their numbers come from integers alone, so that every machine draws the same.
    """
    digest = hashlib.sha256()
    for vector in vectors((group,)):
        described = json.dumps(names.describe(vector.case.architecture), sort_keys=True)
        digest.update(f"{vector.id} {vector.group} {vector.case.dtype} {described}".encode())
        for name, array in sorted(names.question(vector.case).items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    assert digest.hexdigest()[:16] == PUBLISHED[group]
