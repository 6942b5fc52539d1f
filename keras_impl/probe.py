"""Look inside the recurrent layers of any Keras model, on any backend, without changing it.

`capture` runs the model once more with three kinds of zeros added where they change nothing: to
what each call of a recurrent layer reads, to what it emits, and to its weights. Differentiating
the model's loss with respect to those zeros gives the gradient that reaches the call's output,
and the framework's own gradients of the call's weights, input and initial state. An oracle fed
with the weights, the input and the first must return the others.

Everything runs inside a `keras.StatelessScope`, so that no variable is assigned: weights, the
optimizer, metrics, seed generators and the states of stateful layers stay as they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from keras import ops

from lstm_oracle.keras_impl.backends import BACKEND
from lstm_oracle.keras_impl.recurrent_layers import (
    CannotDescribe,
    Description,
    Found,
    describe,
    recurrent_layers,
    to_numpy,
    walk,
)
from lstm_oracle.reference.spec import Architecture


@dataclass(frozen=True)
class Unsupported:
    """A recurrent layer that cannot be checked, and why."""

    layer_path: str
    layer_type: str
    reason: str


@dataclass(frozen=True, eq=False)
class Capture:
    """One call of one recurrent layer: what went in, what came out, what came back.

    Arrays are NumPy's; parameters, states and their gradients are named and nested as the oracle
    takes them, for `architecture`.
    """

    layer_path: str
    layer_type: str
    call_index: int  # 0, 1, ...: the calls of a shared layer
    architecture: Architecture
    params: Any
    dtype: str  # what the layer computes in
    training: bool
    x: np.ndarray  # (B, T, I)
    mask: np.ndarray | None  # (B, T)
    state: Any  # the initial one; zeros where none was given
    return_sequences: bool
    y: np.ndarray  # as emitted: (B, T, R), or (B, R) where only the last is
    final_state: Any | None  # None where the layer does not return it
    d_y: np.ndarray  # (B, T, R); zero but for the last step where only that is emitted
    d_final_state: Any | None
    d_params: Any  # the framework's, of this call alone, without weight regularizers
    d_x: np.ndarray
    d_state: Any
    cotangent: Literal["loss", "random"]  # where d_y comes from
    loss: float  # the value differentiated

    def emitted(self, y: np.ndarray) -> np.ndarray:
        """Part of a full y (B, T, R), in this layer's order of steps, that the layer emits."""
        return y if self.return_sequences else y[:, -1]


def capture(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    layers: Any = None,
    seed: int = 0,
    training: bool = False,
) -> list[Capture | Unsupported]:
    """Capture every call of every LSTM of a model, with the gradients of the model's own loss.

    Parameters
    ----------
    model : keras.Model
        Built; compiled with a loss where `y` is given. It comes out as it went in.
    x, y, sample_weight
        One batch, as for `model.fit`. Without `y`, random cotangents on the model's outputs take
        the place of the loss, and the captures say so.
    layers : iterable of str or keras layers, optional
        Names, paths or layers to capture; all by default.
    seed : int
        Of the random cotangents.
    training : bool
        False leaves dropout off. True is only for looking: the dropout masks are not captured.

    Returns
    -------
    list of Capture or Unsupported
        By layer in the order of the model, and by call. A shared layer that is called twice gives
        two captures, whose weight gradients add up to the framework's.

    Raises
    ------
    ValueError
        For a model that is not built, a `y` for a model without a loss, an unknown layer.

    Notes
    -----
    A `TimeDistributed` runs its layer on all slices at once, as one larger batch: the same
    function, and the capture is of that batch. Loss scaling is not applied.

    Examples
    --------
    >>> model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4, name="encoder")])
    >>> [call] = capture(model, np.ones((2, 5, 3), "float32"))
    >>> call.layer_path.split("/")[-1], call.d_params["U_f"].shape, call.cotangent
    ('encoder', (4, 4), 'random')
    """
    _check_model(model, y)
    chosen = _chosen(model, layers)
    rejected: dict[int, Unsupported] = {}
    described: list[_Target] = []
    for found in chosen:
        try:
            described.append(_Target(found, describe(found.layer)))
        except CannotDescribe as reason:
            rejected[id(found.layer)] = _unsupported(found, str(reason))
    question = _Question(model, _tensors(x), _tensors(y), _tensors(sample_weight), seed, training)

    # The first pass only learns which calls there are and of what shapes.
    _, calls = _run(question, described, None)
    zeros = [call.zeros() for call in calls]
    captures: list[Capture] = []
    if zeros:
        loss, arrays, gradients = BACKEND.differentiate(
            functools.partial(_value_and_arrays, question, described), zeros
        )
        captures = [
            _captured(question, float(to_numpy(loss)), *parts)
            for parts in zip(calls, arrays, gradients, strict=True)
        ]
    return [result for found in chosen for result in _results_of(found, rejected, captures)]


# --- one pass -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    found: Found
    description: Description


@dataclass(frozen=True)
class _Question:
    """What is differentiated: the loss of a model on a batch, or a random product."""

    model: Any
    x: Any
    y: Any
    sample_weight: Any
    seed: int
    training: bool

    @property
    def cotangent(self) -> Literal["loss", "random"]:
        return "random" if self.y is None else "loss"

    def value(self) -> Any:
        model, training = self.model, {"training": self.training}
        outputs = model(self.x, **(training if _accepts(model.call, "training") else {}))
        if self.y is None:
            return _random_product(outputs, self.seed)
        extra = training if _accepts(model.compute_loss, "training") else {}
        return model.compute_loss(
            x=self.x, y=self.y, y_pred=outputs, sample_weight=self.sample_weight, **extra
        )


def _random_product(outputs: Any, seed: int) -> Any:
    """Sum of the outputs, each entry times a standard normal number."""
    rng = np.random.default_rng(seed)
    products = [
        ops.sum(output * ops.convert_to_tensor(rng.normal(size=output.shape), dtype=output.dtype))
        for output in keras.tree.flatten(outputs)
    ]
    return functools.reduce(lambda a, b: a + ops.cast(b, a.dtype), products)


@dataclass
class _Call:
    """One call of a layer, as tensors."""

    target: _Target
    x: Any
    mask: Any
    state: list[Any]
    outputs: list[Any]

    def arrays(self) -> dict[str, Any]:
        """All that is kept of the call."""
        return {"x": self.x, "mask": self.mask, "state": self.state, "outputs": self.outputs}

    def zeros(self) -> dict[str, Any]:
        """All that is added to the call, and differentiated with respect to."""
        return keras.tree.map_structure(
            ops.zeros_like,
            {
                "x": self.x,
                "state": self.state,
                "outputs": self.outputs,
                "weights": [
                    {name: variable.value for name, variable in named.items()}
                    for named in self.target.description.variables
                ],
            },
        )


def _value_and_arrays(
    question: _Question, targets: list[_Target], probes: list[dict[str, Any]]
) -> tuple[Any, list[dict[str, Any]]]:
    value, calls = _run(question, targets, probes)
    return value, [call.arrays() for call in calls]


def _run(
    question: _Question, targets: list[_Target], probes: list[dict[str, Any]] | None
) -> tuple[Any, list[_Call]]:
    """Run the model once, recording every call of the targets, with `probes` added to them."""
    model = question.model
    values = [(variable, variable.value) for variable in model.variables]
    with (
        _restored(model, targets),
        keras.StatelessScope(values, collect_losses=True) as scope,
    ):
        recorder = _Recorder(scope, probes)
        for target in targets:
            _replace_call(target.found.layer, functools.partial(recorder.call, target))
        for found in walk(model):
            if isinstance(found.layer, keras.layers.TimeDistributed):
                _replace_call(found.layer, functools.partial(_as_one_batch, found.layer))
        return question.value(), recorder.calls


class _Recorder:
    """Stands in the place of the layers' `call` during one pass."""

    def __init__(self, scope: Any, probes: list[dict[str, Any]] | None) -> None:
        self.scope = scope
        self.probes = probes
        self.calls: list[_Call] = []

    def call(self, target: _Target, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(original).bind(*args, **kwargs)
        given = {"initial_state": None, "mask": None, "training": False, **bound.arguments}
        layer = target.found.layer
        x = ops.cast(given["sequences"], layer.compute_dtype)
        nested_state = _initial_state(layer, given["initial_state"], ops.shape(x)[0])
        call = _Call(target, x, _one_mask(given["mask"]), keras.tree.flatten(nested_state), [])
        probe = None if self.probes is None else self.probes[len(self.calls)]
        self.calls.append(call)

        with self._weights_of(target, probe):
            nested_outputs = original(
                _plus(x, probe, "x"),
                initial_state=keras.tree.pack_sequence_as(
                    nested_state, _plus(call.state, probe, "state")
                ),
                mask=given["mask"],
                training=given["training"],
            )
        call.outputs = keras.tree.flatten(nested_outputs)
        return keras.tree.pack_sequence_as(nested_outputs, _plus(call.outputs, probe, "outputs"))

    @contextlib.contextmanager
    def _weights_of(self, target: _Target, probe: dict[str, Any] | None) -> Iterator[None]:
        """Let this call, and no other of a shared layer, see its own probes on the weights."""
        layer = target.found.layer
        values = {id(v): (v, self.scope.get_current_value(v)) for v in layer.variables}
        probes = [] if probe is None else probe["weights"]
        for variables, added in zip(target.description.variables, probes, strict=False):
            for name, variable in variables.items():
                values[id(variable)] = (variable, values[id(variable)][1] + added[name])
        with keras.StatelessScope(list(values.values())) as scope:
            yield
        # The states of stateful layers and of seed generators go on to the next call.
        for variable in layer.non_trainable_variables:
            self.scope.add_update((variable, scope.get_current_value(variable)))


def _plus(value: Any, probe: dict[str, Any] | None, name: str) -> Any:
    if probe is None:
        return value
    return keras.tree.map_structure(lambda a, zero: a + zero, value, probe[name])


def _initial_state(layer: Any, given: Any, batch_size: Any) -> Any:
    state = given
    if state is None:
        state = layer.states if layer.stateful else layer.get_initial_state(batch_size)
    dtype = layer.cell.compute_dtype
    return keras.tree.map_structure(lambda a: ops.convert_to_tensor(a, dtype=dtype), state)


def _one_mask(mask: Any) -> Any:
    return mask[0] if isinstance(mask, (list, tuple)) else mask


def _as_one_batch(
    layer: Any, original: Callable[..., Any], inputs: Any, training: Any = None, mask: Any = None
) -> Any:
    """Call of a `TimeDistributed` with all slices in one batch, in place of one after another."""
    del original
    B, slices, *rest = ops.shape(inputs)
    extra = {} if training is None else {"training": training}
    if mask is not None:
        extra["mask"] = ops.reshape(mask, (B * slices, *ops.shape(mask)[2:]))
    accepted = {name: value for name, value in extra.items() if _accepts(layer.layer.call, name)}
    outputs = layer.layer.call(ops.reshape(inputs, (B * slices, *rest)), **accepted)
    return ops.reshape(outputs, (B, slices, *ops.shape(outputs)[1:]))


# --- leaving no trace -----------------------------------------------------------------------------


def _replace_call(layer: Any, replacement: Callable[..., Any]) -> None:
    # Past Keras' attribute tracking, which a built layer has locked.
    layer.__dict__["call"] = functools.partial(replacement, layer.call)


@contextlib.contextmanager
def _restored(model: Any, targets: list[_Target]) -> Iterator[None]:
    """Put back, whatever happens, all that a pass leaves in Python objects."""
    every = [found.layer for found in walk(model)]
    calls = [layer.__dict__.get("call") for layer in every]
    losses = [(list(layer._losses), set(layer._loss_ids)) for layer in every]
    try:
        yield
    finally:
        for layer, call, (recorded, ids) in zip(every, calls, losses, strict=True):
            layer.__dict__.pop("call", None)
            if call is not None:
                layer.__dict__["call"] = call
            layer._losses[:] = recorded
            layer._loss_ids.clear()
            layer._loss_ids.update(ids)
        # A call that raises leaves its dropout masks behind, for the next call to find.
        for target in targets:
            for cell in target.description.cells:
                cell.reset_dropout_mask()
                cell.reset_recurrent_dropout_mask()


# --- the answer -----------------------------------------------------------------------------------


def _captured(
    question: _Question, loss: float, call: _Call, arrays: dict[str, Any], d: dict[str, Any]
) -> Capture:
    found, description = call.target.found, call.target.description
    layer = found.layer
    y, *final = arrays["outputs"]
    d_y, *d_final = d["outputs"]
    return Capture(
        layer_path=found.path,
        layer_type=_type_name(layer),
        call_index=-1,
        architecture=description.architecture,
        params=description.params(description.variables),
        dtype=layer.compute_dtype,
        training=question.training,
        x=to_numpy(arrays["x"]),
        mask=None if arrays["mask"] is None else to_numpy(arrays["mask"]).astype(bool),
        state=description.state(arrays["state"]),
        return_sequences=layer.return_sequences,
        y=to_numpy(y),
        final_state=description.state(final) if final else None,
        d_y=_at_every_step(to_numpy(d_y), arrays["x"].shape[1], layer.return_sequences),
        d_final_state=description.state(d_final) if final else None,
        d_params=description.params(d["weights"]),
        d_x=to_numpy(d["x"]),
        d_state=description.state(d["state"]),
        cotangent=question.cotangent,
        loss=loss,
    )


def _at_every_step(d_y: np.ndarray, T: int, return_sequences: bool) -> np.ndarray:
    if return_sequences:
        return d_y
    full = np.zeros((len(d_y), T, d_y.shape[-1]), d_y.dtype)
    full[:, -1] = d_y
    return full


def _results_of(
    found: Found, rejected: dict[int, Unsupported], captures: list[Capture]
) -> list[Capture | Unsupported]:
    if id(found.layer) in rejected:
        return [rejected[id(found.layer)]]
    own = [capture for capture in captures if capture.layer_path == found.path]
    if not own:
        return [_unsupported(found, "it was not called in a pass over this batch")]
    return [dataclasses.replace(capture, call_index=n) for n, capture in enumerate(own)]


def _unsupported(found: Found, reason: str) -> Unsupported:
    return Unsupported(found.path, _type_name(found.layer), reason)


def _type_name(layer: Any) -> str:
    return f"{type(layer).__module__.split('.')[0]}.{type(layer).__name__}"


# --- what was asked -------------------------------------------------------------------------------


def _check_model(model: Any, y: Any) -> None:
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"capture: model is of type {type(model).__name__}, expected a keras.Model. "
            "Wrap layers in a keras.Sequential."
        )
    if not model.built:
        raise ValueError(
            f"capture: model {model.name!r} is not built, expected one that has its weights. "
            "Call it on a batch first."
        )
    if y is not None and not model.compiled:
        raise ValueError(
            f"capture: y was given, but model {model.name!r} has no loss. Compile it with one, "
            "or leave y out for random cotangents."
        )


def _chosen(model: Any, layers: Any) -> list[Found]:
    every = recurrent_layers(model)
    if layers is None:
        return every
    wanted = [layers] if isinstance(layers, (str, keras.Layer)) else list(layers)

    def answers_to(found: Found, one: Any) -> bool:
        return found.layer is one or one in (found.path, found.layer.name)

    for one in wanted:
        if not any(answers_to(found, one) for found in every):
            known = ", ".join(found.path for found in every) or "none"
            raise ValueError(
                f"capture: layers names {getattr(one, 'name', one)!r}, expected recurrent layers "
                f"of model {model.name!r}: {known}. Pass names, paths or layers from that list."
            )
    return [found for found in every if any(answers_to(found, one) for one in wanted)]


def _accepts(function: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(function).parameters


def _tensors(batch: Any) -> Any:
    if batch is None:
        return None
    return keras.tree.map_structure(ops.convert_to_tensor, batch)
