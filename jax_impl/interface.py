"""What the layers of the JAX implementation hand to each other, time leading everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lstm_oracle.reference.spec import Spec


class Output(NamedTuple):
    """What a layer gives: `y` of every step, and the `state` after the last one."""

    y: Any
    state: Any


class Inputs(NamedTuple):
    """What a layer is run on, time leading; each in the nesting of its architecture."""

    params: Any
    x: Any  # (T, B, I)
    state: Any
    mask: Any  # (T, B), True at real steps, or None
    dropout: Any  # (T or 1, B, N) or (T or 1, B, G, N) each; None drops nothing


class Options(NamedTuple):
    """How to compute, as against what."""

    unroll: int  # steps per iteration of a loop
    precision: Any  # of the matrix products
    implementation: str  # a name of `implementations.IMPLEMENTATIONS`, or "auto"
    remat: str | None  # "chunk": keep states only, every sqrt(T) steps
    platform: str  # where it will run: "cpu", "gpu", "tpu"


@dataclass(frozen=True)
class Pieces:
    """Where the pieces of the `Chunks` around a layer begin: NumPy, known before anything runs."""

    position: np.ndarray  # (T,) steps since the innermost piece began
    cut: np.ndarray  # (T,) True where no gradient passes to the step before

    @classmethod
    def whole(cls, T: int) -> Pieces:
        """The sequence in one piece."""
        return cls(np.arange(T), np.zeros(T, bool))

    def split(self, length: int, *, truncate: bool) -> Pieces:
        """Every piece split into pieces of `length`, and cut between these if `truncate`."""
        border = (self.position > 0) & (self.position % length == 0)
        return Pieces(self.position % length, self.cut | (border & truncate))


def accumulator(dtype: Any) -> Any:
    """The dtype of sums, gates and cell: float32 for the 16-bit floats, else the dtype itself."""
    return jnp.promote_types(dtype, jnp.float32)


class Setting(NamedTuple):
    """What the choice of an implementation depends on, beside the `Spec`."""

    T: int
    B: int
    dtype: str  # of x and params: "float32", "bfloat16", ...
    platform: str  # "cpu", "gpu", "tpu"
    masked: bool = False
    dropout: bool = False
    dropout_per_gate: bool = False
    cut: bool = False  # inside truncated `Chunks`
    remat: str | None = None


@dataclass(frozen=True)
class Implementation:
    """One way to compute a `Spec`, and what it says of itself.

    `run` takes time-leading inputs whose masked x are zeros already, and gives r (T, B, R) of every
    step, the carried one at masked steps, and the state after the last; `layers` makes y of it.
    `unsupported` says why a case cannot be done, or None. `advantage` says why "auto" should
    take it where it can be done, or None; both state rules of their own module.
    """

    name: str
    run: Callable[[Spec, Inputs, Pieces, Options], Output]
    unsupported: Callable[[Spec, Setting], str | None]
    advantage: Callable[[Spec, Setting], str | None]


def variant(spec: Spec) -> str | None:
    """The first field in which a layer is not the standard LSTM: new fields count at once."""
    plain = Spec(
        input_size=spec.input_size,
        hidden_size=spec.hidden_size,
        use_bias=spec.use_bias,
        masked_output=spec.masked_output,
        name=spec.name,
    )
    for field in fields(Spec):
        value, standard = (getattr(one, field.name) for one in (spec, plain))
        if value != standard:
            return f"no {field.name}={value!r}, only {standard!r}"
    return None


def lacking(spec: Spec, setting: Setting, own: dict[str, bool]) -> str | None:
    """Why a kernel for whole sequences of the standard LSTM cannot do a case, or None.

    `own` says which of the kernel's own reasons hold; they come first.
    """
    reasons = own | {
        "no dropout": setting.dropout,
        "no gradient cut at the borders of truncated chunks": setting.cut,
        f"no remat={setting.remat!r}": setting.remat is not None,
        "no empty batch, sequence or feature": 0 in (setting.T, setting.B, spec.input_size),
    }
    return next((reason for reason, holds in reasons.items() if holds), None) or variant(spec)
