"""One implementation, run over the matrix in a process of its own.

`python -m lstm_oracle.conformance.worker NAME` writes one JSON object per line on stdout: first
what it started with, then a report per case. A framework that crashes takes only this process with
it; a framework that prints, prints to stderr.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.adapters.registry import Adapter, Implementation, implementation, load
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.known_defects import explain
from lstm_oracle.conformance.report import BlockError, CaseReport, Status
from lstm_oracle.conformance.yardstick import Deviation, Yardstick, hand_over

_MOST_RESEMBLANCES = 5  # disagreements that the zoo is asked about: each costs a few seconds


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that the arguments name."""
    options = _parser().parse_args(arguments)
    cases = shard(matrix.cases(options.level, options.dtypes), options.shard)[options.skip :]
    out = _own_stdout()
    row = implementation(options.name)
    start = time.perf_counter()
    adapter = load(row)
    _write(out, {
        "versions": adapter.versions(), "import_seconds": time.perf_counter() - start,
    })  # fmt: skip
    yardsticks = map(_read_yardstick, sys.stdin) if options.yardsticks_from_stdin else None
    for report, seconds in run(row, adapter, cases, yardsticks):
        _write(out, {"report": dataclasses.asdict(report), "seconds": seconds})
    return 0


def run(
    row: Implementation,
    adapter: Adapter,
    cases: list[Case],
    yardsticks: Iterator[Yardstick] | None = None,
) -> Iterator[tuple[CaseReport, float]]:
    """A report for every case, and the seconds that the implementation took for it."""
    asked = 0
    for case in cases:
        if yardsticks is not None:
            hand_over(case, next(yardsticks))
        start = time.perf_counter()
        report = run_case(row, adapter, case, resemblance=asked < _MOST_RESEMBLANCES)
        asked += bool(report.status == "disagree" and not report.explanation)
        yield report, time.perf_counter() - start


def run_case(
    row: Implementation, adapter: Adapter, case: Case, *, resemblance: bool = True
) -> CaseReport:
    """One case: unsupported, in agreement, in disagreement, or broken."""
    reason = adapter.unsupported(case)
    if reason:
        return CaseReport(case.name, "unsupported", case.dtype, message=reason)
    known = partial(explain, row.name, row.backend, adapter.versions(), case)
    try:
        result = adapter.run(case)
    except Exception as error:  # whatever a framework raises is a finding
        explanation = known()
        status: Status = "disagree" if explanation else "error"
        message = f"raised {_summary(error)}"
        return CaseReport(case.name, status, case.dtype, message=message, explanation=explanation)
    report = compare(case, result, ours=row.ours)
    if report.status == "agree":
        return report
    report = dataclasses.replace(report, explanation=known(report))
    if report.explanation or not resemblance:
        return report
    from lstm_oracle.conformance.zoo import nearest_bug  # only where something is wrong

    return dataclasses.replace(report, nearest_bug=nearest_bug(case, result))


def shard(cases: list[Case], which: str) -> list[Case]:
    """The part "k/n" of the cases; those that share a compiled program stay together."""
    from lstm_oracle.conformance.adapters.support import key

    k, n = (int(part) for part in which.split("/"))
    numbers: dict[Any, int] = {}
    return [case for case in cases if numbers.setdefault(key(case), len(numbers)) % n == k]


def read_report(fields: dict[str, Any]) -> CaseReport:
    """A CaseReport as it was written."""
    blocks = tuple(BlockError(**block) for block in fields.pop("blocks"))
    return CaseReport(blocks=blocks, **fields)


def write_yardstick(measured: Yardstick) -> str:
    """A yardstick as a line for the worker's stdin."""
    return json.dumps({name: list(error) for name, error in measured.items()}) + "\n"


def _read_yardstick(line: str) -> Yardstick:
    return {name: Deviation(*error) for name, error in json.loads(line).items()}


def _own_stdout() -> IO[str]:
    """The real stdout for ourselves; what anybody else prints goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    sys.stdout.flush()
    os.dup2(2, 1)
    return out


def _write(out: IO[str], line: dict[str, Any]) -> None:
    out.write(json.dumps(line) + "\n")
    out.flush()


def _summary(error: Exception, longest: int = 300) -> str:
    """The type of an exception, and what it says, on one line."""
    text = " ".join(str(error).split())
    text = text.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return f"{type(error).__name__}: {text[:longest]}{'…' if len(text) > longest else ''}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run one implementation over the case matrix.")
    parser.add_argument("name", help="a name of the registry, or module:callable")
    parser.add_argument("--level", default="full", choices=("quick", "full"))
    parser.add_argument("--dtypes", nargs="+", default=list(matrix.DTYPES))
    parser.add_argument("--shard", default="0/1", help="k/n: every n-th program from the k-th")
    parser.add_argument("--skip", type=int, default=0, help="leave out the first cases")
    parser.add_argument("--yardsticks-from-stdin", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
