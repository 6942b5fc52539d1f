"""The products a @ W_k of all gates at once, with dropout on a and normalization where Spec says.

The weights of the gates stand side by side in one (N, G*H) block, so that a step is one matrix
product. With dropout masks of their own the gates read different inputs (Gal & Ghahramani 2016),
and the product is one per gate. `a` is (B, N) at one step t, or (T, B, N) for all steps (t None).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lstm_oracle.reference import normalize
from lstm_oracle.reference.spec import Spec

Array = np.ndarray


class GateProduct(Protocol):
    """z = (a * multiplier) @ W, normalized or not, and its gradients."""

    def forward(self, a: Array, t: int | None = None) -> Array:
        """(…, N) to (…, G*H)."""

    def backward(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        """d_a (…, N) from a (…, N) and d_z (…, G*H)."""

    def d_weights(self, a: Array, d_z: Array) -> dict[str, Array]:
        """{name: (N, H)} from all steps: a (T, B, N), d_z (T, B, G*H)."""


def gate_product(
    spec: Spec, params: dict[str, Array], letter: str, multiplier: Array | None
) -> GateProduct:
    """The product with the weights `letter` ("W" or "U") of every gate.

    `multiplier` is None, or (T or 1, B, N) the same for all gates, or (T or 1, B, G, N).
    """
    names = tuple(f"{letter}_{k}" for k in spec.gates)
    fused = np.concatenate([params[name] for name in names], axis=-1)
    product = _product_of(names, fused, multiplier)
    if not spec.layer_norm:
        return product
    gains = tuple(f"gain_{name}" for name in names)
    gain = np.concatenate([params[name] for name in gains])
    return _Normalized(product, gains, gain, spec.layer_norm_epsilon)


def _product_of(names: tuple[str, ...], fused: Array, multiplier: Array | None) -> GateProduct:
    if multiplier is None:
        return _Plain(names, fused)
    if multiplier.ndim == 3:
        return _Dropped(names, fused, multiplier)
    return _DroppedPerGate(names, fused, multiplier)


class _Plain:
    def __init__(self, names: tuple[str, ...], weights: Array) -> None:
        self.names, self.weights = names, weights

    def forward(self, a: Array, t: int | None = None) -> Array:
        return _product(a, self.weights)

    def backward(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        return _product(d_z, self.weights.T)

    def d_weights(self, a: Array, d_z: Array) -> dict[str, Array]:
        d_fused = _rows(a).T @ _rows(d_z)
        return dict(zip(self.names, np.split(d_fused, len(self.names), axis=-1), strict=True))


class _Dropped(_Plain):
    """One multiplier for all gates."""

    def __init__(self, names: tuple[str, ...], weights: Array, multiplier: Array) -> None:
        super().__init__(names, weights)
        self.multiplier = multiplier

    def forward(self, a: Array, t: int | None = None) -> Array:
        return super().forward(a * _at(self.multiplier, t), t)

    def backward(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        return super().backward(a, d_z, t) * _at(self.multiplier, t)

    def d_weights(self, a: Array, d_z: Array) -> dict[str, Array]:
        return super().d_weights(a * self.multiplier, d_z)


class _DroppedPerGate:
    """A multiplier for each gate: G products of (…, B, N) with (N, H)."""

    def __init__(self, names: tuple[str, ...], weights: Array, multiplier: Array) -> None:
        self.names = names
        self.blocks = np.stack(np.split(weights, len(names), axis=-1))  # (G, N, H)
        self.multiplier = np.swapaxes(multiplier, -3, -2)  # (T or 1, G, B, N)

    def forward(self, a: Array, t: int | None = None) -> Array:
        z = (a[..., None, :, :] * _at(self.multiplier, t)) @ self.blocks  # (…, G, B, H)
        return self._fuse(z)

    def backward(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        d_a = self._separate(d_z) @ np.swapaxes(self.blocks, -1, -2)  # (…, G, B, N)
        return (d_a * _at(self.multiplier, t)).sum(axis=-3)

    def d_weights(self, a: Array, d_z: Array) -> dict[str, Array]:
        dropped = a[:, None] * self.multiplier  # (T, G, B, N)
        blocks = (np.swapaxes(dropped, -1, -2) @ self._separate(d_z)).sum(axis=0)
        return dict(zip(self.names, blocks, strict=True))

    def _fuse(self, z: Array) -> Array:
        """(…, G, B, H) to (…, B, G*H)."""
        z = np.swapaxes(z, -3, -2)
        return z.reshape(*z.shape[:-2], -1)

    def _separate(self, d_z: Array) -> Array:
        """(…, B, G*H) to (…, G, B, H)."""
        d_z = d_z.reshape(*d_z.shape[:-1], len(self.names), -1)
        return np.swapaxes(d_z, -3, -2)


class _Normalized:
    """gain * N(product), the gates side by side in N (Ba et al. 2016, equation 20)."""

    def __init__(
        self, product: GateProduct, names: tuple[str, ...], gain: Array, epsilon: float
    ) -> None:
        self.product, self.names, self.gain, self.epsilon = product, names, gain, epsilon

    def forward(self, a: Array, t: int | None = None) -> Array:
        return self.gain * normalize.forward(self.product.forward(a, t), self.epsilon)

    def backward(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        return self.product.backward(a, self._d_product(a, d_z, t), t)

    def d_weights(self, a: Array, d_z: Array) -> dict[str, Array]:
        d_gain = d_z * normalize.forward(self.product.forward(a), self.epsilon)
        d_gains = np.split(d_gain.sum(axis=(0, 1)), len(self.names))
        weights = self.product.d_weights(a, self._d_product(a, d_z))
        return weights | dict(zip(self.names, d_gains, strict=True))

    def _d_product(self, a: Array, d_z: Array, t: int | None = None) -> Array:
        return normalize.backward(self.product.forward(a, t), self.epsilon, d_z * self.gain)


def _at(multiplier: Array, t: int | None) -> Array:
    if t is None:
        return multiplier
    return multiplier[0 if len(multiplier) == 1 else t]


def _rows(a: Array) -> Array:
    """(T, B, N) to (T*B, N)."""
    return a.reshape(-1, a.shape[-1])


def _product(a: Array, weights: Array) -> Array:
    """One large product instead of one per step."""
    return (_rows(a) @ weights).reshape(*a.shape[:-1], weights.shape[-1])
