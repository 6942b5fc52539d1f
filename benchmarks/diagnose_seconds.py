"""How long `diagnose` takes by the wall clock, at the largest size that its budgets are stated for.

    python benchmarks/diagnose_seconds.py [--budget quick] [--backend tensorflow]

2,000 sequences of 50 steps with 20 features, about 100k parameters; once as it should be, once with
a rate a thousand times too low. The import of the backend is not counted. A budget's row is written
to `results/diagnose_seconds_<backend>.json`, the other budgets' rows are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
LIMITS = {"quick": 20.0, "standard": 120.0}  # seconds
SEQUENCES, STEPS, FEATURES, UNITS = 2000, 50, 20, 146
RATES = {"healthy": 3e-3, "a rate a thousand times too low": 3e-6}


def data() -> tuple[np.ndarray, np.ndarray]:
    """Is the sum of one feature over the last ten steps positive?"""
    random = np.random.default_rng(0)
    x = random.normal(size=(SEQUENCES, STEPS, FEATURES)).astype(np.float32)
    return x, (x[:, -10:, 0].sum(1) > 0).astype(np.float32)


def timed(rate: float, budget: str) -> dict[str, Any]:
    import keras

    from lstm_oracle.diagnosis import diagnose

    keras.utils.set_random_seed(0)
    layers = [keras.Input((STEPS, FEATURES)), keras.layers.LSTM(UNITS)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    x, y = data()
    began, processor = time.perf_counter(), time.process_time()
    diagnosis = diagnose(model, x, y, epochs=20, budget=budget)
    return {
        "wall": round(time.perf_counter() - began, 2),
        "processor": round(time.process_time() - processor, 2),
        "stages": {stage: round(s, 2) for stage, s in diagnosis.seconds.items()},
        "verdict": diagnosis.verdict,
        "parameters": model.count_params(),
    }


def machine(backend: str) -> dict[str, Any]:
    import importlib.metadata

    git = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    package = {"tensorflow": "tensorflow-cpu"}.get(backend, backend)
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "versions": {n: importlib.metadata.version(n) for n in ("keras", "numpy", package)},
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", choices=tuple(LIMITS), default="quick")
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    rows = {}
    for name, rate in RATES.items():
        rows[name] = timed(rate, options.budget)
        print(f"{options.budget}, {name}: {rows[name]['wall']} s; {rows[name]['verdict'][:90]}")
    path = HERE / "results" / f"diagnose_seconds_{options.backend}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"budgets": {}}
    limit = LIMITS[options.budget]
    kept["case"] = {"sequences": SEQUENCES, "steps": STEPS, "features": FEATURES, "units": UNITS}
    kept["budgets"][options.budget] = {
        "limit": limit, "load_average": os.getloadavg()[0], "machine": machine(options.backend),
        "rows": rows,
    }  # fmt: skip
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(any(row["wall"] > limit for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
