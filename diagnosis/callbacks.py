"""What the callbacks given to `fit` would do to a training: when it stops, and at which rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis.lab import Lab, Run
from lstm_oracle.diagnosis.setup import Plateau, Setup
from lstm_oracle.diagnosis.task import as_list


def keeps_the_best(given: Any) -> bool:
    """Whether one of them keeps the weights that were best on held-out data."""
    return any(
        isinstance(c, keras.callbacks.EarlyStopping)
        or (isinstance(c, keras.callbacks.ModelCheckpoint) and c.save_best_only)
        for c in as_list(given)
        if str(getattr(c, "monitor", "")).startswith("val_")
    )


def stopped_early(lab: Lab, user: Setup, callbacks: Any, seed: int) -> Setup | None:
    """The set-up with the epochs that EarlyStopping would leave it, where that is under half."""
    stoppers = [c for c in as_list(callbacks) if isinstance(c, keras.callbacks.EarlyStopping)]
    if not stoppers or user.epochs < 4:
        return None
    patience = min(c.patience for c in stoppers)
    epochs = min(user.epochs, 4 * patience + 8)
    lab.say("working out when EarlyStopping stops")
    run = lab.train(
        user, steps=epochs * user.steps_per_epoch, seed=seed, every=user.steps_per_epoch,
        deadline=0.8 * lab.seconds,
    )  # fmt: skip
    epoch = min(stops_after(c, run, user.steps_per_epoch) for c in stoppers)
    return user.changed(epochs=epoch) if epoch < user.epochs / 2 else None


def rate_cut_on_plateaus(callbacks: Any) -> Plateau | None:
    """What a ReduceLROnPlateau that watches a loss does, or None."""
    for callback in as_list(callbacks):
        cuts = isinstance(callback, keras.callbacks.ReduceLROnPlateau)
        if cuts and callback.monitor in ("loss", "val_loss"):
            told = Plateau(**{name: getattr(callback, name) for name in Plateau._fields})
            return told._replace(min_delta=abs(told.min_delta))  # Keras turns its sign in `fit`
    return None


def rate_of_epoch(callbacks: Any) -> Callable[[int, float], float] | None:
    """What a LearningRateScheduler makes of the rate at the start of an epoch, or None."""
    for callback in as_list(callbacks):
        if isinstance(callback, keras.callbacks.LearningRateScheduler):
            schedule = callback.schedule
            takes_rate = len(inspect.signature(schedule).parameters) > 1
            return lambda epoch, rate: float(
                schedule(epoch, rate) if takes_rate else schedule(epoch)
            )
    return None


def stops_after(stopper: Any, run: Run, steps_per_epoch: int) -> float:
    """The epochs after which a keras.callbacks.EarlyStopping ends a training; inf: it does not.

    It watches the training loss, or a skill in place of what else it is told to watch.
    """
    least = abs(stopper.min_delta)
    if stopper.monitor == "loss":
        whole = len(run.losses) // steps_per_epoch * steps_per_epoch
        watched = -run.losses[:whole].reshape(-1, steps_per_epoch).mean(1)
    elif stopper.monitor.startswith("val_"):
        watched = run.held_out_skill
    else:
        watched = run.train_skill
    if stopper.monitor == "val_loss":
        least = 0.0  # in units of the loss, and what is watched here is a skill
    best, waited = -np.inf, 0
    for epoch, value in enumerate(watched, 1):
        if epoch <= stopper.start_from_epoch:
            continue
        waited += 1
        if value - least > best:
            best, waited = value, 0
        elif waited >= stopper.patience and epoch > 1:
            return epoch
    return np.inf
