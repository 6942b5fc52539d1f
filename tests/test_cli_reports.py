"""A report says the same in every format, fits the terminal, and can be read back."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET

import pytest

from lstm_oracle.cli import document, output
from lstm_oracle.cli.document import render_plain, render_rich
from lstm_oracle.cli.errors import CommandError
from lstm_oracle.cli.report_json import implementations_json, model_json
from lstm_oracle.cli.report_junit import implementations_junit, model_junit
from lstm_oracle.cli.report_table import implementations_document, model_document
from lstm_oracle.conformance.report import (
    BlockError,
    CaseReport,
    ImplementationReport,
    LayerReport,
    ModelReport,
)

GOOD = (BlockError("y", 1e-8, 2e-8, 4e-8, 0.25), BlockError("d_U_f", 3e-8, 2e-8, 4e-8, 0.75))
BAD = (BlockError("y", 1e-8, 2e-8, 4e-8, 0.25), BlockError("d_W_i", 0.5, 2e-8, 4e-8, 1.25e7))
BROKEN = (BlockError("d_x", math.nan, 2e-8, 4e-8, math.inf),)
NASTY = 'a < b & "c" \x00\x1b[31m\ud800 \u2264 ]]>'
CASES = (
    CaseReport("peepholes with a rather long name", "agree", "float64", GOOD),
    CaseReport("mask left", "disagree", "float32", BAD, "only of gate i", nearest_bug="swap"),
    CaseReport("nan padding", "disagree", "float32", BROKEN, explanation="issue 23223"),
    CaseReport("projection", "unsupported", "float64", message="it has no projection"),
    CaseReport("unroll", "error", "float64", message=NASTY),
)
IMPLEMENTATIONS = (
    ImplementationReport("lstm_oracle.jax_impl", CASES[:1], 1.5, 0.5, {"jax": "0.10.2"}),
    ImplementationReport("keras.layers.LSTM on tensorflow", CASES, 12.25, 3.0, {"keras": "3.15"}),
    ImplementationReport("torch.nn.LSTM", unavailable="torch is not installed"),
)
LAYERS = (
    LayerReport(CASES[0], "keras.layers.LSTM", 0, "forward", (64, 29, 12, 32), 711),
    LayerReport(CASES[1], "keras.layers.LSTM", 1, "backward", (64, 29, 12, 32)),
    LayerReport(CASES[3], "keras.layers.ConvLSTM2D"),
)
MODEL = ModelReport(
    "speaker", "jax", LAYERS, "the model's own loss", 64, 2.5, {"keras": "3.15"}, (NASTY,)
)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("render", [render_plain, render_rich])
@pytest.mark.parametrize(
    ("make", "report"), [(implementations_document, IMPLEMENTATIONS), (model_document, MODEL)]
)
def test_a_table_fits_the_terminal(make, report, render, width):
    text = render(make(report, width=width), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "\x00" not in text


def test_plain_and_rich_tables_say_the_same():
    def words(text):
        return re.sub(r"[^\w.:,]+", "", text)

    content = implementations_document(IMPLEMENTATIONS)
    assert words(render_plain(content, width=200)) == words(
        render_rich(content, width=200, ascii_only=True)
    )


def test_without_rich_the_plain_table_is_printed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich", None)
    content = implementations_document(IMPLEMENTATIONS)
    assert document.render(content, width=100) == render_plain(content, width=100)


def test_a_table_for_an_ascii_terminal_is_ascii():
    content = implementations_document(IMPLEMENTATIONS[:1], width=80)
    assert render_rich(content, width=80, ascii_only=True).isascii()
    assert render_plain(content, width=80).isascii()


def test_the_table_tells_every_disagreement_with_its_explanation():
    text = " ".join(render_plain(implementations_document(IMPLEMENTATIONS), width=200).split())
    assert "- mask left (float32): only of gate i; looks most like the seeded bug 'swap'" in text
    assert "- Known defect, 1 case: issue 23223 Seen in: nan padding." in text
    assert "keras.layers.LSTM on tensorflow: it has no projection (1)" in text
    assert "torch is not installed" in text
    assert "1 of 2 disagree: keras.layers.LSTM on tensorflow." in text


def test_the_verdict_says_when_all_that_disagrees_is_known():
    known = ImplementationReport("keras.layers.LSTM on jax", CASES[2:4])
    text = render_plain(implementations_document([known]), width=100)
    assert "1 of 1 disagree: keras.layers.LSTM on jax; only in known defects." in text


def test_the_worst_block_is_the_one_that_is_not_finite():
    text = " ".join(render_plain(implementations_document(IMPLEMENTATIONS), width=200).split())
    assert "nan inf 12.2 nan padding: d_x" in text


# --- JSON -----------------------------------------------------------------------------------------


KINDS = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int,
    "number": (int, float), "null": type(None),
}  # fmt: skip
KNOWN = {"$schema", "title", "$defs", "$ref", "type", "properties", "required", "items"}
KNOWN |= {"additionalProperties", "const", "enum", "anyOf"}


def violations(value, schema, root, path="$"):
    """Every way in which a value breaks the part of JSON Schema that docs/ uses."""
    assert set(schema) <= KNOWN, path
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    if "anyOf" in schema:
        options = [violations(value, option, root, path) for option in schema["anyOf"]]
        return [] if any(not found for found in options) else options[0]
    if "type" in schema and not isinstance(value, KINDS[schema["type"]]):
        return [f"{path}: {value!r} is no {schema['type']}"]
    allowed = schema.get("enum", [schema["const"]] if "const" in schema else [value])
    return ([] if value in allowed else [f"{path}: {value!r}"]) + inside(value, schema, root, path)


def inside(value, schema, root, path):
    found = []
    if isinstance(value, list):
        for n, item in enumerate(value):
            found += violations(item, schema["items"], root, f"{path}[{n}]")
    if isinstance(value, dict):
        found += [f"{path}: no {key}" for key in schema.get("required", []) if key not in value]
        for key, item in value.items():
            part = schema.get("properties", {}).get(key, schema.get("additionalProperties", {}))
            if part is False:
                found.append(f"{path}: unknown {key}")
            else:
                found += violations(item, part, root, f"{path}.{key}")
    return found


@pytest.fixture(scope="module")
def schema(repository):
    return json.loads((repository / "docs" / "verify.schema.json").read_text())


@pytest.mark.parametrize("text", [implementations_json(IMPLEMENTATIONS, 1), model_json(MODEL, 1)])
def test_json_keeps_to_the_documented_schema(text, schema):
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert violations(content, schema, schema) == []


def test_the_schema_check_sees_what_breaks_the_schema(schema):
    content = json.loads(implementations_json(IMPLEMENTATIONS, 1))
    content["implementations"][0]["cases"][0]["status"] = "fine"
    content["implementations"][0]["extra"] = 1
    del content["implementations"][1]["cases"]
    assert len(violations(content, schema, schema)) == 3


def test_json_holds_every_number_of_the_report():
    content = json.loads(implementations_json(IMPLEMENTATIONS, 1))
    cases = content["implementations"][1]["cases"]
    assert [case["status"] for case in cases] == [case.status for case in CASES]
    assert cases[1]["blocks"][1] == {
        "block": "d_W_i", "error": 0.5, "yardstick": 2e-8, "tolerance": 4e-8, "ratio": 1.25e7,
    }  # fmt: skip
    assert (cases[2]["blocks"][0]["error"], cases[2]["blocks"][0]["ratio"]) == ("NaN", "Infinity")


# --- JUnit ----------------------------------------------------------------------------------------


def test_junit_counts_and_explains_every_case():
    root = ET.fromstring(implementations_junit(IMPLEMENTATIONS))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == [r.implementation for r in IMPLEMENTATIONS]
    second = suites[1]
    counted = {key: second.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counted == {"tests": "5", "failures": "2", "errors": "1", "skipped": "1"}
    assert len(second.findall("testcase")) == 5
    failures = second.findall("testcase/failure")
    assert "only of gate i" in failures[0].get("message")
    assert failures[1].get("type") == "known defect"
    assert failures[1].text == "issue 23223"
    assert second.find("testcase/skipped").get("message") == "it has no projection"
    assert suites[2].find("testcase/skipped").get("message") == "torch is not installed"


def test_junit_survives_characters_that_xml_cannot_hold():
    root = ET.fromstring(implementations_junit(IMPLEMENTATIONS).encode())
    message = root.find("testsuite/testcase/error").get("message")
    assert 'a < b & "c" ??[31m? \u2264 ]]>' in message


def test_junit_of_a_model_has_a_case_per_call():
    root = ET.fromstring(model_junit(MODEL))
    names = [case.get("name") for case in root.findall("testsuite/testcase")]
    assert names == [CASES[0].name, "mask left#2", "projection"]


# --- where a report goes --------------------------------------------------------------------------


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "report.txt"
    path.write_text("old")
    output.write_file(path, "new \u2264\n")
    assert path.read_text(encoding="utf-8") == "new \u2264\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "report.txt"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "replace", full)
    with pytest.raises(CommandError, match="No space left on device; expected a writable place"):
        output.write_file(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_printed_meanwhile_reaches_neither_stdout_nor_stderr(run_python):
    script = (
        "import ctypes, os, sys\n"
        "from lstm_oracle.cli.output import quiet, write_stdout\n"
        "with quiet() as stderr:\n"
        "    print('from Python'); print('from Python', file=sys.stderr)\n"
        "    os.write(1, b'from a descriptor'); os.write(2, b'from a descriptor')\n"
        "    ctypes.CDLL(None).printf(b'from C')\n"
        "    print('progress', file=stderr)\n"
        "write_stdout('report\\n')\n"
    )
    done = run_python(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "report\n", "progress\n")


def test_a_reader_that_left_is_no_error(run_python):
    script = (
        "import os, sys\n"
        "from lstm_oracle.cli.output import write_stdout\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1); os.close(write)\n"
        "write_stdout('report\\n' * 100_000)\n"
        "sys.exit(1)\n"
    )
    done = run_python(script)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_report_is_printed_on_any_terminal(run_python):
    script = "from lstm_oracle.cli.output import write_stdout; write_stdout('a \u2264 b\\n')"
    done = run_python(script, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stdout) == (0, "a ? b\n")
