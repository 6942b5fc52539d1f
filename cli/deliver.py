"""A report on its way out: drawn for the place that it goes to, and written there."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_oracle.cli.output import check_writable, write_file, write_stdout

if TYPE_CHECKING:
    from lstm_oracle.cli.document import Document

_FILE_WIDTH = 100


def report_path(output: str | None) -> Path | None:
    """The file of --output, refused before the work where it cannot be written."""
    if output is None:
        return None
    path = Path(output)
    check_writable(path)
    return path


def report_width(output: str | None) -> int:
    """Of the terminal, or what a file is written with."""
    return _FILE_WIDTH if output else shutil.get_terminal_size((_FILE_WIDTH, 24)).columns


def drawn(document: Document, output: str | None) -> str:
    """The document as text, in colour on a terminal."""
    from lstm_oracle.cli.document import render

    if output:
        return render(document, width=_FILE_WIDTH)
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower()
    return render(
        document,
        width=report_width(output),
        colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
        ascii_only=not encoding.startswith("utf"),
    )


def deliver(text: str, path: Path | None) -> None:
    """Into the file, or to stdout."""
    if path is None:
        write_stdout(text)
    else:
        write_file(path, text)
