"""What is drawn from a random key: parameters and dropout masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import initializers

from lstm_oracle.jax_impl.interface import accumulator
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Directions,
    Dropout,
    Spec,
    Stack,
)

Initializer = Callable[..., jax.Array]  # (key, shape, dtype), as in jax.nn.initializers

_GLOROT_UNIFORM = initializers.glorot_uniform()
_ORTHOGONAL = initializers.orthogonal()
_ZEROS = initializers.zeros
_ONES = initializers.ones


def init(
    key: Any,
    architecture: Architecture,
    *,
    dtype: Any = None,
    W: Initializer = _GLOROT_UNIFORM,
    U: Initializer = _ORTHOGONAL,
    b: Initializer = _ZEROS,
    p: Initializer = _ZEROS,
    V: Initializer = _GLOROT_UNIFORM,
    forget_bias: float = 1.0,
) -> Any:
    """Parameters of an architecture, each gate drawn on its own.

    Parameters
    ----------
    key
        A key of `jax.random`.
    architecture : Spec, Reverse, Bidirectional, Stack or Chunks
    dtype
        None: float64 in JAX's x64 mode, else float32. 16-bit floats are drawn in float32 and
        rounded.
    W, U, b, p, V : callable (key, shape, dtype)
        Initializers as in `jax.nn.initializers`, called once per gate with that gate's shape:
        (I, H), (R, H), (H,), (H,), and (H, R) for the projection. Glorot uniform W and V (Glorot &
        Bengio 2010): the limit of W is sqrt(6 / (I + H)). Orthogonal U (Saxe et al. 2014): every
        gate's own block is orthogonal. Zero b, and zero peepholes: the layer starts as one that
        has none. Gains of layer normalization start at one, shifts at zero.
    forget_bias : float
        Added to b_f, where there is a bias (Jozefowicz et al. 2015: 1).

    Returns
    -------
    dict, Directions or tuple
        Nested as `lstm_oracle.reference.spec.param_shapes`.

    Raises
    ------
    ValueError
        For a dtype that is not floating.

    Notes
    -----
    Differs from Keras, which draws the fused matrix (I, 4H): its Glorot limit is
    sqrt(6 / (I + 4H)), and only the four recurrent blocks together are orthogonal.

    Examples
    --------
    >>> import jax
    >>> from lstm_oracle.jax_impl import init
    >>> from lstm_oracle.reference.spec import Bidirectional, Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = init(jax.random.key(0), Bidirectional(spec, spec))
    >>> params.backward["W_i"].shape, float(params.forward["b_f"][0])
    ((3, 4), 1.0)
    """
    dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"init: dtype is {dtype}, expected a floating one. Pass for example jnp.float32."
        )
    draws = {"W": W, "U": U, "b": b, "p": p, "V": V, "gain": _ONES, "shift": _ZEROS}

    def draw(key: Any, spec: Spec) -> dict[str, jax.Array]:
        shapes = spec.param_shapes
        keys = jax.random.split(key, len(shapes))
        params = {
            # Orthogonal matrices come from a QR decomposition, which 16 bits do not have.
            name: draws[name.partition("_")[0]](k, shape, accumulator(dtype))
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }
        if spec.use_bias:
            params["b_f"] = params["b_f"] + forget_bias
        return {name: a.astype(dtype) for name, a in params.items()}

    return _for_each_spec(key, architecture, draw)


def dropout_masks(
    key: Any,
    architecture: Architecture,
    batch_size: int,
    *,
    rate_x: float = 0.0,
    rate_h: float = 0.0,
    time_steps: int | None = None,
    per_gate: bool = False,
    dtype: Any = None,
) -> Any:
    """Multipliers for the `dropout` of `lstm`: 0 at the given rate, else 1 / (1 - rate).

    Parameters
    ----------
    key
        A key of `jax.random`.
    architecture : Spec, Reverse, Bidirectional, Stack or Chunks
    batch_size : int
        B.
    rate_x, rate_h : float
        Rates in [0, 1) for the input of every layer and for its recurrent state. At rate 0 there
        is no mask.
    time_steps : int, optional
        T, to draw a mask for every step. None draws one for the whole sequence (Gal & Ghahramani
        2016). Zoneout needs it: its masks are drawn for every step, at the rates of the Spec.
    per_gate : bool
        Whether each gate drops out of its own.
    dtype
        None: float64 in JAX's x64 mode, else float32.

    Returns
    -------
    Dropout, Directions or tuple
        `Dropout(x, h)` for every Spec, nested like params. Shapes: (B, N); with `time_steps` (B,
        T, N); with `per_gate` (B, T or 1, G, N). N is I for x and R for h. Of a Spec with
        zoneout also `zoneout_h` (B, T, R) and `zoneout_c` (B, T, H), 1 where values are kept.

    Raises
    ------
    ValueError
        For a rate below 0, or of 1 and above, and for zoneout without `time_steps`.

    Examples
    --------
    >>> import jax
    >>> from lstm_oracle.jax_impl import dropout_masks
    >>> from lstm_oracle.reference.spec import Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> masks = dropout_masks(jax.random.key(0), spec, batch_size=2, rate_h=0.5)
    >>> masks.x, masks.h.shape, float(masks.h.max())
    (None, (2, 4), 2.0)
    """
    _check_rates(rate_x=rate_x, rate_h=rate_h)
    dtype = jnp.result_type(float) if dtype is None else dtype

    def multiplier(key: Any, rate: float, spec: Spec, N: int) -> jax.Array | None:
        if rate == 0:
            return None
        time = () if time_steps is None else (time_steps,)
        gates = (len(spec.gates),) if per_gate else ()
        shape = (batch_size, *(time or (1,) * per_gate), *gates, N)
        kept = jax.random.bernoulli(key, 1 - rate, shape)
        return jnp.where(kept, 1 / (1 - rate), 0).astype(dtype)

    def zoneout_mask(key: Any, rate: float, spec: Spec, N: int) -> jax.Array | None:
        if rate == 0:
            return None
        if time_steps is None:
            raise ValueError(
                f"dropout_masks: time_steps is None, expected T for {spec.name!r}, which has "
                "zoneout: its masks are drawn for every step. Pass time_steps=x.shape[1]."
            )
        return jax.random.bernoulli(key, rate, (batch_size, time_steps, N)).astype(dtype)

    def draw(key: Any, spec: Spec) -> Dropout:
        key_x, key_h = jax.random.split(key)
        masks = (
            zoneout_mask(jax.random.fold_in(key, n), rate, spec, N)
            for n, rate, N in (
                (0, spec.zoneout_h, spec.recurrent_size),
                (1, spec.zoneout_c, spec.hidden_size),
            )
        )
        return Dropout(
            multiplier(key_x, rate_x, spec, spec.input_size),
            multiplier(key_h, rate_h, spec, spec.recurrent_size),
            *masks,
        )

    return _for_each_spec(key, architecture, draw)


def _check_rates(**rates: float) -> None:
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(
                f"dropout_masks: {name} is {rate}, expected at least 0 and below 1. "
                "Pass the share of entries to drop, for example 0.2."
            )


def _for_each_spec(key: Any, architecture: Architecture, draw: Callable[[Any, Spec], Any]) -> Any:
    """What `draw` makes of every Spec and a key of its own, nested like the architecture."""
    if isinstance(architecture, Spec):
        return draw(key, architecture)
    if isinstance(architecture, Bidirectional):
        key_forward, key_backward = jax.random.split(key)
        return Directions(
            _for_each_spec(key_forward, architecture.forward, draw),
            _for_each_spec(key_backward, architecture.backward, draw),
        )
    if isinstance(architecture, Stack):
        keys = jax.random.split(key, len(architecture.layers))
        return tuple(
            _for_each_spec(k, layer, draw)
            for k, layer in zip(keys, architecture.layers, strict=True)
        )
    return _for_each_spec(key, architecture.layer, draw)
