"""Which backend Keras runs on: chosen before Keras is imported, and said."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lstm_oracle.cli.errors import CommandError

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend(option: str | None, environment: Mapping[str, str]) -> tuple[str, str]:
    """The backend and, where it is not what somebody asked for, a sentence that says why.

    In this order: the option, what this process runs Keras on already, `KERAS_BACKEND`,
    `keras.json`, the first that is installed.

    Raises
    ------
    CommandError
        Where the one asked for is unknown or not installed, or Keras is missing.
    """
    if not is_installed("keras"):
        raise CommandError(
            "got a Keras model, but Keras is not installed, expected keras >= 3.15.1. "
            "Run: pip install 'lstm-oracle[tensorflow]' (or [jax], [torch])."
        )
    if option:
        return _asked_for(option, "--backend"), ""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend(), ""
    if environment.get("KERAS_BACKEND"):
        return _asked_for(environment["KERAS_BACKEND"], "KERAS_BACKEND"), ""
    configured = _configured(environment)
    if configured in BACKENDS and is_installed(configured):
        return configured, ""
    for backend in BACKENDS:
        if is_installed(backend):
            return backend, f"backend {backend} was taken as the first that is installed."
    raise CommandError(
        "got a Keras model, but no backend is installed, expected one of "
        f"{', '.join(BACKENDS)}. Run: pip install 'lstm-oracle[tensorflow]' (or [jax], [torch])."
    )


def use_backend(backend: str) -> None:
    """Make Keras use the backend; it cannot be changed once Keras is imported."""
    if "keras" in sys.modules:
        import keras

        if keras.backend.backend() != backend:
            raise CommandError(
                f"--backend: got {backend!r}, but Keras already runs on "
                f"{keras.backend.backend()!r} in this process, expected the same one. "
                "Start a new process."
            )
        return
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def _asked_for(backend: str, source: str) -> str:
    if backend not in BACKENDS:
        raise CommandError(
            f"{source}: got {backend!r}, expected one of {', '.join(BACKENDS)}. "
            "Choose one that is installed."
        )
    if not is_installed(backend):
        others = [name for name in BACKENDS if is_installed(name)]
        raise CommandError(
            f"{source}: got {backend!r}, which is not installed, expected one that is "
            f"({', '.join(others) or 'none is'}). Run: pip install 'lstm-oracle[{backend}]'."
        )
    return backend


def _configured(environment: Mapping[str, str]) -> str:
    """What keras.json says; Keras writes that file by itself, so it may name a missing backend."""
    home = environment.get("KERAS_HOME")
    path = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("backend", "tensorflow"))
    except (OSError, ValueError, AttributeError, RuntimeError):
        return "tensorflow"
