"""What the initialization study varies, and how a layer is drawn for each setting.

Weights are drawn by the oracle's initializers (NumPy), whose statistics its tests hold to the
papers; the same seed gives every setting the same data, head and order of batches.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.reference import Spec, initializers

Array = np.ndarray


class Weights(NamedTuple):
    """An initializer: which rule draws W and which U, one gate at a time or fused, times what."""

    W: str
    U: str
    per_gate: bool = True
    scale: float = 1.0
    note: str = ""


INITIALIZERS: dict[str, Weights] = {
    "glorot": Weights("glorot_uniform", "glorot_uniform", note="Glorot & Bengio 2010"),
    "he": Weights("he_normal", "he_normal", note="He et al. 2015"),
    "lecun": Weights("lecun_normal", "lecun_normal", note="LeCun et al. 1998"),
    "orthogonal": Weights("glorot_uniform", "orthogonal", note="every gate's U; Saxe et al. 2014"),
    "orthogonal fused": Weights(
        "glorot_uniform", "orthogonal", per_gate=False, note="Keras' default"
    ),
    "identity": Weights("glorot_uniform", "identity", note="every gate's U; Le et al. 2015"),
    "uniform": Weights("torch_uniform", "torch_uniform", note="U(+-1/sqrt(H)), PyTorch's default"),
    "zeros": Weights("zeros", "zeros"),
    "too small": Weights("glorot_uniform", "glorot_uniform", scale=0.01, note="0.01 x Glorot"),
    "too large": Weights("glorot_uniform", "glorot_uniform", scale=8.0, note="8 x Glorot"),
}
BIASES = ("0", "1", "chrono")
DEPTHS = (1, 2)


@dataclass(frozen=True)
class Setting:
    """One way to start: weights and forget bias."""

    initializer: str
    bias: str

    @property
    def name(self) -> str:
        """Both, for tables."""
        return f"{self.initializer}, bias {self.bias}"


SETTINGS = tuple(Setting(*pair) for pair in itertools.product(INITIALIZERS, BIASES))


def specs(input_size: int, hidden_size: int, depth: int) -> tuple[Spec, ...]:
    """The layers of a stack."""
    widths = (input_size, *([hidden_size] * (depth - 1)))
    return tuple(Spec(input_size=I, hidden_size=hidden_size) for I in widths)


def draw(
    setting: Setting, layers: tuple[Spec, ...], outputs: int, longest: int, seed: int
) -> dict[str, Any]:
    """Parameters of a network: {"layers": one dict per layer, "head": W and b}, float32."""
    weights = INITIALIZERS[setting.initializer]
    rng = np.random.default_rng([seed, 1])
    drawn = tuple(_layer(weights, setting.bias, spec, longest, rng) for spec in layers)
    H = layers[-1].hidden_size
    head = initializers.draw_gates("glorot_uniform", (H, outputs), ("y",), _of_head(seed))["y"]
    return _single({"layers": drawn, "head": {"W": head, "b": np.zeros(outputs)}})


def _of_head(seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, 2])


def _layer(
    weights: Weights, bias: str, spec: Spec, longest: int, rng: np.random.Generator
) -> dict[str, Array]:
    I, H = spec.input_size, spec.hidden_size
    drawn: dict[str, Array] = {}
    for letter, rule, rows in (("W", weights.W, I), ("U", weights.U, H)):
        blocks = initializers.draw_gates(
            rule, (rows, H), spec.gates, rng, per_gate=weights.per_gate
        )
        drawn |= {f"{letter}_{k}": weights.scale * block for k, block in blocks.items()}
    if bias == "chrono":
        return drawn | initializers.chrono_bias(spec, longest, rng)
    return drawn | initializers.forget_bias(spec, float(bias))


def _single(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _single(part) for name, part in tree.items()}
    if isinstance(tree, tuple):
        return tuple(_single(part) for part in tree)
    return np.asarray(tree, np.float32)
