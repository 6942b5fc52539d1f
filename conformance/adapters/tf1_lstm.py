"""TensorFlow 1's `tf.nn.rnn_cell.LSTMCell`, formerly of contrib, in `dynamic_rnn`.

TensorFlow 2 still carries both. The cell adds `forget_bias` at run time and stores (c, h).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from lstm_oracle.conformance.adapters.support import (
    dictionaries,
    first,
    key,
    nested,
    not_a_stack,
    not_lengths,
    rows,
    specs,
    standard_activations,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import LAYOUTS, gradients_from_layout, to_layout
from lstm_oracle.reference.spec import Directions, Spec, State
from lstm_oracle.reference.tree import flatten, map_leaves, replace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from tensorflow.python.keras.layers.legacy_rnn import rnn_cell_impl


class TensorFlow1:
    """The cell, differentiated by TensorFlow's tape."""

    def __init__(self) -> None:
        """One graph for all cases that can share it."""
        self._networks: dict[Any, _Network] = {}

    def unsupported(self, case: Case) -> str:
        """What the cell does not have."""
        return first(
            [
                *(_lacks(spec, case.mask is not None) for spec in specs(case.architecture)),
                unknown_options(case, frozenset()),
                "no masks on inputs and states" if case.dropout is not None else "",
                not_lengths(case.mask),
                not_a_stack(case.architecture),
            ]
        )

    def run(self, case: Case) -> Result:
        """The cell's answer, as a graph."""
        kind = key(case)
        if kind not in self._networks:
            self._networks[kind] = _Network(case)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._networks[kind].run(case)

    def versions(self) -> dict[str, str]:
        """TensorFlow's."""
        return {"tensorflow": tf.__version__}


def adapter() -> TensorFlow1:
    """The adapter."""
    return TensorFlow1()


def _lacks(spec: Spec, masked: bool) -> str:
    reasons = {
        "no coupled gates": spec.coupled,
        "no activation clip": spec.activation_clip is not None,
        "no layer normalization": spec.layer_norm,
        "no zoneout": spec.zoneout,
        "no layer without bias": not spec.use_bias,
        "no choice of activations": not standard_activations(spec),
        "peepholes of all gates or none": spec.peepholes not in ("", "ifo"),
        "emits zeros at masked steps": masked and spec.masked_output != "zero",
    }
    return next((reason for reason, lacks in reasons.items() if lacks), "")


class _Network:
    """The cells of an architecture, and its graph."""

    def __init__(self, case: Case) -> None:
        self.rows = rows(case.architecture)
        self.specs = list(specs(case.architecture))
        self.dtype = tf.as_dtype(case.dtype)
        self.cells = [_cell(spec, n, self.dtype) for n, spec in enumerate(self.specs)]
        self.variables = [v for cell in self.cells for v in cell.trainable_variables]
        self._graph = tf.function(self._value_and_gradients)

    def run(self, case: Case) -> Result:
        pairs = zip(self.specs, self.cells, dictionaries(case.params), strict=True)
        for spec, cell, params in pairs:
            arrays = to_layout("tf1", spec, params)
            for variable, name in zip(cell.trainable_variables, _names(cell), strict=True):
                variable.assign(tf.cast(arrays[name], self.dtype))
        lengths = None if case.mask is None else tf.constant(case.mask.sum(axis=1), tf.int32)
        states = [self._put(a) for a in flatten(case.state).values()]
        d_outputs = [self._put(a) for a in flatten((case.d_y, case.d_state)).values()]
        y, finals, got = self._graph(self._put(case.x), states, lengths, d_outputs)
        count = len(self.variables)
        d_states = [_to_numpy(a) for a in got[count + 1 :]]
        return Result(
            map_leaves(_to_numpy, y),
            replace(case.d_state, dict(zip(flatten(case.d_state), map(_to_numpy, finals),
                                           strict=True))),
            nested(case.params, self._gradients([_to_numpy(a) for a in got[:count]])),
            _to_numpy(got[count]),
            replace(case.state, dict(zip(flatten(case.state), d_states, strict=True))),
        )  # fmt: skip

    def _put(self, a: Any) -> Any:
        return tf.cast(tf.constant(a), self.dtype)

    def _gradients(self, arrays: list[Any]) -> list[dict[str, Any]]:
        rest, found = arrays, []
        for spec, cell in zip(self.specs, self.cells, strict=True):
            names = _names(cell)
            own = dict(zip(names, rest, strict=False))
            rest = rest[len(names) :]
            found.append(gradients_from_layout("tf1", spec, own))
        return found

    def _value_and_gradients(self, x: Any, states: Any, lengths: Any, d_outputs: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            y, finals = self._apply(x, states, lengths)
        sources = [*self.variables, x, *states]
        outputs = [*flatten(y).values(), *finals]
        zero = tf.UnconnectedGradients.ZERO
        return y, finals, tape.gradient(outputs, sources, d_outputs, unconnected_gradients=zero)

    def _apply(self, x: Any, states: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
        """Output, and h and c of every layer and direction in order, as `states` is."""
        finals: list[Any] = []
        cells, initial = iter(self.cells), iter(states)
        for row in self.rows:
            own = [next(cells) for _ in row.directions]
            started = [_initial(initial) for _ in own] if states else [None] * len(own)
            if len(own) == 2:
                ys, ends = tf.compat.v1.nn.bidirectional_dynamic_rnn(
                    *own, x, lengths, *started, dtype=self.dtype
                )
                x = _MERGE[row.merge](*ys)
            else:
                x, end = tf.compat.v1.nn.dynamic_rnn(
                    own[0], x, lengths, started[0], dtype=self.dtype
                )
                ends = (end,)
            finals += [a for end in ends for a in State(end.h, end.c)]
        return x, finals


def _initial(states: Iterator[Any]) -> Any:
    h, c = next(states), next(states)
    return rnn_cell_impl.LSTMStateTuple(c, h)


def _cell(spec: Spec, number: int, dtype: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cell = rnn_cell_impl.LSTMCell(
            spec.hidden_size,
            use_peepholes=bool(spec.peepholes),
            cell_clip=spec.cell_clip,
            num_proj=spec.projection_size,
            forget_bias=LAYOUTS["tf1"].forget_bias,
            name=f"cell_{number}",
            dtype=dtype,
        )
        cell.build((None, spec.input_size))
    return cell


def _names(cell: Any) -> list[str]:
    """Of its variables, as the layout has them."""
    return [v.name.removesuffix(":0").partition("/")[2] for v in cell.trainable_variables]


_MERGE: dict[Any, Any] = {
    "concat": lambda a, b: tf.concat([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: Directions,
}


def _to_numpy(a: Any) -> np.ndarray:
    return np.asarray(a if a.dtype in (tf.float64, tf.float32) else tf.cast(a, tf.float32))
