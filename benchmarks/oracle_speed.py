"""How much the oracle pays for being readable: its speed beside an ideal NumPy LSTM.

The ideal is what one would write for this one case and nothing else: gates fused into one block,
input products before the loop and weight gradients after it, every array allocated once and
written in place; sigma(1 - sigma) and 1 - tanh^2 for derivatives; no variants, no masks, no checks.
Both run on one thread (a product of 8 x 64 with 64 x 256 gains nothing from a second), alternating;
the ratio is the median of the ratios of neighbouring runs, in wall time and in CPU time.

    python benchmarks/oracle_speed.py            # prints, and writes results/oracle_speed.json
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.reference import Spec, State, backward, forward

HERE = Path(__file__).parent
RESULT = HERE / "results" / "oracle_speed.json"
B, T, I, H = 8, 100, 32, 64
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP", "VECLIB")}
GOAL = 2.0  # the oracle may take this many times as long


class Ideal:
    """A plain LSTM with fused gates in the order i, f, o, g and every array allocated once."""

    def __init__(self, params: dict[str, np.ndarray]) -> None:
        def fuse(letter: str) -> np.ndarray:
            return np.concatenate([params[f"{letter}_{k}"] for k in "ifog"], axis=-1)

        self.W, self.U, self.b = fuse("W"), fuse("U"), fuse("b")
        self.U_T = np.ascontiguousarray(self.U.T)
        self.z = np.empty((T, B, 4 * H))  # becomes the gates, in place
        self.h, self.c = np.empty((T + 1, B, H)), np.empty((T + 1, B, H))
        self.s = np.empty((T, B, H))
        self.slopes, self.s_slope = np.empty((T, B, 4 * H)), np.empty((T, B, H))
        self.d_z = np.empty((T, B, 4 * H))
        self.wide, self.narrow = np.empty((B, 4 * H)), np.empty((B, H))

    def forward(self, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
        """x (T, B, I) to y (T, B, H)."""
        self.x = x
        np.matmul(x.reshape(T * B, I), self.W, out=self.z.reshape(T * B, 4 * H))
        self.z += self.b
        self.h[0], self.c[0] = h, c
        for t in range(T):
            z, c_t, s = self.z[t], self.c[t + 1], self.s[t]
            np.matmul(self.h[t], self.U, out=self.wide)
            z += self.wide
            gates, g = z[:, : 3 * H], z[:, 3 * H :]
            np.negative(gates, out=gates)
            np.exp(gates, out=gates)
            gates += 1
            np.reciprocal(gates, out=gates)
            np.tanh(g, out=g)
            np.multiply(z[:, H : 2 * H], self.c[t], out=c_t)
            np.multiply(z[:, :H], g, out=self.narrow)
            c_t += self.narrow
            np.tanh(c_t, out=s)
            np.multiply(z[:, 2 * H : 3 * H], s, out=self.h[t + 1])
        return self.h[1:]

    def backward(self, d_y: np.ndarray, d_h: np.ndarray, d_c: np.ndarray) -> tuple[np.ndarray, ...]:
        """d_y (T, B, H) to d_W, d_U, d_b, d_x, d_h, d_c."""
        gates, g = self.z[..., : 3 * H], self.z[..., 3 * H :]
        np.multiply(gates, 1 - gates, out=self.slopes[..., : 3 * H])
        np.subtract(1, g * g, out=self.slopes[..., 3 * H :])
        np.subtract(1, self.s * self.s, out=self.s_slope)
        self.s_slope *= self.z[..., 2 * H : 3 * H]
        d_h, d_c = d_h.copy(), d_c.copy()
        for t in reversed(range(T)):
            z, d_z = self.z[t], self.d_z[t]
            d_h += d_y[t]
            np.multiply(d_h, self.s_slope[t], out=self.narrow)
            d_c += self.narrow
            np.multiply(d_c, z[:, 3 * H :], out=d_z[:, :H])
            np.multiply(d_c, self.c[t], out=d_z[:, H : 2 * H])
            np.multiply(d_h, self.s[t], out=d_z[:, 2 * H : 3 * H])
            np.multiply(d_c, z[:, :H], out=d_z[:, 3 * H :])
            d_z *= self.slopes[t]
            d_c *= z[:, H : 2 * H]
            np.matmul(d_z, self.U_T, out=d_h)
        rows = self.d_z.reshape(T * B, 4 * H)
        d_x = (rows @ self.W.T).reshape(T, B, I)
        d_W = self.x.reshape(T * B, I).T @ rows
        d_U = self.h[:-1].reshape(T * B, H).T @ rows
        return d_W, d_U, rows.sum(axis=0), d_x, d_h, d_c


def problem(rng: np.random.Generator) -> tuple[Any, ...]:
    spec = Spec(input_size=I, hidden_size=H)
    bound = 1 / np.sqrt(H)
    params = {name: rng.uniform(-bound, bound, s) for name, s in spec.param_shapes.items()}
    x, d_y = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
    state = State(*rng.standard_normal((2, B, H)))
    d_state = State(*rng.standard_normal((2, B, H)))
    return spec, params, x, state, d_y, d_state


def contenders(rng: np.random.Generator) -> dict[str, dict[str, Callable[[], Any]]]:
    """Forward alone, and forward with backward, of the ideal and of the oracle; checked."""
    spec, params, x, state, d_y, d_state = problem(rng)
    ideal = Ideal(params)
    x_time_first, d_y_time_first = (np.ascontiguousarray(np.swapaxes(a, 0, 1)) for a in (x, d_y))

    def ideal_both() -> Any:
        y = ideal.forward(x_time_first, *state)
        return y, ideal.backward(d_y_time_first, *d_state)

    def oracle_both() -> Any:
        (y, _), tape = forward(spec, params, x, state)
        return y, backward(tape, d_y, d_state)

    check(ideal_both(), oracle_both())
    return {
        "forward": {
            "ideal": lambda: ideal.forward(x_time_first, *state),
            "oracle": lambda: forward(spec, params, x, state),
        },
        "forward and backward": {"ideal": ideal_both, "oracle": oracle_both},
    }


def check(ideal: Any, oracle: Any) -> None:
    """A wrong contender is never timed."""
    y, (d_W, d_U, d_b, d_x, d_h, d_c) = ideal
    expected_y, expected = oracle

    def fuse(letter: str) -> np.ndarray:
        return np.concatenate([expected.params[f"{letter}_{k}"] for k in "ifog"], axis=-1)

    pairs = {
        "y": (np.swapaxes(y, 0, 1), expected_y),
        "d_W": (d_W, fuse("W")),
        "d_U": (d_U, fuse("U")),
        "d_b": (d_b, fuse("b")),
        "d_x": (np.swapaxes(d_x, 0, 1), expected.x),
        "d_h": (d_h, expected.state.h),
        "d_c": (d_c, expected.state.c),
    }
    for name, (got, wanted) in pairs.items():
        error = np.abs(got - wanted).max() / np.abs(wanted).max()
        if not error < 1e-12:
            raise RuntimeError(f"the ideal LSTM is wrong: {name} is off by {error:.1e}")


def measure(run: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Milliseconds of each contender, alternating, and the ratios of neighbouring runs."""
    clocks = {"wall": time.perf_counter, "cpu": time.process_time}
    times: dict[str, dict[str, list[float]]] = {
        clock: {name: [] for name in run} for clock in clocks
    }
    for n in range(rounds):
        for name in list(run) if n % 2 else reversed(list(run)):
            start = {clock: now() for clock, now in clocks.items()}
            run[name]()
            for clock, now in clocks.items():
                times[clock][name].append(1e3 * (now() - start[clock]))
    return {clock: summary(both) for clock, both in times.items()}


def summary(times: dict[str, list[float]]) -> dict[str, Any]:
    ratios = [o / i for o, i in zip(times["oracle"], times["ideal"], strict=True)]
    quarter, _, three_quarters = statistics.quantiles(ratios, n=4)
    return {
        "ideal_ms": round(statistics.median(times["ideal"]), 3),
        "oracle_ms": round(statistics.median(times["oracle"]), 3),
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": [round(quarter, 3), round(three_quarters, 3)],
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200, help="runs of each contender")
    rounds = parser.parse_args().rounds
    run = contenders(np.random.default_rng(0))
    for both in run.values():
        measure(both, 10)  # warm up
    result = {
        "case": {"B": B, "T": T, "I": I, "H": H, "dtype": "float64"},
        "rounds": rounds,
        "results": {name: measure(both, rounds) for name, both in run.items()},
        "goal": {"ratio of forward and backward": GOAL},
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": 1,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"B {B}, T {T}, I {I}, H {H}, float64, one thread, {processor()}")
    for name, clocks in result["results"].items():
        for clock, s in clocks.items():
            print(
                f"{name:>21} {clock:>5}: ideal {s['ideal_ms']:7.2f} ms, "
                f"oracle {s['oracle_ms']:7.2f} ms, ratio {s['ratio']:.2f}"
            )


if __name__ == "__main__":
    if not ONE_THREAD.items() <= os.environ.items():  # they are read when NumPy is loaded
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ONE_THREAD)
    main()
