"""What the monitor costs at its default: the same training with and without it, in pairs.

Each pair trains the same compiled model twice for the same number of epochs, once with a new
`Monitor(x, y)`, in an order that alternates; the cost is the median over the pairs of the ratio of
the two times, less one. The monitor's own compilation is part of what is measured, that of the
training step is not (it would flatter the monitor).

    python benchmarks/monitor_cost.py --backend tensorflow     # writes results/monitor_cost_...json
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GOAL = 0.05
SEQUENCES, STEPS, FEATURES, UNITS, BATCH = 2048, 50, 16, 64, 32


def timed_fit(model: Any, x: Any, y: Any, epochs: int, callbacks: list[Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def measure(pairs: int, seconds: float) -> dict[str, Any]:
    import keras

    from lstm_oracle.diagnosis import Monitor

    rng = np.random.default_rng(0)
    x = rng.normal(size=(SEQUENCES, STEPS, FEATURES)).astype("float32")
    y = (x.mean((1, 2)) > 0).astype("int32")
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES)),
            keras.layers.LSTM(UNITS),
            keras.layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    timed_fit(model, x, y, 1, [])  # compiles
    epochs = max(1, round(seconds / timed_fit(model, x, y, 1, [])["wall"]))
    rows = []
    for n in range(pairs):
        monitor = Monitor(x, y, verbose=False)
        runs: dict[str, dict[str, float]] = {}
        for name in ("plain", "watched") if n % 2 == 0 else ("watched", "plain"):
            callbacks = [monitor] if name == "watched" else []
            runs[name] = timed_fit(model, x, y, epochs, callbacks)
        samples = len(monitor.samples_taken)
        rows.append({**runs, "samples": samples, "monitor_seconds": monitor._spent})
        print(f"pair {n + 1} of {pairs}: {ratio(rows[-1], 'wall'):+.1%} wall, "
              f"{ratio(rows[-1], 'cpu'):+.1%} CPU, {samples} samples", flush=True)  # fmt: skip
    own = [row["monitor_seconds"] / row["watched"]["wall"] for row in rows]
    return {
        "backend": keras.backend.backend(),
        "case": {"sequences": SEQUENCES, "steps": STEPS, "features": FEATURES, "units": UNITS,
                 "batch": BATCH, "epochs": epochs},
        "cost_wall": statistics.median(ratio(row, "wall") for row in rows),
        "cost_cpu": statistics.median(ratio(row, "cpu") for row in rows),
        "own_share_of_wall": statistics.median(own),
        "goal": GOAL,
        "pairs": rows,
    }  # fmt: skip


def ratio(row: dict[str, Any], clock: str) -> float:
    return row["watched"][clock] / row["plain"][clock] - 1


def machine() -> dict[str, Any]:
    try:
        git = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True, cwd=HERE).stdout
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    names = ("keras", "numpy", "tensorflow-cpu", "tensorflow", "jax", "torch")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions,
        "commit": commit.strip(),
        "date": datetime.date.today().isoformat(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=150, help="about, of one training")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    measured = measure(options.pairs, options.seconds)
    if not all(row["samples"] for row in measured["pairs"]):
        print("a training ended before its first look paid: nothing measured. Give more --seconds.")
        return 2
    result = {**measured, "machine": machine()}
    path = HERE / "results" / f"monitor_cost_{options.backend}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{options.backend}: {result['cost_wall']:+.1%} wall, {result['cost_cpu']:+.1%} CPU")
    return 0 if result["cost_wall"] <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
