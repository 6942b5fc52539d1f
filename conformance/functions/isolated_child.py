"""The process in which an isolated function runs: `isolated` starts it and talks to it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import sys
import warnings
from typing import IO, Any

import numpy as np

from lstm_oracle.conformance.functions import messages
from lstm_oracle.conformance.functions.subject import NotImported, Subject
from lstm_oracle.conformance.functions.subjects import load, plain_subject


def main() -> int:
    """Answer until nothing more is asked."""
    out = _own_stdout()
    questions = sys.stdin.buffer
    name, spec, options, memory_limit = pickle.load(questions)
    _limit_memory(memory_limit)
    subject = _answered(out, lambda: _introduce(name, spec, options))
    while subject is not None:
        try:
            case, gradients = pickle.load(questions)
        except EOFError:
            return 0
        _answered(out, lambda case=case, gradients=gradients: _run(subject, case, gradients))
    return 1


def _introduce(name: str, spec: Any, options: dict[str, Any]) -> tuple[messages.Message, Subject]:
    backward = options["gradients"]
    if isinstance(backward, str) and ":" in backward:
        options = {**options, "gradients": load(backward)}
    subject = plain_subject(_loaded(name), spec, options)
    abilities = dataclasses.asdict(subject.abilities())
    header = {
        "name": subject.name,
        "dtype": subject.dtype,
        "free_sizes": subject.free_sizes,
        "architecture": messages.architecture_as(subject.architecture),
        "abilities": {**abilities, "outputs": sorted(abilities["outputs"])},
    }
    return (header, {}), subject


def _loaded(name: str) -> Any:
    """The function; what goes wrong here is not the function's own doing."""
    try:
        return load(name)
    except ValueError as error:
        raise NotImported(str(error)) from error
    except Exception as error:
        raise NotImported(f"cannot be imported: {type(error).__name__}: {error}") from error


def _run(subject: Subject, case: Any, gradients: bool) -> tuple[messages.Message, Subject]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return messages.arrays_of(subject.run(case, gradients=gradients)), subject


def _answered(out: IO[bytes], question: Any) -> Subject | None:
    """Write the answer, or what was raised in its place."""
    try:
        (header, arrays), subject = question()
    except Exception as error:
        text = " ".join(str(error).split())
        messages.write(out, {"error": type(error).__name__, "message": text[:500]}, {})
        return None
    messages.write(out, header, arrays)
    found: Subject = subject
    return found


def _limit_memory(limit: int) -> None:
    """Of what the process allocates; only where the system can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _own_stdout() -> IO[bytes]:
    """The real stdout for ourselves; what the function prints goes to stderr."""
    out = os.fdopen(os.dup(1), "wb")
    sys.stdout.flush()
    os.dup2(2, 1)
    return out


if __name__ == "__main__":
    raise SystemExit(main())
