"""Time and memory of the fused implementation against the number of steps, up to 10,000.

Gradients of all weights from the last state, float32, with and without `remat="chunk"`. Memory is
what the compiled program asks for beside its arguments and results (`memory_analysis`), without the
copy of x that brings time to the front, which it has in either case and which is linear in T. Time
is the median of runs that take turns over all lengths.

    python benchmarks/long_sequences.py        # writes results/long_sequences.json
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

KEPT = Path(__file__).parent / "results" / "long_sequences.json"
STEPS = (100, 400, 1600, 10_000)
B, I, H = 8, 32, 64


def programs() -> dict[tuple[int, str | None], Any]:
    import jax
    import jax.numpy as jnp

    from lstm_oracle.jax_impl import init, lstm
    from lstm_oracle.reference.spec import Spec

    spec = Spec(input_size=I, hidden_size=H)
    params = init(jax.random.key(0), spec, dtype=jnp.float32)

    def loss(params: Any, x: Any, remat: Any) -> Any:
        _, state = lstm(params, x, spec=spec, implementation="fused", remat=remat)
        return jnp.sum(state.h * state.c)

    result = {}
    for T in STEPS:
        x = jax.random.normal(jax.random.key(T), (B, T, I), jnp.float32)
        for remat in (None, "chunk"):
            gradient = jax.jit(jax.grad(partial(loss, remat=remat)))
            result[T, remat] = partial(gradient.lower(params, x).compile(), params, x)
    return result


def measure(rounds: int) -> list[dict[str, Any]]:
    import jax

    runs = programs()
    seconds: dict[tuple[int, str | None], list[float]] = {key: [] for key in runs}
    for number in range(rounds + 1):
        for key, run in runs.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            if number:  # the first is a warm-up
                seconds[key].append(time.perf_counter() - began)
    return [
        {
            "T": T,
            "remat": remat,
            "microseconds_per_step": 1e6 * statistics.median(seconds[T, remat]) / T,
            "temporary_bytes": run.func.memory_analysis().temp_size_in_bytes - 4 * T * B * I,
        }
        for (T, remat), run in runs.items()
    ]


def growth(rows: list[dict[str, Any]], remat: str | None, name: str) -> float:
    """The exponent of T: 1 is linear, 0.5 a square root."""
    first, *_, last = [row for row in rows if row["remat"] == remat]
    return math.log(last[name] / first[name]) / math.log(last["T"] / first["T"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=KEPT)
    options = parser.parse_args()

    from importlib.metadata import version

    from lstm_oracle.benchmarks.speed import machine

    rows = measure(options.rounds)
    result = {
        "commit": machine.commit(),
        "machine": machine.describe(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy")},
        "threads": len(machine.processors()),
        "dtype": "float32",
        "case": {"B": B, "I": I, "H": H},
        "memory_exponent": {
            str(remat): growth(rows, remat, "temporary_bytes") for remat in (None, "chunk")
        },
        "rows": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row)
    print("memory grows as T to the power", result["memory_exponent"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
