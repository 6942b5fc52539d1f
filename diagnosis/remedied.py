"""What a diagnosis gives back to train: a compiled clone, its data and the arguments of `fit`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.intake import arrays_of
from lstm_oracle.diagnosis.interventions import network
from lstm_oracle.diagnosis.setup import Setup
from lstm_oracle.diagnosis.task import as_list


@dataclass(frozen=True)
class Remedied:
    """A compiled clone with the remedies applied, and what to give its `fit`.

    `x` and `y` are the user's training data; where a remedy changes the arrays of many sequences,
    those 4000 that the diagnosis worked on.
    """

    model: keras.Model
    x: Any
    y: Any
    validation_data: Any
    fit_arguments: dict[str, Any]
    setup: Setup = field(repr=False)

    def prepared(self, x: Any) -> Any:
        """New inputs as the model is to be given them: changed as the training inputs were.

        Raises
        ------
        ValueError
            Where the change needs more than the rows themselves, such as a longer window.
        """
        return one(self.setup.made_of(self._arrays(x)))

    def predict(self, x: Any, batch_size: int | None = None) -> Any:
        """Predictions for new inputs as the user has them, in the units of the user's targets.

        What a remedy scaled is scaled back, what it made a change from the last value is added to
        that; scores of classes stay what they are.
        """
        given = self._arrays(x)
        outputs = self.model.predict(self.prepared(x), batch_size=batch_size, verbose=0)
        listed = [np.asarray(o) for o in as_list(outputs)]
        guesses = self.setup.in_units_of_the_user(listed)
        for restore in self.setup.restored:
            guesses = restore(guesses, given)
        return one(tuple(guesses))

    def _arrays(self, x: Any) -> tuple[np.ndarray, ...]:
        return arrays_of(self.setup.model, x, "x")


def remedied(setup: Setup, examined: Setup, original: Setup, *, seed: int) -> Remedied:
    """The set-up with all remedies, as something to fit.

    `examined` is what the search began with, `original` what the user gave.
    """
    setup = network.with_normalization(setup)
    model = surgery.clone(setup.model, seed=seed)
    if not setup.fresh_weights:
        surgery.copy_weights(setup.model, model)
    model.compile(
        optimizer=keras.optimizers.deserialize(setup.optimizer), loss=setup.loss,
        loss_weights=setup.loss_weights,
        # Metrics may count on targets as coded for the user's own loss.
        metrics=surgery.metrics_again(setup.metrics) if setup.loss is examined.loss else None,
    )  # fmt: skip
    if setup.learning_rate is not None:
        model.optimizer.learning_rate = setup.learning_rate
    train = setup.train
    mine, given = ((*data.x, *data.y, data.weight) for data in (train, original.train))
    if setup.whole is not None and all(a is b for a, b in zip(mine, given, strict=True)):
        train = setup.whole
    return Remedied(
        model, one(train.x), one(train.y),
        (one(setup.held_out.x), one(setup.held_out.y)),
        {"batch_size": setup.batch_size, "epochs": setup.epochs, "shuffle": setup.shuffle,
         "class_weight": setup.class_weight,
         **({} if train.weight is None else {"sample_weight": train.weight}),
         "callbacks": _callbacks(setup)},
        setup,
    )  # fmt: skip


def _callbacks(setup: Setup) -> list[keras.callbacks.Callback]:
    """Those that change the rate as the set-up does."""
    found: list[keras.callbacks.Callback] = []
    if setup.plateau:
        found.append(keras.callbacks.ReduceLROnPlateau(**setup.plateau._asdict()))
    if setup.rate_of_epoch:
        found.append(keras.callbacks.LearningRateScheduler(setup.rate_of_epoch))
    return found


def one(arrays: tuple[Any, ...]) -> Any:
    """The array itself where there is but one, as `fit` takes it."""
    return arrays[0] if len(arrays) == 1 else list(arrays)
