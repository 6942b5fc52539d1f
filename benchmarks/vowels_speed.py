"""An epoch of Japanese Vowels: `keras_impl.LSTM` on JAX's fast path against `keras.layers.LSTM`.

The model and the data are those of `examples/train_japanese_vowels.py`; only the recurrent layer
differs. Every contender has a process of its own; they take turns, a few epochs each, and the
median over all epochs counts. Compile time (the first epoch) stands apart. `SETTINGS` are those of
`fit`, the same for all: the example's own first, in which much of an epoch is Keras' own Python
between the batches. How much shows a model without any recurrent layer.

    python benchmarks/vowels_speed.py        # writes results/vowels_speed.json
    python benchmarks/vowels_speed.py --setting "batches of 128"     # this one anew, keeps others

Exit status 1 where the goal, twice as fast as `keras.layers.LSTM` on its best backend in the
example's own setting, is missed.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "examples" / "train_japanese_vowels.py"
KEPT = HERE / "results" / "vowels_speed.json"
GOAL = 2.0
OURS = "lstm_oracle.keras_impl.LSTM(implementation='auto') on jax"
EMPTY = "no recurrent layer, the mean over time, on jax"
# Name, layer of the example, backend.
CONTENDERS = {
    OURS: ("fast", "jax"),
    "lstm_oracle.keras_impl.LSTM on jax": ("ours", "jax"),
    **{f"keras.layers.LSTM on {name}": ("keras", name) for name in ("tensorflow", "jax", "torch")},
    EMPTY: ("none", "jax"),
}


class Setting(NamedTuple):
    """Arguments of `fit` and `compile`."""

    batch_size: int
    steps_per_execution: int = 1


SETTINGS = {
    "the example's": Setting(32),
    "an epoch in one execution": Setting(32, 9),
    "batches of 128": Setting(128),
}


def example() -> Any:
    spec = importlib.util.spec_from_file_location("train_japanese_vowels", EXAMPLE)
    if spec is None or spec.loader is None:
        raise ImportError(f"{EXAMPLE} cannot be read. Run this from a checkout.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_model(train: Any, layer: str, x: Any, lengths: Any) -> Any:
    import keras

    if layer == "none":
        train.recurrent_layer = lambda kind: keras.layers.GlobalAveragePooling1D()
    return train.build_model(layer, x, lengths, epochs=1000)


def work(layer: str, setting: Setting, epochs: int) -> None:
    """Train on demand: for every line of input `epochs` epochs, their seconds as JSON."""
    import keras

    train = example()
    with np.load(train.DATA) as data:
        x, y, lengths = (data[f"{name}_train"] for name in ("x", "y", "lengths"))
    keras.utils.set_random_seed(0)
    model = build_model(train, layer, x, lengths)
    model.steps_per_execution = setting.steps_per_execution
    began: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: began.append(time.perf_counter()),
        on_train_end=lambda logs: began.append(time.perf_counter()),
    )

    def seconds(count: int) -> list[float]:
        began.clear()
        fitted = model.fit(
            x, y, batch_size=setting.batch_size, epochs=count, verbose=0, callbacks=[clock]
        )
        losses.extend(fitted.history["loss"])
        return np.diff(began).tolist()

    losses: list[float] = []
    print(json.dumps(seconds(1)), flush=True)
    for _ in sys.stdin:
        # The first epoch of a call sets the training up again.
        print(json.dumps({"epochs": seconds(epochs + 1)[1:], "loss": losses[-1]}), flush=True)


class Worker:
    """A contender in a process of its own."""

    def __init__(self, name: str, setting: Setting, epochs: int, threads: int) -> None:
        layer, backend = CONTENDERS[name]
        count = str(threads)
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "CUDA_VISIBLE_DEVICES": "-1",
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": count,
            "TF_NUM_INTRAOP_THREADS": count,
            "NPROC": count,
        }
        numbers = [str(number) for number in (*setting, epochs)]
        command = [sys.executable, "-W", "ignore", __file__, "--work", layer, *numbers]
        self.process: Any = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.name = name
        self.first: list[float] = []
        self.epochs: list[float] = []
        self.loss = float("nan")

    def read(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit status {self.process.wait()}.")
        return json.loads(line)

    def turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.read()
        self.epochs += answer["epochs"]
        self.loss = answer["loss"]

    def result(self) -> dict[str, Any]:
        low, middle, high = statistics.quantiles(self.epochs, n=4)
        return {
            "first_epoch_seconds": self.first[0],
            "epoch_seconds": middle,
            "quartiles": [low, high],
            "epochs": len(self.epochs),
            "loss": self.loss,
        }


def measure(setting: Setting, rounds: int, epochs: int, threads: int) -> dict[str, Any]:
    several = setting.steps_per_execution > 1
    present = [
        name
        for name, (_, backend) in CONTENDERS.items()
        # Keras refuses several steps per execution on PyTorch.
        if importlib.util.find_spec(backend) and not (several and backend == "torch")
    ]
    workers = []
    for name in present:  # one after the other: compiling is timed
        worker = Worker(name, setting, epochs, threads)
        worker.first = worker.read()
        workers.append(worker)
    try:
        for _ in range(rounds):
            for worker in workers:
                worker.turn()
    finally:
        for worker in workers:
            worker.process.kill()
    results = {worker.name: worker.result() for worker in workers}
    rivals = {n: r["epoch_seconds"] for n, r in results.items() if n.startswith("keras.")}
    best = min(rivals, key=rivals.__getitem__)
    ratio = rivals[best] / results[OURS]["epoch_seconds"]
    return {
        **setting._asdict(),
        "contenders": results,
        "best_rival": best,
        "times_faster": ratio,
    }


def head(threads: int) -> dict[str, Any]:
    from lstm_oracle.benchmarks.speed import machine

    versions = {}
    for name in ("keras", "jax", "tensorflow", "tensorflow-cpu", "torch", "numpy"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "load_average": machine.load_average(),
        "versions": versions,
        "dtype": "float32",
        "threads": threads,
    }


def kept(path: Path) -> dict[str, Any]:
    """The settings that were measured before."""
    if not path.exists():
        return {}
    settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("settings", {})
    return settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=8, help="in a turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=KEPT)
    parser.add_argument("--setting", choices=tuple(SETTINGS), help="this one alone")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        layer, *numbers = options.work
        batch_size, steps, epochs = map(int, numbers)
        work(layer, Setting(batch_size, steps), epochs)
        return 0
    settings = kept(options.out) if options.setting else {}
    for name in (options.setting,) if options.setting else SETTINGS:
        here = head(options.threads)
        found = measure(SETTINGS[name], options.rounds, options.epochs, options.threads)
        settings[name] = here | found
        show(name, found)
        result = {"goal": GOAL, "settings": settings}
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    reached = all(
        settings[name]["times_faster"] >= GOAL for name in list(SETTINGS)[:1] if name in settings
    )
    return 0 if reached else 1


def show(name: str, found: dict[str, Any]) -> None:
    print(f"{name}: batches of {found['batch_size']}, {found['steps_per_execution']} an execution")
    for contender, row in found["contenders"].items():
        milliseconds, first = 1e3 * row["epoch_seconds"], row["first_epoch_seconds"]
        print(f"{milliseconds:8.1f} ms an epoch, first {first:5.1f} s  {contender}")
    print(f"{found['times_faster']:.2f} times faster than {found['best_rival']}; goal {GOAL}",
          flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
