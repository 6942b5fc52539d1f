"""What was passed, held against the model, before anything is run: one sentence for each misfit."""

from __future__ import annotations

import math
import numbers
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis.setup import Data


class CannotDiagnose(ValueError):
    """What was passed cannot be diagnosed; the message says what to pass instead."""


def check_options(
    *,
    batch_size: Any,
    epochs: Any,
    validation_split: Any,
    seed: Any,
    class_weight: Any,
    steps_per_epoch: Any = None,
) -> None:
    """Refuse numbers that `fit` has no meaning for."""
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("epochs", epochs, 1),
        ("seed", seed, 0),
        ("steps_per_epoch", 1 if steps_per_epoch is None else steps_per_epoch, 1),
    ):
        if not isinstance(value, (numbers.Integral, np.integer)) or value < least:
            raise CannotDiagnose(
                f"{name} is {value!r}, expected a whole number from {least} up. "
                "Pass what you give to fit."
            )
    is_number = isinstance(validation_split, numbers.Real)
    if not (is_number and math.isfinite(validation_split) and 0 <= validation_split < 1):
        raise CannotDiagnose(
            f"validation_split is {validation_split!r}, expected a fraction from 0 to below 1. "
            "Pass for example 0.2."
        )
    if class_weight is not None and not isinstance(class_weight, dict):
        raise CannotDiagnose(
            f"class_weight is of type {type(class_weight).__name__}, expected a dict from class to "
            "weight. Pass for example {0: 1.0, 1: 5.0}."
        )


def in_order(value: Any, names: list[str], what: str) -> Any:
    """Arrays given by name as a list in the model's order; anything else as it is."""
    if not isinstance(value, dict) or not names:
        return value
    if set(names) - set(value):
        raise CannotDiagnose(
            f"{what} has arrays named {', '.join(map(repr, value))}, expected "
            f"{', '.join(map(repr, names))}, as the model calls them. Rename them."
        )
    return [value[name] for name in names]


def input_names(model: keras.Model) -> list[str]:
    """How the model calls its inputs; nothing for a model that declares none."""
    return [tensor.name for tensor in getattr(model, "inputs", None) or ()]


def output_names(model: keras.Model) -> list[str]:
    """How the model calls its outputs, in the order in which it lists them."""
    if gives_a_dictionary(model):
        return list(keras.tree.flatten({name: name for name in model.output}))
    return list(getattr(model, "output_names", None) or ())


def gives_a_dictionary(model: keras.Model) -> bool:
    """Whether its outputs have names of their own, by which losses and targets are given."""
    return isinstance(getattr(model, "output", None), dict)


def by_output(value: Any, names: list[str]) -> Any:
    """What is given by name, as a list in the model's order; anything else as it is."""
    return [value.get(name) for name in names] if isinstance(value, dict) and names else value


def check_data(model: keras.Model, data: Data, name: str) -> None:
    """Refuse arrays that the model does not take."""
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if inputs and len(inputs) != len(data.x):
        raise CannotDiagnose(
            f"{name} holds {len(data.x)} arrays, expected {_count(inputs, 'input')} as model "
            f"{model.name!r} has. Pass a list of them."
        )
    if outputs and len(outputs) != len(data.y):
        raise CannotDiagnose(
            f"y holds {len(data.y)} arrays, expected {_count(outputs, 'output')} as model "
            f"{model.name!r} has. Pass a list of them."
        )
    for n, (array, tensor) in enumerate(zip(data.x, inputs or (), strict=False)):
        if not _fits(array.shape[1:], tensor.shape[1:]):
            raise CannotDiagnose(
                f"{name}[{n}] has sequences of shape {array.shape[1:]}, expected "
                f"{_shape(tensor.shape[1:])} as input {tensor.name!r} of model {model.name!r} "
                "takes. Reshape the data, or give the model another Input."
            )
    weight = data.weight
    if weight is not None and (weight.ndim == 0 or len(weight) != len(data)):
        raise CannotDiagnose(
            f"sample_weight has shape {weight.shape}, expected one weight for each of the "
            f"{len(data)} sequences. Cut it as you cut x."
        )


def _count(tensors: Any, word: str) -> str:
    return f"{len(tensors)} {word}{'s' if len(tensors) > 1 else ''}"


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether Keras takes it: it adds or drops a last axis of one by itself."""
    if len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        shape = (*shape, 1)
    if len(shape) == len(wanted) + 1 and shape[-1] == 1:
        shape = shape[:-1]
    return len(shape) == len(wanted) and all(
        w is None or w == n for n, w in zip(shape, wanted, strict=True)
    )


def _shape(shape: tuple[int | None, ...]) -> str:
    return str(tuple("any" if n is None else n for n in shape)).replace("'", "")
