"""Does each fault hurt, and does its fix help? And do the healthy runs do well?

    python benchmarks/faults/check_faults.py [--redo PREFIX] [--seconds 600]

Trains every broken case and its fix on the TensorFlow backend and keeps held-out skills in
`results/fault_bench_checks.jsonl`, a line per training, so that a stopped run goes on where it
was. Then writes `results/fault_bench_cases.json`: what was measured of each case, and whether it
is kept. Only kept cases are in the bench.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"
LINES = RESULTS / "fault_bench_checks.jsonl"
CASES_JSON = RESULTS / "fault_bench_cases.json"
# A fault hurts when its fix gains this much held-out skill, on the scale from the best constant
# (0) to perfect (1); a run is healthy when it has this share of the plain task's skill.
GAIN = 0.12
HEALTHY_SHARE = 0.75


def one_core() -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    if os.environ["KERAS_BACKEND"] == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    if os.environ["KERAS_BACKEND"] == "torch":
        import torch

        torch.set_num_threads(1)


def read() -> dict[str, dict[str, Any]]:
    """The last line of each training."""
    if not LINES.exists():
        return {}
    lines = [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
    return {line["run"]: line for line in lines}


def train(run: str, make: Callable[[], Any], seed: int) -> dict[str, Any]:
    import keras
    from tasks import skill

    start = time.perf_counter()
    recipe = make()
    line: dict[str, Any] = {"run": run, "seed": seed}
    try:
        model, fit = recipe.build(seed)
        history = model.fit(**fit, verbose=0).history["loss"]
        line |= {
            "skill": round(skill(recipe, model), 4),
            "loss": [round(float(v), 6) for v in (history[0], history[-1])],
        }
    except Exception as error:
        line |= {"skill": None, "raises": f"{type(error).__name__}: {error}"[:200]}
    keras.backend.clear_session()
    return line | {"seconds": round(time.perf_counter() - start, 1)}


def cases() -> list[Any]:
    from faults import CASES
    from later import LATER

    return [*CASES, *LATER]


def runs() -> list[Any]:
    from healthy import HEALTHY, NOT_A_BUG
    from later import LATER_HEALTHY

    return [*HEALTHY, *NOT_A_BUG, *LATER_HEALTHY]


def wanted(prefixes: tuple[str, ...] = ("",)) -> Iterator[tuple[str, Callable[[], Any], int]]:
    """(run, recipe, seed) of every training, the causes taken in turn."""
    from tasks import TASKS

    for task, make in TASKS.items():
        yield f"healthy {task}", make, 0
    turn: dict[str, int] = {}
    ranked = []
    for case in cases():
        turn[case.cause] = turn.get(case.cause, -1) + 1
        ranked.append((turn[case.cause], case))
    for _, case in sorted(ranked, key=lambda pair: pair[0]):
        if case.name.startswith(prefixes):
            yield f"broken {case.name}", case.broken_recipe, 0
            if case.twin == case.name:
                yield f"fixed {case.name}", case.fixed_recipe, 0
    for run in runs():
        if run.name.startswith(prefixes):
            yield run.name, run.recipe, 0


def verdict(case: Any, lines: dict[str, Any]) -> dict[str, Any] | None:
    """What was measured of a case; None where it was not trained yet."""
    broken = lines.get(f"broken {case.name}")
    fixed = lines.get(case.twin if case.twin != case.name else f"fixed {case.name}")
    if broken is None or fixed is None:
        return None
    raises = broken.get("raises")
    skills = (broken["skill"], fixed["skill"])
    gain = None if None in skills else round(skills[1] - skills[0], 4)
    return {
        "name": case.name, "cause": case.cause, "task": case.task, "real": case.real,
        "severity": case.severity, "also_right": list(case.also_right),
        "remediable": case.remediable, "skill_broken": skills[0], "skill_fixed": skills[1],
        "gain": gain, "raises": raises,
        "kept": gain is not None and gain >= GAIN and skills[1] >= GAIN,
    }  # fmt: skip


def summary() -> dict[str, Any]:
    import keras

    lines = read()
    judged = [v for v in (verdict(case, lines) for case in cases()) if v is not None]
    healthy = []
    for run in runs():
        line = lines.get(run.name)
        if line is None:
            continue
        plain = lines.get(f"healthy {run.task}", {}).get("skill")
        # A run that is no bug has no skill to reach: its target may be noise.
        good = run.not_a_bug or (
            line["skill"] is not None and line["skill"] >= HEALTHY_SHARE * plain
        )
        healthy.append(
            {"name": run.name, "task": run.task, "not_a_bug": run.not_a_bug,
             "skill": line["skill"], "plain_skill": plain, "kept": good}
        )  # fmt: skip
    return {
        "metric": "held-out skill: balanced accuracy over chance, or R squared (naive-forecast: "
        "1 - squared error over that of persistence); 0 the best constant, 1 perfect",
        "kept_when": f"the fix gains >= {GAIN}; a healthy run has >= {HEALTHY_SHARE} of the "
        "plain task's skill",
        "backend": "tensorflow", "keras": keras.__version__,
        "cases": judged, "healthy": healthy,
    }  # fmt: skip


def write() -> dict[str, Any]:
    """The file that the bench reads: what has been measured so far."""
    found = summary()
    temporary = CASES_JSON.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, CASES_JSON)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redo", action="append", default=[], help="train again, by name prefix")
    parser.add_argument("--only", action="append", default=[], help="by name prefix")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    options = parser.parse_args(argv)
    one_core()
    RESULTS.mkdir(exist_ok=True)
    start, done = time.monotonic(), read()
    redo = tuple(options.redo)
    for run, make, seed in wanted(tuple(options.only or [""])):
        again = bool(redo) and run.removeprefix("broken ").removeprefix("fixed ").startswith(redo)
        if (run in done and not again) or time.monotonic() - start > options.seconds:
            continue
        line = train(run, make, seed)
        with LINES.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(line, flush=True)
        write()
    found = write()
    for case in found["cases"]:
        if not case["kept"]:
            print("not kept:", case["name"], case["skill_broken"], case["skill_fixed"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
