"""The machine: what it is, which processors are ours, and what else runs on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstm_oracle.benchmarks.speed.contenders import Device

_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def processors() -> list[int]:
    """Numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keep this process, and all that it starts, to as many processors as there are threads.

    Thread pools ask at their start how many processors there are: every contender gets the same
    answer. Where the system cannot do it, only the variables of `environment` hold.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> dict[str, Any]:
    """Processor, number of processors, memory, system."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "memory_gb": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "features": [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
                     if name in _flags()],
    }  # fmt: skip


def processor() -> str:
    """The processor's name as the system gives it."""
    named = (s.split(":", 1)[1].strip() for s in _cpuinfo() if s.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _flags() -> set[str]:
    return set(next((s.split(":", 1)[1] for s in _cpuinfo() if s.startswith("flags")), "").split())


def _memory() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1)


def gpu() -> str:
    """The name of the first GPU, or "" where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    lines = done.stdout.strip().splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else ""


def devices() -> dict[Device, str]:
    """Every device here, with its name."""
    found: dict[Device, str] = {"cpu": processor()}
    name = gpu()
    return found | ({"gpu": name} if name else {})


# What is timed; the rest of the tree can change without a figure changing.
_TIMED = ("reference", "keras_impl", "jax_impl", "benchmarks/speed")


def commit() -> str:
    """The commit of this source tree; "+" where what is timed differs; "unknown" outside of one."""
    found = _git("rev-parse", "HEAD")
    if not found:
        return "unknown"
    return found if _git("diff", "--quiet", "HEAD", "--", *_TIMED) is not None else f"{found}+"


def same_code(old: str, new: str) -> bool:
    """Whether two of `commit` have the same code in what is timed."""
    if old == new:
        return True
    if "+" in old + new or "unknown" in (old, new):
        return False
    return _git("diff", "--quiet", old, new, "--", *_TIMED) is not None


def _git(*words: str) -> str | None:
    """What git prints, in the root of the tree; None where it fails or is not there."""
    command = ["git", "-C", str(Path(__file__).parents[2]), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment(device: Device, threads: int) -> dict[str, str]:
    """What every contender is started with: the same device, the same number of threads."""
    count = str(threads)
    names = ("OMP", "OPENBLAS", "MKL", "VECLIB", "NUMEXPR", "TF_INTRAOP", "TF_INTEROP")
    pinned = {f"{name}_NUM_THREADS": count for name in names}
    pinned |= {"TF_NUM_INTRAOP_THREADS": count, "TF_NUM_INTEROP_THREADS": count, "NPROC": count}
    pinned |= {"SPEED_DEVICE": device, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1",
               "PYTHONHASHSEED": "0", "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
               # float32 is float32 in whatever is written in JAX: no TF32 on a GPU.
               "JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # fmt: skip
    if device == "cpu":
        return pinned | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    return pinned | {"JAX_PLATFORMS": "cuda", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def load_average() -> float | None:
    """Of the last minute; None where the system has none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


class Neighbours:
    """How much processor time others take: of the whole machine, less our own processes'."""

    def __init__(self, pids: Sequence[int]) -> None:
        """Begin to count."""
        self._pids = [os.getpid(), *pids]
        self._whole, self._own = _busy(), self._ours()

    def seconds(self) -> float:
        """Processor seconds that others took since; 0 where the system does not say."""
        return max(0.0, (_busy() - self._whole) - (self._ours() - self._own))

    def _ours(self) -> float:
        return sum(map(_used, self._pids))


def _busy() -> float:
    """Seconds that all processors together were busy, since the machine was started."""
    if not sys.platform.startswith("linux"):
        return 0.0
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


def _used(pid: int) -> float:
    """Seconds that a process has used; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK
