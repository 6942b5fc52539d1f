"""The kernel's library: found in the cache, or compiled into it.

A library is built once for each source, compiler, processor, version of jaxlib and dtype, when it
is first wanted: some seconds of one core. It is kept in `LSTM_ORACLE_CACHE`, else in
`lstm-oracle` under `XDG_CACHE_HOME`, else in `~/.cache/lstm-oracle`. A library is written under
another name and then renamed, so that processes that build at the same time do not disturb each
other.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jax
import jaxlib

_HERE = Path(__file__).parent
_REALS = {"float32": "float", "float64": "double"}
_HANDLERS = ("forward", "backward", "input_gradient", "weight_gradients", "activations")
_LIMIT = 300  # seconds for one compilation

_log = logging.getLogger("lstm_oracle.native")


class Unavailable(RuntimeError):
    """Why there is no library here."""


def target(handler: str, dtype: str) -> str:
    """The name under which XLA knows a handler."""
    return f"lstm_oracle_{handler}_{dtype}"


@cache
def library(dtype: str) -> ctypes.CDLL:
    """The library of a dtype, its handlers registered with XLA.

    Raises
    ------
    Unavailable
        Where it is not in the cache and cannot be built; with the reason.
    """
    loaded = ctypes.CDLL(str(_path(dtype)))
    for handler in _HANDLERS:
        capsule = jax.ffi.pycapsule(getattr(loaded, f"lstm_oracle_{handler}"))
        jax.ffi.register_ffi_target(target(handler, dtype), capsule, platform="cpu")
    return loaded


@cache
def reason_against(dtype: str) -> str | None:
    """Why there is no library of a dtype, or None where there is one; built if need be."""
    try:
        library(dtype)
    except (Unavailable, OSError) as error:
        # Said once: what `lstm` chooses in its place is slower.
        _log.warning("no native LSTM kernel: %s", error)
        return str(error)
    return None


def cache_folder() -> Path:
    """Where libraries are kept."""
    if chosen := os.environ.get("LSTM_ORACLE_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "lstm-oracle"
    return Path.home() / ".cache" / "lstm-oracle"


def file_name(dtype: str) -> str:
    """The name of a library: another one for everything that it depends on.

    Raises
    ------
    Unavailable
        Where there is no compiler to ask for it.
    """
    return f"lstm-{dtype}-{_key(_compiler())}.so"


def _path(dtype: str) -> Path:
    path = cache_folder() / file_name(dtype)
    if not path.exists():
        _build(_compiler(), _REALS[dtype], path)
    return path


def _compiler() -> Path:
    """The C++ compiler: the one in `CXX`, else the first on the path.

    Raises
    ------
    Unavailable
        Where there is none.
    """
    asked_for = os.environ.get("CXX")
    for name in (asked_for,) if asked_for else ("c++", "g++", "clang++"):
        if found := shutil.which(name):
            return Path(found).resolve()
    raise Unavailable(
        f"found no C++ compiler ({asked_for or 'c++, g++ or clang++'}). Install one "
        "(Debian: apt-get install g++), or name it in CXX."
    )


def _sources() -> list[Path]:
    return sorted([*_HERE.glob("*.cc"), *_HERE.glob("*.h")])


def _key(compiler: Path) -> str:
    status = compiler.stat()
    parts = [
        *(source.read_bytes() for source in _sources()),
        f"{compiler} {status.st_size} {status.st_mtime_ns}".encode(),
        jaxlib.__version__.encode(),
        _processor().encode(),
        repr(_FLAGS).encode(),
    ]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:20]


def _processor() -> str:
    """What the processor can do, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))


_FLAGS = ("-std=c++17", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")
# Tried in turn: GCC on ARM wants -mcpu; a compiler may know neither.
_TUNING = (("-march=native",), ("-mcpu=native",), ())


def _build(compiler: Path, real: str, path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{path.stem}-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise Unavailable(
            f"cannot write to {path.parent}: {error}. Name another folder in LSTM_ORACLE_CACHE."
        ) from error
    os.close(handle)
    unfinished = Path(name)
    _log.info("building the native LSTM kernel for %s into %s", real, path)
    try:
        _compile(compiler, real, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _compile(compiler: Path, real: str, output: Path) -> None:
    said = ""
    for tuning in _TUNING:
        command = [
            str(compiler),
            *_FLAGS,
            *tuning,
            f"-DLSTM_ORACLE_REAL={real}",
            "-isystem",
            jax.ffi.include_dir(),
            str(_HERE / "kernel.cc"),
            "-o",
            str(output),
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{compiler} did not compile it: {error}") from error
        if done.returncode == 0:
            return
        said = said or done.stderr
    raise Unavailable(f"{compiler} did not compile it:\n{said[-2000:]}")
