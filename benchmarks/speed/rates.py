"""What this machine can do: its rate of matrix products, its memory's, and a step's latency.

`python -m lstm_oracle.benchmarks.speed.rates DTYPE ...` measures and prints them as JSON. The rate
of products is the best of the libraries that are installed, so that no contender's own weakness
becomes the yardstick; every figure is the best of several repetitions, as a floor is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_SIZES = (1024, 2048)
_REPETITIONS = 5
_CHAIN = 20_000  # dependent steps
_COPY = 2**26  # bytes
_MEASURED_AT_LEAST = 2e-4  # seconds per measurement: below that the clock counts


def main(dtypes: list[str]) -> int:
    """Measure on the device that the environment names, and print."""
    device = os.environ.get("SPEED_DEVICE", "cpu")
    found = {
        "device": device,
        "gemm_flops": {dtype: gemm(dtype) for dtype in dtypes},
        "bandwidth_bytes": bandwidth(device),
        "step_seconds": step_latency(device),
    }
    print(json.dumps(found))
    return 0


def gemm(dtype: str) -> dict[str, Any]:
    """FLOPs per second of large square products, of the best library, and which one it is."""
    rates = {
        name: max(2 * n**3 / _best(make(n, dtype)) for n in _SIZES)
        for name, make in _LIBRARIES.items()
        if importlib.util.find_spec(name) is not None and (name, dtype) != ("numpy", "bfloat16")
    }
    if not rates:
        return {"rate": None, "library": None, "all": {}}
    best = max(rates, key=lambda name: rates[name])
    return {"rate": rates[best], "library": best, "all": rates}


def _best(run: Callable[[], Any]) -> float:
    """Seconds of the fastest call of several."""
    run()
    start = time.perf_counter()
    run()
    calls = max(1, int(_MEASURED_AT_LEAST / max(time.perf_counter() - start, 1e-9)))
    times = []
    for _ in range(_REPETITIONS):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    return min(times)


def _numpy(n: int, dtype: str) -> Callable[[], Any]:
    if os.environ.get("SPEED_DEVICE") == "gpu":
        raise RuntimeError("NumPy does not run on a GPU")
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    out = np.empty_like(a)
    return lambda: np.matmul(a, a, out=out)


def _torch(n: int, dtype: str) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.backends.cuda.matmul.allow_tf32 = False
    device = "cuda" if os.environ.get("SPEED_DEVICE") == "gpu" else "cpu"
    a = torch.randn(n, n, device=device).to(getattr(torch, dtype))

    def run() -> Any:
        out = a @ a
        if device == "cuda":
            torch.cuda.synchronize()
        return out

    return run


def _jax(n: int, dtype: str) -> Callable[[], Any]:
    import jax

    a = jax.random.normal(jax.random.key(0), (n, n), dtype)
    product = jax.jit(lambda a: jax.numpy.matmul(a, a, precision="highest"))
    return lambda: jax.block_until_ready(product(a))


_LIBRARIES: dict[str, Callable[[int, str], Callable[[], Any]]] = {
    "numpy": _numpy, "torch": _torch, "jax": _jax,
}  # fmt: skip
if os.environ.get("SPEED_DEVICE") == "gpu":
    del _LIBRARIES["numpy"]


def bandwidth(device: str) -> float | None:
    """Bytes per second, read and written, of a large copy."""
    if device == "cpu":
        a = np.ones(_COPY // 4, np.float32)
        b = np.empty_like(a)
        return 2 * _COPY / _best(lambda: np.copyto(b, a))
    if importlib.util.find_spec("jax") is None:
        return None
    import jax

    a = jax.numpy.ones(2**28, "float32")
    negate = jax.jit(lambda a: -a)
    return 2 * a.nbytes / _best(lambda: jax.block_until_ready(negate(a)))


def step_latency(device: str) -> float | None:
    """Seconds of one step of a chain in which each needs the one before: a product and a tanh.

    On a CPU a compiled loop over 16 numbers, on a GPU a kernel that loops by itself. None without
    JAX, or where that kernel does not compile.
    """
    if importlib.util.find_spec("jax") is None:
        return None
    import jax

    if device == "gpu":
        return _gpu_step()
    u = jax.numpy.full(16, 0.5)

    @jax.jit
    def chain(h: Any) -> Any:
        return jax.lax.fori_loop(0, _CHAIN, lambda _, h: jax.numpy.tanh(h * u), h)

    return _best(lambda: jax.block_until_ready(chain(u))) / _CHAIN


def _gpu_step() -> float | None:
    import jax
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    def kernel(u: Any, out: Any) -> None:
        def step(_: Any, h: Any) -> Any:
            return jax.numpy.tanh(pl.dot(h, u[...]))

        out[...] = jax.lax.fori_loop(0, _CHAIN, step, u[...])

    u = jax.numpy.full((16, 16), 0.05)
    shape = jax.ShapeDtypeStruct(u.shape, u.dtype)
    few = triton.CompilerParams(num_warps=1, num_stages=1)
    run = jax.jit(pl.pallas_call(kernel, out_shape=shape, compiler_params=few))
    try:
        return _best(lambda: jax.block_until_ready(run(u))) / _CHAIN
    except Exception as error:  # a floor without it is lower, and says so
        print(f"step latency was not measured: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or ["float32"]))
