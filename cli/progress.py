"""Progress on stderr: one line that is written over on a terminal, one line a step elsewhere."""

from __future__ import annotations

import shutil
from typing import TextIO


class Progress:
    """Called with a sentence whenever there is something new to say."""

    def __init__(self, stream: TextIO, wanted: bool | None) -> None:
        """Show it where it is wanted; None: where the stream is a terminal."""
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = self._terminal if wanted is None else wanted

    def __call__(self, text: str) -> None:
        """Say it."""
        if not self._shown:
            return
        if not self._terminal:
            print(text, file=self._stream, flush=True)
            return
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width))
        self._stream.flush()

    def finish(self) -> None:
        """Leave an empty line on a terminal."""
        if self._shown and self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + " " * width + "\r")
            self._stream.flush()
