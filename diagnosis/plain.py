"""A plain network for the same task: what an ordinary LSTM, fed properly, makes of the data.

It shares nothing with the user's model but inputs and targets. Where it learns what no change of
the user's model restores, the fault is in how that model is built.
"""

from __future__ import annotations

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.interventions import data, head, network, optimization
from lstm_oracle.diagnosis.setup import Setup

UNITS = 32


def plain(setup: Setup, seed: int = 0) -> Setup | None:
    """The set-up of a plain network; None for tasks with several inputs or outputs."""
    if len(setup.tasks) != 1 or len(setup.train.x) != 1:
        return None
    setup, padded = network.own_padding(setup)
    if not _names(setup.train.x[0]):
        setup = data.standardize_inputs(setup) or setup
    fit = head.fitting(setup)
    setup = setup.changed(
        tasks=(fit.task,), train=fit.train, held_out=fit.held_out, loss=fit.loss,
        loss_weights=None, class_weight=None, batch_size=min(32, setup.batch_size), shuffle=True,
    )  # fmt: skip
    setup = data.standardize_targets(setup) or setup
    with surgery.seeded(seed):
        model = _network(setup, fit, padded)
    if model is None:
        return None
    setup = setup.changed(model=model, fresh_weights=True)
    return optimization.reference_optimizer(data.class_weights(setup) or setup)


def _names(x: np.ndarray) -> bool:
    """Whether numbers are to be looked up in a table."""
    return x.ndim == 2 and bool(np.equal(x, np.round(x)).all() and x.min() >= 0 and x.max() < 50000)


def _network(setup: Setup, fit: head.Fitting, padded: bool) -> keras.Model | None:
    x, other = setup.train.x[0], setup.held_out.x[0]
    shape = x.shape[1:] if x.shape[1:2] == other.shape[1:2] else (None, *x.shape[2:])
    if _names(x):
        largest = int(max(x.max(), other.max()))
        inputs = keras.Input(shape, dtype="int32")
        steps = keras.layers.Embedding(largest + 1, UNITS, mask_zero=padded)(inputs)
    elif x.ndim == 3:
        inputs = keras.Input(shape)
        steps = keras.layers.Masking(0.0)(inputs) if padded else inputs
    else:
        return None
    answers = setup.train.y[0].shape[1] if fit.task.per_step else 0
    if answers == x.shape[1]:
        lstm = keras.layers.LSTM(UNITS, return_sequences=True)
        # Both ways only where the user's own may look ahead, too.
        ahead = network.looks_ahead(setup.model)
        steps = (keras.layers.Bidirectional(lstm) if ahead else lstm)(steps)
        return keras.Model(inputs, keras.layers.Dense(fit.width, fit.activation)(steps))
    # The mean over time and the end of a second pass, from the last step to the first, beside the
    # last output: what lies far back reaches the head by a short way, wherever it lies.
    steps, last, _ = keras.layers.LSTM(UNITS, return_sequences=True, return_state=True)(steps)
    mean = keras.layers.GlobalAveragePooling1D()(steps)
    first = keras.layers.LSTM(UNITS, go_backwards=True)(steps)
    all_three = keras.layers.Concatenate()([mean, last, first])
    if fit.task.per_step:  # an answer of its own length
        answer = keras.layers.RepeatVector(answers)(all_three)
        all_three = keras.layers.LSTM(UNITS, return_sequences=True)(answer)
    return keras.Model(inputs, keras.layers.Dense(fit.width, fit.activation)(all_three))
