"""What the kernel for GPUs can do, and how it is run: U on chip, the loop over time inside.

Not measured: no GPU was at hand when it was written, so "auto" does not take it. It is held against
the oracle in Pallas' interpreter, and lowered for CUDA, in tests; `python benchmarks/gpu_speed.py`
verifies and measures it where there is a GPU.
"""

from __future__ import annotations

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
from lstm_oracle.reference.spec import Spec, State

WIDEST = 128  # units; beyond it U does not stay near one multiprocessor
_DTYPES = ("float32", "bfloat16", "float16")


def _run(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Output:
    # Pallas takes a while to import, and most never need it.
    from lstm_oracle.jax_impl.gpu_kernel import GATES, ROWS, How, recurrence

    params, x, state, mask, _ = inputs
    T, B, _ = x.shape
    H, wide = spec.hidden_size, accumulator(x.dtype)
    # Outside of a GPU the kernels run in Pallas' interpreter: for tests, not for use.
    how = How(options.precision, options.platform != "gpu")
    W, U = (jnp.stack([params[f"{letter}_{k}"] for k in GATES]) for letter in "WU")
    z_x = jnp.einsum(
        "tbi,gih->tbgh", x, W, precision=options.precision, preferred_element_type=wide
    )
    if spec.use_bias:
        z_x = z_x + jnp.stack([params[f"b_{k}"] for k in GATES]).astype(wide)
    more_rows = -B % ROWS
    more_units = max(ROWS, 1 << (H - 1).bit_length()) - H
    real = jnp.ones((T, B), jnp.int32) if mask is None else mask.astype(jnp.int32)
    r, c = recurrence(
        how,
        jnp.pad(z_x, ((0, 0), (0, more_rows), (0, 0), (0, more_units))),
        # Units of no weights stay at zero, and so do their gradients.
        jnp.pad(U, ((0, 0), (0, more_units), (0, more_units))),
        jnp.pad(state.h.astype(x.dtype), ((0, more_rows), (0, more_units))),
        jnp.pad(state.c.astype(wide), ((0, more_rows), (0, more_units))),
        jnp.pad(real, ((0, 0), (0, more_rows))),
    )
    r = r[:, :B, :H]
    return Output(r, State(r[-1].astype(state.h.dtype), c[:B, :H]))


def _unsupported(spec: Spec, setting: Setting) -> str | None:
    own = {
        f"it runs on a GPU, not on {setting.platform}": setting.platform != "gpu",
        f"no {setting.dtype}, only {', '.join(_DTYPES)}": setting.dtype not in _DTYPES,
        f"no hidden_size above {WIDEST}": spec.hidden_size > WIDEST,
    }
    return lacking(spec, setting, own)


def _advantage(spec: Spec, setting: Setting) -> str | None:
    """None until it has been measured: "auto" takes nothing that nobody has timed."""
    return None


IMPLEMENTATION = Implementation("gpu", _run, _unsupported, _advantage)
