"""Clones of a user's model, whole or with something changed. The user's own is only read."""

from __future__ import annotations

import contextlib
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis.subclassed import again, is_own_code, parts_of

LayerEdit = Callable[[keras.layers.Layer], keras.layers.Layer | None]
Front = Callable[[Any], Any]  # from an input's tensor to what the model is given in its place

RECURRENT = (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN, keras.layers.RNN)


class NotCloneable(Exception):
    """The model cannot be built a second time."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Whatever Keras draws inside is decided by the seed; the user's random state is untouched.

    Initializers and dropout layers without a seed take theirs from Python's `random`.
    """
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def clone(model: keras.Model, edit: LayerEdit | None = None, *, seed: int = 0) -> keras.Model:
    """A second model of the same configuration with fresh weights, each layer edited on the way.

    `edit(layer)` gives the layer to put in a layer's place, or None to copy it as it is.

    Raises
    ------
    NotCloneable
        Where a layer, or a subclassed model, cannot be made a second time.
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        edited = None if edit is None else edit(layer)
        if edited is not None:
            return edited
        if id(layer) not in made:
            try:
                made[id(layer)] = type(layer).from_config(_unbuilt(layer.get_config()))
            except Exception:  # a class of the user's own that does not say what it is made of
                again(layer, made)
        return made[id(layer)]

    made: dict[int, Any] = {}
    try:
        with seeded(seed), _not_to_be_compiled(model), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user has heard them of the user's own
            if isinstance(model, (keras.Sequential, _functional())):
                return keras.models.clone_model(model, clone_function=copy, recursive=True)
            return again(model)
    except Exception as error:
        raise NotCloneable(f"model {model.name!r} cannot be built again: {error}") from error


@contextlib.contextmanager
def _not_to_be_compiled(model: keras.Model) -> Iterator[None]:
    """Keep Keras from compiling the clone: it would have to find a user's own loss by its name."""
    compiled = [m for m in (model, *_submodels(model)) if getattr(m, "compiled", False)]
    for one in compiled:
        one.compiled = False
    try:
        yield
    finally:
        for one in compiled:
            one.compiled = True


def _submodels(model: keras.Model) -> Iterator[keras.Model]:
    for layer in getattr(model, "layers", ()):
        if isinstance(layer, keras.Model):
            yield layer
            yield from _submodels(layer)


def _functional() -> type:
    return type(keras.Model(inputs=(i := keras.Input((1,))), outputs=i))


def config_of(layer: keras.layers.Layer) -> dict[str, Any] | None:
    """A layer's configuration; None for one of the user's own that has none."""
    try:
        return layer.get_config()
    except Exception:  # whatever the user's own code raises
        return None


def copy_weights(source: keras.Model, target: keras.Model) -> bool:
    """Give the target the source's weights; False, and nothing done, where the shapes differ."""
    weights = source.get_weights()
    if [w.shape for w in weights] != [tuple(v.shape) for v in target.weights]:
        return False
    target.set_weights(weights)
    return True


def twin(model: keras.Model, edit: LayerEdit | None = None, *, seed: int = 0) -> keras.Model:
    """A clone with the model's weights; with fresh ones where an edit changed their shapes."""
    second = clone(model, edit, seed=seed)
    copy_weights(model, second)
    return second


def copy_matching_weights(source: keras.Model, target: keras.Model) -> None:
    """Give the target the weights of every layer whose shapes are as they were."""
    for old, new in zip(source.layers, target.layers, strict=False):
        weights = old.get_weights()
        if [w.shape for w in weights] == [w.shape for w in new.get_weights()]:
            new.set_weights(weights)


def _unbuilt(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration without the shapes that inner layers were built for: those may be others."""
    _visit("", config, lambda name, inner: False)
    return config


def edit_config(change: Callable[[str, dict[str, Any]], bool]) -> LayerEdit:
    """A layer edit from `change(class name, config) -> whether it changed something`, in place.

    Wrappers are looked into: the LSTM in a Bidirectional, the cells of an RNN.
    """

    def edit(layer: keras.layers.Layer) -> keras.layers.Layer | None:
        config = config_of(layer)
        if config is None or not _visit(type(layer).__name__, config, change):
            return None
        return type(layer).from_config(config)

    return edit


def _visit(name: str, config: Any, change: Callable[[str, dict[str, Any]], bool]) -> bool:
    changed = change(name, config)
    for inner in list(config.values()):
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, dict) and isinstance(part.get("config"), dict):
                # A built layer's recorded shapes would contradict an edit.
                part.pop("build_config", None)
                changed |= _visit(str(part.get("class_name")), part["config"], change)
    return changed


def in_front(model: keras.Model, *fronts: Front | None, seed: int = 0) -> keras.Model:
    """A clone with something between each input and the rest; weights as in `model`."""
    inner = twin(model, seed=seed)
    inputs = [keras.Input(batch_shape=i.shape, dtype=i.dtype, name=i.name) for i in inner.inputs]
    fed = [i if front is None else front(i) for i, front in zip(inputs, fronts, strict=True)]
    if isinstance(inner, keras.Sequential):
        x = fed[0]
        for layer in inner.layers:
            x = layer(x)
        return keras.Model(inputs[0], x)
    return keras.Model(
        inputs[0] if len(inputs) == 1 else inputs, inner(fed[0] if len(fed) == 1 else fed)
    )


def for_steps(model: keras.Model, steps: int) -> keras.Model | None:
    """A twin for sequences of another length; None where its weights or layers depend on it."""
    shape = model.inputs[0].shape
    if len(model.inputs) != 1 or len(shape) < 2:
        return None
    if shape[1] is None:
        return twin(model)
    inputs = keras.Input((steps, *shape[2:]), dtype=model.inputs[0].dtype)
    try:
        with seeded(0), _not_to_be_compiled(model):
            second = keras.models.clone_model(model, input_tensors=inputs)
    except Exception:
        return None  # a layer that is bound to the length
    return second if copy_weights(model, second) else None


def compiled_with(model: keras.Model, name: str) -> Any:
    """An argument given to `compile`, serialized; None where that cannot be.

    Keras keeps some of them, such as the loss weights, nowhere else.
    """
    try:
        return (model.get_compile_config() or {}).get(name)
    except (TypeError, ValueError, NotImplementedError):
        return None


def metrics_again(serialized: Any) -> Any:
    """The metrics for another `compile`; None where they are of the user's own making."""
    try:
        return keras.saving.deserialize_keras_object(serialized)
    except (TypeError, ValueError):
        return None


def graph_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Every layer that a graph joins to others, submodels opened."""
    for layer in getattr(model, "layers", []):
        if isinstance(layer, keras.Model):
            yield from graph_layers(layer)
        else:
            yield layer


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Every layer, submodels and wrappers opened."""
    for layer in graph_layers(model):
        yield layer
        yield from _inner(layer)


def _inner(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    if is_own_code(layer):
        for part in parts_of(layer):
            yield part
            yield from _inner(part)
        return
    for name in ("layer", "forward_layer", "backward_layer", "cell"):
        inner = getattr(layer, name, None)
        if isinstance(inner, keras.layers.Layer):
            yield inner


def carries_state(model: keras.Model) -> bool:
    """Whether a layer goes on from the state that the batch before left."""
    return any(True for _ in _stateful(model))


def _stateful(model: keras.Model) -> Iterator[keras.layers.RNN]:
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.RNN) and layer.stateful:
            yield layer


def forget_state(model: keras.Model) -> None:
    """Let every layer that carries a state start from none."""
    for layer in _stateful(model):
        layer.reset_states()


@contextlib.contextmanager
def state_apart(model: keras.Model) -> Iterator[None]:
    """What is computed inside starts from no state, and leaves the one there was."""
    states = [state for layer in _stateful(model) for state in keras.tree.flatten(layer.states)]
    variables = [state for state in states if state is not None]
    kept = [np.array(keras.ops.convert_to_numpy(v)) for v in variables]
    forget_state(model)
    try:
        yield
    finally:
        for variable, value in zip(variables, kept, strict=True):
            variable.assign(value)


def head_of(model: keras.Model, output: int = 0) -> tuple[Any, str, int] | None:
    """The last layer with weights before an output, its activation's name, and its width.

    An Activation or Softmax layer behind a linear Dense counts as that Dense's activation. None
    where the model ends in something else.
    """
    if not getattr(model, "outputs", None):
        return None
    layer = producer(model.outputs[output])
    activation = None
    while layer is not None and not layer.weights:
        if isinstance(layer, keras.layers.Softmax):
            activation = activation or "softmax"
        elif isinstance(layer, keras.layers.Activation):
            activation = activation or _name(layer.activation)
        elif not isinstance(layer, (keras.layers.Dropout, keras.layers.Reshape)):
            return None
        layer = producer(layer.input) if not isinstance(layer.input, list) else None
    inner = getattr(layer, "layer", layer)  # TimeDistributed(Dense)
    if isinstance(inner, keras.Model):
        return head_of(inner)
    if not hasattr(inner, "activation"):
        return None
    own = _name(inner.activation)
    return layer, activation if own == "linear" and activation else own, _width(inner)


def head_names(model: keras.Model) -> set[str]:
    """The names of the last layers with weights before the outputs, and of what they wrap."""
    outputs = getattr(model, "outputs", None) or ()
    heads = [head_of(model, n) for n in range(len(outputs))]
    layers = [found[0] for found in heads if found is not None]
    return {
        part.name for a in layers for part in (a, getattr(a, "layer", None)) if part is not None
    }


def producer(tensor: Any) -> Any:
    """The layer that a tensor of a graph comes from; None where it is none."""
    history = getattr(tensor, "_keras_history", None)
    return None if history is None else history.operation


def _name(function: Any) -> str:
    return getattr(function, "__name__", str(function))


def _width(layer: Any) -> int:
    return int(getattr(layer, "units", None) or layer.output.shape[-1])
