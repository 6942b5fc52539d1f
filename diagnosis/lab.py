"""Short trainings under control: the same seeds, the same data order, a budget.

Every training runs on a clone through Keras' own `train_on_batch`, so that what is measured is what
`fit` would do, on every backend. Compiled clones are kept and started anew, because compiling costs
more than most of these trainings.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.setup import Data, Setup

Array = np.ndarray

EVALUATED = 256  # sequences that a skill is measured on
MOST_BATCHES = 64  # of those, where they have to be fed in small batches one after the other
# The end of a training, over which skill is averaged: what swings (too high a rate) is not judged
# by the moment at which it is stopped.
END = 0.85
LONG = 60  # updates, from which on the end is looked at three times


@dataclass(frozen=True)
class Run:
    """One training, as it went."""

    losses: Array  # per update
    steps: Array  # at which skill was measured
    train_skill: Array
    held_out_skill: Array
    steps_per_second: float
    complete: bool = True  # False where the clock cut it short
    surprise: Array | None = None  # mean -log of held-out probabilities; NaN where there are none

    @property
    def fitted(self) -> float:
        """Skill on training data at the end."""
        return float(self.train_skill[self.end].mean())

    @property
    def generalized(self) -> float:
        """Skill on held-out data at the end."""
        return float(self.held_out_skill[self.end].mean())

    @property
    def end(self) -> Array:
        """Which measurements of skill count as the end."""
        return self.steps >= END * self.steps[-1]

    @property
    def still_falls(self) -> bool:
        """Whether the loss is lower in the last quarter of the updates than in the one before.

        By more than its means are uncertain: two standard errors of their difference.
        """
        quarter = len(self.losses) // 4
        if quarter < 2:
            return True
        before, last = self.losses[-2 * quarter : -quarter], self.losses[-quarter:]
        error = float(np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / quarter))
        return bool(before.mean() - last.mean() > 2 * error)

    @property
    def diverged(self) -> bool:
        """Whether a loss stopped being finite, or ended far above where it began."""
        return not np.isfinite(self.losses).all()


@dataclass
class _Bench:
    """A compiled clone and the state that it starts from."""

    model: keras.Model
    weights: list[Array]
    optimizer_variables: list[Array] | None = None


class Lab:
    """Runs trainings until its time is used up."""

    def __init__(
        self, seconds: float, progress: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock."""
        self.clock = clock
        self.started = clock()
        self.seconds = seconds
        self.progress = progress or (lambda message: None)
        self._benches: dict[tuple[Any, ...], _Bench] = {}
        self._prototypes: list[Any] = []  # kept alive: the benches are keyed by identity

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.seconds - (self.clock() - self.started)

    def say(self, message: str) -> None:
        """Report progress, with the time left."""
        self.progress(f"{message} ({max(0, self.left):.0f} s left)")

    def train(
        self,
        setup: Setup,
        *,
        steps: int,
        seed: int = 0,
        rows: int | None = None,
        deadline: float = 0,
        every: int | None = None,
    ) -> Run:
        """Train a clone for a number of updates; `rows` restricts it to the first sequences.

        Skill is measured `every` so many updates, or six times, closer together at the start, and
        of longer trainings twice more near the end.

        Stops early, with what it has, when `deadline` seconds of the budget are all that is left.
        """
        bench = self._bench(setup, seed)
        data = setup.train if rows is None else setup.train.take(np.arange(rows))
        order = np.random.default_rng(seed)
        probe = order.permutation(len(data))[:EVALUATED]
        if surgery.carries_state(setup.model):
            probe = np.arange(min(len(data), EVALUATED))  # each batch goes on from the one before
        checks = set(range(every, steps + 1, every) if every else ()) or set(
            np.unique(np.geomspace(1, steps, 6).astype(int))
        )
        checks |= {steps} if every or steps < LONG else set(_near_the_end(steps))
        losses: list[float] = []
        skills: list[tuple[int, float, float, float]] = []
        seconds = 0.0  # of the updates alone, without the first, which may compile
        batches = _batches(data, setup, order)
        plateau = _OnPlateau(bench.model.optimizer, setup)
        for step in range(1, steps + 1):
            _schedule(bench.model.optimizer, setup, step - 1)
            began = self.clock()
            losses.append(_update(bench.model, next(batches), setup))
            seconds += self.clock() - began if step > 1 else 0.0
            plateau.look(losses, lambda: _held_out_loss(bench.model, setup))
            stop = self.left < deadline or not np.isfinite(losses[-1])
            if step in checks or stop:
                skills.append((step, *self._skills(bench.model, setup, data.take(probe))))
            if stop:
                break
        rate = (len(losses) - 1) / max(1e-6, seconds)
        at, train, held_out, surprise = (np.asarray(part) for part in zip(*skills, strict=True))
        complete = len(losses) == steps or not np.isfinite(losses[-1])
        return Run(np.asarray(losses), at, train, held_out, rate, complete, surprise)

    def _skills(self, model: keras.Model, setup: Setup, probe: Data) -> tuple[float, float, float]:
        """Skill on training and held-out data, and the surprise at the latter."""
        held_out = setup.held_out.take(np.arange(min(EVALUATED, len(setup.held_out))))
        if surgery.carries_state(model):
            most = np.arange(MOST_BATCHES * setup.batch_size)
            probe, held_out = (part.take(most[: len(part)]) for part in (probe, held_out))
            guesses = [predictions(model, setup, part) for part in (probe, held_out)]
        elif any(a.shape[1:] != b.shape[1:] for a, b in zip(probe.x, held_out.x, strict=True)):
            guesses = [predictions(model, setup, part) for part in (probe, held_out)]
        else:  # in one call: a second shape would be compiled a second time
            both = Data(
                tuple(np.concatenate(pair) for pair in zip(probe.x, held_out.x, strict=True)), ()
            )
            outputs = predictions(model, setup, both)
            guesses = [[o[: len(probe)] for o in outputs], [o[len(probe) :] for o in outputs]]
        return (
            _skill(guesses[0], setup, probe, scaled=setup.y_scale is not None),
            _skill(guesses[1], setup, held_out),
            setup.tasks[0].surprise(held_out.y[0], guesses[1][0])
            if len(guesses[1]) == 1
            else np.nan,
        )

    def _bench(self, setup: Setup, seed: int) -> _Bench:
        key = (
            *_architecture(setup.model), str(setup.optimizer), str(setup.loss),
            str(setup.loss_weights),
        )  # fmt: skip
        if key not in self._benches:
            self._prototypes.append(setup.model)
            self._benches[key] = _compiled(setup, seed)
        bench = self._benches[key]
        _reset(bench, setup, seed)
        return bench


def _near_the_end(steps: int) -> list[int]:
    return np.ceil(np.linspace(END, 1, 3) * steps).astype(int).tolist()


def _architecture(model: keras.Model) -> tuple[Any, ...]:
    """The same for models that differ in weights, or in how these are drawn, alone."""
    trainable = tuple(weight.trainable for weight in model.weights)
    try:
        config = json.dumps(_without_initializers(model.get_config()), sort_keys=True)
    except (NotImplementedError, TypeError, ValueError):
        return (id(model), trainable)  # it does not say all of itself in its configuration
    return (type(model).__name__, config, trainable)


def _without_initializers(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_without_initializers(part) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _without_initializers(part)
        for key, part in value.items()
        if not key.endswith("_initializer") and key not in ("unit_forget_bias", "build_config")
    }


def _compiled(setup: Setup, seed: int) -> _Bench:
    model = surgery.clone(setup.model, seed=seed)
    for mine, theirs in zip(model.layers, setup.model.layers, strict=False):
        mine.trainable = theirs.trainable
    model.compile(
        # Keras changes the dictionary that it is given.
        optimizer=keras.optimizers.deserialize(copy.deepcopy(setup.optimizer)),
        loss=setup.loss,
        loss_weights=setup.loss_weights,
        # XLA's compile time on TensorFlow is longer than these trainings.
        jit_compile=keras.backend.backend() == "jax",
    )
    return _Bench(model, model.get_weights())


def _reset(bench: _Bench, setup: Setup, seed: int) -> None:
    """Start anew: weights, optimizer, dropout and rate as before the first update."""
    model, optimizer = bench.model, bench.model.optimizer
    if setup.fresh_weights or not surgery.copy_weights(setup.model, model):
        fresh = surgery.clone(setup.model, seed=seed)
        surgery.copy_weights(fresh, model)
    if bench.optimizer_variables is None:
        optimizer.build(model.trainable_variables)
        bench.optimizer_variables = [np.array(v) for v in optimizer.variables]
    for variable, value in zip(optimizer.variables, bench.optimizer_variables, strict=True):
        variable.assign(value)
    if setup.learning_rate is not None:
        optimizer.learning_rate = setup.learning_rate
    for layer in surgery.all_layers(model):
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([seed, 0], dtype="uint32"))
    surgery.forget_state(model)


def _schedule(optimizer: keras.Optimizer, setup: Setup, done: int) -> None:
    """Before the first update of an epoch, set the rate that it is to have."""
    if setup.rate_of_epoch is not None and done % setup.steps_per_epoch == 0:
        rate = float(optimizer.learning_rate)
        optimizer.learning_rate = setup.rate_of_epoch(done // setup.steps_per_epoch, rate)


class _OnPlateau:
    """What `keras.callbacks.ReduceLROnPlateau` does with a loss."""

    def __init__(self, optimizer: keras.Optimizer, setup: Setup) -> None:
        self.optimizer, self.length = optimizer, setup.steps_per_epoch
        self.told, self.best, self.waited, self.resting = setup.plateau, np.inf, 0, 0

    def look(self, losses: list[float], held_out: Callable[[], float]) -> None:
        """At the end of an epoch, cut the rate if the loss has not fallen for some."""
        if self.told is None or len(losses) % self.length:
            return
        own = self.told.monitor == "loss"
        mean = float(np.mean(losses[-self.length :])) if own else held_out()
        if self.resting:
            self.resting, self.waited = self.resting - 1, 0
        if mean < self.best - self.told.min_delta:
            self.best, self.waited = mean, 0
        elif not self.resting:
            self.waited += 1
            if self.waited >= self.told.patience:
                rate = float(self.optimizer.learning_rate) * self.told.factor
                self.optimizer.learning_rate = max(rate, self.told.min_lr)
                self.resting, self.waited = self.told.cooldown, 0


def _held_out_loss(model: keras.Model, setup: Setup) -> float:
    data = setup.held_out.take(np.arange(min(EVALUATED, len(setup.held_out))))
    y, outputs = (
        _fed(tuple(keras.ops.convert_to_tensor(a) for a in arrays))
        for arrays in (data.y, predictions(model, setup, data))
    )
    return float(model.compute_loss(y=y, y_pred=outputs, training=False))


def _batches(data: Data, setup: Setup, order: np.random.Generator) -> Any:
    size = min(setup.batch_size, len(data))
    while True:
        rows = order.permutation(len(data)) if setup.shuffle else np.arange(len(data))
        for start in range(0, len(rows) - size + 1, size):
            yield data.take(rows[start : start + size])


def _update(model: keras.Model, batch: Data, setup: Setup) -> float:
    loss = model.train_on_batch(
        _fed(setup.fed(batch.x)), _fed(batch.y),
        sample_weight=batch.weight, class_weight=setup.class_weight,
    )  # fmt: skip
    return float(loss[0] if isinstance(loss, (list, tuple)) else loss)


def _fed(arrays: tuple[Array, ...]) -> Any:
    return arrays[0] if len(arrays) == 1 else list(arrays)


def predictions(model: keras.Model, setup: Setup, data: Data) -> list[Array]:
    """Outputs in inference mode, as NumPy arrays."""
    if not surgery.carries_state(model):
        return _outputs(model, setup.fed(data.x))
    size = int(model.inputs[0].shape[0] or setup.batch_size)
    # The last batch is filled up: the state has room for as many sequences and no fewer.
    rows = np.resize(np.arange(len(data)), (-(-len(data) // size), size))
    with surgery.state_apart(model):
        parts = [_outputs(model, setup.fed(data.take(some).x)) for some in rows]
    return [np.concatenate(output)[: len(data)] for output in zip(*parts, strict=True)]


def _outputs(model: keras.Model, x: tuple[Array, ...]) -> list[Array]:
    outputs = model.predict_on_batch(_fed(x))
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(o) for o in listed]


def skill(model: keras.Model, setup: Setup, data: Data, *, scaled: bool = False) -> float:
    """Mean skill over the outputs; `scaled` where the targets of `data` are standardized ones."""
    return _skill(predictions(model, setup, data), setup, data, scaled=scaled)


def _skill(outputs: list[Array], setup: Setup, data: Data, *, scaled: bool = False) -> float:
    guesses = setup.in_units_of_the_user(outputs)
    targets = setup.in_units_of_the_user(list(data.y)) if scaled else list(data.y)
    skills = [
        task.skill(y, p, data.weight)
        for task, y, p in zip(setup.tasks, targets, guesses, strict=True)
    ]
    return float(np.mean(skills))
