"""One contender on one device, in a process of its own that answers questions.

`python -m lstm_oracle.benchmarks.speed.worker NAME` reads one JSON object per line from stdin and
answers each with one on stdout. A framework that crashes takes only this process with it; one that
prints, prints to stderr.

{"do": "open", "workload": ..., "mode": ..., "truth": path}
    Prepare, compile, and check against the oracle; only then may it be timed.
{"do": "time", "calls": n}
    Seconds of each of n calls, after one that is not counted where calls are short.
{"do": "look", "workload": ..., "regime": ..., "truth": path}
    What an initialization does to the layer: see `properties`.
{"do": "close"}
    Let go of everything.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from lstm_oracle.benchmarks.speed.contender import Contender
from lstm_oracle.benchmarks.speed.contenders import contender, load
from lstm_oracle.benchmarks.speed.truth import Truth, checked_case, make_case
from lstm_oracle.benchmarks.speed.workload import Workload
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.conformance.sampled_yardstick import select

_MEGABYTE = 2**20


class Desk:
    """Answers questions about one contender."""

    def __init__(self, made: Contender) -> None:
        """Nothing is open yet."""
        self._made = made
        self._prepared: Any = None
        self._inputs: Any = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer; what the contender raises is one too."""
        try:
            return getattr(self, "_" + question.pop("do"))(**question)
        except Exception as error:  # whatever a framework raises is a finding
            self._close()
            return {"status": "error", "message": f"raised {_summary(error)}"}

    def _open(self, workload: dict[str, Any], mode: Any, truth: str) -> dict[str, Any]:
        self._close()
        asked = Workload.from_json(workload)
        reason = self._made.unsupported(asked, mode)
        if reason:
            return {"status": "unsupported", "message": reason}
        known = Truth.load(Path(truth))
        full = make_case(asked)
        checked = checked_case(full, known.rows)
        prepared = self._made.prepare(asked, mode)
        inputs = prepared.place(checked)
        start = time.perf_counter()
        prepared.run(inputs)
        first = time.perf_counter() - start
        _return_memory()
        before = _resident()
        _forget_peak()
        start = time.perf_counter()
        outputs = prepared.run(inputs)
        second = time.perf_counter() - start
        peak = _peak()
        report = known.judge(checked, prepared.result(checked, outputs), mode)
        answer = {
            "status": "ok",
            "message": report.message,
            "error_ratio": max((block.ratio for block in report.blocks), default=None),
            "compile_seconds": max(0.0, first - second),
            "call_seconds": second,
            "memory_mb": None if peak is None else max(0.0, peak - before) / _MEGABYTE,
        }
        if report.status != "agree":
            return answer | {"status": "wrong", "message": _why(report)}
        del outputs, checked, known
        self._prepared, self._inputs = prepared, prepared.place(full)
        return answer

    def _time(self, calls: int) -> dict[str, Any]:
        if self._prepared is None:
            raise RuntimeError("nothing is open that was found right")
        run, inputs = self._prepared.run, self._inputs
        if calls > 1:
            run(inputs)  # caches and threads are warm when the first counted call begins
        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            run(inputs)
            seconds.append(time.perf_counter() - start)
        return {"status": "ok", "seconds": seconds}

    def _look(self, workload: dict[str, Any], regime: str, truth: str) -> dict[str, Any]:
        from lstm_oracle.benchmarks.speed.properties import look, regime_case

        self._close()
        asked = Workload.from_json(workload)
        reason = self._made.unsupported(asked, "training")
        if reason:
            return {"status": "unsupported", "message": reason}
        known = Truth.load(Path(truth))
        case = checked_case(regime_case(asked, regime), known.rows)
        prepared = self._made.prepare(asked, "training")
        result = prepared.result(case, prepared.run(prepared.place(case)))
        report = known.judge(case, result, "training")
        d_x = np.asarray(result.d_x)
        found = look(select(case, known.rows), result.y[known.rows], d_x[known.rows])
        return {
            "status": "ok" if report.status == "agree" else "wrong",
            "message": report.message,
            **found._asdict(),
            "flow": found.flow.tolist(),
        }

    def _close(self) -> dict[str, Any]:
        self._prepared = self._inputs = None
        _return_memory()
        return {"status": "ok"}


def _why(report: CaseReport) -> str:
    return report.message or "it does not agree with the oracle"


def _summary(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


# --- memory ---------------------------------------------------------------------------------------


def _return_memory() -> None:
    """Give the system back what is not in use, so that one case does not hide the next."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # only the GNU C library has it
        ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    """Bytes in memory now; on a GPU its peak is counted from nothing."""
    return 0 if os.environ.get("SPEED_DEVICE") == "gpu" else _status("VmRSS") or 0


def _peak() -> int | None:
    """The most since `_forget_peak`; None where the system does not say."""
    return _device_peak() if os.environ.get("SPEED_DEVICE") == "gpu" else _status("VmHWM")


def _status(name: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(s.split()[1]) for s in lines if s.startswith(f"{name}:")), None)


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    if os.environ.get("SPEED_DEVICE") == "gpu" and "torch" in sys.modules:
        sys.modules["torch"].cuda.reset_peak_memory_stats()


def _device_peak() -> int | None:
    """The most bytes on the GPU, by the framework's own count."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].cuda.max_memory_allocated())
    if "jax" in sys.modules:
        return int(sys.modules["jax"].devices()[0].memory_stats()["peak_bytes_in_use"])
    return None


# --- the process ----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Answer until stdin ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    options = parser.parse_args(arguments)
    out = _own_stdout()
    start = time.perf_counter()
    try:
        made = load(contender(options.name))
    except Exception as error:  # it has not what it needs here, or does not import at all
        _write(out, {"status": "unavailable", "message": _summary(error)})
        return 0
    _write(out, {
        "status": "ok", "versions": made.versions(),
        "import_seconds": time.perf_counter() - start, "threads": os.environ["OMP_NUM_THREADS"],
    })  # fmt: skip
    desk = Desk(made)
    for line in sys.stdin:
        _write(out, desk.answer(json.loads(line)))
    return 0


def _own_stdout() -> IO[str]:
    """The real stdout for the answers; whatever else is printed goes to stderr."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return own


def _write(out: IO[str], answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


if __name__ == "__main__":
    raise SystemExit(main())
