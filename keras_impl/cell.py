r"""One step of an LSTM as a Keras 3 cell.

Equations
---------
::

    z_k = x_t @ W_k + r_{t-1} @ U_k + b_k [+ p_k * c_{t-1}]      k in i, f, g
    i = sigma_i(z_i)   f = sigma_f(z_f)   g = sigma_g(z_g)       (coupled: i = 1 - f)
    c_t = f * c_{t-1} + i * g                                    (then cell_clip)
    z_o = x_t @ W_o + r_{t-1} @ U_o + b_o [+ p_o * c_t]
    o = sigma_o(z_o)
    h_t = o * sigma_c(c_t)        r_t = h_t @ V  or  h_t

With `layer_norm`, N normalizes the last axis (Ba et al. 2016, equations 20 to 22)::

    z = gain_W * N(x_t @ W) + gain_U * N(r_{t-1} @ U) + b [+ p * c]
    h_t = o * sigma_c(gain_c * N(c_t) + shift_c)

With zoneout, of masks m (Krueger et al. 2017)::

    r_t <- m_h * r_{t-1} + (1 - m_h) * r_t        c_t <- m_c * c_{t-1} + (1 - m_c) * c_t

`kernel` holds the W_k side by side, `recurrent_kernel` the U_k, `bias` the b_k, in Keras' order
i, f, c, o, where Keras' c is g here.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from lstm_oracle.keras_impl.activations import clip, exact, resolve, spec_name
from lstm_oracle.keras_impl.initializers import PerGate, in_any_dtype
from lstm_oracle.reference.layouts import from_layout, to_layout
from lstm_oracle.reference.spec import Dropout, Spec, State

_SQUASHES = {
    "i": "recurrent_activation",
    "f": "recurrent_activation",
    "g": "activation",
    "o": "recurrent_activation",
    "c": "activation",
}


class Weights(NamedTuple):
    """Values of a cell's variables, read once and cast to the dtype it computes in."""

    W: Any  # (I, G*H)
    U: Any  # (R, G*H)
    b: Any  # (G*H,) or None
    p: dict[str, Any]  # (H,) for each gate that has a peephole
    V: Any  # (H, R) or None
    gain_W: Any = None  # (G*H,) each, with layer normalization
    gain_U: Any = None
    gain_c: Any = None  # (H,) each
    shift_c: Any = None


def _times(a: Any, matrix: Any) -> Any:
    """a @ matrix for `a` of any leading shape, as one product of two matrices.

    With `@`, not `keras.ops.matmul`, which computes float64 in float32 on PyTorch (keras#23223).
    """
    *leading, rows = ops.shape(a)
    flat = ops.reshape(a, (-1, rows)) @ matrix
    return ops.reshape(flat, (*leading, matrix.shape[-1]))


def _product_of_all_gates(a: Any, matrix: Any, multipliers: Any, gate_count: int) -> Any:
    """Fused a @ matrix, all gates under the same dropout multiplier."""
    del gate_count
    return _times(a if multipliers is None else a * multipliers[0], matrix)


def _product_per_gate(a: Any, matrix: Any, multipliers: Any, gate_count: int) -> Any:
    """Side by side, a @ block for every gate, each under a dropout multiplier of its own."""
    blocks = ops.split(matrix, gate_count, axis=-1)
    dropped = [a] * gate_count if multipliers is None else [a * m for m in multipliers]
    products = [_times(a_k, block) for a_k, block in zip(dropped, blocks, strict=True)]
    return ops.concatenate(products, axis=-1)


_NORMALIZATION = ("gain_W", "gain_U", "gain_c", "shift_c")
_PRODUCTS = {1: _product_per_gate, 2: _product_of_all_gates}


def _normalized(a: Any, gain: Any, epsilon: float) -> Any:
    """gain * N(a) over the last axis; `a` itself where there is no gain."""
    if gain is None:
        return a
    centered = a - _mean(a)
    return gain * (centered / ops.sqrt(_mean(centered * centered) + epsilon))


def _mean(a: Any) -> Any:
    """Not `keras.ops.mean`, which computes float64 in float32 on JAX."""
    return ops.sum(a, axis=-1, keepdims=True) / a.shape[-1]


def _check_rate(owner: str, name: str, rate: float) -> None:
    if not 0 <= rate < 1:
        raise ValueError(
            f"{owner}: {name} is {rate}, expected 0 <= {name} < 1. Pass the fraction to drop; "
            "dropping everything leaves nothing to learn (keras.layers.LSTM ignores a rate of 1)."
        )


@keras.saving.register_keras_serializable(package="lstm_oracle")
class LSTMCell(keras.layers.LSTMCell):
    r"""One LSTM step: a drop-in for `keras.layers.LSTMCell`, with the variants that one lacks.

    The constructor, the variables and the bookkeeping of dropout are Keras'; the arithmetic is
    not. It computes in the dtype of its policy on every backend, float64 included.

    Parameters
    ----------
    units, activation, ..., recurrent_dropout, seed, implementation
        As in `keras.layers.LSTMCell`. `implementation` 2 makes one product for all gates under
        one dropout mask, 1 a product and a mask per gate; `recurrent_dropout` implies 1, as in
        Keras.
    peepholes : str
        Letters of "ifo": the gates that see the cell.
    coupled : bool
        i = 1 - f, without weights for i.
    projection_size : int, optional
        R, the width of r_t = h_t @ V.
    i_activation, f_activation, g_activation, o_activation, c_activation : optional
        One gate's own, by a name of `Spec` or anything Keras takes. By default
        `recurrent_activation` for i, f, o and `activation` for g and c.
    cell_clip, activation_clip : float, optional
        Limits of |c_t| and of every |z_k|.
    layer_norm : bool
        Normalize both products, all gates together, and the cell on its way to h_t.
    layer_norm_epsilon : float
        Added to variances.
    zoneout_h, zoneout_c : float
        In training, entries of r and c keep their previous value at these rates, drawn for every
        step; at inference they keep as much of it as the rates say.
    per_gate_initialization : bool
        Apply `kernel_initializer` and `recurrent_initializer` to each gate's own block (see
        `PerGate`) instead of to the fused matrix.
    peephole_initializer, projection_initializer, gain_initializer, shift_initializer
        Of p, V, and the gains and the shift of layer normalization. Peepholes start at zero: as
        an LSTM without them.
    peephole_regularizer, peephole_constraint, projection_regularizer, projection_constraint, \
gain_regularizer, gain_constraint, shift_regularizer, shift_constraint
        Of the same.

    Raises
    ------
    TypeError, ValueError
        For sizes, rates, letters and clips that cannot be.

    References
    ----------
    Gers, Schmidhuber & Cummins 2000; Gers & Schmidhuber 2000 (peepholes); Sak et al. 2014
    (projection); Greff et al. 2017 (coupled gates); Ba et al. 2016 (layer normalization); Krueger
    et al. 2017 (zoneout).

    Examples
    --------
    >>> import numpy as np
    >>> layer = keras.layers.RNN(LSTMCell(4, peepholes="o", projection_size=2))
    >>> tuple(layer(np.zeros((3, 5, 6))).shape)
    (3, 2)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        *,
        peepholes: str = "",
        coupled: bool = False,
        projection_size: int | None = None,
        i_activation: Any = None,
        f_activation: Any = None,
        g_activation: Any = None,
        o_activation: Any = None,
        c_activation: Any = None,
        cell_clip: float | None = None,
        activation_clip: float | None = None,
        layer_norm: bool = False,
        layer_norm_epsilon: float = 1e-5,
        zoneout_h: float = 0.0,
        zoneout_c: float = 0.0,
        per_gate_initialization: bool = False,
        peephole_initializer: Any = "zeros",
        projection_initializer: Any = "glorot_uniform",
        gain_initializer: Any = "ones",
        shift_initializer: Any = "zeros",
        peephole_regularizer: Any = None,
        projection_regularizer: Any = None,
        gain_regularizer: Any = None,
        shift_regularizer: Any = None,
        peephole_constraint: Any = None,
        projection_constraint: Any = None,
        gain_constraint: Any = None,
        shift_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        """Keep the arguments; the variables come with `build`."""
        owner = f"{type(self).__name__} {kwargs.get('name') or ''!r}"
        # What can be checked before the input is known is checked by the description itself.
        described = Spec(
            input_size=1,
            hidden_size=units,
            projection_size=projection_size,
            peepholes=peepholes,
            coupled=coupled,
            cell_clip=cell_clip,
            activation_clip=activation_clip,
            layer_norm=layer_norm,
            layer_norm_epsilon=layer_norm_epsilon,
            zoneout_h=zoneout_h,
            zoneout_c=zoneout_c,
            name=kwargs.get("name") or "lstm_cell",
        )
        super().__init__(units, resolve(activation), resolve(recurrent_activation), **kwargs)
        for name in ("dropout", "recurrent_dropout"):
            _check_rate(owner, name, kwargs.get(name, 0.0))
        if self.implementation not in _PRODUCTS:
            raise ValueError(
                f"{owner}: implementation is {self.implementation!r}, expected 1 or 2. Pass 2 for "
                "one product for all gates, 1 for one per gate."
            )
        self.peepholes = described.peepholes
        self.coupled = coupled
        self.projection_size = projection_size
        given = (i_activation, f_activation, g_activation, o_activation, c_activation)
        self.own_activations = {
            k: resolve(identifier)
            for k, identifier in zip("ifgoc", given, strict=True)
            if identifier is not None
        }
        self.cell_clip = cell_clip
        self.activation_clip = activation_clip
        self.layer_norm = layer_norm
        self.layer_norm_epsilon = layer_norm_epsilon
        self.zoneout_h = zoneout_h
        self.zoneout_c = zoneout_c
        self.zoneout = described.zoneout
        self.per_gate_initialization = per_gate_initialization
        self.peephole_initializer = keras.initializers.get(peephole_initializer)
        self.projection_initializer = keras.initializers.get(projection_initializer)
        self.gain_initializer = keras.initializers.get(gain_initializer)
        self.shift_initializer = keras.initializers.get(shift_initializer)
        self.peephole_regularizer = keras.regularizers.get(peephole_regularizer)
        self.projection_regularizer = keras.regularizers.get(projection_regularizer)
        self.gain_regularizer = keras.regularizers.get(gain_regularizer)
        self.shift_regularizer = keras.regularizers.get(shift_regularizer)
        self.peephole_constraint = keras.constraints.get(peephole_constraint)
        self.projection_constraint = keras.constraints.get(projection_constraint)
        self.gain_constraint = keras.constraints.get(gain_constraint)
        self.shift_constraint = keras.constraints.get(shift_constraint)

        self.gates = described.gates
        if self.implementation == 1:
            self.dropout_mask_count = len(self.gates)
        self.output_size = described.recurrent_size
        self.state_size = [self.output_size, units]
        self._squash = {k: exact(self._activation_of(k)) for k in "ifgoc"}

    def _activation_of(self, k: str) -> Any:
        return self.own_activations.get(k, getattr(self, _SQUASHES[k]))

    # --- variables --------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Create the variables for inputs of this shape."""
        G, H, R = len(self.gates), self.units, self.output_size
        I = input_shape[-1]
        self.kernel = self._add("kernel", (I, G * H), self._fused("kernel"), "kernel")
        self.recurrent_kernel = self._add(
            "recurrent", (R, G * H), self._fused("recurrent"), "recurrent_kernel"
        )
        self.bias = None
        if self.use_bias:
            self.bias = self._add("bias", (G * H,), self._initial_bias, "bias")
        self.peephole_vectors = [
            self._add("peephole", (H,), self.peephole_initializer, f"peephole_{k}")
            for k in self.peepholes
        ]
        self.projection_kernel = None
        if self.projection_size is not None:
            initializer = self.projection_initializer
            self.projection_kernel = self._add(
                "projection", (H, R), initializer, "projection_kernel"
            )
        self.normalization = self._add_normalization() if self.layer_norm else []
        self.built = True

    def _add_normalization(self) -> list[Any]:
        """Gains of both products, then gain and shift of the cell."""
        G, H = len(self.gates), self.units
        names = ("kernel_gain", "recurrent_gain", "cell_gain")
        gains = [
            self._add("gain", (size,), self.gain_initializer, name)
            for name, size in zip(names, (G * H, G * H, H), strict=True)
        ]
        return [*gains, self._add("shift", (H,), self.shift_initializer, "cell_shift")]

    def _add(self, role: str, shape: tuple[int, ...], initializer: Any, name: str) -> Any:
        return self.add_weight(
            shape=shape,
            name=name,
            initializer=in_any_dtype(initializer),
            regularizer=getattr(self, f"{role}_regularizer"),
            constraint=getattr(self, f"{role}_constraint"),
        )

    def _fused(self, role: str) -> Any:
        initializer = getattr(self, f"{role}_initializer")
        if self.per_gate_initialization:
            return PerGate(initializer, len(self.gates))
        return initializer

    def _initial_bias(self, shape: Any, dtype: Any = None) -> Any:
        if not self.unit_forget_bias:
            return self.bias_initializer(shape, dtype=dtype)
        before_f = self.units * self.gates.index("f")
        # Three draws of these sizes, so that a seeded initializer gives what it gives in Keras.
        sizes = (before_f, self.units, shape[0] - before_f - self.units)
        draws = (self.bias_initializer, keras.initializers.Ones(), self.bias_initializer)
        parts = [draw((n,), dtype=dtype) for draw, n in zip(draws, sizes, strict=True) if n]
        return ops.concatenate(parts)

    def read_weights(self) -> Weights:
        """Read the variables, once for a whole sequence."""

        def value(variable: Any) -> Any:
            if variable is None:
                return None
            return ops.convert_to_tensor(variable, dtype=self.compute_dtype)

        return Weights(
            W=value(self.kernel),
            U=value(self.recurrent_kernel),
            b=value(self.bias),
            p=dict(zip(self.peepholes, map(value, self.peephole_vectors), strict=True)),
            V=value(self.projection_kernel),
            **dict(zip(_NORMALIZATION, map(value, self.normalization), strict=False)),
        )

    # --- the step ---------------------------------------------------------------------------------

    def call(self, inputs: Any, states: Any, training: bool = False) -> tuple[Any, list[Any]]:
        """Advance `states` [r, c] by one step; returns r and the new states."""
        r, c = states
        inputs = ops.cast(inputs, self.compute_dtype)
        multipliers = self.multipliers(inputs, r, training)
        weights = self.read_weights()
        z_x = self.input_products(inputs, weights, multipliers.x)
        keep = self.zoneout_masks(z_x, training)
        state = self.advance(z_x, State(r, c), weights, multipliers.h, keep)
        return state.h, [state.h, state.c]

    def multipliers(self, x_t: Any, r: Any, training: bool) -> Dropout:
        """Dropout multipliers of one call, lists of (B, N) by gate or of one for all; or None."""

        def listed(masks: Any) -> list[Any] | None:
            return [masks] if masks is not None and not isinstance(masks, list) else masks

        if not training:
            return Dropout()
        return Dropout(
            listed(self.get_dropout_mask(x_t)), listed(self.get_recurrent_dropout_mask(r))
        )

    def input_products(self, x: Any, weights: Weights, multipliers: Any) -> Any:
        """x @ W + b, all gates side by side, for x of any leading shape."""
        z = self._product(x, weights.W, multipliers)
        z = _normalized(z, weights.gain_W, self.layer_norm_epsilon)
        return z if weights.b is None else z + weights.b

    def _product(self, a: Any, matrix: Any, multipliers: Any) -> Any:
        return _PRODUCTS[self.implementation](a, matrix, multipliers, len(self.gates))

    def zoneout_masks(self, like: Any, training: bool) -> list[Any]:
        """Masks of r and c for the steps of an array (..., N), 1 where values are kept.

        Empty at inference, and without zoneout.
        """
        if not (self.zoneout and training):
            return []

        def drawn(rate: float, size: int) -> Any:
            ones = ops.ones_like(like[..., :1]) * ops.ones((size,), dtype=self.compute_dtype)
            kept = keras.random.dropout(ops.ones_like(ones), rate, seed=self.seed_generator)
            return ops.cast(ops.equal(kept, 0), self.compute_dtype)

        return [drawn(self.zoneout_h, self.output_size), drawn(self.zoneout_c, self.units)]

    def advance(
        self,
        z_x: Any,
        state: State,
        weights: Weights,
        multipliers: Any = None,
        keep: Sequence[Any] = (),
    ) -> State:
        """Advance the state by one step, from the products with the input."""
        new = self._advance(z_x, state, weights, multipliers)
        if not self.zoneout:
            return new
        m_h, m_c = keep or (self.zoneout_h, self.zoneout_c)
        return State(
            m_h * state.h + (1 - m_h) * new.h,
            m_c * state.c + (1 - m_c) * new.c,
        )

    def _advance(self, z_x: Any, state: State, weights: Weights, multipliers: Any) -> State:
        """Make the step without zoneout."""
        epsilon = self.layer_norm_epsilon
        z_h = self._product(state.h, weights.U, multipliers)
        z = z_x + _normalized(z_h, weights.gain_U, epsilon)
        z_by_gate = dict(zip(self.gates, ops.split(z, len(self.gates), axis=-1), strict=True))
        gate = functools.partial(self._gate, z_by_gate, weights.p)
        f = gate("f", state.c)
        g = gate("g", state.c)
        i = 1 - f if self.coupled else gate("i", state.c)
        c = _clipped(f * state.c + i * g, self.cell_clip)
        o = gate("o", c)
        seen = _normalized(c, weights.gain_c, epsilon)
        h = o * self._squash["c"](seen if weights.shift_c is None else seen + weights.shift_c)
        return State(h if weights.V is None else h @ weights.V, c)

    def _gate(self, z: dict[str, Any], p: dict[str, Any], k: str, c: Any) -> Any:
        z_k = z[k] + p[k] * c if k in p else z[k]
        return self._squash[k](_clipped(z_k, self.activation_clip))

    # --- description ------------------------------------------------------------------------------

    @property
    def spec(self) -> Spec:
        """Description of this cell; the cell has to be built.

        Raises
        ------
        ValueError
            For a cell without variables, or with an activation that `Spec` cannot name.
        """
        owner = f"{type(self).__name__} {self.name!r}"
        if not self.built:
            raise ValueError(
                f"{owner}: has no input size yet, expected a built cell. Call it on data, or "
                "build it, first."
            )
        activations: dict[str, Any] = {
            f"{k}_activation": spec_name(self._activation_of(k), owner) for k in (*self.gates, "c")
        }
        return Spec(
            input_size=self.kernel.shape[0],
            hidden_size=self.units,
            projection_size=self.projection_size,
            use_bias=self.use_bias,
            peepholes=self.peepholes,
            coupled=self.coupled,
            cell_clip=self.cell_clip,
            activation_clip=self.activation_clip,
            layer_norm=self.layer_norm,
            layer_norm_epsilon=self.layer_norm_epsilon,
            zoneout_h=self.zoneout_h,
            zoneout_c=self.zoneout_c,
            name=self.name,
            **activations,
        )

    @classmethod
    def from_spec(cls, spec: Spec, **kwargs: Any) -> LSTMCell:
        """Build the cell that `spec` describes; `kwargs` are further constructor arguments."""
        cell = cls(**arguments_of(spec), **kwargs)
        cell.build((None, spec.input_size))
        return cell

    def gate_params(self) -> dict[str, np.ndarray]:
        """Return the parameters by gate: {"W_i": (I, H), ...}, named as in `spec.param_shapes`."""
        spec = self.spec
        arrays = {variable.name: ops.convert_to_numpy(variable) for variable in self._stored()}
        return from_layout("keras", spec, arrays)

    def set_gate_params(self, params: dict[str, np.ndarray]) -> None:
        """Set the parameters from a dict like that of `gate_params`."""
        arrays = to_layout("keras", self.spec, params)
        for variable in self._stored():
            variable.assign(arrays[variable.name])

    def _stored(self) -> list[Any]:
        variables = (
            self.kernel,
            self.recurrent_kernel,
            self.bias,
            *self.peephole_vectors,
            self.projection_kernel,
            *self.normalization,
        )
        return [variable for variable in variables if variable is not None]

    def get_config(self) -> dict[str, Any]:
        """Return every constructor argument, `implementation` included."""
        own = {
            f"{k}_activation": keras.activations.serialize(function)
            for k, function in self.own_activations.items()
        }
        roles = {
            f"{role}_{kind}": getattr(keras, f"{kind}s").serialize(getattr(self, f"{role}_{kind}"))
            for role in ("peephole", "projection", "gain", "shift")
            for kind in ("initializer", "regularizer", "constraint")
        }
        plain = {
            name: getattr(self, name)
            for name in (
                "implementation",
                "peepholes",
                "coupled",
                "projection_size",
                "cell_clip",
                "activation_clip",
                "layer_norm",
                "layer_norm_epsilon",
                "zoneout_h",
                "zoneout_c",
                "per_gate_initialization",
            )
        }
        return {**super().get_config(), **own, **roles, **plain}


def _clipped(value: Any, bound: float | None) -> Any:
    return value if bound is None else clip(value, bound)


def arguments_of(spec: Spec) -> dict[str, Any]:
    """Constructor arguments of the cell that `spec` describes."""
    activations = {f"{k}_activation": getattr(spec, f"{k}_activation") for k in (*spec.gates, "c")}
    return {
        "units": spec.hidden_size,
        "projection_size": spec.projection_size,
        "use_bias": spec.use_bias,
        "peepholes": spec.peepholes,
        "coupled": spec.coupled,
        "cell_clip": spec.cell_clip,
        "activation_clip": spec.activation_clip,
        "layer_norm": spec.layer_norm,
        "layer_norm_epsilon": spec.layer_norm_epsilon,
        "zoneout_h": spec.zoneout_h,
        "zoneout_c": spec.zoneout_c,
        **activations,
    }
