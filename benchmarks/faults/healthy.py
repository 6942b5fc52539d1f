"""Healthy runs of the fault bench, and set-ups that look wrong but are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from faults import layer
from tasks import TASKS, Recipe, Setup, windows

HEALTHY_RUNS = 220


@dataclass(frozen=True)
class Healthy:
    """A run without a fault; `accepted` are the causes that may be named all the same."""

    name: str
    task: str
    recipe: Callable[[], Recipe] = field(repr=False)
    accepted: tuple[str, ...] = ()
    not_a_bug: bool = False

    def build(self, seed: int = 0) -> Setup:
        return self.recipe().build(seed)


def varied(number: int) -> Recipe:
    """Task, size, depth, noise, optimizer and rate drawn at random; all of them train well."""
    random = np.random.default_rng(1000 + number)
    task = list(TASKS)[number % len(TASKS)]
    recipe = TASKS[task](seed=number)
    width = recipe.units[0]
    units = tuple(
        [int(random.choice([width, width * 3 // 2, width * 2]))] * random.choice([1, 1, 2])
    )
    changes: dict[str, Any] = {"units": units, "functional": bool(random.random() < 0.4)}
    if random.random() < 0.25 and task not in ("labelling", "filtered"):
        changes["bidirectional"] = True
    if random.random() < 0.35:
        changes["between"] = (layer("Dropout", float(random.choice([0.1, 0.2, 0.3]))),)
    if random.random() < 0.3:
        changes["hidden"] = ((int(random.choice([16, 32])), str(random.choice(["relu", "tanh"]))),)
    rate = recipe.optimizer_arguments["learning_rate"]
    name = str(random.choice(["Adam", "Adam", "Adam", "RMSprop", "Nadam", "AdamW"]))
    arguments: dict[str, Any] = {"learning_rate": float(rate * random.choice([0.7, 1.0, 1.4]))}
    if random.random() < 0.3:
        arguments["clipnorm"] = 1.0
    changes |= {"optimizer": name, "optimizer_arguments": arguments}
    if random.random() < 0.4:
        changes["batch_size"] = int(random.choice([16, 32]))
    changes["epochs"] = int(recipe.epochs * random.choice([1.0, 1.3]))
    if random.random() < 0.3 and task not in ("sunspots", "elnino", "weather", "co2"):
        changes["fit"] = {"validation_split": float(random.choice([0.1, 0.2]))}
    if random.random() < 0.3 and not recipe.vocabulary and recipe.masking is None:
        noise = random.normal(0, 0.1, recipe.x.shape).astype(np.float32)
        changes["x"] = recipe.x + noise
    return recipe.but(**changes)


def series_recipe(series: np.ndarray, length: int, cut: int, **changes: Any) -> Recipe:
    series = (series - series[:cut].mean()) / series[:cut].std()
    x, y = windows(series[:, None].astype(np.float32), length)
    base = TASKS["sine"]()
    return base.but(x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:], epochs=10, **changes)


def white_noise(seed: int) -> Recipe:
    series = np.random.default_rng(seed).normal(size=900 + 50 * seed)
    return series_recipe(series, 10 + 2 * seed, 600)


def random_walk(seed: int) -> Recipe:
    series = np.cumsum(np.random.default_rng(seed).normal(size=1200))
    return series_recipe(series, 8 + 3 * seed, 800 - 100 * (seed % 3))


def coin_labels(seed: int) -> Recipe:
    """Labels drawn by chance."""
    task = ("waves", "events", "recall")[seed % 3]
    recipe = TASKS[task](seed=seed)
    random = np.random.default_rng(seed)
    draw = random.integers
    return recipe.but(
        y=draw(0, recipe.classes, len(recipe.y)).astype(np.int32),
        truth=draw(0, recipe.classes, len(recipe.truth)),
        epochs=8,
    )


def noise_floor(seed: int) -> Recipe:
    """Most of the target is noise, and the model finds the rest."""
    recipe = TASKS[("sine", "adding", "filtered")[seed % 3]](seed=seed)
    random = np.random.default_rng(seed)
    spread = 1.2 * float(recipe.y.std())
    y = recipe.y + spread * random.normal(size=recipe.y.shape)
    truth = recipe.truth + spread * random.normal(size=recipe.truth.shape)
    return recipe.but(y=y.astype(np.float32), truth=truth, epochs=8)


def accuracy_of_regression(seed: int) -> Recipe:
    """The metric says 0 while the fit is good."""
    return TASKS[("sine", "elnino", "weather", "adding")[seed % 4]](seed=seed).but(
        metrics=("accuracy",)
    )


def smell(number: int) -> Recipe:
    """Things that a rule would flag and that do no harm here."""
    changes: list[tuple[str, Callable[[Recipe], Recipe]]] = [
        ("recall", lambda r: r.but(lstm={"unit_forget_bias": False})),
        ("digits", lambda r: r.but(x=r.x * 4, x_test=r.x_test * 4)),
        ("waves", lambda r: r.but(fit={"shuffle": False})),
        ("text", lambda r: r.but(hidden=((32, "sigmoid"),))),
        ("adding", lambda r: r.but(units=(64,))),
        ("sine", lambda r: r.but(head=(1, "tanh"))),
        ("events", lambda r: TASKS["events"](share=0.12, seed=3).but(epochs=25)),
        ("vowels", lambda r: r.but(masking=None)),
        ("labelling", lambda r: r.but(batch_size=8)),
        ("names", lambda r: r.but(mask_zero=False)),
        ("filtered", lambda r: r.but(lstm={"activation": "softsign"})),
        ("elnino", lambda r: r.but(fit={"shuffle": False})),
    ]
    task, change = changes[number]
    return change(TASKS[task](seed=5))


def with_(function: Callable[[int], Recipe], number: int) -> Callable[[], Recipe]:
    return lambda: function(number)


HEALTHY = [
    Healthy(f"healthy-{n:03d}-{list(TASKS)[n % len(TASKS)]}", list(TASKS)[n % len(TASKS)],
            with_(varied, n))
    for n in range(HEALTHY_RUNS)
]  # fmt: skip
NOISE = ("no-signal", "naive-forecast")
NOT_A_BUG = [
    Healthy(f"{name}-{n}", name, with_(make, n), accepted, True)
    for name, make, count, accepted in (
        ("white-noise", white_noise, 4, NOISE),
        ("random-walk", random_walk, 5, NOISE),
        ("coin-labels", coin_labels, 3, NOISE),
        ("noise-floor", noise_floor, 4, NOISE),
        ("accuracy-of-regression", accuracy_of_regression, 4, ()),
        ("smell", smell, 12, ()),
    )
    for n in range(count)
]
