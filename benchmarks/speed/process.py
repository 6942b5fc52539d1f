"""A worker as its master sees it: questions with a time limit, and every way it can end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from lstm_oracle.benchmarks.speed.contenders import Device, Row
from lstm_oracle.benchmarks.speed.machine import environment

_GOODBYE_SECONDS = 5.0


class Worker:
    """A process for one contender on one device.

    It never raises for what a contender does: an answer always has a `status`, which is "crash" or
    "timeout" where there was none, and then the process is gone.
    """

    def __init__(self, row: Row, device: Device, threads: int, limit: float) -> None:
        """Start it with so many threads; its import has to end within `limit` seconds."""
        self.row, self.device, self.limit = row, device, limit
        command = [sys.executable, "-m", "lstm_oracle.benchmarks.speed.worker", row.name]
        pinned = environment(device, threads)
        with contextlib.ExitStack() as files:
            self._complaints: IO[str] = files.enter_context(
                tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
            )
            self._files = files.pop_all()  # closed by `end`
        self._process = subprocess.Popen(
            command, env={**os.environ, **pinned, **row.environment}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._complaints, text=True, encoding="utf-8",
        )  # fmt: skip
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.hello = self._next(limit)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, limit: float | None = None, **question: Any) -> dict[str, Any]:
        """The answer to a question of `worker`."""
        if not self.alive or self._process.stdin is None:
            return {"status": "crash", "message": self._last_words()}
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError:
            return {"status": "crash", "message": self._last_words()}
        return self._next(self.limit if limit is None else limit)

    def end(self) -> None:
        """Ask it to leave, and see that it does."""
        if self._process.stdin is not None:
            # It may have gone before what was written reached it.
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._listener.join(_GOODBYE_SECONDS)
            self._process.stdout.close()
        self._files.close()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put(None)

    def _next(self, limit: float) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            self._process.kill()
            self._process.wait()
            return {"status": "timeout", "message": f"no answer within {limit:.0f} s"}
        if line is None:
            self._process.wait()
            return {"status": "crash", "message": self._last_words()}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._complaints.seek(0)
        said = [s.strip() for s in self._complaints.read().splitlines() if s.strip()]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the process {how}{f': {said[-1][:300]}' if said else ''}"
