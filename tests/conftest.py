"""Settings of every test: Hypothesis profiles, fresh interpreters, one name per module."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = sorted(init.parent.name for init in REPOSITORY.glob("*/__init__.py"))

# Drawing is slow on a loaded machine, which says nothing about the property.
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# Other examples on every run; a failing one is printed and kept in .hypothesis.
settings.register_profile(
    "thorough",
    max_examples=10_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout under test."""
    return REPOSITORY


@pytest.fixture(scope="session")
def run_python():
    """Run a script in a fresh interpreter that finds `lstm_oracle`, installed or not."""
    path = [str(REPOSITORY / ".typecheck"), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, path)))

    def run(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    return run


def canonical_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(("lstm_oracle", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@pytest.fixture(scope="session", autouse=True)
def one_name_per_module():
    """Fail at the end when a file of a room was imported under a second name."""
    yield
    wrong = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not isinstance(file, str):
            continue
        path = Path(file).resolve()
        in_room = any(path.is_relative_to(REPOSITORY / room) for room in ROOMS)
        # The fault bench is scripts that import one another as neighbours.
        in_room &= not path.is_relative_to(REPOSITORY / "benchmarks" / "faults")
        if in_room and name != canonical_name(path):
            wrong.append(f"{file} as {name}, expected {canonical_name(path)}")
    assert not wrong, "files imported under a second name: " + "; ".join(wrong)
