"""A training set-up: everything that decides how a training goes, as one value.

The user's set-up, the reference and every intervention between them are set-ups; an intervention
is a function from one to another. Models in it are prototypes: they are cloned before anything
is trained, and never touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from lstm_oracle.diagnosis.task import Task

Array = np.ndarray
Inputs = tuple[Array, ...]
Outputs = list[Array]


@dataclass(frozen=True, eq=False)
class Data:
    """Arrays of some sequences, one entry per input and per output."""

    x: tuple[Array, ...]
    y: tuple[Array, ...]
    weight: Array | None = None

    def __len__(self) -> int:
        """How many sequences."""
        return len(self.x[0])

    def take(self, rows: Array) -> Data:
        """Some of the sequences."""
        weight = None if self.weight is None else self.weight[rows]
        return Data(tuple(a[rows] for a in self.x), tuple(a[rows] for a in self.y), weight)


class Scale(NamedTuple):
    """Mean and deviation per feature, and the step that is padding and stays what it is."""

    mean: Array
    deviation: Array
    padding: Array | None = None

    def taken_off(self, x: Array) -> Array:
        """(x - mean) / deviation, in float32."""
        out = ((x - self.mean) / self.deviation).astype(np.float32)
        if self.padding is None:
            return out
        real = (x != self.padding).any(-1, keepdims=True)
        return np.where(real, out, self.padding.astype(np.float32))

    @property
    def survives_float32(self) -> bool:
        """Whether float32 still tells the values apart before they are standardized."""
        return bool((np.abs(self.mean) < 1e4 * self.deviation).all())


class Plateau(NamedTuple):
    """What a `keras.callbacks.ReduceLROnPlateau` of a loss is told."""

    monitor: str = "loss"  # or val_loss
    factor: float = 0.3
    patience: int = 2
    min_delta: float = 1e-4
    cooldown: int = 0
    min_lr: float = 0.0


@dataclass(frozen=True, eq=False)
class Setup:
    """Model, data and the arguments of `fit`."""

    model: keras.Model
    train: Data
    held_out: Data
    tasks: tuple[Task, ...]
    optimizer: dict[str, Any]  # serialized
    loss: Any  # as given to compile
    loss_weights: Any = None
    metrics: Any = None  # serialized
    batch_size: int = 32
    epochs: int = 10
    shuffle: bool = True
    class_weight: dict[int, float] | None = None
    learning_rate: float | None = None  # None: the optimizer's own
    plateau: Plateau | None = None  # what cuts the rate when the training loss stops falling
    rate_of_epoch: Callable[[int, float], float] | None = None  # what a LearningRateScheduler does
    fresh_weights: bool = False  # start from the initializers instead of from the model's weights
    x_scale: tuple[Scale | None, ...] = ()  # taken off each x as it is fed
    # (mean, deviation) taken off each y, None where it stays; None: off none of them.
    y_scale: tuple[tuple[Array, Array] | None, ...] | None = None
    whole: Data | None = None  # the user's training data, where `train` is a part of them
    stands_for: float = 1.0  # sequences of the user's, for each of those trained on here
    drawn: bool = False  # the held-out part was drawn at random here, and is not the user's
    places: Array | None = None  # of train and held-out rows, in the order that the user gave
    prepared: tuple[Callable[[Inputs], Inputs], ...] = ()  # what was made of the user's inputs
    # And what is made of predictions, given the user's inputs.
    restored: tuple[Callable[[Outputs, Inputs], Outputs], ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one epoch."""
        return max(1, math.ceil(len(self.train) * self.stands_for / self.batch_size))

    @property
    def total_steps(self) -> int:
        """Updates that the user's own training would make."""
        return self.steps_per_epoch * self.epochs

    def changed(self, **changes: Any) -> Setup:
        """The same with some fields exchanged."""
        return replace(self, **changes)

    def with_inputs(self, change: Callable[[Array], Array]) -> Setup:
        """The same with the (only) input changed, row by row, here and in data to come."""

        def prepare(x: Inputs) -> Inputs:
            return (change(x[0]),)

        parts = (Data(prepare(data.x), data.y, data.weight) for data in (self.train, self.held_out))
        train, held_out = parts
        return self.changed(train=train, held_out=held_out, prepared=(*self.prepared, prepare))

    def made_of(self, x: Inputs) -> Inputs:
        """The user's inputs, changed as those of this set-up were."""
        for prepare in self.prepared:
            x = prepare(x)
        return x

    def fed(self, x: tuple[Array, ...]) -> tuple[Array, ...]:
        """Inputs as the model is given them."""
        scales = self.x_scale or (None,) * len(x)
        return tuple(a if s is None else s.taken_off(a) for a, s in zip(x, scales, strict=True))

    def in_units_of_the_user(self, predictions: list[Array]) -> list[Array]:
        """Predictions with the standardization of the targets undone."""
        if self.y_scale is None:
            return predictions
        return [
            p if scale is None else p * scale[1] + scale[0]
            for p, scale in zip(predictions, self.y_scale, strict=True)
        ]
