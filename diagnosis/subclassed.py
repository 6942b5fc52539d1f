"""Models and layers that are Python code of the user's own: made again, and opened to a graph.

Keras builds a second layer from the first's configuration, which a class of the user's own may not
have; and it knows no graph of what is written in `call`. Both are needed to change one thing at a
time: a second that shares nothing, and the layers one by one.
"""

from __future__ import annotations

import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

Array = np.ndarray

# Who overrides one of these trains in another way than Keras does; a graph would lose it.
OWN_WAYS = ("train_step", "test_step", "compute_loss", "compute_metrics", "make_train_function")
# Of a layer's own, and not its constructor's: what a class tells Keras of itself.
_TOLD_TO_KERAS = ("supports_masking", "activity_regularizer", "autocast")
DEPTH = 5  # layers within layers within layers


class NotCopied(Exception):
    """Something in a model of the user's own cannot be made a second time."""


# ---- a second -----------------------------------------------------------------------------------


def again(layer: Any, made: dict[int, Any] | None = None) -> Any:
    """A second layer or model of the same kind: from its configuration, else from its attributes.

    Weights that a layer holds itself keep their values where it has no configuration; those of
    Keras' own layers within it are drawn anew. `made`: what was copied before, by identity.

    Raises
    ------
    NotCopied
        Where neither will do.
    """
    made = {} if made is None else made
    if id(layer) not in made:
        made[id(layer)] = _from_config(layer) or _from_attributes(layer, made)
    return made[id(layer)]


def _from_config(layer: Any) -> Any:
    """None where its configuration does not make a layer with as many weights."""
    try:
        second = type(layer).from_config(layer.get_config())
        if layer.built and not second.built:
            second.build_from_config(layer.get_build_config() or {})
    except Exception:  # whatever the user's own code raises
        return None
    same = not layer.built or [w.shape for w in second.weights] == [w.shape for w in layer.weights]
    return second if same else None


def _from_attributes(layer: Any, made: dict[int, Any]) -> Any:
    if isinstance(layer, keras.layers.Lambda):  # its function is the user's own, here and now
        return keras.layers.Lambda(
            layer.function, layer._output_shape, layer.mask, layer.arguments,
            name=layer.name, dtype=layer.dtype_policy,
        )  # fmt: skip
    kind: Any = keras.Model if isinstance(layer, keras.Model) else keras.layers.Layer
    if type(layer).__module__.startswith("keras."):
        raise NotCopied(f"{type(layer).__name__} {layer.name!r} has no configuration")
    own: Any = type(layer)
    second = own.__new__(own)
    # Else it would pass the defaults of its constructor for its configuration.
    vars(second)["_auto_config"] = None
    made[id(layer)] = second
    kind.__init__(second, name=layer.name, dtype=layer.dtype_policy, trainable=layer.trainable)
    for name in _TOLD_TO_KERAS:
        setattr(second, name, getattr(layer, name, None))
    own_ones = {k: v for k, v in _attributes(layer).items() if k not in _kept_by_keras(kind)}
    for name, value in _as_listed(layer, own_ones):
        setattr(second, name, _value(value, made))
    second.built = layer.built
    if not _in_order(layer, second, made):
        raise NotCopied(f"the weights of {layer.name!r} come in another order in its copy")
    return second


def _in_order(layer: Any, second: Any, made: dict[int, Any]) -> bool:
    """Whether the weights of the two stand in the same places."""
    pairs = [(part, made.get(id(part))) for part in (*_within(layer), layer)]
    places = {
        id(mine): id(theirs)
        for part, copy in pairs if copy is not None and part.built
        for mine, theirs in zip(part.weights, copy.weights, strict=False)
        if part is not layer
    }  # fmt: skip
    return not layer.built or all(
        places.get(id(mine), id(theirs)) == id(theirs)
        for mine, theirs in zip(layer.weights, second.weights, strict=True)
    )


def _attributes(layer: Any) -> dict[str, Any]:
    """Whatever was assigned; PyTorch keeps layers apart."""
    return vars(layer) | getattr(layer, "_modules", {})


def _as_listed(layer: Any, attributes: dict[str, Any]) -> list[tuple[str, Any]]:
    """Layers last, in the order in which Keras lists their weights."""
    listed = {id(part): place for place, part in enumerate(parts_of(layer))}

    def place(value: Any) -> int:
        found = [listed[id(part)] for part in _parts_in(value) if id(part) in listed]
        return min(found, default=-1)

    return sorted(attributes.items(), key=lambda item: place(item[1]))


def _parts_in(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, dict) else value
    if isinstance(value, (dict, list, tuple, set)):
        for part in inner:
            yield from _parts_in(part)
    else:
        yield value


@functools.cache
def _kept_by_keras(kind: Any) -> frozenset[str]:
    """Attributes that Keras itself gives to every layer or model, sooner or later."""

    class Plain(kind):
        def call(self, x: Any) -> Any:
            return x

    plain = Plain()
    plain.kept = plain.add_weight(shape=())
    plain.part = keras.layers.Dropout(0.5)  # what Keras notes of parts
    plain(keras.Input((1,)))
    plain(np.zeros((1, 1), np.float32))
    if kind is keras.Model:
        plain.compile("sgd", "mse", metrics=["mse"], run_eagerly=True)
        plain.evaluate(np.zeros((1, 1)), np.zeros((1, 1)), verbose=0)
    return frozenset(_attributes(plain)) - {"kept", "part"} | {"history"}


def _value(value: Any, made: dict[int, Any]) -> Any:
    """A second of whatever an attribute holds."""
    if isinstance(value, keras.layers.Layer):
        return again(value, made)
    if id(value) in made:
        return made[id(value)]
    for kinds, second in _SECONDS:
        if isinstance(value, kinds):
            made[id(value)] = second(value, made)
            return made[id(value)]
    try:
        return copy.deepcopy(value)
    except Exception as error:
        raise NotCopied(f"an attribute of type {type(value).__name__}: {error}") from error


def _variable(value: Any, made: dict[int, Any]) -> Any:
    return keras.Variable(
        keras.ops.convert_to_numpy(value), dtype=value.dtype, trainable=value.trainable,
        name=value.name,
    )  # fmt: skip


def _sequence(value: Any, made: dict[int, Any]) -> Any:
    parts = [_value(part, made) for part in value]
    if isinstance(value, tuple):
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return parts


def _bound(value: Any, made: dict[int, Any]) -> Any:
    return types.MethodType(value.__func__, made.get(id(value.__self__), value.__self__))


def _itself(value: Any, made: dict[int, Any]) -> Any:
    held = [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
    if any(isinstance(part, keras.layers.Layer) for part in held):
        raise NotCopied(f"the function {value.__name__} holds a layer")
    return value


_SECONDS: tuple[tuple[Any, Callable[[Any, dict[int, Any]], Any]], ...] = (
    (keras.Variable, _variable),
    (
        (keras.metrics.Metric, keras.losses.Loss, keras.optimizers.Optimizer,
         keras.random.SeedGenerator, keras.initializers.Initializer),
        lambda value, made: type(value).from_config(value.get_config()),
    ),
    (dict, lambda value, made: {key: _value(part, made) for key, part in value.items()}),
    ((list, tuple), _sequence),
    (set, lambda value, made: {_value(part, made) for part in value}),
    (types.MethodType, _bound),
    ((types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type), _itself),
)  # fmt: skip


_DRAWING = (
    keras.layers.Dropout, keras.layers.SpatialDropout1D, keras.layers.GaussianNoise,
    keras.layers.GaussianDropout, keras.layers.AlphaDropout,
)  # fmt: skip


def _draws(layer: Any) -> bool:
    """Whether it drops or adds something at random in training."""
    shares = (getattr(layer, name, 0.0) or 0.0 for name in ("dropout", "recurrent_dropout"))
    return isinstance(layer, _DRAWING) or any(isinstance(s, float) and s > 0 for s in shares)


# ---- its graph ----------------------------------------------------------------------------------


def parts_of(layer: Any) -> Iterator[Any]:
    """The layers that a layer holds itself, as its attributes or in them."""
    yield from getattr(layer, "_layers", ())


def is_own_code(layer: Any) -> bool:
    """Whether a layer is the user's own and calls an LSTM somewhere in it."""
    if type(layer).__module__.startswith(("keras.", "lstm_oracle.")):
        return False
    return any(isinstance(part, keras.layers.RNN) for part in _within(layer))


def _within(layer: Any) -> list[Any]:
    """The layers in a layer, and those in them, each once."""
    found: dict[int, Any] = {}
    waiting = list(parts_of(layer))
    while waiting:
        part = waiting.pop(0)
        if id(part) not in found and part is not layer:
            found[id(part)] = part
            waiting += parts_of(part)
    return list(found.values())


def opened(model: keras.Model, xs: tuple[Array, ...]) -> keras.Model | None:
    """The model as a graph of the layers that its own code calls; they are shared with it.

    None where there is nothing to open, or where the graph would not be the same: its code takes
    no symbolic tensors, does something else in training, holds weights of its own, or trains in a
    way of its own.
    """
    own = [layer for layer in getattr(model, "layers", ()) if is_own_code(layer)]
    declared = bool(getattr(model, "inputs", None))
    if (declared and not own) or _trains_otherwise(model):
        return None
    try:
        graph = _called(model, xs) if not declared else _as_functional(model)
        for _ in range(DEPTH):
            if not any(is_own_code(layer) for layer in graph.layers):
                break
            graph = keras.models.clone_model(
                graph, clone_function=lambda layer: layer, call_function=_in_its_place
            )
        return graph if _is_the_same(model, graph, xs) else None
    except Exception:  # whatever the user's own code raises of a symbolic tensor
        return None


def _trains_otherwise(model: keras.Model) -> bool:
    return any(getattr(type(model), a) is not getattr(keras.Model, a) for a in OWN_WAYS)


def _called(model: keras.Model, xs: tuple[Array, ...]) -> keras.Model:
    inputs = [keras.Input(x.shape[1:], dtype=x.dtype) for x in xs]
    given = inputs[0] if len(inputs) == 1 else inputs
    return keras.Model(given, _by_its_code(model, given), name=model.name)


def _as_functional(model: keras.Model) -> keras.Model:
    if not isinstance(model, keras.Sequential):
        return model
    x = model.inputs[0]
    for layer in model.layers:
        x = _in_its_place(layer, x)
    return keras.Model(model.inputs[0], x, name=model.name)


def _in_its_place(layer: Any, *arguments: Any, **named: Any) -> Any:
    if is_own_code(layer):
        if "mask" in inspect.signature(layer.call).parameters:
            named.setdefault("mask", getattr(arguments[0], "_keras_mask", None))
        return _by_its_code(layer, *arguments, **named)
    return layer(*arguments, **named)


def _by_its_code(layer: Any, *arguments: Any, **named: Any) -> Any:
    """What `call` makes of symbolic tensors, whether it is told that it trains or not."""
    if "training" not in inspect.signature(layer.call).parameters:
        return layer.call(*arguments, **named)
    told = _operations(arguments, layer.call(*arguments, **(named | {"training": True})))
    outputs = layer.call(*arguments, **(named | {"training": None}))
    if told != _operations(arguments, outputs):
        raise NotCopied(f"{type(layer).__name__} does something else in training")
    return outputs


def _operations(inputs: Any, outputs: Any) -> list[str]:
    tensors = [t for t in keras.tree.flatten(inputs) if keras.utils.is_keras_tensor(t)]
    graph = keras.Function(tensors, outputs)
    return sorted(type(operation).__name__ for operation in graph.operations)


def _is_the_same(model: keras.Model, graph: keras.Model, xs: tuple[Array, ...]) -> bool:
    """The same weights and, of some rows, the same outputs and losses, in training as well.

    Of the rows with the most zeros: padding, where there is any.
    """
    if {id(w) for w in graph.weights} != {id(w) for w in model.weights}:
        return False
    zeros = (xs[0] == 0).reshape(len(xs[0]), -1).sum(1)
    size = graph.inputs[0].shape[0] or 8
    rows = [x[np.argsort(-zeros, kind="stable")[:size]] for x in xs]
    given = rows[0] if len(rows) == 1 else rows
    same = _alike(model, graph, given, training=False) and len(model.losses) == len(graph.losses)
    if any(_draws(part) for part in _within(model)):
        return same  # training differs by itself
    kept = model.get_weights()  # a BatchNormalization goes on
    try:
        return same and _alike(model, graph, given, training=True)
    finally:
        model.set_weights(kept)


def _alike(model: keras.Model, graph: keras.Model, given: Any, *, training: bool) -> bool:
    mine, theirs = (
        [keras.ops.convert_to_numpy(a) for a in keras.tree.flatten(one(given, training=training))]
        for one in (model, graph)
    )
    return all(
        np.allclose(a, b, rtol=1e-5, atol=1e-6, equal_nan=True)
        for a, b in zip(mine, theirs, strict=True)
    )
