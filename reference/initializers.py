r"""Initializers written out, each with the statistics to expect from it.

A weight matrix is (fan_in, fan_out). Frameworks draw the gates of an LSTM either as one fused
(N, G*H) block, as Keras does, or each gate on its own (N, H), as the papers assume; that changes
the variance of every fan-based initializer, and what "orthogonal" means: of a fused 64 x 256 block
only the block's rows are orthonormal, and the four recurrent matrices in it have singular values
between about 0 and 0.9. So it is a choice with a name here: `per_gate`.

References
----------
Glorot & Bengio 2010, eq. 16 (and LeCun et al. 1998, "Efficient BackProp", section 4.6); He et al.
2015, eq. 10; Saxe et al. 2014 (orthogonal); Le, Jaitly & Hinton 2015 (identity); Gers et al. 2000
and Jozefowicz et al. 2015 (unit forget bias); Tallec & Ollivier 2018, section 3 (chrono); PyTorch
`torch.nn.LSTM` (uniform +-1/sqrt(H)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.reference.spec import Architecture, Bidirectional, Directions, Spec, Stack

Array = np.ndarray
Shape = tuple[int, int]


class Expected(NamedTuple):
    """What an initializer promises of a matrix of a given shape."""

    mean: float
    variance: float
    bound: float  # no entry is larger in absolute value; inf where there is no bound
    orthonormal: bool = False  # rows (or columns, whichever are fewer) are orthonormal


class Initializer(NamedTuple):
    """How to draw a matrix, and what to expect of it.

    `draw(shape, rng, hidden_size)` gives an array (fan_in, fan_out); `expect(shape, hidden_size)`
    its statistics. Only PyTorch's uniform looks at the hidden size.
    """

    draw: Callable[[Shape, np.random.Generator, int], Array]
    expect: Callable[[Shape, int], Expected]


def _uniform(variance: Callable[[Shape, int], float]) -> Initializer:
    """U(-a, a) with a = sqrt(3 variance)."""

    def draw(shape: Shape, rng: np.random.Generator, hidden_size: int) -> Array:
        bound = math.sqrt(3 * variance(shape, hidden_size))
        return rng.uniform(-bound, bound, shape)

    def expect(shape: Shape, hidden_size: int) -> Expected:
        v = variance(shape, hidden_size)
        return Expected(0.0, v, math.sqrt(3 * v))

    return Initializer(draw, expect)


# The standard deviation of N(0, 1) cut off at two standard deviations.
_TRUNCATED_STD = 0.8796256610342398


def _normal(variance: Callable[[Shape, int], float]) -> Initializer:
    """N(0, s^2) cut off at 2 s, the variance right after the cut (as in Keras and JAX)."""

    def draw(shape: Shape, rng: np.random.Generator, hidden_size: int) -> Array:
        values = rng.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = rng.standard_normal(int(outside.sum()))
        return values * math.sqrt(variance(shape, hidden_size)) / _TRUNCATED_STD

    def expect(shape: Shape, hidden_size: int) -> Expected:
        v = variance(shape, hidden_size)
        return Expected(0.0, v, 2 * math.sqrt(v) / _TRUNCATED_STD)

    return Initializer(draw, expect)


def _glorot(shape: Shape, hidden_size: int) -> float:
    return 2 / (shape[0] + shape[1])


def _he(shape: Shape, hidden_size: int) -> float:
    return 2 / shape[0]


def _lecun(shape: Shape, hidden_size: int) -> float:
    return 1 / shape[0]


def _torch(shape: Shape, hidden_size: int) -> float:
    return 1 / (3 * hidden_size)  # U(-1/sqrt(H), 1/sqrt(H))


def _draw_orthogonal(shape: Shape, rng: np.random.Generator, hidden_size: int) -> Array:
    """Q of a Gaussian matrix, its signs fixed: uniform over the orthogonal matrices (Haar)."""
    tall = (max(shape), min(shape))
    q, r = np.linalg.qr(rng.standard_normal(tall))
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if shape[0] >= shape[1] else q.T


def _expect_orthogonal(shape: Shape, hidden_size: int) -> Expected:
    return Expected(0.0, 1 / max(shape), 1.0, orthonormal=True)


def _draw_identity(shape: Shape, rng: np.random.Generator, hidden_size: int) -> Array:
    return np.eye(*shape)


def _expect_identity(shape: Shape, hidden_size: int) -> Expected:
    mean = min(shape) / (shape[0] * shape[1])
    return Expected(mean, mean * (1 - mean), 1.0, orthonormal=True)


def _draw_zeros(shape: Shape, rng: np.random.Generator, hidden_size: int) -> Array:
    return np.zeros(shape)


INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": _uniform(_glorot),
    "glorot_normal": _normal(_glorot),
    "he_uniform": _uniform(_he),
    "he_normal": _normal(_he),
    "lecun_uniform": _uniform(_lecun),
    "lecun_normal": _normal(_lecun),
    "torch_uniform": _uniform(_torch),
    "orthogonal": Initializer(_draw_orthogonal, _expect_orthogonal),
    "identity": Initializer(_draw_identity, _expect_identity),
    "zeros": Initializer(_draw_zeros, lambda shape, hidden_size: Expected(0.0, 0.0, 0.0)),
}


def draw_gates(
    name: str,
    shape: Shape,
    gates: tuple[str, ...],
    rng: np.random.Generator,
    *,
    per_gate: bool = True,
) -> dict[str, Array]:
    """One (N, H) matrix per gate, drawn by an initializer of `INITIALIZERS`.

    `per_gate=False` draws the fused (N, G*H) block and cuts it, as Keras does; a square "identity"
    is then that of the first gate alone.

    Raises
    ------
    ValueError
        Where the name is not in the table.
    """
    initializer = _look_up(name)
    N, H = shape
    if per_gate:
        return {k: initializer.draw((N, H), rng, H) for k in gates}
    fused = initializer.draw((N, H * len(gates)), rng, H)
    return dict(zip(gates, np.split(fused, len(gates), axis=-1), strict=True))


def expected(name: str, shape: Shape, *, gates: int = 1) -> Expected:
    """The statistics of one gate's (N, H) matrix; gates > 1 where it is cut from a fused block.

    Orthonormality of a fused block says nothing of the matrices in it, so it is not promised there.

    Examples
    --------
    >>> round(expected("glorot_uniform", (64, 64)).bound, 3)
    0.217
    >>> round(expected("glorot_uniform", (64, 64), gates=4).bound, 3)
    0.137
    """
    N, H = shape
    promise = _look_up(name).expect((N, H * gates), H)
    return promise if gates == 1 else promise._replace(orthonormal=False)


def forget_bias(spec: Spec, value: float = 1.0) -> dict[str, Array]:
    """Zero biases, but `value` for the forget gate (Jozefowicz et al. 2015: 1)."""
    return {
        f"b_{k}": np.full(spec.hidden_size, value if k == "f" else 0.0)
        for k in spec.gates
        if spec.use_bias
    }


def layer_norm_params(spec: Spec) -> dict[str, Array]:
    """Gains of one and shifts of zero (Ba et al. 2016, section 6), where there are any."""
    return {
        name: np.full(shape, 1.0 if name.startswith("gain") else 0.0)
        for name, shape in spec.param_shapes.items()
        if name.startswith(("gain", "shift"))
    }


def chrono_bias(spec: Spec, longest: int, rng: np.random.Generator) -> dict[str, Array]:
    """b_f = log u, u ~ U(1, T_max - 1), and b_i = -b_f (Tallec & Ollivier 2018, section 3).

    Unit j then remembers for about u_j steps. `longest` is T_max, the longest dependency in steps.
    A coupled layer has no b_i and needs none: there i = 1 - f.

    Raises
    ------
    ValueError
        Where `longest` is below 3: there is then no range to draw from.
    """
    if longest < 3:
        raise ValueError(
            f"longest is {longest}, expected at least 3 steps. Pass the longest dependency T_max."
        )
    biases = forget_bias(spec, 0.0)
    if spec.use_bias:
        biases["b_f"] = np.log(rng.uniform(1, longest - 1, spec.hidden_size))
    if "b_i" in biases:
        biases["b_i"] = -biases["b_f"]
    return biases


def init(
    architecture: Architecture,
    rng: np.random.Generator,
    *,
    input_weights: str = "glorot_uniform",
    recurrent_weights: str = "orthogonal",
    per_gate: bool = True,
    biases: Callable[[Spec], dict[str, Array]] = forget_bias,
) -> Any:
    """Parameters of an architecture, float64, nested like it.

    Parameters
    ----------
    rng : np.random.Generator
        The only source of randomness.
    input_weights, recurrent_weights : str
        Initializers of W and U by name; V is drawn like W. Peepholes and shifts start at zero,
        gains at one.
    per_gate : bool
        Whether each gate is drawn on its own, or the fused block as Keras does.
    biases
        From a Spec to its biases: `forget_bias`, or for example
        `lambda spec: chrono_bias(spec, 100, rng)`.
    """

    def of(layer: Architecture) -> Any:
        if isinstance(layer, Spec):
            return _init_spec(layer, rng, input_weights, recurrent_weights, per_gate, biases)
        if isinstance(layer, Stack):
            return tuple(of(part) for part in layer.layers)
        if isinstance(layer, Bidirectional):
            return Directions(of(layer.forward), of(layer.backward))
        return of(layer.layer)

    return of(architecture)


def _init_spec(
    spec: Spec,
    rng: np.random.Generator,
    input_weights: str,
    recurrent_weights: str,
    per_gate: bool,
    biases: Callable[[Spec], dict[str, Array]],
) -> dict[str, Array]:
    I, H, R = spec.input_size, spec.hidden_size, spec.recurrent_size
    W = draw_gates(input_weights, (I, H), spec.gates, rng, per_gate=per_gate)
    U = draw_gates(recurrent_weights, (R, H), spec.gates, rng, per_gate=per_gate)
    params = {f"W_{k}": W[k] for k in spec.gates} | {f"U_{k}": U[k] for k in spec.gates}
    params |= biases(spec)
    params |= {f"p_{k}": np.zeros(H) for k in spec.peepholes}
    if spec.projection_size is not None:
        params["V"] = _look_up(input_weights).draw((H, R), rng, H)
    return params | layer_norm_params(spec)


def _look_up(name: str) -> Initializer:
    if name not in INITIALIZERS:
        raise ValueError(
            f"initializer is {name!r}, expected one of {', '.join(INITIALIZERS)}. "
            "Choose a name from the list."
        )
    return INITIALIZERS[name]
