"""Smoke test of an installed lstm-oracle with its base dependencies; needs no pytest.

    cd /elsewhere && python /checkout/tests/smoke.py

Checks that the rooms come from the installation, that the oracle's gradients equal the complex
step, and that the command answers. Prints one line; the exit status is 0 when all is well.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

import lstm_oracle.cli.main
import lstm_oracle.conformance
import lstm_oracle.reference as oracle

CHECKOUT = Path(__file__).resolve().parents[1]
STEP = 1e-100


def check_origin() -> str:
    """Version of the installation, which must not be the checkout and must not carry its tests."""
    for room in (oracle, lstm_oracle.cli, lstm_oracle.conformance):
        if Path(room.__file__).resolve().parent.parent == CHECKOUT:
            raise SystemExit(f"smoke: {room.__name__} comes from the checkout: {room.__file__}")
    files = importlib.metadata.files("lstm-oracle") or []
    tops = {file.parts[0] for file in files if file.suffix == ".py"}
    if tops != {"lstm_oracle"}:
        raise SystemExit(f"smoke: the wheel has Python files in {sorted(tops)}")
    strange = [str(f) for f in files if {"tests", "examples", "faults", "results"} & set(f.parts)]
    if strange:
        raise SystemExit(f"smoke: the wheel carries {strange}")
    sources = {path.name for path in (CHECKOUT / "jax_impl" / "native").glob("*.[ch]*")}
    carried = {file.name for file in files if file.match("jax_impl/native/*")}
    if not sources or not sources <= carried:
        raise SystemExit(f"smoke: the wheel lacks {sorted(sources - carried)} of the native kernel")
    return importlib.metadata.version("lstm-oracle")


def check_gradients() -> int:
    """Number of gradient entries compared with the complex step, all of them right."""
    spec = oracle.Spec(input_size=2, hidden_size=3, projection_size=2, peepholes="ifo")
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=shape) for name, shape in oracle.param_shapes(spec).items()}
    x = rng.normal(size=(2, 4, 2))
    mask = np.array([[True, True, False, True], [True, True, True, False]])
    output, tape = oracle.forward(spec, params, x, mask=mask)
    d_y = rng.normal(size=output.y.shape)
    gradients = oracle.backward(tape, d_y)
    compared = 0
    for name, values in params.items():
        for index in np.ndindex(values.shape):
            moved = {key: value.astype(complex) for key, value in params.items()}
            moved[name][index] += 1j * STEP
            moved_output, _ = oracle.forward(spec, moved, x, mask=mask)
            expected = float((d_y * moved_output.y).sum().imag / STEP)
            got = float(gradients.params[name][index])
            if abs(got - expected) > 1e-12 * max(1.0, abs(expected)):
                raise SystemExit(f"smoke: d_{name}{list(index)} is {got}, complex step {expected}")
            compared += 1
    return compared


def check_command(version: str) -> None:
    """The console script answers --version and --help."""
    command = str(Path(sysconfig.get_path("scripts")) / "lstm-oracle")
    for option, expected in (("--version", f"lstm-oracle {version}"), ("--help", "verify")):
        done = subprocess.run(
            [command, option], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode != 0 or expected not in done.stdout or done.stderr:
            raise SystemExit(f"smoke: lstm-oracle {option}: {done.returncode} {done.stderr}")


if __name__ == "__main__":
    installed = check_origin()
    entries = check_gradients()
    check_command(installed)
    python = ".".join(map(str, sys.version_info[:3]))
    print(
        f"smoke test passed: lstm-oracle {installed}, Python {python}, NumPy {np.__version__}; "
        f"{entries} gradient entries equal the complex step"
    )
