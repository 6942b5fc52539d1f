"""Run every reproduction in docs/upstream/ in a process of its own and write docs/upstream.md.

    python docs/update_upstream.py            run them all, write the page and its JSON
    python docs/update_upstream.py NAME ...   run some of them and print what they say

A reproduction needs nothing of this repository. Its docstring says what is wrong and what was
expected; a comment names the library, the backends of Keras to run it on, and public issues. It
prints what it sees and ends with 0 where the defect is there, with 1 where it is not, and with
anything else where it could not be run.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE / "upstream.md"
KEPT = HERE.parent / "benchmarks" / "results" / "upstream.json"

TITLES = {
    "keras": "Keras",
    "flax": "Flax",
    "jax": "JAX",
    "onnxruntime": "onnxruntime",
    "onnx": "ONNX: reference evaluator and node tests",
}
NEEDS = {"onnxruntime": ["onnxruntime", "onnx"], "flax": ["flax", "jax"]}
VERDICTS = {0: "confirmed", 1: "not reproduced"}
SECONDS = 300
ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Reproduction:
    """A script of docs/upstream/, and what its head says."""

    name: str
    title: str
    text: str
    library: str
    backends: tuple[str, ...]
    issues: tuple[str, ...]
    code: str


def read(path: Path) -> Reproduction:
    source = path.read_text(encoding="utf-8")
    title, _, text = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
    head = re.search(r"^# (library: .*)$", source, re.MULTILINE)
    if head is None or not text:
        raise SystemExit(f"{path.name}: no docstring of two paragraphs, or no line '# library: …'.")
    fields = dict(field.split(": ", 1) for field in head[1].split("; "))
    return Reproduction(
        name=path.stem,
        title=title,
        text=text,
        library=fields["library"],
        backends=_listed(fields, "backends") or ("",),
        issues=_listed(fields, "issues"),
        code=source[head.end() :].strip(),
    )


def _listed(fields: dict[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in fields.get(name, "").split(",") if part.strip())


def run(reproduction: Reproduction, backend: str) -> dict[str, Any]:
    """What the script said on one backend, and how it ended."""
    environment = {**os.environ, **ENVIRONMENT}
    if backend:
        environment["KERAS_BACKEND"] = backend
    if reproduction.library == "keras":
        environment["JAX_ENABLE_X64"] = "1"
    script = HERE / "upstream" / f"{reproduction.name}.py"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        said = [f"no end within {SECONDS} s"]
        return {"backend": backend, "verdict": "could not run", "said": said}
    complaint = done.stderr.strip().splitlines()[-1:] if done.returncode not in VERDICTS else []
    # An uncaught exception ends Python with 1 as well.
    crashed = "Traceback (most recent call last)" in done.stderr
    verdict = "could not run" if crashed else VERDICTS.get(done.returncode, "could not run")
    said = done.stdout.strip().splitlines()
    return {"backend": backend, "verdict": verdict, "said": said + (complaint if crashed else [])}


def versions(reproduction: Reproduction, backend: str) -> dict[str, str]:
    names = [*NEEDS.get(reproduction.library, [reproduction.library]), backend]
    return {name: _version(name) for name in names if name}


def _version(name: str) -> str:
    candidates = [name, f"{name}-cpu"]
    for candidate in candidates:
        try:
            return importlib.metadata.version(candidate)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "not installed"


def page(found: list[dict[str, Any]], reproductions: list[Reproduction]) -> str:
    by_name = {entry["name"]: entry for entry in found}
    count = sum(all(r["verdict"] == "confirmed" for r in entry["runs"]) for entry in found)
    lines = [
        "# Live defects of others that the checks of this repository expose",
        "",
        "Written by `python docs/update_upstream.py`, which runs every reproduction below in a "
        "process of its own;",
        f"{count} of {len(found)} were confirmed on every backend that they name. A reproduction "
        "needs only the library that it is about, and is",
        "the file of that name in `docs/upstream/`. Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}, CPU.",
        "",
    ]
    for library, title in TITLES.items():
        lines += [f"## {title}", ""]
        for reproduction in reproductions:
            if reproduction.library == library:
                lines += _section(reproduction, by_name[reproduction.name])
    return "\n".join(lines).rstrip() + "\n"


def _section(reproduction: Reproduction, entry: dict[str, Any]) -> list[str]:
    lines = [f"### {reproduction.title}", "", reproduction.text, ""]
    if reproduction.issues:
        lines += [f"Known as {', '.join(reproduction.issues)}.", ""]
    lines += ["```python", reproduction.code, "```", ""]
    for one in entry["runs"]:
        versions_ = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
        lines += [f"**{one['verdict']}** with {versions_}:", "", "```text", *one["said"], "```", ""]
    return lines


def main(names: list[str]) -> int:
    paths = sorted((HERE / "upstream").glob("*.py"))
    reproductions = [read(path) for path in paths if not names or path.stem in names]
    found = []
    for reproduction in reproductions:
        runs = []
        for backend in reproduction.backends:
            one = run(reproduction, backend) | {"versions": versions(reproduction, backend)}
            runs.append(one)
            where = f" on {backend}" if backend else ""
            print(f"{reproduction.name}{where}: {one['verdict']}", flush=True)
            for line in one["said"] if names else []:
                print(f"    {line}", flush=True)
        found.append({"name": reproduction.name, "library": reproduction.library, "runs": runs})
    if not names:
        KEPT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        PAGE.write_text(page(found, reproductions), encoding="utf-8")
    return int(any(one["verdict"] != "confirmed" for entry in found for one in entry["runs"]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
