"""How long `check` takes at H = 64, from the call to the verdict.

Every subject is a plain LSTM as a stranger writes it, right and with one bug, in a process of its
own; what it imports is imported before. The verdict has to be the right one, and within 5 s.

    python benchmarks/check_speed.py             # writes results/check_speed.json
    python benchmarks/check_speed.py numpy jax   # some of them
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.speed import machine
from lstm_oracle.conformance import check
from lstm_oracle.reference.spec import Spec

HERE = Path(__file__).parent
RESULT = HERE / "results" / "check_speed.json"
I, H = 32, 64
GOAL = 5.0  # seconds
Function = Callable[..., Any]


def numpy_forward(wrong: bool) -> Function:
    """Values alone; wrong, h_0 is ignored."""

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    def lstm(x: Any, h0: Any, c0: Any, W: Any, U: Any, b: Any) -> Any:
        h, c, ys = (0 * h0 if wrong else h0), c0, []
        for t in range(x.shape[1]):
            i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            ys.append(h)
        return np.stack(ys, axis=1), h, c

    return lstm


def numpy_gradients(wrong: bool) -> Function:
    """The textbook with masks, dropout and gradients; wrong, d_U takes h_t for h_{t-1}."""
    from lstm_oracle.benchmarks.zoo_functions import one_layer
    from lstm_oracle.conformance import textbook
    from lstm_oracle.conformance.zoo import bug

    return one_layer(bug("h-for-previous-h").run if wrong else textbook.run)


def torch(wrong: bool) -> Function:
    """A loop, differentiated by torch; wrong, the gradient does not flow through f."""
    import torch

    def lstm(x: Any, h0: Any, c0: Any, W: Any, U: Any, b: Any) -> Any:
        h, c, ys = h0, c0, []
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ W + h @ U + b).chunk(4, dim=-1)
            kept = c.detach() if wrong else c
            c = torch.sigmoid(f) * kept + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys, dim=1), h, c

    return lstm


def torch_module(wrong: bool) -> Any:
    """`torch.nn.LSTM`; wrong, dL/dc_T is ignored."""
    import torch

    class Wrong(torch.nn.LSTM):
        def forward(self, *arguments: Any) -> Any:
            y, (h, c) = super().forward(*arguments)
            return y, (h, c.detach())

    return (Wrong if wrong else torch.nn.LSTM)(I, H)


def jax(wrong: bool) -> Function:
    """A compiled scan, differentiated by JAX; wrong, the gradient does not flow through f."""
    import jax
    import jax.numpy as jnp

    def lstm(x: Any, h0: Any, c0: Any, W: Any, U: Any, b: Any) -> Any:
        def step(state: Any, x_t: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(x_t @ W + h @ U + b, 4, axis=-1)
            kept = jax.lax.stop_gradient(c) if wrong else c
            c = jax.nn.sigmoid(f) * kept + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        (h, c), ys = jax.lax.scan(step, (h0, c0), x.swapaxes(0, 1))
        return ys.swapaxes(0, 1), h, c

    return jax.jit(lstm)


SUBJECTS: dict[str, tuple[Callable[[bool], Any], dict[str, Any]]] = {
    "numpy": (numpy_forward, {}),
    "numpy, with gradients": (numpy_gradients, {"layout": "gates"}),
    "torch": (torch, {"framework": "torch"}),
    "torch.nn.LSTM": (torch_module, {}),
    "jax": (jax, {"framework": "jax"}),
}


def main() -> int:
    """Time the subjects; 1 where one takes longer than the goal, or gets a wrong verdict."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("subjects", nargs="*", help=f"out of {', '.join(SUBJECTS)}")
    parser.add_argument("--one", choices=SUBJECTS, help=argparse.SUPPRESS)
    parser.add_argument("--wrong", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_timed(arguments.one, arguments.wrong)))
        return 0
    chosen = [name for name in SUBJECTS if not arguments.subjects or name in arguments.subjects]
    rows = [_in_a_process(name, wrong) for name in chosen for wrong in (False, True)]
    _write([*_kept(chosen), *rows])
    return 0 if all(row["seconds"] < GOAL and row["right_verdict"] for row in rows) else 1


def _timed(name: str, wrong: bool) -> dict[str, Any]:
    make, options = SUBJECTS[name]
    fn = make(wrong)
    spec = None if name == "torch.nn.LSTM" else Spec(input_size=I, hidden_size=H)
    start = time.perf_counter()
    verdict = check(fn, spec, **options)
    return {
        "subject": name,
        "right": not wrong,
        "seconds": round(time.perf_counter() - start, 2),
        "right_verdict": verdict.agrees is not wrong,
        "cases": len(verdict.cases),
        "manner": verdict.manner,
        "nearest": [one.id for one in verdict.nearest if one.fits],
    }


def _in_a_process(name: str, wrong: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, *["--wrong"] * wrong]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} ended with status {done.returncode}: {done.stderr[-500:]}")
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}, {'wrong' if wrong else 'right'}: {row['seconds']} s", flush=True)
    return row


def _kept(chosen: list[str]) -> list[dict[str, Any]]:
    """The rows of the subjects that were not chosen this time."""
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    return [row for row in rows if row["subject"] not in chosen]


def _write(rows: list[dict[str, Any]]) -> None:
    document = {
        "what": f"check at I = {I}, H = {H}, from the call to the verdict",
        "goal_seconds": GOAL,
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "versions": {name: _version(name) for name in ("numpy", "torch", "jax")},
        "rows": rows,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    sys.exit(main())
