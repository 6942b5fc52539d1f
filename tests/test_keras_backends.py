"""Everything about the Keras room, on each backend: one process per backend, two folders.

A backend is fixed when Keras is imported, so each gets an interpreter of its own, which runs
`tests/keras` and then the recurrent tests that ship inside Keras.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "keras"
BACKENDS = ("tensorflow", "jax", "torch")
KERAS_OWN = ("lstm", "rnn", "bidirectional", "stacked_rnn_cells", "dropout_rnn_cell")


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """Programs that JAX has compiled; empty at first."""
    return tmp_path_factory.mktemp("compiled")


def run_pytest(backend: str, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    rooms = FOLDER.parents[1] / ".typecheck"
    path = os.pathsep.join((str(FOLDER), str(rooms), os.environ.get("PYTHONPATH", "")))
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": path.rstrip(os.pathsep),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        # Many tiny operations: threads would only wait for each other.
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        # Compiling is nearly all of the time here, and the programs are tiny and often the same.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        env=environment,
        cwd=FOLDER.parents[1],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def assert_passed(run: subprocess.CompletedProcess[str]) -> None:
    report = run.stdout[-6000:] + run.stderr[-2000:]
    assert run.returncode == 0, report
    assert " passed" in run.stdout, report


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tests_of_the_keras_room_pass(backend, cache):
    assert_passed(run_pytest(backend, cache, str(FOLDER)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_tests_inside_keras_pass_when_pointed_at_ours(backend, cache, tmp_path):
    keras = importlib.util.find_spec("keras")
    if keras is None:
        pytest.skip("keras is not installed")
    folder = Path(keras.origin).parent / "src" / "layers" / "rnn"
    # Keras' tests warn, so they get settings of their own: none.
    settings = tmp_path / "pytest.ini"
    settings.write_text("[pytest]\n")
    options = ("-c", str(settings), "--rootdir", str(tmp_path), "-p", "run_keras_own_tests")
    files = [str(folder / f"{name}_test.py") for name in KERAS_OWN]
    assert_passed(run_pytest(backend, cache, *options, *files))
