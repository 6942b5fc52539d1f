"""Many looks into the same model on the same batch, each at the cost of one compiled pass.

`probe.capture` looks once, step by step; a model in training is looked into again and again. A
`Watch` traces the same pass once, takes the model's current weights as arguments, and gives the
same captures, together with the gradient of every trainable weight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lstm_oracle.keras_impl import probe
from lstm_oracle.keras_impl.backends import BACKEND
from lstm_oracle.keras_impl.probe import Capture, Unsupported
from lstm_oracle.keras_impl.recurrent_layers import (
    CannotDescribe,
    describe,
    recurrent_layers,
    to_numpy,
)


@dataclass(frozen=True, eq=False)
class Glance:
    """One look: the loss, every call of every LSTM, and all gradients."""

    loss: float
    captures: list[Capture]
    unsupported: list[Unsupported]
    gradients: list[np.ndarray]  # of model.trainable_variables, in their order, with regularizers


class Watch:
    """Looks into a model on one fixed batch; `watch()` gives a `Glance`.

    Parameters
    ----------
    model : keras.Model
        Built. It comes out of every look as it went in.
    x, y, sample_weight
        The batch, as for `model.fit`.
    loss : str or callable, optional
        `loss(y, prediction)`, as for `model.compile`; by default what the model was compiled with.

    Raises
    ------
    TypeError, ValueError
        For what is no model, is not built, or has no loss and was given none.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, name="encoder")])
    >>> watch = Watch(model, np.ones((2, 5, 3), "float32"), np.ones((2, 4)), loss="mse")
    >>> glance = watch()
    >>> [call.layer_path.split("/")[-1] for call in glance.captures], len(glance.gradients)
    (['encoder'], 3)
    """

    def __init__(
        self, model: Any, x: Any, y: Any, sample_weight: Any = None, *, loss: Any = None
    ) -> None:
        """Find what is to be looked at; nothing is run yet."""
        probe._check_model(model, None if loss is not None else y)
        self.model = model
        question: dict[str, Any] = {
            "model": model,
            "x": probe._tensors(x),
            "y": probe._tensors(y),
            "sample_weight": probe._tensors(sample_weight),
            "seed": 0,
            "training": False,
        }
        self._question: Any = (
            probe._Question(**question)
            if loss is None
            else _GivenLoss(**question, loss=keras.losses.get(loss))
        )
        self._targets: list[probe._Target] = []
        self.unsupported: list[Unsupported] = []
        for found in recurrent_layers(model):
            try:
                self._targets.append(probe._Target(found, describe(found.layer)))
            except CannotDescribe as reason:
                self.unsupported.append(probe._unsupported(found, str(reason)))
        self._calls: list[probe._Call] = []
        self._pass = _COMPILE[keras.backend.backend()](self._traced)

    def __call__(self, trainable: Sequence[Any] | None = None) -> Glance:
        """Look now.

        Parameters
        ----------
        trainable
            Values of `model.trainable_variables`, where a training loop holds them itself (a
            stateless loop on JAX); by default the model's own.
        """
        values = {id(v): (v, v.value) for v in self.model.variables}
        if trainable is not None:
            pairs = zip(self.model.trainable_variables, trainable, strict=True)
            values |= {id(v): (v, keras.ops.convert_to_tensor(a)) for v, a in pairs}
        with keras.StatelessScope(list(values.values())):
            loss, arrays, gradients = self._pass([value for _, value in values.values()])
            value = float(to_numpy(loss))
            captures = [
                probe._captured(self._question, value, *parts)
                for parts in zip(self._calls, arrays, gradients["probes"], strict=True)
            ]
        return Glance(
            value, captures, self.unsupported, [to_numpy(d) for d in gradients["trainable"]]
        )

    def _traced(self, values: list[Any]) -> Any:
        variables, trainable = self.model.variables, self.model.trainable_variables
        current = {id(v): (v, value) for v, value in zip(variables, values, strict=True)}
        with keras.StatelessScope(list(current.values())):
            # This pass only says which calls there are; its results are used by nothing.
            _, self._calls = probe._run(self._question, self._targets, None)
            zeros = [call.zeros() for call in self._calls]

        def loss_and_arrays(given: dict[str, Any]) -> tuple[Any, Any]:
            changed = {
                id(v): (v, value) for v, value in zip(trainable, given["trainable"], strict=True)
            }
            with keras.StatelessScope(list((current | changed).values())):
                return probe._value_and_arrays(self._question, self._targets, given["probes"])

        held = [current[id(v)][1] for v in trainable]
        return BACKEND.differentiate(loss_and_arrays, {"probes": zeros, "trainable": held})


@dataclass(frozen=True)
class _GivenLoss(probe._Question):
    """The loss of a training loop that does without `compile`."""

    loss: Callable[[Any, Any], Any]

    def value(self) -> Any:
        training = {"training": False} if probe._accepts(self.model.call, "training") else {}
        outputs = self.model(self.x, **training)
        value = keras.ops.mean(self.loss(self.y, outputs))
        return value + sum(self.model.losses)


def _tensorflow(function: Callable[..., Any]) -> Callable[..., Any]:
    import tensorflow as tf

    return tf.function(function, autograph=False)


def _jax(function: Callable[..., Any]) -> Callable[..., Any]:
    import jax

    return jax.jit(function)


_COMPILE: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "tensorflow": _tensorflow,
    "jax": _jax,
    "torch": lambda function: function,
}
