"""Every implementation over the matrix, each in a process of its own, two at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import IO, Any

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.adapters.registry import REGISTRY, Implementation, implementation
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.report import CaseReport, ImplementationReport
from lstm_oracle.conformance.worker import read_report, shard, write_yardstick
from lstm_oracle.conformance.yardstick import Yardstick, yardstick

Progress = Callable[[str, int, int], None]  # (implementation, cases done, cases in all)

_SILENCE_SECONDS = 180.0  # without a word from a worker, import of a framework included
_MOST_RESTARTS = 5
_ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # The cases are small: threads inside an operation cost more than they bring.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "PYTHONUNBUFFERED": "1",
}


def verify_implementations(
    names: Sequence[str] | None = None,
    level: matrix.Level = "full",
    progress: Progress | None = None,
    *,
    dtypes: Sequence[str] = matrix.DTYPES,
    processes: int = 2,
    silence_seconds: float = _SILENCE_SECONDS,
) -> list[ImplementationReport]:
    """Every implementation held against the oracle over the case matrix.

    Parameters
    ----------
    names : optional
        Of the registry, or "module:callable" of adapters of your own; by default the registry.
    level : "quick" or "full"
    progress : optional
        Called with (implementation, cases done, cases in all), from several threads.
    dtypes
        Of the cases.
    processes : int
        At the same time.
    silence_seconds : float
        After which a worker that says nothing is given up.

    Returns
    -------
    list of ImplementationReport
        In the order of `names`. What is not installed is `unavailable`, with the reason; a case
        in which a process died or hung is an "error".

    Raises
    ------
    ValueError
        For a name, a level or a dtype that there is not.
    """
    rows = [implementation(name) for name in (REGISTRY if names is None else names)]
    cases = matrix.cases(level, dtypes)
    if not cases:
        raise ValueError(
            f"dtypes is {list(dtypes)}, expected some of {', '.join(matrix.DTYPES)}. "
            "No case of the matrix has any of these."
        )
    runnable = [row for row in rows if not row.missing()]
    # One implementation alone is split, so that compilers keep every processor busy.
    pieces = max(1, processes // max(1, len(runnable)))
    with ThreadPoolExecutor(1) as measuring, ThreadPoolExecutor(processes) as pool:
        yardsticks = {id(case): measuring.submit(yardstick, case) for case in cases}
        jobs = {
            row.name: _start(
                pool, _Job(row, level, list(dtypes), yardsticks, silence_seconds), cases, pieces,
                progress,
            )
            for row in runnable
        }  # fmt: skip
        return [
            _joined(row, cases, [job.result() for job in jobs[row.name]])
            if row.name in jobs
            else ImplementationReport(row.name, unavailable=row.missing())
            for row in rows
        ]


@dataclass
class _Job:
    """What all pieces of one implementation share."""

    row: Implementation
    level: str
    dtypes: list[str]
    yardsticks: dict[int, Future[Yardstick]]
    silence_seconds: float


@dataclass
class _Piece:
    """What one worker, with its restarts, has said."""

    reports: list[CaseReport] = field(default_factory=list)
    seconds: float = 0.0
    import_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    failure: str = ""  # why it never started


def _start(
    pool: ThreadPoolExecutor, job: _Job, cases: list[Case], pieces: int, progress: Progress | None
) -> list[Future[_Piece]]:
    done, lock = [0], threading.Lock()

    def tell() -> None:
        with lock:
            done[0] += 1
        if progress is not None:
            progress(job.row.name, done[0], len(cases))

    parts = [f"{k}/{pieces}" for k in range(pieces)]
    return [pool.submit(_run_piece, job, shard(cases, part), part, tell) for part in parts]


def _joined(row: Implementation, cases: list[Case], pieces: list[_Piece]) -> ImplementationReport:
    failure = next((piece.failure for piece in pieces if piece.failure), "")
    if failure:
        return ImplementationReport(row.name, unavailable=failure)
    by_name = {report.name: report for piece in pieces for report in piece.reports}
    return ImplementationReport(
        row.name,
        tuple(by_name[case.name] for case in cases),
        seconds=max(piece.seconds for piece in pieces),
        import_seconds=max(piece.import_seconds for piece in pieces),
        versions=pieces[0].versions,
    )


def _run_piece(job: _Job, cases: list[Case], part: str, tell: Callable[[], None]) -> _Piece:
    """Workers until every case has a report: one that dies costs the case it died in."""
    piece = _Piece()
    for _ in range(_MOST_RESTARTS):
        started = bool(piece.versions)
        reason = _run_worker(job, cases, part, piece, tell)
        if len(piece.reports) == len(cases):
            return piece
        if not started and not piece.versions:
            piece.failure = f"could not be started: {reason}"
            return piece
        case = cases[len(piece.reports)]
        piece.reports.append(CaseReport(case.name, "error", case.dtype, message=reason))
        tell()
        if len(piece.reports) == len(cases):
            return piece
    for case in cases[len(piece.reports) :]:
        message = f"not run: the process died {_MOST_RESTARTS} times before"
        piece.reports.append(CaseReport(case.name, "error", case.dtype, message=message))
        tell()
    return piece


def _run_worker(
    job: _Job, cases: list[Case], part: str, piece: _Piece, tell: Callable[[], None]
) -> str:
    """One worker, from the first case that has no report; says how it ended."""
    skip = len(piece.reports)
    command = [sys.executable, "-m", "lstm_oracle.conformance.worker", job.row.name]
    command += ["--level", job.level, "--dtypes", *job.dtypes, "--shard", part]
    command += ["--skip", str(skip), "--yardsticks-from-stdin"]
    environment = {**os.environ, **_ENVIRONMENT, **job.row.environment}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints,
        subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=complaints, text=True, encoding="utf-8",
        ) as process,
    ):  # fmt: skip
        watch = _Watchdog(process, job.silence_seconds)
        feeder = threading.Thread(target=_feed, args=(process, job, cases[skip:]), daemon=True)
        feeder.start()
        for line in process.stdout or ():
            watch.heard()
            _take(json.loads(line), piece, tell)
        code = process.wait()
        watch.stop()
        feeder.join()
        return _ending(code, watch, complaints)


def _feed(process: subprocess.Popen[str], job: _Job, cases: list[Case]) -> None:
    """The yardsticks, as they are measured, to the worker's stdin."""
    stdin = process.stdin
    if stdin is None:
        return
    try:
        for case in cases:
            stdin.write(write_yardstick(job.yardsticks[id(case)].result()))
            stdin.flush()
        stdin.close()
    except (BrokenPipeError, ValueError):
        return  # the worker is gone; its end is reported elsewhere


def _take(line: dict[str, Any], piece: _Piece, tell: Callable[[], None]) -> None:
    if "versions" in line:
        piece.versions = line["versions"]
        piece.import_seconds = max(piece.import_seconds, line["import_seconds"])
        return
    piece.reports.append(read_report(line["report"]))
    piece.seconds += line["seconds"]
    tell()


def _ending(code: int, watch: _Watchdog, complaints: IO[str]) -> str:
    complaints.seek(0)
    said = [line.strip() for line in complaints.read().splitlines() if line.strip()]
    last = f": {said[-1][:300]}" if said else ""
    if watch.barked:
        return f"no answer within {watch.seconds:.0f} s"
    if code < 0:
        return f"the process was ended by signal {-code}{last}"
    return f"the process ended with code {code}{last}"


class _Watchdog:
    """Ends a process that has been silent for too long."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self.process, self.seconds, self.barked = process, seconds, False
        self._timer: threading.Timer | None = None
        self.heard()

    def heard(self) -> None:
        """Start to wait anew."""
        self.stop()
        self._timer = threading.Timer(self.seconds, self._bark)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()

    def _bark(self) -> None:
        self.barked = True
        self.process.kill()
