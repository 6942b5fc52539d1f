"""Initialization of each gate's own block, and in dtypes that lack linear algebra."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_WITHOUT_LINEAR_ALGEBRA = ("float16", "bfloat16")


@keras.saving.register_keras_serializable(package="lstm_oracle")
class PerGate(keras.initializers.Initializer):
    """Initializer that draws the block of each gate by itself.

    Keras hands its initializers the fused matrix of all gates. Glorot's limit is then computed
    from a fan-out of 4H in place of H (0.137 against 0.217 for 64 -> 64), and an "orthogonal"
    recurrent matrix is so only as a whole: the singular values of the gates' own blocks range
    from 0.002 to 0.87. Here every gate gets what the initializer's name says.

    Parameters
    ----------
    initializer : str, dict or keras.initializers.Initializer
        For one gate. Its seed, where it is a whole number, is used for the first gate and the
        following whole numbers for the others: equal seeds would give four equal gates.
    gates : int
        How many equal blocks the last axis holds.

    Raises
    ------
    ValueError
        When called for a shape whose last axis the gates do not divide evenly.

    References
    ----------
    Glorot & Bengio 2010, equation 16; Saxe et al. 2014.

    Examples
    --------
    >>> import numpy as np
    >>> U = np.asarray(PerGate("orthogonal", gates=4)((3, 12)))
    >>> bool(np.allclose(U[:, 3:6].T @ U[:, 3:6], np.eye(3), atol=1e-6))
    True
    """

    def __init__(self, initializer: Any = "glorot_uniform", gates: int = 4) -> None:
        """Keep what to draw each block with."""
        self.initializer = keras.initializers.get(initializer)
        self.gates = gates

    def __call__(self, shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        """Draw all blocks, side by side on the last axis."""
        *rows, width = shape
        if width % self.gates:
            raise ValueError(
                f"PerGate: shape is {tuple(shape)}, expected a last axis that {self.gates} gates "
                "divide evenly. Pass gates=<number of gates> as the matrix has them."
            )
        block = (*rows, width // self.gates)
        draws = [self._of_gate(n)(block, dtype=dtype, **kwargs) for n in range(self.gates)]
        return ops.concatenate(draws, axis=-1)

    def _of_gate(self, n: int) -> Any:
        seed = getattr(self.initializer, "seed", None)
        if not isinstance(seed, int):
            return self.initializer
        config = {**self.initializer.get_config(), "seed": seed + n}
        return type(self.initializer).from_config(config)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds this initializer."""
        return {
            "initializer": keras.initializers.serialize(self.initializer),
            "gates": self.gates,
        }


def in_any_dtype(initializer: Callable[..., Any]) -> Callable[..., Any]:
    """Initializer that draws in float32 where the dtype is a half precision, and rounds.

    The QR decomposition behind `Orthogonal` exists in no half precision on JAX and PyTorch.
    """

    def initialize(shape: Any, dtype: Any = None, **kwargs: Any) -> Any:
        dtype = keras.backend.standardize_dtype(dtype)
        if dtype not in _WITHOUT_LINEAR_ALGEBRA:
            return initializer(shape, dtype=dtype, **kwargs)
        return ops.cast(initializer(shape, dtype="float32", **kwargs), dtype)

    return initialize
