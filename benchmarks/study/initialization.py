"""The initialization study: what a start does to gates, gradients and the pace of learning.

    python -m lstm_oracle.benchmarks.study.initialization              # all, or the rest of it
    python -m lstm_oracle.benchmarks.study.initialization --seeds 2 --steps 60 --keep out/quick
    python -m lstm_oracle.benchmarks.study.initialization --processes 2

10 initializers x 3 forget biases x 2 depths x 2 lengths x 4 tasks x 11 seeds: 5,280 trainings.
Those of one shape (task, length, depth) are one vmapped, jitted call of `training.train_all`; its
result is kept in a file of its own as soon as it is there, and a run that was interrupted starts
with the first shape that has none. `analysis` makes the summary that the documents quote.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.benchmarks.study.settings import DEPTHS, SETTINGS, Setting, draw, specs

ROOT = Path(__file__).resolve().parents[2]
KEEP = ROOT / "out" / "initialization"
RESULT = ROOT / "benchmarks" / "results" / "initialization_study.json"
HIDDEN_SIZE, SEEDS = 16, 11


class Shape(NamedTuple):
    """What one compiled call covers."""

    task: str
    length: int
    depth: int

    @property
    def file(self) -> str:
        """Name of the file that keeps its results."""
        return f"{self.task.replace(' ', '_')}-{self.length}-{self.depth}.npz"


def shapes(tasks: tuple[str, ...] | None = None) -> list[Shape]:
    """Every shape of the study, or those of some tasks."""
    from lstm_oracle.benchmarks.study.tasks import TASKS

    return [
        Shape(name, length, depth)
        for name, (_, lengths) in TASKS.items()
        if tasks is None or name in tasks
        for length in lengths
        for depth in DEPTHS
    ]


def run_shape(
    shape: Shape, recipe: Any, seeds: int, settings: tuple[Setting, ...] = SETTINGS
) -> dict[str, np.ndarray]:
    """Every setting and seed of one shape in one call: arrays (settings, seeds, ...)."""
    import jax

    from lstm_oracle.benchmarks.study import mesh
    from lstm_oracle.benchmarks.study.tasks import TASKS
    from lstm_oracle.benchmarks.study.training import train_all

    task = TASKS[shape.task][0](shape.length)
    layers = specs(task.input_size, HIDDEN_SIZE, shape.depth)
    drawn = [
        draw(setting, layers, task.output_size, task.length, seed)
        for setting in settings
        for seed in range(seeds)
    ]
    N = len(drawn)
    params = jax.tree.map(lambda *arrays: np.stack(arrays), *drawn)
    arguments = mesh.spread((params, np.tile(np.arange(seeds), len(settings))))
    started = time.perf_counter()
    compiled = train_all.lower(*arguments, task=task, layers=layers, recipe=recipe).compile()
    compiled_at = time.perf_counter()
    out = jax.block_until_ready(compiled(*arguments))
    seconds = time.perf_counter() - compiled_at
    found = {name: np.asarray(a) for name, a in mesh.gather(out, N).items()}
    found["skill"] = np.asarray(task.skill(found["loss"].astype(np.float64)))
    found = {name: a.reshape(len(settings), seeds, *a.shape[1:]) for name, a in found.items()}
    cost = {"seconds": seconds, "compile_seconds": compiled_at - started, "trainings": N}
    return found | {name: np.asarray(value) for name, value in cost.items()}


def write_whole(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """All or nothing: into a temporary file beside it, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    os.replace(file.name, path)


def read_kept(path: Path, stamp: str) -> dict[str, np.ndarray] | None:
    """What a run of the same recipe left; None where there is none."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        kept = {name: stored[name] for name in stored.files}
    return kept if str(kept.pop("stamp", "")) == stamp else None


def run(
    recipe: Any,
    seeds: int,
    keep: Path,
    tasks: tuple[str, ...] | None = None,
    say: Any = print,
    limit: int | None = None,
) -> dict[Shape, dict[str, np.ndarray]]:
    """Results of every shape: from the kept files, or computed and kept now."""
    stamp = json.dumps({**asdict(recipe), "seeds": seeds, "hidden_size": HIDDEN_SIZE})
    return dict(_results(recipe, seeds, keep, shapes(tasks)[:limit], stamp, say))


def _results(
    recipe: Any, seeds: int, keep: Path, wanted: list[Shape], stamp: str, say: Any
) -> Iterator[tuple[Shape, dict[str, np.ndarray]]]:
    import jax

    for number, shape in enumerate(wanted, 1):
        path = keep / shape.file
        found = read_kept(path, stamp)
        source = "kept"
        if found is None:
            found, source = run_shape(shape, recipe, seeds), "run"
            if jax.process_index() == 0:
                write_whole(path, found | {"stamp": np.asarray(stamp)})
        say(
            f"{number:2d}/{len(wanted)} {shape.task}, T {shape.length}, depth {shape.depth}: "
            f"{int(found['trainings'])} trainings, {float(found['seconds']):.1f} s + "
            f"{float(found['compile_seconds']):.1f} s compiling ({source})"
        )
        yield shape, found


def start_processes(count: int, words: list[str]) -> int:
    """This same command in several processes that JAX's runtime joins; their exit status."""
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "-m", "lstm_oracle.benchmarks.study.initialization", *words]
        extra = [["--join", f"127.0.0.1:{port},{count},{n}"] for n in range(count)]
        logs = [open(Path(folder) / f"{n}.log", "w") for n in range(1, count)]  # noqa: SIM115
        workers = [
            subprocess.Popen([*command, *extra[n]], stdout=None if n == 0 else logs[n - 1])
            for n in range(count)
        ]
        status = max(worker.wait() for worker in workers)
        for log in logs:
            log.close()
    return status


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, and write the summary."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    parser.add_argument("--keep", type=Path, default=KEEP, help="folder of the results by shape")
    parser.add_argument("--result", type=Path, default=RESULT, help="the summary, as JSON")
    parser.add_argument("--task", action="append", help="only this task; may be repeated")
    parser.add_argument("--shapes", type=int, metavar="N", help="only the first N shapes")
    parser.add_argument("--devices", type=int, help="forced host devices")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--join", help=argparse.SUPPRESS)  # ADDRESS,COUNT,NUMBER
    arguments = parser.parse_args(words)
    if arguments.devices:
        flag = f"--xla_force_host_platform_device_count={arguments.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()
    if arguments.processes > 1 and arguments.join is None:
        return start_processes(arguments.processes, words)

    import jax

    from lstm_oracle.benchmarks.study import analysis, mesh
    from lstm_oracle.benchmarks.study.training import Recipe

    if arguments.join:
        address, count, number = arguments.join.split(",")
        mesh.join(address, int(count), int(number))
    recipe = Recipe(steps=arguments.steps)
    tasks = tuple(arguments.task) if arguments.task else None
    found = run(
        recipe,
        arguments.seeds,
        arguments.keep,
        tasks,
        lambda line: print(line, flush=True),
        arguments.shapes,
    )
    if jax.process_index() == 0:
        summary = analysis.summary(found, recipe, arguments.seeds)
        analysis.write_json(arguments.result, summary)
        print(analysis.text(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
