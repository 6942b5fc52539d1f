"""The code to type for a change: the user's own layers, `compile` and `fit`, as they become.

Written from what differs between two set-ups, so that what is pasted is what was tried.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.setup import Setup

# Entries of a configuration that are not arguments to type, or belong to one run alone.
_NOT_TYPED = {"name", "trainable", "dtype", "seed", "build_config", "zero_output_for_mask"}
# Entries that are layers themselves, typed by their own calls.
_INNER = ("layer", "backward_layer", "cell", "cells")
_MOST_LAYERS = 6
_FITTING = ("batch_size", "epochs", "shuffle", "class_weight")


def difference(before: Setup, after: Setup) -> str:
    """Lines of code for what an edit changed in layers, labels, `compile` and `fit`."""
    return "\n".join([
        *_layers(before.model, after.model), *_labels(before, after), *_compile(before, after),
        *_weights(before, after), *_fit(before, after),
    ])  # fmt: skip


def _layers(before: keras.Model, after: keras.Model) -> Iterator[str]:
    """Each layer that was edited, behind a comment with what it was."""
    if before is after or [type(a) for a in before.layers] != [type(b) for b in after.layers]:
        return
    changed = [
        (call(old), call(new))
        for old, new in zip(before.layers, after.layers, strict=True)
        if not isinstance(old, keras.Model)
    ]
    changed = [(old, new) for old, new in changed if old != new]
    for old, new in changed[:_MOST_LAYERS]:
        yield f"{new}   # was {old.removeprefix('keras.layers.')}"


def call(layer: keras.layers.Layer) -> str:
    """How a layer is written: its class, and the arguments that are not the defaults.

    Examples
    --------
    >>> call(keras.layers.LSTM(8, return_sequences=True))
    'keras.layers.LSTM(8, return_sequences=True)'
    >>> call(keras.layers.Bidirectional(keras.layers.LSTM(4), merge_mode="sum"))
    'keras.layers.Bidirectional(keras.layers.LSTM(4), merge_mode="sum")'
    """
    config = surgery.config_of(layer)
    if config is None:
        return f"{type(layer).__name__}(...)"
    inner = _inner(layer)
    config = {k: v for k, v in config.items() if k not in _INNER}
    room = "keras.layers." if type(layer).__module__.startswith("keras.") else ""
    return room + _call(type(layer), config, inner)


def _inner(layer: keras.layers.Layer) -> list[str]:
    """The layers that a layer is built around, as its first arguments."""
    if isinstance(layer, keras.layers.Bidirectional):
        mirror = layer.forward_layer.get_config()
        mirror["go_backwards"] = not mirror["go_backwards"]
        forward, backward = call(layer.forward_layer), call(layer.backward_layer)
        mirrored = backward == call(type(layer.forward_layer).from_config(mirror))
        return [forward] if mirrored else [forward, f"backward_layer={backward}"]
    if isinstance(layer, keras.layers.Wrapper):
        return [call(layer.layer)]
    if type(layer) is keras.layers.RNN and isinstance(layer.cell, keras.layers.Layer):
        return [call(layer.cell)]
    if isinstance(layer, keras.layers.StackedRNNCells):
        return [f"[{', '.join(call(cell) for cell in layer.cells)}]"]
    return []


def _call(kind: type, config: dict[str, Any], first: Sequence[str] = ()) -> str:
    parts = list(first)
    for name, parameter in inspect.signature(kind).parameters.items():
        if name not in config or name in _NOT_TYPED:
            continue
        value, default = config[name], parameter.default
        if default is inspect.Parameter.empty:
            parts.append(_value(value))
        elif not _same(name, value, default):
            parts.append(f"{name}={_value(value)}")
    return f"{kind.__name__}({', '.join(parts)})"


def _same(name: str, value: Any, default: Any) -> bool:
    """Whether a configured value is the default, which may be given by its name."""
    if value == default or (name == "activation" and value == "linear" and default is None):
        return True
    if not isinstance(default, str):
        return False
    if isinstance(value, dict) and name.endswith("_initializer"):
        return bool(value["class_name"] == type(keras.initializers.get(default)).__name__)
    return False


def _value(value: Any) -> str:
    if isinstance(value, dict) and "class_name" in value:
        room = str(value.get("module") or "").removeprefix("keras.")
        config = value.get("config") or {}
        if not isinstance(config, dict):
            return repr(config)
        arguments = ", ".join(
            f"{k}={_value(v)}" for k, v in config.items() if v is not None and k not in _NOT_TYPED
        )
        return f"keras.{room}.{value['class_name']}({arguments})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, str):
        return f'"{value}"'
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _labels(before: Setup, after: Setup) -> Iterator[str]:
    """How labels become the class numbers that another loss wants."""
    if before.tasks[0].coding == "one-hot" and after.tasks[0].coding == "labels":
        yield "y_train = y_train.argmax(-1)   # class numbers"
    elif list(before.tasks[0].classes) != list(after.tasks[0].classes):
        yield "classes, y_train = np.unique(y_train, return_inverse=True)   # numbered from 0"


def _compile(before: Setup, after: Setup) -> Iterator[str]:
    same = before.optimizer == after.optimizer and before.learning_rate == after.learning_rate
    if same and before.loss is after.loss:
        return
    optimizer = "model.optimizer" if same else _optimizer(after)
    yield f"model.compile(optimizer={optimizer}, loss={_loss(after.loss)})"


def _optimizer(setup: Setup) -> str:
    config = dict(setup.optimizer["config"])
    if setup.learning_rate is not None:
        config["learning_rate"] = setup.learning_rate
    kind = getattr(keras.optimizers, setup.optimizer["class_name"], None)
    if kind is None:
        return f"{setup.optimizer['class_name']}(learning_rate={config['learning_rate']})"
    return f"keras.optimizers.{_call(kind, config)}"


def _loss(loss: Any) -> str:
    """A loss as it may be written; one of the user's own by its name."""
    if isinstance(loss, str):
        return f'"{loss}"'
    if isinstance(loss, keras.Loss) and type(loss).__module__.startswith("keras."):
        return f"keras.losses.{_call(type(loss), loss.get_config())}"
    return str(getattr(loss, "__name__", "loss"))


def _weights(before: Setup, after: Setup) -> Iterator[str]:
    """How the steps of each class get their weight."""
    if after.train.weight is before.train.weight or after.train.y is not before.train.y:
        return
    numbers = "reshape(len(y_train), -1).astype(int)"
    one_hot = before.tasks[0].coding == "one-hot"
    yield f"labels = y_train.{'argmax(-1)' if one_hot else numbers}"
    yield "counts = np.bincount(labels.ravel())"
    yield "weights = labels.size / (len(counts) * counts)"
    yield "model.fit(x_train, y_train, sample_weight=weights[labels])"


def _fit(before: Setup, after: Setup) -> Iterator[str]:
    named = [
        f"{name}={_value(getattr(after, name))}"
        for name in _FITTING
        if getattr(before, name) != getattr(after, name)
    ]
    if named:
        yield f"model.fit(x_train, y_train, {', '.join(named)})"
