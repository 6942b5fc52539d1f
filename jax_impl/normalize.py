"""Layer normalization, without gain and shift."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def normalize(a: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    """(a - mean) / sqrt(variance + epsilon) over the axes (Ba et al. 2016, equation 3)."""
    centered = a - jnp.mean(a, axis=axes, keepdims=True)
    variance = jnp.mean(jnp.square(centered), axis=axes, keepdims=True)
    return centered * jax.lax.rsqrt(variance + epsilon)
