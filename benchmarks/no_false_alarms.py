"""Ten thousand random configurations over the adapters: how often right answers are called wrong.

A configuration is an implementation and a case: an architecture, a shape, a dtype, a mask, a state,
and random numbers. Nothing in it is wrong, so that each verdict "disagree" is a false alarm. Where
a public defect of a library is known to show (`conformance.known_defects`), the alarm would be
true: such configurations are left out, and so are those that an implementation says it does not
have. Implementations that can live in one process are asked the same cases, each measured once.

How small a defect is found is measured on the same answers. One block of an answer is chosen at
random, and then (a) one entry of it is moved by eps times the block's largest entry, (b) the whole
block is multiplied by 1 + eps; bisection finds the smallest eps that is called wrong. The share of
answers whose smallest eps is below a given one is the probability that a defect of that size is
found, in one run, by that block alone.

    python benchmarks/no_false_alarms.py                       # all that is installed; resumes
    python benchmarks/no_false_alarms.py --configurations 200  # a small sweep
    python benchmarks/no_false_alarms.py --seconds 500         # stops in time, to be taken up again

Results are kept in benchmarks/results/no_false_alarms.json after every block of configurations. A
finished sweep is started anew with --anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import itertools
import json
import math
import os
import platform
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.conformance import matrix, tolerances
from lstm_oracle.conformance.adapters.registry import (
    REGISTRY,
    Adapter,
    Implementation,
    implementation,
    load,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.known_defects import explain
from lstm_oracle.conformance.matrix import Recipe
from lstm_oracle.conformance.yardstick import truth
from lstm_oracle.reference.spec import Architecture, Bidirectional, Reverse, Spec, Stack
from lstm_oracle.reference.tree import replace

HERE = Path(__file__).parent
RESULT = HERE / "results" / "no_false_alarms.json"

CONFIGURATIONS = 10_000
DTYPES = ("float64", "float32", "bfloat16", "float16")
PROGRAMS = 24  # of each process and dtype
COMPILED = {"jax": 6}  # ten implementations take half a second each for one
BLOCK = 25  # cases between two notes of progress
DEFECTS_IN = 6  # one case in so many is asked for the smallest defect: its yardsticks are long
FOUND = 0.99  # the probability that the smallest defect is stated for
USUAL = 0.90  # and that of problems without the worst conditioned tenth
STEPS = 12  # of bisection in log2(eps)
REACH = (-2.0, 30.0)  # log2(eps / u) between which it is looked for
NOT_FOUND = 99.0

ENVIRONMENT = {
    "JAX_ENABLE_X64": "1",
    "JAX_PLATFORMS": "cpu",
    "CUDA_VISIBLE_DEVICES": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    # Compiling is nearly all of JAX's time on layers this small.
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}


# --- drawing --------------------------------------------------------------------------------------

SMOOTH_GATES = ("sigmoid", "sigmoid", "softsign")
GATES = (*SMOOTH_GATES, "hard_sigmoid_sixth", "hard_sigmoid_fifth")
SMOOTH_CANDIDATES = ("tanh", "tanh", "linear", "softsign", "silu")
CANDIDATES = (*SMOOTH_CANDIDATES, "relu", "elu")
PEEPHOLES = ("", "", "", "ifo", "o", "fo")


@dataclasses.dataclass(frozen=True)
class Program:
    """What a compiler would have to compile anew for."""

    architecture: Architecture
    B: int
    T: int
    mask: bool
    state: bool
    dropout: str


def draw_spec(rng: np.random.Generator, input_size: int, *, smooth: bool, plain: bool) -> Spec:
    """A layer with any mixture of variants, or a plain one."""
    common: dict[str, Any] = {
        "input_size": input_size,
        "hidden_size": int(rng.integers(1, 9)),
        "masked_output": str(rng.choice(["zero"] if plain else ["previous", "zero", "state"])),
    }
    if plain:
        return Spec(**common)
    gate = str(rng.choice(SMOOTH_GATES if smooth else GATES))
    candidate = str(rng.choice(SMOOTH_CANDIDATES if smooth else CANDIDATES))
    coupled = bool(rng.random() < 0.15)
    peepholes = str(rng.choice(PEEPHOLES))
    return Spec(
        **common,
        projection_size=int(rng.integers(1, 6)) if rng.random() < 0.2 else None,
        use_bias=bool(rng.random() < 0.85),
        peepholes=peepholes.replace("i", "") if coupled else peepholes,
        coupled=coupled,
        i_activation="sigmoid" if coupled else gate,
        f_activation=gate,
        g_activation=candidate,
        o_activation=gate,
        c_activation=candidate,
        cell_clip=0.5 if not smooth and rng.random() < 0.1 else None,
        activation_clip=1.0 if not smooth and rng.random() < 0.1 else None,
    )


def has_kinks(spec: Spec) -> bool:
    """Whether numbers have to be drawn until none comes near a kink."""
    clipped = spec.cell_clip is not None or spec.activation_clip is not None
    return clipped or spec.o_activation not in SMOOTH_GATES or (
        spec.c_activation not in SMOOTH_CANDIDATES
    )  # fmt: skip


def draw_architecture(rng: np.random.Generator, *, plain: bool) -> Architecture:
    """One layer, one backwards, both directions, or two layers."""
    kind, input_size = rng.random(), int(rng.integers(1, 7))
    spec = draw_spec(rng, input_size, smooth=kind >= 0.55, plain=plain)
    if kind < 0.55:
        return spec
    if kind < 0.7:
        order = "processing" if rng.random() < 0.3 else "original"
        return Reverse(spec, order)  # type: ignore[arg-type]
    if kind < 0.85:
        merge: Any = ["concat", "concat", "sum", "mul", "ave", None][int(rng.integers(6))]
        return Bidirectional(spec, spec, merge)
    return Stack((spec, dataclasses.replace(spec, input_size=spec.output_size)))


def draw_program(rng: np.random.Generator, *, plain: bool) -> Program:
    architecture = draw_architecture(rng, plain=plain)
    single = isinstance(architecture, Spec)
    small = isinstance(architecture, Spec) and has_kinks(architecture)
    if small and isinstance(architecture, Spec):
        architecture = dataclasses.replace(architecture, hidden_size=int(rng.integers(1, 4)))
    return Program(
        architecture,
        B=int(rng.integers(1, 3 if small else 5)),
        T=int(rng.choice([1, 2, 3] if small else [1, 2, 3, 5, 9])),
        mask=bool(rng.random() < 0.4),
        state=bool(rng.random() < 0.8),
        dropout=str(rng.choice(["x", "xh"])) if single and not plain and rng.random() < 0.2 else "",
    )


def draw_recipe(rng: np.random.Generator, program: Program, name: str, dtype: str) -> Recipe:
    """A program and everything that costs a compiler nothing."""
    spread = 2 if dtype == "float16" else 6  # powers of ten; float16 ends at 65504
    return Recipe(
        name,
        program.architecture,
        program.B,
        program.T,
        mask=str(rng.choice(["right", "right", "full", "left", "holes"])) if program.mask else None,
        state=program.state,
        cotangents=str(rng.choice(["yhc", "yhc", "yhc", "y", "h", "c"])),
        cotangent_scale=float(2.0 ** np.round(rng.uniform(-spread, spread) * math.log2(10))),
        weights=float(rng.choice([0.25, 0.5, 1.0, 1.0, 2.0, 4.0])),
        dropout=program.dropout,
    )


class Drawing:
    """The cases of one process, the same ones whenever they are drawn."""

    def __init__(self, group: str) -> None:
        self._seed = zlib.crc32(group.encode())
        self._group = group
        self._programs = COMPILED.get(group, PROGRAMS)

    def case(self, index: int) -> Case:
        """The case of a number; dtypes take turns."""
        dtype = DTYPES[index % len(DTYPES)]
        for attempt in itertools.count():
            rng = np.random.default_rng([self._seed, 1, index, attempt])
            program = self._program(dtype, int(rng.integers(self._programs)))
            name = f"{self._group}, case {index}.{attempt}"
            case = _built(draw_recipe(rng, program, name, dtype), dtype)
            if case is not None and _moderate(case):
                return case
        raise RuntimeError(f"{self._group}: no case {index}.")

    def _program(self, dtype: str, number: int) -> Program:
        """Every second one is plain: no implementation is without work."""
        rng = np.random.default_rng([self._seed, 2, DTYPES.index(dtype), number])
        return draw_program(rng, plain=number % 2 == 0)


def _built(recipe: Recipe, dtype: str) -> Case | None:
    try:
        return matrix.build(recipe, dtype)
    except RuntimeError:  # every draw comes near a kink
        return None


def _moderate(case: Case) -> bool:
    """Whether 16-bit formats can hold every number, those on the way to it included."""
    if case.dtype != "float16":
        return True
    blocks = truth(case).blocks().values()
    largest = max(float(np.abs(block).max(initial=0.0)) for block in blocks)
    return largest < 2.0**12


# --- judging --------------------------------------------------------------------------------------


def judge(
    case: Case, result: Result, rng: np.random.Generator, *, defects: bool = True
) -> dict[str, Any]:
    """The verdict on an answer, and the smallest defects of it that are found."""
    report = compare(case, result)
    found: dict[str, Any] = {
        "dtype": case.dtype,
        "ratio": _rounded(min(1e9, max((b.ratio for b in report.blocks), default=1e9))),
    }
    if report.status != "agree":
        return found | {"alarm": f"{case.name}: {report.message}"}
    true = truth(case).blocks()
    names = [b.block for b in report.blocks if np.any(true[b.block])]
    if not names or not defects:
        return found
    name = names[int(rng.integers(len(names)))]
    entry = int(rng.integers(true[name].size))
    sign = float(rng.choice([-1.0, 1.0]))
    got = np.asarray(result.blocks()[name], np.float64)

    def wrong_by(eps: float, *, block: bool) -> bool:
        other = got * (1 + sign * eps) if block else got.copy()
        if not block:
            other.flat[entry] += sign * eps * np.abs(got).max()
        changed = _exchanged(result, name, other)
        seen = compare(case, changed, true={name: true[name]})
        return seen.status != "agree"

    u = tolerances.format_of(case.dtype).roundoff
    return found | {
        "entry": _smallest(lambda units: wrong_by(units * u, block=False)),
        "block": _smallest(lambda units: wrong_by(units * u, block=True)),
    }


def _exchanged(result: Result, name: str, array: np.ndarray) -> Result:
    """The result with another array in one of its blocks."""
    if not name.startswith("d_"):
        both = {"y": result.y, "state": result.state}
        return dataclasses.replace(result, **replace(both, {name: array}))
    if name == "d_x":
        return dataclasses.replace(result, d_x=array)
    path = name.removeprefix("d_")
    if path.startswith("state."):
        changed = replace(result.d_state, {path.removeprefix("state."): array})
        return dataclasses.replace(result, d_state=changed)
    return dataclasses.replace(result, d_params=replace(result.d_params, {path: array}))


def _smallest(found: Any) -> float:
    """log2 of the smallest defect, in unit roundoffs, that is found."""
    low, high = REACH
    if not found(2.0**high):
        return NOT_FOUND
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if found(2.0**middle) else (middle, high)
    return _rounded(high)


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")


# --- workers --------------------------------------------------------------------------------------


def groups(names: list[str]) -> dict[str, list[str]]:
    """Implementations that can live in one process, by a name of that process.

    Keras has one backend in a process; everything else goes where what it needs is loaded anyway.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        row = implementation(name)
        home = row.backend or next((m for m in row.requires if m in ("jax", "tensorflow")), "torch")
        settings = {k: v for k, v in row.environment.items() if k != "KERAS_BACKEND"}
        found.setdefault(name if settings or name not in REGISTRY else home, []).append(name)
    return found


def work(group: str, names: list[str], start: int) -> Iterator[list[dict[str, Any]]]:
    """The verdicts on case after case, a list for each; first of all the versions."""
    subjects = [(implementation(name), load(implementation(name))) for name in names]
    versions = {row.name: adapter.versions() for row, adapter in subjects}
    yield [{"versions": versions}]
    drawing = Drawing(group)
    for index in itertools.count(start):
        case = drawing.case(index)
        yield [
            _ask(row, adapter, case, index)
            for row, adapter in subjects
            if not adapter.unsupported(case)
            and not explain(row.name, row.backend, versions[row.name], case)
        ]


def _ask(row: Implementation, adapter: Adapter, case: Case, index: int) -> dict[str, Any]:
    rng = np.random.default_rng([zlib.crc32(row.name.encode()), index])
    try:
        result = adapter.run(case)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        message = f"{row.name}, {case.name}: {type(error).__name__}: {said}"
        return {"name": row.name, "dtype": case.dtype, "error": message}
    # Dtypes take turns, so every one of them has such a case in len(DTYPES) * DEFECTS_IN cases.
    defects = index // len(DTYPES) % DEFECTS_IN == 0
    return {"name": row.name} | judge(case, result, rng, defects=defects)


def run_worker(
    group: str, names: list[str], start: int, deadline: float
) -> Iterator[list[list[dict[str, Any]]]]:
    """What a worker says, in blocks of cases, until the deadline or until nobody listens."""
    command = [sys.executable, "-W", "ignore", __file__, *names, "--worker", group, str(start)]
    environment = {**os.environ, **ENVIRONMENT, **implementation(names[0]).environment}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        cases: list[list[dict[str, Any]]] = []
        for line in process.stdout or ():
            cases.append(json.loads(line))
            if len(cases) >= BLOCK or time.monotonic() > deadline:
                yield cases
                cases = []
            if time.monotonic() > deadline:
                return
        raise RuntimeError(f"{group}: the worker ended with code {process.wait()}.")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


# --- the sweep ------------------------------------------------------------------------------------


def sweep(names: list[str], configurations: int, result: Path, seconds: float, anew: bool) -> dict:
    """Run what is still missing, a group per processor, keeping what there is after every block."""
    kept = _kept(result, names, configurations, anew)
    deadline = time.monotonic() + seconds
    one_at_a_time = threading.Lock()

    def run_group(group: str, members: list[str]) -> None:
        own = kept["groups"].setdefault(group, {"cases": 0, "versions": {}, "verdicts": []})
        due = math.ceil(configurations * len(members) / len(names))
        if len(own["verdicts"]) >= due or time.monotonic() > deadline:
            return
        for cases in run_worker(group, members, own["cases"], deadline):
            with one_at_a_time:
                _take(own, cases)
                _keep(result, kept)
            count = sum(len(one["verdicts"]) for one in kept["groups"].values())
            done = len(own["verdicts"])
            print(f"{count} of {configurations}: {group} {done} of {due}", flush=True)
            if done >= due:
                return

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for running in [pool.submit(run_group, *group) for group in groups(names).items()]:
            running.result()
    return kept


def _take(own: dict[str, Any], cases: list[list[dict[str, Any]]]) -> None:
    for verdicts in cases:
        if verdicts and "versions" in verdicts[0]:
            own["versions"] = verdicts[0]["versions"]
        else:
            own["cases"] += 1
            own["verdicts"] += verdicts


def _kept(result: Path, names: list[str], configurations: int, anew: bool) -> dict[str, Any]:
    fresh = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "configurations": configurations,
        "names": names,
        "groups": {},
    }
    if anew or not result.exists():
        return fresh
    kept: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if (kept["configurations"], kept["names"]) != (configurations, names):
        print("The kept sweep is of other configurations: starting anew.")
        return fresh
    return kept


def _keep(result: Path, kept: dict[str, Any]) -> None:
    """All or nothing: an interrupted write would cost the whole sweep."""
    written = result.with_suffix(".tmp")
    written.write_text(json.dumps(kept | {"summary": summary(kept)}, indent=None) + "\n")
    written.replace(result)


def _commit() -> str:
    command = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def summary(kept: dict[str, Any]) -> dict[str, Any]:
    """Alarms, errors, ratios and the smallest defects that are found, per dtype."""
    verdicts = [v for one in kept["groups"].values() for v in one["verdicts"]]
    found = {}
    for dtype in DTYPES:
        own = [v for v in verdicts if v["dtype"] == dtype]
        if own:
            found[dtype] = _of_dtype(own, tolerances.format_of(dtype).roundoff)
    return {
        "configurations": len(verdicts),
        "cases": sum(one["cases"] for one in kept["groups"].values()),
        "of_implementation": dict(Counter(v["name"] for v in verdicts)),
        "false_alarms": [v["alarm"] for v in verdicts if "alarm" in v],
        "errors": [v["error"] for v in verdicts if "error" in v],
        "dtypes": found,
    }


def _of_dtype(verdicts: list[dict[str, Any]], u: float) -> dict[str, Any]:
    ratios = [v.get("ratio", 0.0) for v in verdicts]  # what raised has none
    defects = {kind: [v[kind] for v in verdicts if kind in v] for kind in ("entry", "block")}
    return {
        "configurations": len(verdicts),
        "false_alarms": sum("alarm" in v for v in verdicts),
        "errors": sum("error" in v for v in verdicts),
        "ratio": {"median": float(np.median(ratios)), "largest": float(np.max(ratios))},
        "roundoff": u,
        **{kind: _psychometric(found, u) for kind, found in defects.items() if found},
    }


def _psychometric(smallest: list[float], u: float) -> dict[str, Any]:
    """The probability that a defect of a size is found, and the sizes found with 90 and 99 %."""
    ordered = np.sort(smallest)
    usual, at = (float(ordered[math.ceil(p * len(ordered)) - 1]) for p in (USUAL, FOUND))
    curve = {str(k): float(np.mean(ordered <= k)) for k in range(0, 25, 2)}
    return {
        "answers": len(ordered),
        "found_with_90_percent": 2.0**usual * u,
        "found_with_99_percent": 2.0**at * u,
        "in_unit_roundoffs": 2.0**at,
        "probability_by_log2_of_unit_roundoffs": curve,
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        f"{found['configurations']} configurations of {found['cases']} cases, "
        f"{len(found['false_alarms'])} false alarms, {len(found['errors'])} errors",
        "dtype     configurations  false alarms  largest ratio  99 %: one entry  99 %: one block",
    ]
    for dtype, own in found["dtypes"].items():
        smallest = [
            own.get(k, {}).get("found_with_99_percent", math.nan) for k in ("entry", "block")
        ]
        lines.append(
            f"{dtype:9} {own['configurations']:14} {own['false_alarms']:13} "
            f"{own['ratio']['largest']:14.2f} {smallest[0]:16.1e} {smallest[1]:16.1e}"
        )
    return "\n".join([*lines, *found["false_alarms"][:20], *found["errors"][:20]])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="of the registry; by default all installed")
    parser.add_argument("--configurations", type=int, default=CONFIGURATIONS)
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--anew", action="store_true", help="throw away what is kept")
    parser.add_argument("--worker", nargs=2, metavar=("GROUP", "START"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        group, start = options.worker
        for line in work(group, options.names, int(start)):
            print(json.dumps(line), flush=True)
        return 0
    names = options.names or [name for name, row in REGISTRY.items() if not row.missing()]
    kept = sweep(names, options.configurations, options.result, options.seconds, options.anew)
    found = summary(kept)
    print(table(found))
    return int(bool(found["false_alarms"] or found["errors"]))


if __name__ == "__main__":
    raise SystemExit(main())
