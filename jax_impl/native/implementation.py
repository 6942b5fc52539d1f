"""What the native kernel can do, where "auto" takes it, and how it is run."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl.interface import (
    Implementation,
    Inputs,
    Options,
    Output,
    Pieces,
    Setting,
    accumulator,
    lacking,
)
from lstm_oracle.jax_impl.native import build
from lstm_oracle.jax_impl.native.calls import GATES, Primals, lstm, vary, varying
from lstm_oracle.reference.spec import Spec, State

_FEW_FLOPS = 1e6  # of a forward pass


def _unsupported(spec: Spec, setting: Setting) -> str | None:
    own = {
        f"it runs on a CPU, not on {setting.platform}": setting.platform != "cpu",
        "no more than 2^31 numbers per step and gate": setting.T * setting.B >= 2**31,
    }
    return lacking(spec, setting, own) or build.reason_against(str(accumulator(setting.dtype)))


def _advantage(spec: Spec, setting: Setting) -> str | None:
    """Ahead wherever it was measured: float32, from a tenth of a millisecond of work up.

    In float64 and 16 bits it was not measured on a quiet machine. With less work, the calls
    themselves take most of the time, and a process that computes nothing larger should not have to
    build the kernel.
    """
    flops = 8.0 * setting.T * setting.B * spec.hidden_size * (spec.hidden_size + spec.input_size)
    if setting.dtype != "float32" or flops < _FEW_FLOPS:
        return None
    return "one kernel for the whole recurrence on a CPU"


def _run(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    params, x, state, mask, _ = inputs
    wide = accumulator(x.dtype)

    def gates(letter: str) -> tuple[jax.Array, ...]:
        return tuple(params[f"{letter}_{k}"].astype(wide) for k in GATES)

    zero = (jnp.zeros(spec.hidden_size, wide),) * len(GATES)
    primals = Primals(
        # XLA undoes this transposition with the one that made time lead.
        jnp.swapaxes(x, 0, 1).astype(wide),
        gates("W"),
        gates("U"),
        gates("b") if spec.use_bias else zero,
        State(*(s.astype(wide) for s in state)),
    )
    mask = None if mask is None else jnp.swapaxes(mask, 0, 1)
    axes = varying((primals, mask))
    y, (h, c) = lstm(vary(primals, axes), vary(mask, axes))
    return Output(jnp.swapaxes(y, 0, 1).astype(x.dtype), State(h.astype(state.h.dtype), c))


IMPLEMENTATION = Implementation("native", _run, _unsupported, _advantage)


def available(dtype: Any = "float32") -> tuple[bool, str]:
    """Whether the kernel of a dtype is there, built if need be, and why not where it is not.

    Examples
    --------
    >>> from lstm_oracle.jax_impl import native
    >>> there, reason = native.available()
    >>> there or reason != ""
    True
    """
    reason = build.reason_against(str(accumulator(dtype)))
    return reason is None, reason or ""


def threads() -> int:
    """Threads that one call uses at most.

    As many as `LSTM_ORACLE_THREADS` says; else as many as XLA's pool has, which is the number of
    cores that the process may use (its affinity), unless `PJRT_NPROC` or `NPROC` sets it. Calls
    at the same time do not add up: one has the threads, the others work alone. A call too small
    to gain from threads works alone, too, and so does one whose threads do not come in time because
    others hold their cores; `LSTM_ORACLE_THREADS` makes it wait. The results are the same for any
    number.
    """
    return int(build.library("float32").lstm_oracle_threads())
