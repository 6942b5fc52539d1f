"""Where a report goes: stdout that holds nothing else, or a file that is whole or absent."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

from lstm_oracle.cli.errors import CommandError


def check_writable(path: Path) -> None:
    """Refuse a report's path before the work is done, not after it.

    Raises
    ------
    CommandError
        Where the path is a folder, its folder does not exist, or cannot be written to.
    """
    if path.is_dir():
        raise CommandError(
            f"--output: got {str(path)!r}, which is a folder, expected a file. "
            f"Name a file in it, for example {str(path / 'report.txt')!r}."
        )
    folder = path.parent
    if not folder.is_dir():
        raise CommandError(
            f"--output: got {str(path)!r}, but {str(folder)!r} is not a folder, expected an "
            f"existing one. Create it first: mkdir -p {str(folder)!r}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(
            f"--output: got {str(path)!r}, but {str(folder)!r} is not writable, expected a folder "
            "that is. Name another one."
        )


def write_file(path: Path, text: str) -> None:
    """Write all of the text or nothing: into a temporary file beside it, then renamed."""
    check_writable(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            errors="backslashreplace",
            newline="\n",
            dir=path.parent,
            prefix=".",
            delete=False,
        ) as file:
            temporary = file.name
            file.write(text)
        os.chmod(temporary, 0o666 & ~_umask())  # a temporary file is private; a report is not
        os.replace(temporary, path)
    except OSError as error:
        raise CommandError(
            f"--output: got {str(path)!r}, which could not be written: {error.strerror or error}; "
            "expected a writable place. Name another file."
        ) from error
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


def write_stdout(text: str) -> None:
    """Write to stdout, whatever characters it can hold; a reader that left early is no error."""
    stream = sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        # What is buffered would raise again when the interpreter closes the stream.
        with open(os.devnull, "w") as nothing, suppress(OSError, ValueError):
            os.dup2(nothing.fileno(), stream.fileno())


@contextmanager
def quiet(*, show: bool = False) -> Iterator[TextIO]:
    """Keep whatever frameworks print, from Python or from C, away from stdout and stderr.

    Gives the real stderr, for progress. `show` sends all of it to stderr instead of dropping it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        _own_descriptor(1) as stdout,
        _own_descriptor(2) as stderr,
        open(os.devnull, "w") as nothing,
    ):
        real = os.fdopen(os.dup(stderr), "w", buffering=1, errors="backslashreplace")
        target = real if show else nothing
        try:
            os.dup2(target.fileno(), 1)
            os.dup2(target.fileno(), 2)
            with redirect_stdout(target), redirect_stderr(target):
                yield real
        finally:
            _flush_c_streams()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            real.close()


@contextmanager
def _own_descriptor(descriptor: int) -> Iterator[int]:
    """A copy of a file descriptor, that outlives what is done to the original."""
    copy = os.dup(descriptor)
    try:
        yield copy
    finally:
        os.close(copy)


def _flush_c_streams() -> None:
    """C's own buffers would otherwise reach stdout after it is ours again."""
    with suppress(OSError, AttributeError, TypeError):  # TypeError: no CDLL(None) on Windows
        ctypes.CDLL(None).fflush(None)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
