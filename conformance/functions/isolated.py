"""A function in a process of its own: what it does there, it does to itself alone.

The process gets the cases through its standard input and writes its answers as arrays without
pickle, so that nothing that it says is ever executed here. It is killed when it says nothing for
`time_limit` seconds, may not take more than `memory_limit` bytes, and is started anew for the next
case.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.functions import messages
from lstm_oracle.conformance.functions.subject import (
    Abilities,
    BadSignature,
    Died,
    NotImported,
    Raised,
    Refused,
)
from lstm_oracle.conformance.functions.subjects import PLAIN
from lstm_oracle.reference.spec import Architecture

_CHILD = "lstm_oracle.conformance.functions.isolated_child"
_SHOWN = 300  # characters of what the process said last


class IsolatedSubject:
    """A function that is imported and called in another process."""

    def __init__(
        self,
        fn: Any,
        spec: Architecture | None,
        options: dict[str, Any],
        time_limit: float,
        memory_limit: int,
    ) -> None:
        """Find out how the other process can import the function; nothing is started yet."""
        _check_limits(time_limit, memory_limit)
        backward = options["gradients"]
        if callable(backward):
            options = {**options, "gradients": importable(backward)}
        self._request = (importable(fn), spec, options, memory_limit)
        self._time_limit, self._memory_limit = time_limit, memory_limit
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._abilities: Abilities | None = None
        self.name = self._request[0].rpartition(":")[2]
        self.architecture: Architecture = PLAIN if spec is None else spec
        self.dtype = options["dtype"] or "float64"
        self.free_sizes = spec is None

    def abilities(self) -> Abilities:
        """What the function takes and gives, as the other process found out."""
        if self._abilities is None:
            self._start()
        if self._abilities is None:
            raise Died("its process gave no answer")
        return self._abilities

    def run(self, case: Case, *, gradients: bool = True) -> Result:
        """The answer of the other process; one that died is started anew."""
        if self._process is None:
            self._start()
        header, arrays = self._ask((case, gradients))
        return messages.result_of(case.architecture, header, arrays)

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout, self._stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __del__(self) -> None:
        """No process outlives what it was started for."""
        with contextlib.suppress(Exception):
            self.close()

    # --- the process ------------------------------------------------------------------------------

    def _start(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._process = subprocess.Popen(
            [sys.executable, "-m", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        header, _ = self._ask(self._request)
        self.name, self.dtype = header["name"], header["dtype"]
        self.free_sizes = header["free_sizes"]
        self.architecture = messages.architecture_of(header["architecture"])
        outputs = frozenset(header["abilities"]["outputs"])
        self._abilities = Abilities(**{**header["abilities"], "outputs": outputs})

    def _ask(self, question: Any) -> messages.Message:
        """The next answer of the process.

        Raises
        ------
        Died, Raised, Refused, BadSignature
        """
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise Died("its process is not running")
        answer: list[messages.Message | None] = []

        def read(stream: IO[bytes] = process.stdout) -> None:
            with contextlib.suppress(OSError, ValueError):
                answer.append(messages.read(stream))

        with contextlib.suppress(BrokenPipeError):  # it died: the answer will say so
            pickle.dump(question, process.stdin)
            process.stdin.flush()
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(self._time_limit)
        if not answer or answer[0] is None:
            raise self._died(hung=reader.is_alive())
        header, arrays = answer[0]
        if "error" in header:
            raise self._error(header)
        return header, arrays

    def _died(self, *, hung: bool) -> Died:
        process = self._process
        status = None
        if process is not None and not hung:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(5)
        last = self._last_words()
        self.close()
        if hung or status is None:
            return Died(f"hung: no answer for {self._time_limit:g} s{last}")
        if status < 0:
            return Died(f"crashed: its process died of {_signal_name(-status)}{last}")
        return Died(f"ended its process with status {status}{last}")

    def _error(self, header: dict[str, Any]) -> Exception:
        kind, text = header["error"], header["message"]
        if kind == "MemoryError":
            self.close()
            return Died(f"ran out of memory (limit {self._memory_limit / 2**20:.0f} MiB)")
        known: dict[str, type[Exception]] = {
            "BadSignature": BadSignature, "Refused": Refused, "NotImplementedError": Refused,
            "BrokenContract": Died, "NotImported": NotImported,
        }  # fmt: skip
        return known[kind](text) if kind in known else Raised(f"{kind}: {text}")

    def _last_words(self) -> str:
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 4 * _SHOWN))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"; it last said: {lines[-1][:_SHOWN]}" if lines else ""


def importable(fn: Any) -> str:
    """How another process can import a function: "module:callable" or "file.py:callable".

    Raises
    ------
    ValueError
        For a function inside another one, a lambda, and what stands in an interactive session.

    Examples
    --------
    >>> importable("numpy:tanh")
    'numpy:tanh'
    """
    if isinstance(fn, str):
        return fn
    path = getattr(fn, "__qualname__", "")
    if not path or "<" in path:
        raise ValueError(
            f"isolate=True for {path or type(fn).__name__!r}, expected a function at the top of a "
            "module, which another process can import. Move it there, or pass 'module:callable'."
        )
    with contextlib.suppress(TypeError, OSError):
        file = inspect.getsourcefile(inspect.unwrap(fn))
        if file and os.path.isfile(file):
            package = sys.modules.get(fn.__module__)
            inside = getattr(package, "__package__", "")
            return f"{fn.__module__}:{path}" if inside else f"{file}:{path}"
    return f"{fn.__module__}:{path}"


def _check_limits(time_limit: float, memory_limit: int) -> None:
    if not time_limit > 0:
        raise ValueError(
            f"time_limit is {time_limit}, expected seconds above 0. Pass for example 60."
        )
    if memory_limit < 64 << 20:
        raise ValueError(
            f"memory_limit is {memory_limit} bytes, expected at least 64 MiB, which Python and "
            "NumPy take themselves. Pass for example 4 << 30."
        )


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
