"""`lstm`: any architecture, as a pure function of pytrees, jitted."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from lstm_oracle.jax_impl.arguments import check_before_tracing, label, prepared
from lstm_oracle.jax_impl.interface import Options, Output, Pieces
from lstm_oracle.jax_impl.layers import run
from lstm_oracle.reference.spec import Architecture


def lstm(
    params: Any,
    x: Any,
    state: Any = None,
    mask: Any = None,
    *,
    spec: Architecture,
    dropout: Any = None,
    lengths: Any = None,
    unroll: int = 1,
    precision: Literal["default", "high", "highest"] | None = "highest",
    implementation: str = "auto",
    remat: Literal["chunk"] | None = None,
) -> Output:
    r"""Output of every step and the state after the last, of a batch of sequences.

    A pure function: jitted, differentiable any number of times in reverse mode, with
    implementation="scan" in forward mode too, and fit for `jax.vmap`, over `params` too (many
    seeds at once). It is traced once for each combination of shapes, dtypes and `spec`; an equal
    `spec` is the same one.

    Equations
    ---------
    ::

        z_k = x_t @ W_k + r_{t-1} @ U_k + b_k [+ p_k * c_{t-1}]      k in i, f, g
        i = sigma_i(z_i)   f = sigma_f(z_f)   g = sigma_g(z_g)       (coupled: i = 1 - f)
        c_t = f * c_{t-1} + i * g
        z_o = x_t @ W_o + r_{t-1} @ U_o + b_o [+ p_o * c_t]          o = sigma_o(z_o)
        h_t = o * sigma_c(c_t)        y_t = r_t = h_t @ V  or  h_t

    Parameters
    ----------
    params
        {"W_i": (I, H), ...} for a Spec, `Directions` for a Bidirectional, a tuple for a Stack:
        as `init` makes them.
    x : (B, T, I)
        A floating array. x and params are brought to their common dtype.
    state
        The initial `State(h (B, R), c (B, H))`, nested like params. None, whole or in place of a
        part, is zero.
    mask : (B, T) of bool, optional
        True at real steps; any pattern. A masked step leaves the state alone, its x may be
        anything, NaN included, and gets a gradient of exactly 0. What is emitted there is
        `Spec.masked_output`.
    spec : Spec, Reverse, Bidirectional, Stack or Chunks
        The architecture, from `lstm_oracle.reference.spec`.
    dropout
        Multipliers `Dropout(x, h)` and masks of zoneout, nested like params: see
        `dropout_masks`. None drops nothing; zoneout is then in expectation.
    lengths : (B,) of int, optional
        In place of a mask: real are the first `lengths[b]` steps of sequence b, zero included.
        Inside a jit of yours, where values are not known, lengths beyond T count as T.
    unroll : int
        Steps per iteration of the loop: larger compiles longer and may run faster.
    precision : "highest", "high", "default" or None
        Of the matrix products on accelerators: "highest" keeps float32 what it says ("default"
        is TF32 on NVIDIA GPUs, bfloat16 on TPUs); None follows `jax.default_matmul_precision`.
    implementation : "auto" or a name of `jax_impl.implementations.IMPLEMENTATIONS`
        How each layer is computed: the same function every time. "auto" chooses by the rule that
        `jax_impl.choose` states; a name that cannot do the case raises.
    remat : "chunk", optional
        Keep the states of every sqrt(T)-th step only and compute the rest again in the backward
        pass: memory grows as sqrt(T), time by the forward pass done twice.

    Returns
    -------
    Output
        `y` (B, T, R), in the common dtype of x and params (`Directions` of two where a
        Bidirectional has merge=None), and `state`, nested like params.

    Raises
    ------
    TypeError, ValueError
        With what was got, what was expected and the fix; for shapes, names and dtypes while
        tracing.

    Notes
    -----
    float64 needs JAX's x64 mode (`jax.enable_x64`); without it JAX itself makes float32 of it.

    In bfloat16 and float16 the factors of the matrix products and the emitted h have 16 bits;
    sums, gates and the cell state have float32, and so has the `c` of the returned state. Weight
    gradients are summed over the steps in float32, too.

    `Chunks` differ from the whole sequence only by where gradients stop: a scan needs no pieces.

    References
    ----------
    Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000; Gers & Schmidhuber 2000
    (peepholes); Sak et al. 2014 (projection); Greff et al. 2017 (coupled gates); Gal & Ghahramani
    2016 (dropout).

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from lstm_oracle.jax_impl import init, lstm
    >>> from lstm_oracle.reference.spec import Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = init(jax.random.key(0), spec)
    >>> x = jnp.ones((2, 5, 3))
    >>> y, state = lstm(params, x, spec=spec, lengths=jnp.array([5, 2]))
    >>> y.shape, state.h.shape, state.c.shape
    ((2, 5, 4), (2, 4), (2, 4))
    >>> gradient = jax.grad(lambda params: lstm(params, x, spec=spec).y.sum())(params)
    >>> gradient["U_f"].shape
    (4, 4)
    """
    options = Options(unroll, precision, implementation, remat, _platform((params, x)))
    arrays = {"params": params, "x": x, "state": state, "mask": mask, "dropout": dropout}
    check_before_tracing(spec, arrays | {"lengths": lengths}, lengths, options)
    try:
        return _lstm(params, x, state, mask, lengths, dropout, spec=spec, options=options)
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        raise TypeError(
            f"{label(spec)}: got forward-mode differentiation (jvp, jacfwd, linearize), expected "
            f"reverse mode: of implementation={implementation!r} only the backward pass is "
            "written. Pass implementation='scan' for forward mode."
        ) from error


def _platform(arrays: Any) -> str:
    """Where the arrays are; inside somebody's jit, where JAX puts arrays by default."""
    for leaf in jax.tree.leaves(arrays):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
            return str(next(iter(leaf.devices())).platform)
    return jax.default_backend()


@partial(jax.jit, static_argnames=("spec", "options"))
def _lstm(
    params: Any,
    x: Any,
    state: Any,
    mask: Any,
    lengths: Any,
    dropout: Any,
    *,
    spec: Architecture,
    options: Options,
) -> Output:
    inputs = prepared(spec, params, x, state, mask, lengths, dropout)
    y, state = run(spec, inputs, Pieces.whole(inputs.x.shape[0]), options)
    return Output(jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), y), state)
