"""The native kernel is built once, by whoever comes first; without a compiler all else works."""

import os
import shutil
import subprocess
import sys

import pytest

from lstm_oracle.jax_impl import native
from lstm_oracle.jax_impl.native import build

needs_compiler = pytest.mark.skipif(
    not native.available("float32")[0], reason=native.available("float32")[1]
)

WITHOUT = """
import logging, sys
logging.basicConfig(level=logging.WARNING)
import jax, numpy as np
from lstm_oracle.jax_impl import choose, init, lstm, native
from lstm_oracle.reference.spec import Spec

there, reason = native.available()
assert not there
spec = Spec(input_size=8, hidden_size=64)
params = init(jax.random.key(0), spec)
x = np.ones((16, 40, 8), np.float32)
y = lstm(params, x, spec=spec).y
assert y.shape == (16, 40, 64)
assert choose(spec, 40, 16).name != "native"
try:
    lstm(params, x, spec=spec, implementation="native")
except ValueError as error:
    assert reason in str(error), error
else:
    sys.exit("the native kernel ran")
print(reason)
"""


def test_without_a_compiler_everything_else_works_and_says_so_once(run_python, tmp_path):
    environment = {"PATH": "", "CXX": "", "LSTM_ORACLE_CACHE": str(tmp_path)}
    done = run_python(WITHOUT, JAX_PLATFORMS="cpu", **environment)
    assert done.returncode == 0, done.stderr
    assert "found no C++ compiler" in done.stdout
    assert done.stderr.count("no native LSTM kernel: found no C++ compiler") == 1


def test_a_compiler_that_fails_is_quoted(run_python, tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'kernel.cc: no such luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    environment = {"CXX": str(broken), "LSTM_ORACLE_CACHE": str(tmp_path / "cache")}
    done = run_python(WITHOUT, JAX_PLATFORMS="cpu", **environment)
    assert done.returncode == 0, done.stderr
    assert "no such luck" in done.stdout
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(run_python, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    done = run_python(
        WITHOUT, JAX_PLATFORMS="cpu", LSTM_ORACLE_CACHE=str(file / "below"), CXX=sys.executable
    )
    assert done.returncode == 0, done.stderr
    assert "Name another folder in LSTM_ORACLE_CACHE" in done.stdout


# A stand-in that takes its time, so that both processes are at it, then a finished library.
SLOW_COMPILER = """#!/bin/sh
while [ $# -gt 1 ]; do [ "$1" = -o ] && out="$2"; shift; done
echo compiled >> "{log}"
head -c 1000 "{library}" > "$out"
sleep 2
cat "{library}" > "$out"
"""

LOAD = "from lstm_oracle.jax_impl import native; print(native.threads())"


@needs_compiler
def test_two_processes_that_build_at_once_both_have_it(repository, tmp_path):
    finished = build.cache_folder() / build.file_name("float32")
    log, compiler, cache = tmp_path / "log", tmp_path / "slow", tmp_path / "cache"
    compiler.write_text(SLOW_COMPILER.format(log=log, library=finished))
    compiler.chmod(0o755)
    environment = os.environ | {
        "CXX": str(compiler),
        "LSTM_ORACLE_CACHE": str(cache),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(repository / ".typecheck"),
    }

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", LOAD], env=environment, stdout=subprocess.PIPE, text=True
        )

    both = [start(), start()]
    answers = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(set(answers)) == 1
    (library,) = cache.iterdir()
    assert library.read_bytes() == finished.read_bytes()
    assert 1 <= log.read_text().count("compiled") <= 2
    third = start()
    third.communicate(timeout=300)
    assert third.returncode == 0
    assert 1 <= log.read_text().count("compiled") <= 2  # found, not built again


@needs_compiler
def test_another_source_compiler_or_processor_is_another_file(monkeypatch, tmp_path):
    names = {build.file_name("float32"), build.file_name("float64")}
    monkeypatch.setattr(build, "_processor", lambda: "another")
    names.add(build.file_name("float32"))
    other = shutil.copy("/bin/sh", tmp_path / "compiler")
    monkeypatch.setenv("CXX", str(other))
    names.add(build.file_name("float32"))
    monkeypatch.setattr(build, "_sources", lambda: [other])
    names.add(build.file_name("float32"))
    assert len(names) == 5


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["-mno-avx512f -mavx2 -mfma", "-march=x86-64"])
def test_narrower_vectors_agree(run_python, repository, tmp_path, tuning):
    """The source is the same for AVX2 and SSE; a compiler that knows no more stands in."""
    compiler = tmp_path / "narrow"
    real = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    compiler.write_text(f'#!/bin/sh\nexec "{real}" "$@" {tuning}\n')
    compiler.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         "tests/jax/test_native_agrees_with_the_oracle.py", "-k", "not units_in_the_last_place"],
        cwd=repository,
        env=os.environ | {"CXX": str(compiler), "LSTM_ORACLE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_auto_builds_nothing_for_a_layer_too_small_to_gain(run_python, tmp_path):
    done = run_python(
        "import sys; from lstm_oracle.jax_impl import choose;"
        "from lstm_oracle.reference.spec import Spec;"
        "print(choose(Spec(input_size=3, hidden_size=4), 5, 2, platform='cpu').name)",
        LSTM_ORACLE_CACHE=str(tmp_path),
    )
    assert done.stdout.strip() not in ("", "native")
    assert list(tmp_path.iterdir()) == []
