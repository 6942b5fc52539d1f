"""Which contenders there are, what each needs, and on which devices it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lstm_oracle.benchmarks.speed.contender import Contender
from lstm_oracle.conformance.adapters.rows import absent, find, start

Device = Literal["cpu", "gpu"]
Side = Literal["ours", "peer"]
_HERE = "lstm_oracle.benchmarks.speed"


@dataclass(frozen=True)
class Row:
    """One contender: a row of the registry."""

    name: str
    factory: str  # "module:callable" that gives a Contender
    side: Side
    requires: tuple[str, ...] = ()  # modules that have to be installed
    environment: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[Device, ...] = ("cpu", "gpu")

    def missing(self) -> str:
        """The packages that are not installed, in a sentence; or ""."""
        names = absent(self.requires)
        return f"{', '.join(names)} not installed" if names else ""


def _ours_in_jax(implementation: str, devices: tuple[Device, ...] = ("cpu", "gpu")) -> Row:
    return Row(f"jax_impl {implementation}", f"{_HERE}.on_jax:{implementation}", "ours", ("jax",),
               devices=devices)  # fmt: skip


def _keras(name: str, factory: str, side: Side, backend: str) -> Row:
    return Row(name, f"{_HERE}.on_keras:{factory}", side, ("keras", backend),
               {"KERAS_BACKEND": backend})  # fmt: skip


_BACKENDS = ("tensorflow", "jax", "torch")

CONTENDERS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("NumPy oracle", f"{_HERE}.on_numpy:oracle", "ours", devices=("cpu",)),
        *(_ours_in_jax(name) for name in ("scan", "fused")),
        _ours_in_jax("native", ("cpu",)),
        _ours_in_jax("gpu", ("gpu",)),
        _ours_in_jax("auto"),
        *(_keras(f"keras_impl {name}", "ours", "ours", name) for name in _BACKENDS),
        _keras("keras_impl jax auto", "ours_fast", "ours", "jax"),
        _keras("keras.layers.LSTM tensorflow", "theirs", "peer", "tensorflow"),
        _keras("keras.layers.LSTM tensorflow XLA", "theirs_xla", "peer", "tensorflow"),
        _keras("keras.layers.LSTM jax", "theirs", "peer", "jax"),
        _keras("keras.layers.LSTM torch", "theirs", "peer", "torch"),
        Row("torch.nn.LSTM", f"{_HERE}.on_torch:lstm", "peer", ("torch",)),
        Row("Flax", f"{_HERE}.on_jax:flax", "peer", ("jax", "flax")),
        Row("Equinox", f"{_HERE}.on_jax:equinox", "peer", ("jax", "equinox")),
        Row("jax.experimental.rnn", f"{_HERE}.on_jax:cudnn", "peer", ("jax",), devices=("gpu",)),
        Row("FlashRNN", f"{_HERE}.on_flashrnn:lstm", "peer", ("torch", "flashrnn"),
            devices=("gpu",)),
        Row("onnxruntime", f"{_HERE}.on_onnx:lstm", "peer", ("onnx", "onnxruntime")),
    )
}  # fmt: skip


def contender(name: str) -> Row:
    """The contender of a name: a row of the registry, or "module:callable" of your own.

    Raises
    ------
    ValueError
        For a name that is neither.

    Examples
    --------
    >>> contender("torch.nn.LSTM").requires
    ('torch',)
    """
    return find(
        name, CONTENDERS, lambda name: Row(name, name, "peer"), kind="contender", made="one"
    )


def load(row: Row) -> Contender:
    """The contender; this imports its framework."""
    made: Contender = start(row.factory)
    return made
