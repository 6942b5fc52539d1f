"""Run `diagnose`, or one of its rivals, on the fault bench.

    python benchmarks/faults/run_bench.py --part develop --budget quick --limit 20
    python benchmarks/faults/run_bench.py --part measure --who autotrainer

Each case has a time limit; one worker process handles many. Lines are kept in `out/`, so that a
stopped run goes on where it was (`--fresh` forgets them). The table is printed and written to
`results/fault_bench_<part>_<backend>.json`, the rivals' rows beside the diagnosis'.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
OUT = HERE.parents[1] / "out"
CASES_JSON = RESULTS / "fault_bench_cases.json"
WHO = ("diagnose", "defaults", "autotrainer", "random")
REGAINED = 0.9  # share of the reference fix's gain
# What a case costs, and what its budget is read from. Processor seconds of one thread are what a
# quiet core would take, whatever else the machine is doing.
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
ONE_THREAD = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
         "TF_NUM_INTEROP_THREADS"), "1",
    ),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
}  # fmt: skip


# ---- the list ---------------------------------------------------------------------------------


def entries() -> dict[str, Any]:
    """Every case and healthy run by name."""
    from faults import CASES
    from healthy import HEALTHY, NOT_A_BUG
    from later import LATER, LATER_HEALTHY

    everything = (*CASES, *HEALTHY, *NOT_A_BUG, *LATER, *LATER_HEALTHY)
    return {item.name: item for item in everything}


def checked() -> dict[str, dict[str, Any]]:
    if not CASES_JSON.exists():
        return {}
    data = json.loads(CASES_JSON.read_text(encoding="utf-8"))
    return {line["name"]: line for line in (*data["cases"], *data["healthy"])}


def chosen(options: argparse.Namespace) -> list[str]:
    """Names of the part, in mixed order: the broken cases that were checked and kept, and the
    healthy runs but for those that did badly."""
    from parts import load, order

    parts, known = load(), checked()
    wanted = tuple(options.only or [""])
    found = [
        name
        for name, item in entries().items()
        if parts.get(name) == options.part
        and getattr(item, "decidable", True)
        and known.get(name, {"kept": not hasattr(item, "cause")})["kept"]
        and (name.startswith(wanted) or getattr(item, "cause", "healthy").startswith(wanted))
    ]
    return sorted(found, key=order)[options.skip :][: options.limit]


# ---- one case, in the worker ------------------------------------------------------------------


def finding_line(finding: Any) -> dict[str, Any]:
    remedy = finding.remedy
    return {
        "id": finding.id, "cause": finding.cause, "severity": finding.severity,
        "confidence": finding.confidence, "summary": finding.summary,
        "consequence_of": finding.consequence_of,
        "remedy": None if remedy is None else remedy.key,
        "before": None if remedy is None else remedy.before,
        "after": None if remedy is None else remedy.after,
        "gain_interval": None if remedy is None else remedy.gain_interval,
    }  # fmt: skip


def remedied_skill(recipe: Any, diagnosis: Any, broken_units: int) -> float | None:
    """Held-out skill of the remedied model, trained as the diagnosis says."""
    from tasks import decode, score

    remedied = diagnosis.remedied()
    remedied.model.fit(remedied.x, remedied.y, **remedied.fit_arguments, verbose=0)
    try:
        output = np.asarray(remedied.predict(recipe.x_test))
    except ValueError:  # a window that is too short says nothing of its past
        return None
    own = output.shape[-1] == broken_units
    return score(recipe, decode(recipe, output, own=own))


def diagnose_case(item: Any, recipe: Any, options: argparse.Namespace) -> dict[str, Any]:
    from lstm_oracle.diagnosis import diagnose

    model, fit = recipe.build()
    clock = CLOCKS[options.clock]
    start = clock()
    diagnosis = diagnose(model, **fit, budget=options.budget, seed=options.seed, clock=clock)
    line: dict[str, Any] = {
        "seconds": round(clock() - start, 2),
        "healthy": diagnosis.healthy,
        "findings": [finding_line(finding) for finding in diagnosis.findings],
        "not_a_bug": list(diagnosis.not_a_bug),
        "verdict": diagnosis.verdict,
    }
    if options.remedied and not diagnosis.healthy and getattr(item, "remediable", False):
        try:
            skill = remedied_skill(recipe, diagnosis, model.output_shape[-1])
            line["skill_remedied"] = None if skill is None else round(skill, 4)
        except Exception as error:
            line["remedied_raises"] = f"{type(error).__name__}: {error}"[:300]
    return line


def rival_case(item: Any, recipe: Any, options: argparse.Namespace) -> dict[str, Any]:
    import rivals
    from tasks import skill

    clock = CLOCKS[options.clock]
    start = clock()
    if options.who == "random":
        answer = rivals.random_remedy(recipe, item.name)
    else:
        rule = {"defaults": rivals.defaults_fixer, "autotrainer": rivals.autotrainer}[options.who]
        answer = rule(recipe)
    line: dict[str, Any] = {
        "seconds": round(clock() - start, 2),
        "healthy": not answer.causes,
        "guesses": [sorted(causes) for causes in answer.causes],
    }
    if options.remedied and answer.repaired is not None and getattr(item, "remediable", False):
        try:
            repaired = answer.repaired
            model, fit = repaired.build()
            model.fit(**fit, verbose=0)
            line["skill_remedied"] = round(skill(repaired, model), 4)
        except Exception as error:
            line["remedied_raises"] = f"{type(error).__name__}: {error}"[:300]
    return line


def work(options: argparse.Namespace) -> None:
    """Names on standard input, a JSON line for each on standard output."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    from check_faults import one_core

    one_core()
    import keras

    known = entries()
    answers.write("ready\n")
    answers.flush()
    for name in (line.strip() for line in sys.stdin):
        item = known[name]
        recipe = item.broken_recipe() if hasattr(item, "broken_recipe") else item.recipe()
        try:
            case = diagnose_case if options.who == "diagnose" else rival_case
            line = case(item, recipe, options)
        except Exception as error:
            import traceback

            frame = traceback.extract_tb(error.__traceback__)[-1]
            line = {
                "raises": f"{type(error).__name__}: {error}"[:300],
                "where": f"{Path(frame.filename).name}:{frame.lineno}",
            }
        keras.backend.clear_session()
        answers.write(json.dumps({"name": name, **line}, default=str) + "\n")
        answers.flush()


# ---- the parent -------------------------------------------------------------------------------


class Worker:
    """A worker process that is ended, and started anew, when a case outruns its limit."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.command = [
            sys.executable, str(HERE / "run_bench.py"), "--worker", "--part", options.part,
            "--who", options.who, "--budget", str(options.budget), "--seed", str(options.seed),
            "--backend", options.backend, "--clock", options.clock,
            *(["--remedied"] if options.remedied else []),
        ]  # fmt: skip
        threads = ONE_THREAD if options.clock == "cpu" else {}
        self.environment = {**os.environ, **threads, "KERAS_BACKEND": options.backend}
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.Queue[str] = queue.Queue()

    def start(self) -> subprocess.Popen[str]:
        OUT.mkdir(exist_ok=True)
        log = (OUT / "fault_bench_worker.log").open("w", encoding="utf-8")
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            text=True, env=self.environment,
        )  # fmt: skip
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self.read, args=(process, lines), daemon=True).start()
        self.process, self.lines = process, lines
        lines.get(timeout=300)
        return process

    @staticmethod
    def read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, name: str, limit: float) -> dict[str, Any]:
        process = self.process or self.start()
        print(name, file=process.stdin, flush=True)
        try:
            answer = self.lines.get(timeout=limit)
        except queue.Empty:
            self.stop()
            return {"name": name, "raises": f"no answer in {limit:.0f} s", "seconds": limit}
        if not answer:
            self.stop()
            return {"name": name, "raises": "the worker died"}
        return json.loads(answer)


# ---- the table --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    hits: int
    of: int

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        if self.of == 0:
            return (0.0, 1.0)
        z, n, p = 1.959964, self.of, self.hits / self.of
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return (max(0.0, middle - half), min(1.0, middle + half))

    def plain(self) -> dict[str, Any]:
        low, high = self.interval()
        share = self.hits / self.of if self.of else None
        return {"hits": self.hits, "of": self.of, "share": share, "low": low, "high": high}

    def __str__(self) -> str:
        if self.of == 0:
            return "-"
        low, high = self.interval()
        return f"{self.hits}/{self.of} = {self.hits / self.of:.1%} [{low:.1%}, {high:.1%}]"


def share(values: Iterable[bool]) -> Share:
    found = list(values)
    return Share(sum(found), len(found))


def guesses(line: dict[str, Any]) -> list[set[str]]:
    """The causes named as errors or warnings, each once, the first first."""
    if "guesses" in line:
        return [set(guess) for guess in line["guesses"]]
    named: list[set[str]] = []
    for finding in line.get("findings", []):
        if finding["severity"] != "info" and {finding["cause"]} not in named:
            named.append({finding["cause"]})
    return named


def right_among(item: Any, line: dict[str, Any], first: int) -> bool:
    right = {item.cause, *item.also_right}
    return any(right & guess for guess in (guesses(line) or verdict_on_data(line))[:first])


def verdict_on_data(line: dict[str, Any]) -> list[set[str]]:
    """The cause of a diagnosis that names nothing but says that the inputs tell nothing.

    That is a note and no warning, for the set-up is sound; of data that were spoilt it is the right
    answer all the same.
    """
    causes = [finding["cause"] for finding in line.get("findings", [])]
    return [{"no-signal"}] if "no-signal" in causes else []


def recognized(item: Any, line: dict[str, Any]) -> bool:
    """Not a bug: nothing named but, where the target is noise, that."""
    if "raises" in line:
        return False
    return all(guess <= set(item.accepted) for guess in guesses(line))


def regained(known: dict[str, Any], line: dict[str, Any]) -> bool:
    """At least nine tenths of what the reference fix regains."""
    reached = line.get("skill_remedied")
    gain = known["skill_fixed"] - known["skill_broken"]
    return reached is not None and reached >= known["skill_broken"] + REGAINED * gain


def table(lines: list[dict[str, Any]], remedied: bool) -> dict[str, Share]:
    known, items = checked(), entries()
    broken = [(items[x["name"]], x) for x in lines if hasattr(items[x["name"]], "cause")]
    runs = [(items[x["name"]], x) for x in lines if not hasattr(items[x["name"]], "cause")]
    rows = {
        "cause first": share(right_among(item, line, 1) for item, line in broken),
        "cause among three": share(right_among(item, line, 3) for item, line in broken),
        "said to be healthy though broken": share(bool(line.get("healthy")) for _, line in broken),
        "alarm on a healthy run": share(
            bool(guesses(line)) or "raises" in line for item, line in runs if not item.not_a_bug
        ),
        "not a bug, recognized": share(
            recognized(item, line) for item, line in runs if item.not_a_bug
        ),
        "raised or ran out of time": share("raises" in line for line in lines),
    }
    if remedied:
        rows["remedied: 90 % of the fix's gain"] = share(
            regained(known[item.name], line)
            for item, line in broken
            if item.remediable and item.name in known
        )
    return rows


def by_cause(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    items, found = entries(), {}
    for line in lines:
        item = items[line["name"]]
        if hasattr(item, "cause"):
            row = found.setdefault(item.cause, {"first": 0, "three": 0, "of": 0})
            row["first"] += right_among(item, line, 1)
            row["three"] += right_among(item, line, 3)
            row["of"] += 1
    return dict(sorted(found.items()))


def versions(backend: str) -> dict[str, str]:
    packages = ["keras", "numpy", {"tensorflow": "tensorflow-cpu"}.get(backend, backend)]
    found = {"python": platform.python_version(), "lstm-oracle": ""}
    for package in (*packages, "lstm-oracle"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found.pop(package, None)
    return found


def commit() -> str:
    git = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def write(options: argparse.Namespace, lines: list[dict[str, Any]], of: int) -> None:
    """The results file, this row replaced and the other rows kept."""
    path = RESULTS / f"fault_bench_{options.part}_{options.backend}.json"
    data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": {}}
    seconds = sorted(line["seconds"] for line in lines if "seconds" in line)
    rows = table(lines, options.remedied)
    who = options.who + (f" {options.budget}" if options.who == "diagnose" else "")
    data |= {
        "part": options.part, "backend": options.backend, "versions": versions(options.backend),
        "machine": {"system": platform.system(), "architecture": platform.machine(),
                    "cores": os.cpu_count()},
    }  # fmt: skip
    data["rows"][who] = {
        "clock": options.clock,
        "commit": commit(),
        "cases": len(lines),
        "cases_in_part": of,
        "order": "by the hash of the name",
        "table": {key: value.plain() for key, value in rows.items()},
        "seconds": {
            "median": float(np.median(seconds)) if seconds else None,
            "p90": float(np.quantile(seconds, 0.9)) if seconds else None,
            "worst": seconds[-1] if seconds else None,
        },
        "by_cause": by_cause(lines),
        "lines": lines,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def show(options: argparse.Namespace, lines: list[dict[str, Any]]) -> None:
    print(f"\n{options.who}, {options.part}, {options.backend}, {len(lines)} cases")
    for key, value in table(lines, options.remedied).items():
        print(f"  {key:34s} {value}")
    for cause, row in by_cause(lines).items():
        print(f"    {cause:24s} first {row['first']}/{row['of']}  three {row['three']}/{row['of']}")
    seconds = [line["seconds"] for line in lines if "seconds" in line]
    if seconds:
        print(f"  seconds: median {np.median(seconds):.1f}, worst {max(seconds):.1f}")


def report(name: str, item: Any, line: dict[str, Any]) -> str:
    named = [" or ".join(sorted(guess)) for guess in guesses(line)]
    if hasattr(item, "cause"):
        mark = "ok  " if right_among(item, line, 1) else "MISS"
    else:
        mark = "ok  " if recognized(item, line) else "MISS"
    return f"{mark} {name:44s} {', '.join(named) or '-':50s} {line.get('raises', '')}"


def run(options: argparse.Namespace, done: Callable[[dict[str, Any]], None]) -> None:
    worker, items = Worker(options), entries()
    start = time.monotonic()
    try:
        for name in options.todo:
            if time.monotonic() - start > options.seconds:
                break
            line = worker.ask(name, options.time_limit)
            done(line)
            print(report(name, items[name], line), flush=True)
    finally:
        worker.stop()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--part", choices=("develop", "measure"), default="develop")
    made.add_argument("--who", choices=WHO, default="diagnose")
    made.add_argument("--budget", default="quick")
    made.add_argument("--backend", default="tensorflow", choices=("tensorflow", "jax", "torch"))
    made.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="what seconds are")
    made.add_argument("--limit", type=int, default=None, help="so many cases")
    made.add_argument("--keep", action="store_true", help="write the results of a part of it too")
    made.add_argument("--skip", type=int, default=0, help="leave out the first so many cases")
    made.add_argument("--only", action="append", help="names or causes, by prefix")
    made.add_argument("--time-limit", type=float, default=240.0, help="wall seconds for a case")
    made.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--remedied", action="store_true", help="train the remedied models too")
    made.add_argument("--fresh", action="store_true", help="forget the kept lines of the cases")
    made.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return made


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    if options.worker:
        work(options)
        return 0
    OUT.mkdir(exist_ok=True)
    what = (options.part, options.who, options.budget, options.backend, options.clock)
    kept = OUT / f"bench_{'_'.join(what)}.jsonl"
    names = chosen(options)
    lines: dict[str, dict[str, Any]] = {}
    if kept.exists():
        old = [json.loads(text) for text in kept.read_text(encoding="utf-8").splitlines()]
        lines = {line["name"]: line for line in old}
    options.todo = [name for name in names if options.fresh or name not in lines]

    def done(line: dict[str, Any]) -> None:
        lines[line["name"]] = line
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    run(options, done)
    found = [lines[name] for name in names if name in lines]
    show(options, found)
    whole = options.limit is None and not (options.only or options.skip)
    if whole or options.keep:
        everything = argparse.Namespace(part=options.part, only=None, skip=0, limit=None)
        write(options, found, len(chosen(everything)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
