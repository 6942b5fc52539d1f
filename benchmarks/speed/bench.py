"""The benchmark: workers started, contenders checked and timed, and everything kept.

`measure` gives what `docs/speed-json.md` describes.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lstm_oracle.benchmarks.speed import machine
from lstm_oracle.benchmarks.speed.contenders import CONTENDERS, Device, Row
from lstm_oracle.benchmarks.speed.floor import floor
from lstm_oracle.benchmarks.speed.process import Worker
from lstm_oracle.benchmarks.speed.rounds import Effort, Timed, quartiles, run_rounds
from lstm_oracle.benchmarks.speed.truth import Truth
from lstm_oracle.benchmarks.speed.workload import MODES, Mode, Workload

FORMAT, VERSION = "lstm-oracle bench", 1
Progress = Callable[[str], None]
_RATES_SECONDS = 120.0


@dataclass(frozen=True)
class Plan:
    """What to measure, and how."""

    workloads: tuple[Workload, ...]
    contenders: tuple[Row, ...] = tuple(CONTENDERS.values())
    devices: tuple[Device, ...] = ("cpu",)
    modes: tuple[Mode, ...] = MODES
    threads: int = field(default_factory=lambda: len(machine.processors()))
    effort: Effort = field(default_factory=Effort)
    limit_seconds: float = 120.0  # for each answer of a contender, its compilation included


Result = dict[str, Any]
Keep = Callable[[Result], None]


def measure(
    plan: Plan, *, old: Result | None = None, keep: Keep | None = None,
    progress: Progress | None = None,
) -> Result:  # fmt: skip
    """Every workload, in every mode, on every device, by every contender.

    Parameters
    ----------
    plan : Plan
    old : optional
        The result of a run that was interrupted: cases that it has are not measured again.
    keep : callable, optional
        Called with the result so far after every case.
    progress : callable, optional
        Called with a line of text.

    Returns
    -------
    dict
        As `docs/speed-json.md` describes it.
    """
    say = progress or (lambda line: None)
    with machine.pinned(plan.threads):
        result = _head(plan, say) if old is None else old
        for device in plan.devices:
            if _left(plan, device, result):
                _on_device(plan, device, result, keep or (lambda result: None), say)
    result["finished"] = True
    return result


def _left(plan: Plan, device: Device, result: Result) -> list[tuple[Workload, Mode]]:
    """Cases that the result does not have yet."""
    done = [(case["workload"], case["mode"], case["device"]) for case in result["cases"]]
    return [
        (workload, mode)
        for workload in plan.workloads
        for mode in plan.modes
        if (workload.as_json(), mode, device) not in done
    ]


def _on_device(plan: Plan, device: Device, result: Result, keep: Keep, say: Progress) -> None:
    with contextlib.ExitStack() as stack:
        workers = _start(plan, device, result, stack, say)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        truths: dict[Workload, Path] = {}
        for workload, mode in _left(plan, device, result):
            if workload not in truths:
                truths[workload] = folder / f"{len(truths)}.npz"
                Truth.measured(workload).save(truths[workload])
            say(f"{device}: {workload.name}: {mode}")
            case = _case(plan, device, workload, mode, truths[workload], workers)
            case["floor"] = floor(workload, mode, result["rates"].get(device, {}))
            result["cases"].append(case)
            keep(result)


# --- head -----------------------------------------------------------------------------------------


def _head(plan: Plan, say: Progress) -> Result:
    """What does not depend on a case: the machine, its rates, and who takes part."""
    names = machine.devices()
    dtypes = sorted({workload.dtype for workload in plan.workloads})
    say("measuring what the machine can do")
    return {
        "format": FORMAT,
        "version": VERSION,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "finished": False,
        "machine": machine.describe(),
        "devices": {device: names.get(device, "") for device in plan.devices},
        "threads": plan.threads,
        "load_average": machine.load_average(),
        "precision": {"float32": "float32; no TF32", "bfloat16": "bfloat16, summed in float32"},
        "effort": asdict(plan.effort),
        "rates": {device: _rates(plan, device, dtypes) for device in plan.devices},
        "contenders": [],
        "cases": [],
    }


def _rates(plan: Plan, device: Device, dtypes: list[str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "lstm_oracle.benchmarks.speed.rates", *dtypes]

    pinned = {**os.environ, **machine.environment(device, plan.threads)}
    try:
        done = subprocess.run(
            command, env=pinned, capture_output=True, text=True, check=True, timeout=_RATES_SECONDS
        )
    except subprocess.SubprocessError as error:
        return {"unavailable": " ".join(str(error).split())[:300]}
    rates: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return rates


def _start(
    plan: Plan, device: Device, result: Result, stack: contextlib.ExitStack, say: Progress
) -> list[Worker]:
    """A worker for everyone who can take part; the others are listed with the reason."""
    workers = []
    for row in plan.contenders:
        if device not in row.devices:
            continue
        reason, hello = row.missing(), {}
        if not reason:
            say(f"{device}: starting {row.name}")
            worker = Worker(row, device, plan.threads, plan.limit_seconds)
            stack.callback(worker.end)
            hello = worker.hello
            reason = "" if hello["status"] == "ok" else hello["message"]
            if not reason:
                workers.append(worker)
        _list(result, {
            "name": row.name, "device": device, "side": row.side, "unavailable": reason,
            "versions": hello.get("versions", {}), "import_seconds": hello.get("import_seconds"),
        })  # fmt: skip
    return workers


def _list(result: Result, entry: dict[str, Any]) -> None:
    """In place of what an interrupted run said of the same contender."""
    result["contenders"] = [
        known
        for known in result["contenders"]
        if (known["name"], known["device"]) != (entry["name"], entry["device"])
    ] + [entry]


# --- one case -------------------------------------------------------------------------------------


def _case(
    plan: Plan, device: Device, workload: Workload, mode: Mode, truth: Path, workers: list[Worker]
) -> Result:
    """Open for everyone, rounds for those that are right, then close."""
    answers, timed = {}, []
    for n, worker in enumerate(workers):
        if not worker.alive:  # it crashed or hung in the case before
            worker.end()
            worker = workers[n] = Worker(worker.row, device, plan.threads, plan.limit_seconds)
        question: dict[str, Any] = {
            "workload": workload.as_json(),
            "mode": mode,
            "truth": str(truth),
        }
        answer = worker.ask(do="open", **question)
        answers[worker.row.name] = answer
        if answer["status"] == "ok":
            timed.append(Timed(worker, answer["call_seconds"]))
    counts = run_rounds(timed, plan.effort)
    for worker in workers:
        worker.ask(do="close")
    by_name = {t.worker.row.name: t for t in timed}
    return {
        "workload": workload.as_json(),
        "mode": mode,
        "device": device,
        "rounds": counts,
        "rows": [_row(name, answer, by_name.get(name)) for name, answer in answers.items()],
    }


def _row(name: str, answer: dict[str, Any], timed: Timed | None) -> Result:
    """One contender in one case."""
    failure = timed.failure if timed and timed.failure else None
    if failure is not None:
        answer = answer | failure
    row = {
        "contender": name,
        "status": answer["status"],
        "message": answer.get("message", ""),
        "error_ratio": _finite(answer.get("error_ratio")),
        "compile_ms": _milliseconds(answer.get("compile_seconds")),
        "memory_mb": answer.get("memory_mb"),
    }
    if answer["status"] != "ok" or timed is None or not timed.rounds:
        return row | {"median_ms": None, "quartiles_ms": None, "rounds_ms": [], "noisy": False}
    first, median, third = quartiles(timed.rounds)
    return row | {
        "median_ms": _milliseconds(median),
        "quartiles_ms": [_milliseconds(first), _milliseconds(third)],
        "rounds_ms": [_milliseconds(value) for value in timed.rounds],
        "noisy": timed.noisy,
    }


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(1e3 * seconds, 5)


def _finite(value: float | None) -> float | str | None:
    """JSON has no infinity and no NaN."""
    if value is None or abs(value) < float("inf"):
        return value
    return str(value)
