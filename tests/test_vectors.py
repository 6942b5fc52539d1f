"""Test vectors: whole, exact, discriminating, readable without us, and judged as they say."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import struct
import subprocess
from collections import Counter

import jsonschema
import numpy as np
import pytest

from lstm_oracle.cli.main import main
from lstm_oracle.conformance.case import run_oracle
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.vectors import names, safetensors
from lstm_oracle.conformance.vectors.cases import GROUPS, vectors
from lstm_oracle.conformance.vectors.digits import run_exactly
from lstm_oracle.conformance.vectors.files import Kept, read_vectors, write_vectors
from lstm_oracle.conformance.vectors.judge import judge
from lstm_oracle.conformance.yardstick import Deviation, yardstick
from lstm_oracle.conformance.zoo import _gate_order
from lstm_oracle.reference.spec import ACTIVATIONS, Spec
from lstm_oracle.reference.tree import flatten, map_leaves
from tests.fifty_digits import lstm

WRITTEN = ("plain", "no-state", "projection", "layer-norm")


@pytest.fixture(scope="module")
def every():
    return list(vectors())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some groups, written: all of them take a minute."""
    path = tmp_path_factory.mktemp("vectors") / "vectors"
    write_vectors(path, groups=WRITTEN)
    return path


@pytest.fixture
def outputs(folder, tmp_path):
    """What the oracle computes in float64 of the vectors, written as a stranger would."""
    path = tmp_path / "outputs"
    path.mkdir()
    for kept in read_vectors(folder):
        write_output(path, kept.id, names.answer(run_oracle(kept.case)))
    return path


def write_output(path, identifier, arrays):
    (path / f"{identifier}.safetensors").write_bytes(safetensors.write(arrays))


def changed(path, identifier, **arrays):
    file = path / f"{identifier}.safetensors"
    found, _, _ = safetensors.read(file.read_bytes())
    file.write_bytes(safetensors.write(found | arrays))


# --- the cases ------------------------------------------------------------------------------------


def specs(architecture):
    if isinstance(architecture, Spec):
        return [architecture]
    parts = (getattr(architecture, f.name) for f in dataclasses.fields(architecture))
    layers = [p for part in parts for p in (part if isinstance(part, tuple) else (part,))]
    return [s for layer in layers if dataclasses.is_dataclass(layer) for s in specs(layer)]


def test_there_are_at_least_500_small_cases_and_every_name_is_one_case(every):
    assert len(every) >= 500
    assert max(Counter(vector.id for vector in every).values()) == 1
    assert all(s.hidden_size >= 3 for v in every for s in specs(v.case.architecture))


def test_every_option_of_a_layer_occurs_with_every_value(every):
    layers = [s for vector in every for s in specs(vector.case.architecture)]
    seen = {f.name: {getattr(s, f.name) for s in layers} for f in dataclasses.fields(Spec)}
    single = {name for name, values in seen.items() if len(values) == 1}
    assert single == {"name"}
    coupled = {getattr(s, f"{k}_activation") for s in layers for k in "fgoc" if s.coupled}
    assert coupled == set(ACTIVATIONS)
    for k in "ifgoc":
        assert seen[f"{k}_activation"] == set(ACTIVATIONS)
    assert seen["masked_output"] == {"previous", "zero", "state"}
    assert seen["peepholes"] == {"", "i", "f", "o", "if", "io", "fo", "ifo"}


def test_numbers_are_generic(every):
    """Weights of a case are distinct and no zero; initial states and cotangents are not all zero.

    And all are exact in float32.
    """
    for vector in every:
        case = vector.case
        weights = np.concatenate([np.ravel(a) for a in flatten(case.params).values()])
        assert len(set(weights)) == weights.size, vector.id
        assert weights.all(), vector.id
        assert any(a.any() for a in flatten((case.d_y, case.d_state)).values()), vector.id
        for a in names.question(case).values():
            np.testing.assert_array_equal(to_format(a, "float32"), a)


def test_every_case_rejects_every_wrong_order_of_the_gates(every):
    """By far more than any tolerance of any precision."""
    accepted = [
        (vector.id, order)
        for vector in every
        for order in wrong_orders(vector.case)
        if distance(vector.case, "WUbp", order) < 0.05
    ]
    assert accepted == []


def test_cases_reject_a_wrong_order_of_one_array_alone(every):
    assert blind([vector for vector in every if vector.group != "mixtures"][::12]) == set()


@pytest.mark.slow
def test_all_cases_but_ten_with_dropout_reject_a_wrong_order_of_one_array_alone(every):
    found = blind(every)
    assert len(found) == 10
    assert {vector.group for vector in every if vector.id in found} == {"mixtures"}
    assert all(vector.case.dropout for vector in every if vector.id in found)


def blind(chosen):
    """The cases that do not see some wrong order of W, U or b alone."""
    return {
        vector.id
        for vector in chosen
        for letter in "WUb"
        if any(path.split(".")[-1][0] == letter for path in flatten(vector.case.params))
        for order in wrong_orders(vector.case)
        if distance(vector.case, letter, order) < 0.05
    }


def wrong_orders(case):
    """Every order of ifgo that does not leave each gate that the layers have where it is."""
    layers = specs(case.architecture)
    gates = set("".join(k for s in layers for k in s.gates))
    for order in list(itertools.permutations("ifgo"))[1:]:
        if any(k != o and k in gates and o in gates for k, o in zip("ifgo", order, strict=True)):
            yield "".join(order)


def distance(case, letters, order):
    """The largest relative error of a block."""
    true = run_oracle(case).blocks()
    wrong = _gate_order(letters, order)(run_oracle, case).blocks()
    return max(
        float(np.abs(wrong[name] - block).max() / (np.abs(block).max() or 1))
        for name, block in true.items()
    )


# --- their answers --------------------------------------------------------------------------------


def test_the_oracle_agrees_with_every_answer(every):
    worst = {}
    for vector in every:
        true, got = run_exactly(vector.case).blocks(), run_oracle(vector.case).blocks()
        assert set(true) == set(got)
        for name, block in true.items():
            assert np.isfinite(block).all(), (vector.id, name)
            scale = np.abs(block).max() or 1
            worst[vector.id, name] = np.abs(got[name] - block).max() / scale
    assert max(worst.values()) < 5e-14, max(worst, key=worst.get)


PLAIN = ("plain", "peepholes", "projection")


def test_answers_are_those_of_50_digits_bit_for_bit(every):
    """By arithmetic, formulas and code of their own: every entry is correctly rounded."""
    entries = 0
    for vector in [v for v in every if v.group in PLAIN and v.case.state is not None][::3]:
        case, true = vector.case, run_exactly(vector.case)
        if case.x.shape[1] > 5:
            continue
        sums = dict.fromkeys(case.params, 0)
        for row in range(len(case.x)):
            state, d_state = (
                map_leaves(lambda a, n=row: a[n], t) for t in (case.state, case.d_state)
            )
            exact = lstm(
                case.architecture, case.params, case.x[row], *state, case.d_y[row], *d_state
            )
            got = (true.y[row], true.state.h[row], true.state.c[row], true.d_x[row],
                   true.d_state.h[row], true.d_state.c[row])  # fmt: skip
            for a, b in zip(
                got, (exact.y, exact.h, exact.c, exact.d_x, exact.d_h, exact.d_c), strict=True
            ):
                np.testing.assert_array_equal(a, b)
                entries += a.size
            if len(case.x) == 1:
                for name, a in true.d_params.items():
                    np.testing.assert_array_equal(a, exact.d_params[name])
                    entries += a.size
            sums = {name: sums[name] + exact.d_params[name] for name in sums}
        for name, a in true.d_params.items():
            np.testing.assert_allclose(a, sums[name], rtol=1e-13, atol=1e-15 * np.abs(a).max())
    assert entries > 1000


# --- the files ------------------------------------------------------------------------------------


def test_the_folder_is_whole_and_small(folder):
    index = json.loads((folder / "cases.json").read_text())
    schema = json.loads((folder / "cases.schema.json").read_text())
    jsonschema.validate(index, schema)
    files = sorted(str(path.relative_to(folder)) for path in folder.glob("cases/*"))
    assert files == sorted(entry["file"] for entry in index["cases"])
    assert (folder / "README.md").read_text().startswith("# LSTM test vectors")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    everything = sum(len(list(group())) for group in GROUPS.values())
    assert size / len(files) * everything < 5e6


@pytest.mark.slow
def test_all_vectors_are_small_and_the_oracle_agrees_with_all(tmp_path):
    count = write_vectors(tmp_path / "vectors")
    files = [path for path in (tmp_path / "vectors").rglob("*") if path.is_file()]
    assert count >= 500
    assert sum(path.stat().st_size for path in files) <= 5e6
    (tmp_path / "outputs").mkdir()
    for kept in read_vectors(tmp_path / "vectors"):
        write_output(tmp_path / "outputs", kept.id, names.answer(run_oracle(kept.case)))
    assert judge(tmp_path / "vectors", tmp_path / "outputs").count("agree") == count


def test_writing_again_gives_the_same_bytes(folder, tmp_path):
    write_vectors(tmp_path / "again", groups=("projection",))
    for path in (tmp_path / "again" / "cases").iterdir():
        assert path.read_bytes() == (folder / "cases" / path.name).read_bytes()


def test_arrays_are_where_the_format_says(folder):
    """Read by hand: aligned, little endian, row by row."""
    data = (folder / "cases" / "plain-001.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert (8 + length) % 8 == 0
    entry = json.loads(data[8 : 8 + length])["W"]
    assert (entry["dtype"], entry["shape"]) == ("F32", [4, 2, 3])
    begin, end = entry["data_offsets"]
    numbers = struct.unpack("<24f", data[8 + length + begin : 8 + length + end])
    kept = next(kept for kept in read_vectors(folder) if kept.id == "plain-001")
    W = [kept.case.params[f"W_{k}"] for k in "ifgo"]
    assert numbers == tuple(np.ravel(W))


def test_the_safetensors_package_reads_what_is_written_and_we_read_what_it_writes(folder):
    package = pytest.importorskip("safetensors.numpy")
    data = (folder / "cases" / "plain-001.safetensors").read_bytes()
    theirs, ours = package.load(data), safetensors.read(data)[0]
    assert set(theirs) == set(ours)
    for name, a in ours.items():
        np.testing.assert_array_equal(a, theirs[name])
    written = {"a": np.arange(6.0).reshape(2, 3), "b": np.float32([1, 2])}
    back = safetensors.read(package.save(written))[0]
    np.testing.assert_array_equal(back["a"], written["a"])


def test_reading_a_case_gives_the_case_that_was_written(folder):
    written = {v.id: v.case for v in vectors(WRITTEN)}
    for kept in read_vectors(folder):
        case = written[kept.id]
        assert kept.case.architecture == case.architecture
        for field in ("params", "x", "state", "dropout", "d_y", "d_state"):
            got, expected = flatten(getattr(kept.case, field)), flatten(getattr(case, field))
            assert list(got) == list(expected)
            for path in got:
                np.testing.assert_array_equal(got[path], expected[path])


@pytest.mark.parametrize("group", ["masks", "zoneout", "bidirectional", "stack", "chunks"])
def test_every_kind_of_case_survives_its_arrays(group):
    for vector in vectors((group,)):
        case = vector.case
        described = json.loads(json.dumps(names.describe(case.architecture)))
        assert names.read_architecture(described) == case.architecture
        back = names.read_case(vector.id, case.architecture, names.question(case))
        for field in ("params", "x", "state", "mask", "dropout", "d_y", "d_state"):
            got, expected = flatten(getattr(back, field)), flatten(getattr(case, field))
            assert list(got) == list(expected)
            for path in got:
                np.testing.assert_array_equal(got[path], expected[path])
        result = run_oracle(case)
        blocks = names.read_result(case, names.answer(result)).blocks()
        assert list(blocks) == list(result.blocks())
        named = [b for n in names.answer(result) for b in names.blocks_of(n, case.architecture)]
        assert sorted(named) == sorted(blocks)


# --- the verdict ----------------------------------------------------------------------------------


def verify(folder, outputs, *options):
    return main(["verify", "--vectors", str(folder), "--outputs", str(outputs), *options])


def test_right_outputs_agree(folder, outputs, capsys):
    assert verify(folder, outputs) == 0
    assert f"{len(list(outputs.iterdir()))}" in capsys.readouterr().out


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_outputs_of_another_precision_are_judged_by_its_tolerance(folder, tmp_path, dtype):
    for kept in itertools.islice(read_vectors(folder), 6):
        arrays = names.answer(run_oracle(kept.case, np.float32))
        write_output(tmp_path, kept.id, {n: a.astype(dtype) for n, a in arrays.items()})
    report = judge(folder, tmp_path)
    assert report.count("agree") == 6
    assert report.count("disagree") == 0
    assert judge(folder, tmp_path, dtype="float64").count("disagree") == 6


def test_forward_only_is_judged_forward_only(folder, tmp_path):
    kept = next(iter(read_vectors(folder)))
    arrays = names.answer(run_oracle(kept.case))
    write_output(tmp_path, kept.id, {n: arrays[n] for n in ("y", "h_T", "c_T")})
    report = judge(folder, tmp_path)
    blocks = next(case.blocks for case in report.cases if case.status == "agree")
    assert {block.block for block in blocks} == {"y", "state.h", "state.c"}


def test_a_wrong_gradient_is_named_with_the_bug_that_it_looks_like(folder, outputs, capsys):
    kept = next(kept for kept in read_vectors(folder) if kept.id == "plain-007")
    wrong = _gate_order("WUbp", "igfo")(run_oracle, kept.case)
    write_output(outputs, kept.id, names.answer(wrong))
    assert verify(folder, outputs, "--format", "json") == 1
    (found,) = [
        case
        for case in json.loads(capsys.readouterr().out)["implementations"][0]["cases"]
        if case["status"] != "agree"
    ]
    assert found["name"] == "plain-007"
    assert found["nearest_bug"].startswith("gate-order-igfo:")


def test_one_wrong_digit_of_one_entry_is_seen(folder, outputs):
    d_U = safetensors.read((outputs / "plain-007.safetensors").read_bytes())[0]["d_U"]
    d_U[3, 2, 1] *= 1 + 1e-12
    changed(outputs, "plain-007", d_U=d_U)
    report = judge(folder, outputs)
    (found,) = [case for case in report.cases if case.status == "disagree"]
    assert found.name == "plain-007"
    assert "d_U_o" in found.message


def test_a_yardstick_that_was_measured_too_short_calls_nothing_wrong(folder, tmp_path, monkeypatch):
    """A small disagreement stands only where it outlives longer yardsticks than the one kept."""
    kept = next(kept for kept in read_vectors(folder) if kept.id == "plain-002")
    honest = {k: yardstick(kept.case)[f"d_U_{k}"].norm for k in "ifgo"}
    gate = max(honest, key=honest.get)
    tenth = {n: Deviation(honest[gate] / 10, honest[gate] / 10) for n in kept.yardstick("float64")}
    monkeypatch.setattr(Kept, "yardstick", lambda self, dtype: tenth)
    arrays = names.answer(kept.answer)
    for times, status in ((1, "agree"), (10, "disagree")):
        d_U = arrays["d_U"].copy()
        d_U["ifgo".index(gate)] *= 1 + times * honest[gate]
        write_output(tmp_path, kept.id, arrays | {"d_U": d_U})
        assert judge(folder, tmp_path).count(status) == 1, times


def missing(outputs):
    shutil.rmtree(outputs)


def empty(outputs):
    for path in outputs.iterdir():
        path.unlink()


def torn(outputs):
    path = outputs / "plain-001.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def strange(outputs):
    (outputs / "plain-999.safetensors").write_bytes(safetensors.write({"y": np.zeros(1)}))


def whole_numbers(outputs):
    write_output(outputs, "plain-001", {"y": np.zeros((1, 1, 3), np.uint8)})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "got no folder"),
        (empty, "got no .safetensors file"),
        (torn, "plain-001.safetensors: cannot be read: 'y' has data_offsets"),
        (strange, "plain-999.safetensors, which is the name of no case"),
        (whole_numbers, "got arrays of U8"),
    ],
)
def test_outputs_that_cannot_be_judged_are_one_clear_error(folder, outputs, capsys, spoil, said):
    spoil(outputs)
    assert verify(folder, outputs) == 2
    captured = capsys.readouterr()
    assert said in " ".join(captured.err.split())
    assert captured.out == ""


def test_a_wrong_shape_and_an_unknown_array_are_said(folder, outputs):
    changed(outputs, "plain-001", y=np.zeros((1, 1, 4)))
    changed(outputs, "plain-002", hidden=np.zeros(1))
    messages = {case.name: case.message for case in judge(folder, outputs).cases}
    assert "'y' has shape (1, 1, 4), expected (1, 1, 3)" in messages["plain-001"]
    assert "unknown array 'hidden'" in messages["plain-002"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--vectors", "v"], "--outputs: got none"),
        (["--outputs", "o"], "--vectors: got none"),
        (["--vectors", "v", "--outputs", "o", "--quick"], "--quick: got --vectors as well"),
        (["model.keras", "--vectors", "v", "--outputs", "o"], "MODEL: got --vectors as well"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, words, said):
    assert main(["verify", *words]) == 2
    assert said in capsys.readouterr().err


BROKEN = {
    "short": b"\x01",
    "long header": struct.pack("<Q", 1 << 40) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"\xff\xff{}",
    "a list": struct.pack("<Q", 2) + b"[]",
    "no object": struct.pack("<Q", 7) + b'{"a":1}',
    "dtype": safetensors.write({"a": np.zeros(2)}).replace(b"F64", b"Q64"),
    "shape": safetensors.write({"a": np.zeros(2)}).replace(b"[2]", b"[3]"),
    "negative": safetensors.write({"a": np.zeros(12)}).replace(b"[12]", b"[-2]"),
    "offsets": safetensors.write({"a": np.zeros(2)}).replace(b"[0,16]", b"[8,16]"),
    "backwards": safetensors.write({"a": np.zeros(2)}).replace(b"[0,16]", b"[16,0]"),
    "rest": safetensors.write({"a": np.zeros(2)}) + b"\0",
    "torn": safetensors.write({"a": np.zeros(2)})[:-1],
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused(what):
    with pytest.raises(ValueError, match=r"expected|is not|belong"):
        safetensors.read(BROKEN[what])


# --- writing from the command line ----------------------------------------------------------------


def test_vectors_writes_a_folder_and_does_not_overwrite_another(tmp_path, capsys):
    new = tmp_path / "new"
    assert main(["vectors", str(new), "--group", "projection"]) == 0
    assert "8 cases" in capsys.readouterr().out
    assert main(["vectors", str(new), "--group", "no-state"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["vectors", str(new), "--group", "no-state", "--force"]) == 0
    assert {path.name[:8] for path in (new / "cases").iterdir()} == {"no-state"}
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_force_removes_nothing_but_vectors(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert main(["vectors", str(tmp_path), "--group", "projection", "--force"]) == 2
    assert "without cases.json" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("words", [["--group", "nothing"], []])
def test_vectors_refuses_what_it_cannot_write(tmp_path, capsys, words):
    (tmp_path / "file").write_text("")
    assert main(["vectors", str(tmp_path / "file"), *words]) == 2
    assert "expected" in capsys.readouterr().err


# --- without Python -------------------------------------------------------------------------------

compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@pytest.fixture(scope="module")
def check(repository, tmp_path_factory):
    """The worked example in C, compiled."""
    if compiler is None:
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("c") / "check"
    source = repository / "examples" / "vectors_c" / "check.c"
    options = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *options, "-o", program, source, "-lm"], check=True, timeout=120)
    return program


def run_check(*arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


def test_the_example_in_c_checks_itself(check, folder):
    plain = sorted(path.stem for path in folder.glob("cases/plain-*"))
    done = run_check(check, folder, *plain)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count(" agrees") == len(plain)


def test_the_example_in_c_sees_a_wrong_lstm(repository, folder, tmp_path):
    """The same source with one line wrong, each time another."""
    if compiler is None:
        pytest.skip("no C compiler")
    source = (repository / "examples" / "vectors_c" / "check.c").read_text()
    shutil.copy(repository / "examples" / "vectors_c" / "safetensors.h", tmp_path)
    for right, wrong in (("d_c[j] *= f;", "d_c[j] *= i;"), ("h[t * H + n] * d;", "h[n] * d;")):
        assert source.count(right) == 1
        (tmp_path / "wrong.c").write_text(source.replace(right, wrong))
        program = tmp_path / "wrong"
        subprocess.run(
            [compiler, "-std=c99", "-o", program, tmp_path / "wrong.c", "-lm"], check=True
        )
        done = run_check(program, folder, "plain-007", "plain-009")
        assert (done.returncode, done.stdout.count("DISAGREES")) == (1, 2)


def test_the_example_in_c_says_what_it_cannot_read(check, folder):
    assert run_check(check, folder, "plain-999").returncode == 2
    assert run_check(check, folder / "nothing", "plain-001").returncode == 2
    assert run_check(check).returncode == 2
