"""Progress on stderr: one line written over on a terminal, a line for what is done elsewhere."""

from __future__ import annotations

import shutil
import threading
from typing import TextIO


class Progress:
    """Called with (implementation, cases done, cases in all), from any thread."""

    def __init__(self, stream: TextIO, wanted: bool | None) -> None:
        """Show it where it is wanted; None: where the stream is a terminal."""
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = self._terminal if wanted is None else wanted
        self._done: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Say how far this one is."""
        if not self._shown:
            return
        with self._lock:
            self._done[name] = (done, total)
            if self._terminal:
                self._overwrite(self._running())
            elif done == total:
                print(f"{name}: {total} cases", file=self._stream, flush=True)

    def finish(self) -> None:
        """Leave an empty line on a terminal."""
        if self._shown and self._terminal:
            self._overwrite("")
            self._stream.write("\r")
            self._stream.flush()

    def _running(self) -> str:
        parts = [f"{name} {n}/{total}" for name, (n, total) in self._done.items() if n < total]
        return "  ".join(parts)

    def _overwrite(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width))
        self._stream.flush()
