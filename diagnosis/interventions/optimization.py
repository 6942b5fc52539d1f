"""Changes of the optimizer, the learning rate, the batches and the epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras.optimizers.schedules import CosineDecay

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.interventions.base import Change
from lstm_oracle.diagnosis.setup import Plateau, Setup

Array = np.ndarray

ENOUGH_UPDATES = 300  # to see whether a training of a few ends too soon


def _optimizer(setup: Setup, name: str, rate: float, **config: Any) -> Setup:
    optimizer = getattr(keras.optimizers, name)(learning_rate=rate, **config)
    return setup.changed(
        optimizer=keras.optimizers.serialize(optimizer), learning_rate=None, rate_of_epoch=None
    )


def optimizer_name(setup: Setup) -> str:
    """The optimizer's class in lower case, as Keras registers it."""
    return str(setup.optimizer["class_name"]).lower()


def rate_of(setup: Setup) -> float:
    """The learning rate in force; the initial one of a schedule."""
    if setup.learning_rate is not None:
        return setup.learning_rate
    rate = setup.optimizer["config"]["learning_rate"]
    while isinstance(rate, dict):
        rate = rate["config"].get(
            "initial_learning_rate", rate["config"].get("learning_rate", 1e-3)
        )
        rate = rate if not isinstance(rate, list) else rate[0]
    return float(rate)


def adam(setup: Setup) -> Setup | None:
    """Adam at 0.003."""
    if optimizer_name(setup) in ("adam", "adamw", "nadam"):
        return None
    return _optimizer(setup, "Adam", 3e-3)


def reference_optimizer(setup: Setup) -> Setup:
    """Adam at a constant 0.003, whatever there was."""
    return _optimizer(setup.changed(plateau=None), "Adam", 3e-3, global_clipnorm=1.0)


def with_rate(rate: float) -> Callable[[Setup], Setup]:
    """The same optimizer at a constant rate."""

    def change(setup: Setup) -> Setup:
        if isinstance(setup.optimizer["config"]["learning_rate"], dict):
            config = setup.optimizer["config"] | {"learning_rate": rate}
            return setup.changed(optimizer=setup.optimizer | {"config": config}, learning_rate=None)
        return setup.changed(learning_rate=rate, rate_of_epoch=None)

    return change


def exchanged(name: str, rate: float, **config: Any) -> Change:
    """Another optimizer in the place of what there is."""

    def change(setup: Setup) -> Setup | None:
        return (
            None
            if optimizer_name(setup) == name.lower()
            else _optimizer(setup, name, rate, **config)
        )

    return change


def cosine(setup: Setup) -> Setup | None:
    """The rate falling to zero as half a cosine over the training (Loshchilov & Hutter 2017)."""
    return _scheduled(setup, lambda rate, steps: CosineDecay(rate, steps))


def warm_up(setup: Setup) -> Setup | None:
    """The rate rising from zero over the first tenth of the training, then falling as a cosine."""

    def schedule(rate: float, steps: int) -> CosineDecay:
        warming = max(1, steps // 10)
        return CosineDecay(0.0, max(1, steps - warming), warmup_target=rate, warmup_steps=warming)

    return _scheduled(setup, schedule)


def _scheduled(setup: Setup, schedule: Callable[[float, int], CosineDecay]) -> Setup | None:
    if isinstance(setup.optimizer["config"]["learning_rate"], dict):
        return None
    made = keras.optimizers.schedules.serialize(schedule(rate_of(setup), setup.total_steps))
    config = setup.optimizer["config"] | {"learning_rate": made}
    return setup.changed(optimizer=setup.optimizer | {"config": config}, learning_rate=None)


def reduce_on_plateau(setup: Setup) -> Setup | None:
    """The rate cut to three tenths whenever the training loss has not fallen for two epochs."""
    scheduled = isinstance(setup.optimizer["config"]["learning_rate"], dict)
    if scheduled or setup.plateau or setup.rate_of_epoch:
        return None
    return setup.changed(plateau=Plateau())


def constant_rate(setup: Setup) -> Setup | None:
    """The rate that a schedule starts from, kept."""
    if not isinstance(setup.optimizer["config"]["learning_rate"], dict):
        falls = setup.plateau or setup.rate_of_epoch
        return setup.changed(plateau=None, rate_of_epoch=None) if falls else None
    return with_rate(rate_of(setup))(setup.changed(plateau=None))


def clip_gradients(setup: Setup) -> Setup | None:
    """Gradients cut to a global norm of 1 (Pascanu et al. 2013)."""
    config = setup.optimizer["config"]
    if any(config.get(k) for k in ("clipnorm", "global_clipnorm", "clipvalue")):
        return None
    return setup.changed(optimizer=setup.optimizer | {"config": config | {"global_clipnorm": 1.0}})


def batch_smaller(setup: Setup) -> Setup | None:
    """Batches of 32, so that the same epochs make more updates."""
    if surgery.carries_state(setup.model):
        return None  # there is one state for each sequence of a batch
    return setup.changed(batch_size=32) if min(setup.batch_size, len(setup.train)) > 64 else None


def batch_larger(setup: Setup) -> Setup | None:
    """Batches of 32 in as many updates, so that each averages over more sequences."""
    if surgery.carries_state(setup.model) or not setup.batch_size < 8 < len(setup.train):
        return None
    larger = setup.changed(batch_size=32)
    return larger.changed(epochs=-(-setup.total_steps // larger.steps_per_epoch))


def train_longer(setup: Setup) -> Setup | None:
    """Five times the epochs, more where that is still only a few updates."""
    factor = max(5, -(-ENOUGH_UPDATES // setup.total_steps))
    return setup.changed(epochs=factor * setup.epochs)
