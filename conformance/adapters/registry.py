"""Which implementations there are, what each needs, and how it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lstm_oracle.conformance.adapters.rows import absent, find, start
from lstm_oracle.conformance.case import Case, Result

_HERE = "lstm_oracle.conformance.adapters"


class Adapter(Protocol):
    """What conformance asks of an implementation."""

    def unsupported(self, case: Case) -> str:
        """Why this case cannot be run ("no peepholes"), or "" where it can."""

    def run(self, case: Case) -> Result:
        """The implementation's answer, its gradients by its own differentiation."""

    def versions(self) -> dict[str, str]:
        """Versions of what computed, by name of distribution."""


@dataclass(frozen=True)
class Implementation:
    """One implementation: a row of the registry."""

    name: str
    factory: str  # "module:callable" that gives an Adapter
    requires: tuple[str, ...] = ()  # modules that have to be installed
    environment: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""  # of Keras
    distributions: Mapping[str, str] = field(default_factory=dict)  # where not as the module
    ours: bool = False  # held to this project's own promises as well

    def missing(self) -> str:
        """Why it cannot be started here: the packages that are not installed; or ""."""
        names = [self.distributions.get(name, name) for name in absent(self.requires)]
        if not names:
            return ""
        return f"{', '.join(names)} not installed. Try pip install {' '.join(names)}."


def _on_keras(title: str, factory: str, backend: str, *, ours: bool = False) -> Implementation:
    return Implementation(
        f"{title} on {backend}",
        f"{_HERE}.{factory}",
        ("keras", backend),
        {"KERAS_BACKEND": backend},
        backend,
        ours=ours,
    )


def _on_jax(name: str, factory: str, module: str) -> Implementation:
    return Implementation(name, f"{_HERE}.{factory}", ("jax", module), distributions=_DISTRIBUTIONS)


_DISTRIBUTIONS = {"haiku": "dm-haiku", "jax_cuda13_plugin": "jax[cuda13]"}
_BACKENDS = ("tensorflow", "jax", "torch")

REGISTRY: dict[str, Implementation] = {
    row.name: row
    for row in (
        Implementation("lstm_oracle.jax_impl", f"{_HERE}.ours_jax:scan", ("jax",), ours=True),
        Implementation(
            "lstm_oracle.jax_impl fused", f"{_HERE}.ours_jax:fused", ("jax",), ours=True
        ),
        Implementation(
            "lstm_oracle.jax_impl native", f"{_HERE}.ours_jax:native", ("jax",), ours=True
        ),
        *(
            _on_keras("lstm_oracle.keras_impl", "ours_keras:adapter", backend, ours=True)
            for backend in _BACKENDS
        ),
        *(_on_keras("keras.layers.LSTM", "keras_lstm:adapter", backend) for backend in _BACKENDS),
        Implementation("torch.nn.LSTM", f"{_HERE}.torch_lstm:adapter", ("torch",)),
        Implementation("jax.experimental.rnn.lstm_ref", f"{_HERE}.jax_rnn:reference", ("jax",)),
        Implementation(
            "jax.experimental.rnn.lstm",
            f"{_HERE}.jax_rnn:cudnn",
            ("jax", "jax_cuda13_plugin"),
            {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "0"},
            distributions=_DISTRIBUTIONS,
        ),
        _on_jax("flax.linen.LSTMCell", "flax_linen:plain", "flax"),
        _on_jax("flax.linen.OptimizedLSTMCell", "flax_linen:optimized", "flax"),
        _on_jax("flax.nnx.LSTMCell", "flax_nnx:plain", "flax"),
        _on_jax("flax.nnx.OptimizedLSTMCell", "flax_nnx:optimized", "flax"),
        _on_jax("equinox.nn.LSTMCell", "equinox_lstm:adapter", "equinox"),
        _on_jax("haiku.LSTM", "haiku_lstm:adapter", "haiku"),
        Implementation("onnxruntime", f"{_HERE}.onnx_lstm:runtime", ("onnx", "onnxruntime")),
        Implementation("onnx.reference", f"{_HERE}.onnx_lstm:reference", ("onnx",)),
        Implementation("tf1 LSTMCell", f"{_HERE}.tf1_lstm:adapter", ("tensorflow",)),
    )
}


def implementation(name: str) -> Implementation:
    """The implementation of a name: a row of the registry, or "module:callable" of your own.

    Raises
    ------
    ValueError
        For a name that is neither.

    Examples
    --------
    >>> implementation("torch.nn.LSTM").requires
    ('torch',)
    """
    return find(
        name,
        REGISTRY,
        lambda name: Implementation(name, name),
        kind="implementation",
        made="an adapter",
    )


def load(row: Implementation) -> Adapter:
    """The adapter; this imports the framework."""
    adapter: Adapter = start(row.factory)
    return adapter
