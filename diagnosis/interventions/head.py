"""Head, labels and loss that belong together, and the arithmetic that says whether they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import Task, left_out

Array = np.ndarray

LEAST_UNITS = 16  # of a layer that was the answer itself, and is to remember
_ALIASES = {
    "mse": "mean_squared_error",
    "mae": "mean_absolute_error",
    "bce": "binary_crossentropy",
    "bincrossentropy": "binary_crossentropy",
}
_RANGES = {
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "relu": (0.0, np.inf),
    "softplus": (0.0, np.inf),
    "exponential": (0.0, np.inf),
}
_PROBABILITIES = ("softmax", "sigmoid", "hard_sigmoid")


def loss_name(loss: Any) -> str:
    """A loss by its snake-case name, however it was given."""
    if isinstance(loss, (list, tuple)):
        return ",".join(loss_name(one) for one in loss)
    if isinstance(loss, dict):
        return ",".join(loss_name(one) for one in loss.values())
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    return _ALIASES.get(str(name).lower(), name) or type(loss).__name__.lower()


class Fitting(NamedTuple):
    """The head, loss and targets that belong to a task."""

    width: int
    activation: str
    loss: str
    task: Task
    train: Data
    held_out: Data


def fitting(setup: Setup) -> Fitting:
    """What belongs to the (only) task of a set-up.

    Quantities: linear units and squared error. Two classes: one sigmoid and cross-entropy. K
    classes: K softmax units and cross-entropy against class numbers from 0.
    """
    task = setup.tasks[0]
    if task.kind == "regression":
        width = len(task.mean)
        loss, activation, coded = "mse", "linear", task
    else:
        binary = task.kind == "binary"
        width = 1 if binary else task.class_count
        loss = "binary_crossentropy" if binary else "sparse_categorical_crossentropy"
        activation = "sigmoid" if binary else "softmax"
        coded = replace(task, classes=np.arange(task.class_count), coding="labels")

    def code(data: Data) -> Data:
        y = data.y[0]
        steps = y.shape[1:2] if task.per_step else ()
        last = () if task.kind == "multiclass" else (width,)
        target = task.labels(y).reshape(len(y), *steps, *last)
        dtype = np.int32 if task.kind == "multiclass" else np.float32
        blank = task.blank(y)
        weight = data.weight if blank is None else left_out(data.weight, blank)
        return Data(data.x, (target.astype(dtype),), weight)

    return Fitting(width, activation, loss, coded, code(setup.train), code(setup.held_out))


def repair_head(setup: Setup) -> Setup | None:
    """The head, the coding of the labels and the loss that belong together."""
    if len(setup.tasks) != 1 or not head_is_wrong(setup):
        return None
    if ends_in_a_state(setup.model) is not None:
        return dense_head(setup)
    head = surgery.head_of(setup.model)
    if head is None:
        return None
    fit = fitting(setup)
    model = _with_head(setup.model, head[0], fit.width, fit.activation)
    if model is None:
        return None
    return _with_fitting(setup, model, fit)


def ends_in_a_state(model: keras.Model) -> keras.layers.Layer | None:
    """The recurrent layer whose own output is the answer; None where another layer gives it."""
    outputs = getattr(model, "outputs", None)
    layer = surgery.producer(outputs[0]) if outputs and len(outputs) == 1 else None
    return layer if isinstance(layer, surgery.RECURRENT) else None


def dense_head(setup: Setup) -> Setup | None:
    """A Dense layer behind the recurrent layer that is the answer itself, which gets more units."""
    last = ends_in_a_state(setup.model)
    if last is None or len(setup.tasks) != 1 or not hasattr(last, "units"):
        return None
    fit = fitting(setup)
    config = last.get_config() | {"units": max(LEAST_UNITS, last.units)}

    def edit(layer: Any) -> Any:
        if layer.name != last.name:
            return None
        dense = keras.layers.Dense(fit.width, activation=fit.activation)
        return keras.Sequential([type(last).from_config(config), dense], name=last.name)

    try:
        model = surgery.clone(setup.model, edit)
    except surgery.NotCloneable:
        return None
    surgery.copy_matching_weights(setup.model, model)
    return _with_fitting(setup, model, fit)


def _with_fitting(setup: Setup, model: keras.Model, fit: Fitting) -> Setup:
    return setup.changed(
        model=model, loss=fit.loss, loss_weights=None, tasks=(fit.task,), class_weight=None,
        train=fit.train, held_out=fit.held_out,
    )  # fmt: skip


def _with_head(
    model: keras.Model, head: keras.layers.Layer, width: int, activation: str
) -> keras.Model | None:
    """A clone whose last layer with weights has another width and activation."""
    behind = _activations_behind(model, head)

    def edit(layer: Any) -> Any:
        if layer.name in behind:
            return keras.layers.Activation("linear", name=layer.name)
        if layer.name != head.name:
            return None
        config = layer.get_config()
        inner = config["layer"]["config"] if "layer" in config else config
        inner.update({"units": width, "activation": activation})
        if "layer" in config:
            config["layer"].pop("build_config", None)
        return type(layer).from_config(config)

    try:
        edited = surgery.clone(model, edit)
    except surgery.NotCloneable:
        return None
    surgery.copy_matching_weights(model, edited)
    return edited


def _activations_behind(model: keras.Model, head: keras.layers.Layer) -> set[str]:
    layers = list(surgery.all_layers(model))
    after = layers[layers.index(head) + 1 :] if head in layers else []
    kinds = (keras.layers.Activation, keras.layers.Softmax)
    return {layer.name for layer in after if isinstance(layer, kinds)}


@dataclass(frozen=True)
class _Facts:
    """What the arithmetic looks at."""

    activation: str
    width: int
    loss: str
    from_logits: bool
    task: Task
    y: Array
    outputs: int | None  # values per sequence that the model gives; None where that depends on it

    @property
    def cross_entropy(self) -> bool:
        return "crossentropy" in self.loss


def head_is_wrong(setup: Setup) -> str:
    """Why head, loss and labels do not belong together, or an empty string.

    Arithmetic only: ranges that cannot reach the targets, units that cannot stand for the classes,
    labels that the loss reads as something else.
    """
    facts = _facts(setup)
    if facts is None:
        return ""
    contradictions = _QUANTITIES if facts.task.kind == "regression" else _CLASSES
    return next((reason for check in contradictions for reason in check(facts)), "")


def gives_a_constant(setup: Setup) -> str:
    """Why the head has the same output, or the loss no gradient, for all weights; or nothing."""
    facts = _facts(setup)
    constant = () if facts is None else (*_one_softmax_unit(facts), *_softmax_against_binary(facts))
    return next(iter(constant), "")


def _facts(setup: Setup) -> _Facts | None:
    """What the arithmetic looks at; None for a model without a head, or with several."""
    head = surgery.head_of(setup.model)
    if head is None or len(setup.tasks) != 1:
        return None
    return _Facts(
        activation=head[1],
        width=head[2],
        loss=loss_name(setup.loss),
        from_logits=bool(getattr(setup.loss, "from_logits", False)),
        task=setup.tasks[0],
        y=setup.train.y[0],
        outputs=_values_given(setup.model),
    )


def _values_given(model: keras.Model) -> int | None:
    sizes = model.outputs[0].shape[1:]
    return None if None in sizes else int(np.prod(sizes))


def out_of_reach(setup: Setup) -> float:
    """The share of the targets' variance that lies outside what the head's activation can give."""
    head = surgery.head_of(setup.model)
    if head is None or len(setup.tasks) != 1 or setup.tasks[0].kind != "regression":
        return 0.0
    low, high = _RANGES.get(head[1], (-np.inf, np.inf))
    y = setup.train.y[0].astype(np.float64)
    y = y[np.isfinite(y)]
    lost = np.square(y - np.clip(y, low, high)).sum()
    return float(lost / max(np.square(y - y.mean()).sum(), 1e-300)) if y.size else 0.0


# Quantities


def _squashed_quantities(f: _Facts) -> Iterator[str]:
    low, high = _RANGES.get(f.activation, (-np.inf, np.inf))
    outside = float(((f.y < low) | (f.y > high)).mean())
    if outside > 0.02:
        yield (
            f"{f.activation} gives values from {low:g} to {high:g}, and {100 * outside:.0f} % of "
            "the targets lie outside"
        )


def _softmax_of_quantities(f: _Facts) -> Iterator[str]:
    if f.activation == "softmax":
        yield f"softmax over {f.width} unit(s) sums to one, and the targets are quantities"


def _cross_entropy_of_quantities(f: _Facts) -> Iterator[str]:
    if f.cross_entropy and (f.y.min() < 0 or f.y.max() > 1):
        yield f"{f.loss} compares probabilities, and the targets are quantities"


def _columns(f: _Facts) -> Iterator[str]:
    columns = f.y.shape[-1] if f.y.ndim > 1 else 1
    if f.width not in (1, columns):
        yield f"the head has {f.width} units, and the targets have {columns} column(s)"
    elif f.width < columns and f.outputs == f.width:
        yield f"{f.loss} compares the one number of the head with each of {columns} targets"


# Classes


def _one_softmax_unit(f: _Facts) -> Iterator[str]:
    if f.width == 1 and f.activation == "softmax":
        yield "softmax over one unit is 1 whatever the input"


def _too_few_units(f: _Facts) -> Iterator[str]:
    K = f.task.class_count
    if f.width < K and not (f.width == 1 and K == 2):
        yield f"{f.width} unit(s) cannot tell {K} classes apart"


def _one_hot_for_sparse(f: _Facts) -> Iterator[str]:
    if "sparse" in f.loss and f.task.coding == "one-hot":
        yield f"{f.loss} wants class numbers, and the labels are one-hot"


def _numbers_for_one_hot(f: _Facts) -> Iterator[str]:
    if f.loss == "categorical_crossentropy" and f.task.coding == "labels":
        yield "categorical_crossentropy wants one-hot labels, and these are class numbers"


def _labels_outside(f: _Facts) -> Iterator[str]:
    if f.task.coding != "labels" or "hinge" in f.loss:
        return
    low, high, last = f.task.classes.min(), f.task.classes.max(), max(f.width, 2) - 1
    bounded = f.cross_entropy or f.activation in _PROBABILITIES
    if bounded and (low < 0 or high > last):
        yield f"labels run from {low:g} to {high:g}, and the head counts from 0 to {last}"


def _logits_as_probabilities(f: _Facts) -> Iterator[str]:
    if f.cross_entropy and not f.from_logits and f.activation not in _PROBABILITIES:
        yield (
            f"{f.loss} wants probabilities, and {f.activation} gives any number (from_logits is "
            "not set)"
        )


def _probabilities_as_logits(f: _Facts) -> Iterator[str]:
    if f.from_logits and f.activation in _PROBABILITIES:
        yield f"from_logits is set, and the head has applied {f.activation} already"


def _label_broadcast(f: _Facts) -> Iterator[str]:
    if f.loss == "binary_crossentropy" and f.width > 1 and f.task.coding == "labels":
        yield f"binary_crossentropy compares one label with each of {f.width} units"


def _softmax_against_binary(f: _Facts) -> Iterator[str]:
    if f.loss.endswith("categorical_crossentropy") and f.width == 1:
        yield f"{f.loss} over one unit is zero whatever the input"


_QUANTITIES = (
    _softmax_of_quantities,
    _squashed_quantities,
    _cross_entropy_of_quantities,
    _columns,
)
_CLASSES = (
    _one_softmax_unit,
    _softmax_against_binary,
    _too_few_units,
    _one_hot_for_sparse,
    _numbers_for_one_hot,
    _label_broadcast,
    _labels_outside,
    _logits_as_probabilities,
    _probabilities_as_logits,
)
