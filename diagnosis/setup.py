"""A training set-up: everything that decides how a training goes, as one value.

The user's set-up, the reference and every intervention between them are set-ups; an intervention
is a function from one to another. Models in it are prototypes: they are cloned before anything
is trained, and never touched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis.task import Task

Array = np.ndarray


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
    batch_size: int = 32
    epochs: int = 10
    shuffle: bool = True
    class_weight: dict[int, float] | None = None
    learning_rate: float | None = None  # None: the optimizer's own
    fresh_weights: bool = False  # start from the initializers instead of from the model's weights
    y_scale: tuple[tuple[Array, Array], ...] | None = None  # (mean, deviation) taken off each y

    @property
    def steps_per_epoch(self) -> int:
        """Updates in one epoch."""
        return max(1, math.ceil(len(self.train) / self.batch_size))

    @property
    def total_steps(self) -> int:
        """Updates that the user's own training would make."""
        return self.steps_per_epoch * self.epochs

    def changed(self, **changes: Any) -> Setup:
        """The same with some fields exchanged."""
        return replace(self, **changes)

    def in_units_of_the_user(self, predictions: list[Array]) -> list[Array]:
        """Predictions with the standardization of the targets undone."""
        if self.y_scale is None:
            return predictions
        return [p * s + m for p, (m, s) in zip(predictions, self.y_scale, strict=True)]
