"""Examples in docstrings run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NEEDS = {"keras_impl": "keras", "jax_impl": "jax"}
ROOMS = ("reference", "keras_impl", "jax_impl", "conformance", "cli")


def modules_with_examples():
    """Canonical name of every module of a room that has a `>>>` in it, by its text alone."""
    for room in ROOMS:
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            if ">>>" in path.read_text(encoding="utf-8"):
                parts = path.relative_to(REPOSITORY).with_suffix("").parts
                yield ".".join(("lstm_oracle", *(p for p in parts if p != "__init__")))


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_in_docstrings_run(name):
    framework = NEEDS.get(name.split(".")[1])
    if framework is not None:
        pytest.importorskip(framework, reason=f"{name} needs {framework}", exc_type=ImportError)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
