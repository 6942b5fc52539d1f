"""The tasks of the fault bench: small problems on which a healthy Keras LSTM does well in seconds.

A `Recipe` says everything that a user would have typed: data, layers, compile and fit. A task is
a function that gives the healthy recipe; a fault is a change of it (`faults.py`). Every skill is
on held-out data: 0 for the best constant, 1 for perfect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
VOWELS = HERE.parents[1] / "examples" / "japanese_vowels.npz"


class Setup(NamedTuple):
    """A compiled model and what would be passed to its `fit`, x and y among it."""

    model: Any
    fit: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """One set-up: data, layers, compile and fit arguments, and how its skill is measured."""

    task: str
    real: bool  # on real data
    kind: str  # classes | regression | steps-classes | steps-regression
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    truth: np.ndarray  # held-out targets as they really are, whatever the user makes of them
    classes: int = 0
    counted: np.ndarray | None = None  # held-out steps that count, where there is padding
    persistence: np.ndarray | None = None  # skill is then against this forecast
    # layers
    vocabulary: int = 0  # an Embedding in front
    embedding: int = 12
    mask_zero: bool = True
    masking: float | None = None  # a Masking layer in front
    front: tuple[Callable[[], Any], ...] = ()  # layers before the first LSTM
    units: tuple[int, ...] = (24,)
    lstm: Mapping[str, Any] = field(default_factory=dict)
    bidirectional: bool = False
    between: tuple[Callable[[], Any], ...] = ()  # layers after each LSTM
    sequences: bool = False  # the last LSTM gives every step
    pool: tuple[Callable[[], Any], ...] = ()  # layers after the last LSTM
    hidden: tuple[tuple[int, str], ...] = ()
    head: tuple[int, str] = (1, "linear")
    head_arguments: Mapping[str, Any] = field(default_factory=dict)
    after_head: tuple[Callable[[], Any], ...] = ()
    functional: bool = False
    edit: tuple[Callable[[Any], None], ...] = ()  # done to the built model before compile
    # compile
    loss: Any = "mse"
    metrics: tuple[Any, ...] = ()
    optimizer: str = "Adam"
    optimizer_arguments: Mapping[str, Any] = field(default_factory=lambda: {"learning_rate": 3e-3})
    compile_arguments: Mapping[str, Any] = field(default_factory=dict)
    # fit
    epochs: int = 15
    batch_size: int = 32
    fit: Mapping[str, Any] = field(default_factory=dict)
    callbacks: tuple[Callable[[], Any], ...] = ()
    seed: int = 0
    decode: Callable[[np.ndarray], np.ndarray] | None = None  # predictions to what truth holds

    def but(self, **changes: Any) -> Recipe:
        return replace(self, **changes)

    def build(self, seed: int | None = None) -> Setup:
        """The compiled model and its fit arguments; the same seed, the same weights."""
        return build(self if seed is None else replace(self, seed=seed))


def layer_list(recipe: Recipe) -> list[Any]:
    import keras

    layers: list[Any] = []
    if recipe.vocabulary:
        layers.append(
            keras.layers.Embedding(recipe.vocabulary, recipe.embedding, mask_zero=recipe.mask_zero)
        )
    if recipe.masking is not None:
        layers.append(keras.layers.Masking(recipe.masking))
    layers.extend(make() for make in recipe.front)
    for depth, units in enumerate(recipe.units):
        sequences = recipe.sequences or depth < len(recipe.units) - 1
        layer = keras.layers.LSTM(units, return_sequences=sequences, **recipe.lstm)
        layers.append(keras.layers.Bidirectional(layer) if recipe.bidirectional else layer)
        layers.extend(make() for make in recipe.between)
    layers.extend(make() for make in recipe.pool)
    layers.extend(keras.layers.Dense(units, activation=a) for units, a in recipe.hidden)
    units, activation = recipe.head
    layers.append(keras.layers.Dense(units, activation=activation, **recipe.head_arguments))
    layers.extend(make() for make in recipe.after_head)
    return layers


def optimizer(recipe: Recipe) -> Any:
    import keras

    return getattr(keras.optimizers, recipe.optimizer)(**recipe.optimizer_arguments)


def build(recipe: Recipe) -> Setup:
    import keras

    keras.utils.set_random_seed(recipe.seed)
    batch = recipe.batch_size if recipe.lstm.get("stateful") else None
    dtype = "int32" if recipe.vocabulary else "float32"
    inputs = keras.Input(recipe.x.shape[1:], batch_size=batch, dtype=dtype)
    layers = layer_list(recipe)
    if recipe.functional:
        outputs = inputs
        for layer in layers:
            outputs = layer(outputs)
        model = keras.Model(inputs, outputs)
    else:
        model = keras.Sequential([inputs, *layers])
    for change in recipe.edit:
        change(model)
    loss = recipe.loss() if isinstance(recipe.loss, type) else recipe.loss
    model.compile(
        optimizer=optimizer(recipe),
        loss=loss,
        metrics=list(recipe.metrics),
        **recipe.compile_arguments,
    )
    fit: dict[str, Any] = {
        "x": recipe.x,
        "y": recipe.y,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
    }
    fit |= recipe.fit
    if recipe.callbacks:
        fit["callbacks"] = [make() for make in recipe.callbacks]
    return Setup(model, fit)


def decode(recipe: Recipe, output: np.ndarray, *, own: bool = True) -> np.ndarray:
    """Predictions in the coding of `truth`: class numbers, or values."""
    if own and recipe.decode is not None:
        return recipe.decode(output)
    shape = recipe.truth.shape
    if recipe.kind.endswith("regression"):
        if output.size == recipe.truth.size:
            return output.reshape(shape)
        if output.ndim == 3 and len(shape) == 1:  # every step predicts: the last one is meant
            return output[:, -1].mean(axis=-1)
        return output.reshape(len(output), -1)[:, :1].repeat(recipe.truth[0].size, 1).reshape(shape)
    labels = class_numbers(recipe, output)
    if labels.ndim == 2 and len(shape) == 1:
        labels = labels[:, -1]
    if labels.ndim == 1 and len(shape) == 2:
        labels = labels[:, None].repeat(shape[1], 1)
    return labels


def class_numbers(recipe: Recipe, output: np.ndarray) -> np.ndarray:
    if output.shape[-1] > 1:
        return output.argmax(axis=-1)
    if recipe.classes == 2:
        return (output[..., 0] > 0.5).astype(int)
    return np.rint(np.nan_to_num(output[..., 0])).astype(int)


def score(recipe: Recipe, predicted: np.ndarray) -> float:
    """Held-out skill of decoded predictions: balanced accuracy over chance, or R squared."""
    truth = recipe.truth
    if recipe.counted is not None:
        truth, predicted = truth[recipe.counted], predicted[recipe.counted]
    if not np.isfinite(predicted).all():
        return -1.0
    if not recipe.kind.endswith("regression"):
        seen = np.unique(truth)
        recall = np.mean([(predicted[truth == label] == label).mean() for label in seen])
        return float((recall - 1 / len(seen)) / (1 - 1 / len(seen)))
    reference = truth.mean() if recipe.persistence is None else recipe.persistence
    error = np.mean((predicted.astype(np.float64) - truth) ** 2)
    return float(max(-1.0, 1 - error / np.mean((truth - reference) ** 2)))


def skill(recipe: Recipe, model: Any, x_test: np.ndarray | None = None) -> float:
    """Held-out skill of a trained model of this recipe."""
    x_test = recipe.x_test if x_test is None else x_test
    batch = recipe.batch_size if recipe.lstm.get("stateful") else 256
    usable = len(x_test) - len(x_test) % batch if recipe.lstm.get("stateful") else len(x_test)
    output = np.asarray(model.predict(x_test[:usable], batch_size=batch, verbose=0))
    part = recipe
    if usable < len(x_test):
        part = replace(
            recipe,
            truth=recipe.truth[:usable],
            counted=None if recipe.counted is None else recipe.counted[:usable],
            persistence=None if recipe.persistence is None else recipe.persistence[:usable],
        )
    return score(part, decode(part, output))


# ---- data -------------------------------------------------------------------------------------


@cache
def stored(name: str) -> dict[str, np.ndarray]:
    path = VOWELS if name == "vowels" else HERE / "data" / f"{name}.npz"
    with np.load(path, allow_pickle=False) as data:
        return {key: data[key] for key in data.files if key != "note"}


def windows(series: np.ndarray, length: int, horizon: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Windows (N, length, features) of a series (time, features) and the step after them."""
    n = len(series) - length - horizon + 1
    x = np.stack([series[t : t + length] for t in range(n)])
    return x.astype(np.float32), series[length + horizon - 1 :].astype(np.float32)


def vowels(seed: int = 0) -> Recipe:
    """Which of nine speakers? Real, padded with zeros."""
    data = stored("vowels")
    order = np.random.default_rng(seed).permutation(len(data["y_train"]))
    return Recipe(
        task="vowels", real=True, kind="classes", classes=9,
        x=data["x_train"][order], y=data["y_train"][order],
        x_test=data["x"], truth=data["y"],
        masking=0.0, units=(32,), head=(9, "softmax"),
        loss="sparse_categorical_crossentropy", metrics=("accuracy",),
        optimizer_arguments={"learning_rate": 1e-2}, epochs=25, seed=seed,
    )  # fmt: skip


def digits(seed: int = 0, n: int = 600) -> Recipe:
    """Which digit? Real, eight rows as steps."""
    data = stored("digits")
    order = np.random.default_rng(seed).permutation(len(data["y"]))
    train, test = order[:n], order[-500:]
    x, y = (data["x"] / np.float32(16)).astype(np.float32), data["y"].astype(np.int32)
    return Recipe(
        task="digits", real=True, kind="classes", classes=10,
        x=x[train], y=y[train], x_test=x[test], truth=y[test],
        units=(32,), head=(10, "softmax"),
        loss="sparse_categorical_crossentropy", metrics=("accuracy",),
        optimizer_arguments={"learning_rate": 5e-3}, epochs=20, seed=seed,
    )  # fmt: skip


def names(seed: int = 0, n: int = 1000) -> Recipe:
    """Which language is this family name of? Real text, padded."""
    data = stored("names")
    order = np.random.default_rng(seed).permutation(len(data["y"]))
    train, test = order[:n], order[-500:]
    x, y = data["x"].astype(np.int32), data["y"].astype(np.int32)
    return Recipe(
        task="names", real=True, kind="classes", classes=4,
        x=x[train], y=y[train], x_test=x[test], truth=y[test],
        vocabulary=27, embedding=12, units=(24,), head=(4, "softmax"),
        loss="sparse_categorical_crossentropy", metrics=("accuracy",),
        optimizer_arguments={"learning_rate": 5e-3}, epochs=12, seed=seed,
    )  # fmt: skip


def sunspots(seed: int = 0, length: int = 20, horizon: int = 1) -> Recipe:
    """Next year's sunspot number. Real, split by time."""
    series = stored("sunspots")["number"][:, None] / 50 - 1
    x, y = windows(series, length, horizon)
    cut = 240 - length
    return Recipe(
        task="sunspots", real=True, kind="regression",
        x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:],
        units=(16,), optimizer_arguments={"learning_rate": 5e-3}, epochs=40, batch_size=16,
        seed=seed,
    )  # fmt: skip


def elnino(seed: int = 0, length: int = 12, horizon: int = 2) -> Recipe:
    """Sea surface temperature two months ahead. Real, split by time."""
    series = stored("elnino")["celsius"][:, None]
    series = (series - 23.2) / 2.2
    x, y = windows(series, length, horizon)
    cut = 560 - length
    return Recipe(
        task="elnino", real=True, kind="regression",
        x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:],
        units=(16,), optimizer_arguments={"learning_rate": 5e-3}, epochs=20, seed=seed,
    )  # fmt: skip


def weather_series() -> np.ndarray:
    """Rain, highest and lowest temperature and wind of each day, standardized (time, 4)."""
    data = stored("weather")
    series = np.stack([data[c] for c in ("precipitation", "temp_max", "temp_min", "wind")], 1)
    return (series - series[:1000].mean(0)) / series[:1000].std(0)


def weather(seed: int = 0, length: int = 7) -> Recipe:
    """Tomorrow's highest temperature from a week of four quantities. Real, split by time."""
    x, y = windows(weather_series(), length)
    y = y[:, 1:2]
    cut = 1000
    return Recipe(
        task="weather", real=True, kind="regression",
        x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:],
        units=(20,), optimizer_arguments={"learning_rate": 3e-3}, epochs=12, seed=seed,
    )  # fmt: skip


def co2(seed: int = 0, length: int = 26, horizon: int = 8) -> Recipe:
    """CO2 two months ahead as the change from today. Real, split by time; skill is against
    persistence."""
    series = stored("co2")["ppm"][::2]
    x, y = windows(series[:, None], length, horizon // 2)
    last = x[:, -1]
    x, y, cut = (x - last[:, None]) / 3.0, (y - last) / 3.0, 800
    return Recipe(
        task="co2", real=True, kind="regression",
        x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:],
        persistence=np.zeros_like(y[cut:]),
        units=(16,), optimizer_arguments={"learning_rate": 5e-3}, epochs=15, seed=seed,
    )  # fmt: skip


def split(x: np.ndarray, y: np.ndarray, n: int) -> dict[str, np.ndarray]:
    return {"x": x[:n], "y": y[:n], "x_test": x[n:], "truth": y[n:]}


def adding(seed: int = 0, length: int = 8, n: int = 1200) -> Recipe:
    """The sum of the two marked numbers."""
    random = np.random.default_rng(seed)
    values = random.uniform(-1, 1, (n + 400, length))
    marks = np.zeros_like(values)
    rows = np.arange(len(values))
    marks[rows, random.integers(0, length // 2, len(values))] = 1
    marks[rows, random.integers(length // 2, length, len(values))] = 1
    x = np.stack([values, marks], -1).astype(np.float32)
    y = (values * marks).sum(1, keepdims=True).astype(np.float32)
    return Recipe(
        task="adding", real=False, kind="regression", **split(x, y, n),
        units=(24,), optimizer_arguments={"learning_rate": 1e-2}, epochs=20, seed=seed,
    )  # fmt: skip


def sine(seed: int = 0, length: int = 24, n: int = 500, noise: float = 0.1) -> Recipe:
    """The next value of a noisy sine of random frequency and phase."""
    random = np.random.default_rng(seed)
    step = np.arange(length + 1)
    frequency, phase = random.uniform(0.2, 0.7, (n + 300, 1)), random.uniform(0, 7, (n + 300, 1))
    waves = np.sin(frequency * step + phase)
    x = (waves + noise * random.normal(size=waves.shape))[:, :-1, None].astype(np.float32)
    y = waves[:, -1:].astype(np.float32)
    return Recipe(
        task="sine", real=False, kind="regression", **split(x, y, n),
        units=(20,), optimizer_arguments={"learning_rate": 5e-3}, epochs=20, seed=seed,
    )  # fmt: skip


def recall(seed: int = 0, length: int = 12, n: int = 700, symbols: int = 4) -> Recipe:
    """Which symbol stood first?"""
    random = np.random.default_rng(seed)
    codes = random.integers(0, symbols, (n + 400, length))
    x = np.eye(symbols, dtype=np.float32)[codes]
    return Recipe(
        task="recall", real=False, kind="classes", classes=symbols,
        **split(x, codes[:, 0].astype(np.int32), n),
        units=(24,), head=(symbols, "softmax"), loss="sparse_categorical_crossentropy",
        metrics=("accuracy",), optimizer_arguments={"learning_rate": 1e-2}, epochs=20, seed=seed,
    )  # fmt: skip


def labelling(seed: int = 0, length: int = 15, n: int = 300) -> Recipe:
    """For each step: are the last three inputs positive in sum?"""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n + 200, length, 2)).astype(np.float32)
    total = x[..., 0].copy()
    total[:, 1:] += x[:, :-1, 0]
    total[:, 2:] += x[:, :-2, 0]
    y = (total > 0).astype(np.int32)[..., None]
    data = split(x, y, n)
    return Recipe(
        task="labelling", real=False, kind="steps-classes", classes=2,
        **{**data, "truth": data["truth"][..., 0]},
        units=(24,), sequences=True, head=(1, "sigmoid"), loss="binary_crossentropy",
        metrics=("accuracy",), optimizer_arguments={"learning_rate": 1e-2}, epochs=15, seed=seed,
    )  # fmt: skip


def text(seed: int = 0, length: int = 20, n: int = 800) -> Recipe:
    """Which of two words comes first? Integer sequences of different length, padded with zeros."""
    random = np.random.default_rng(seed)
    x = np.zeros((n + 400, length), np.int32)
    y = random.integers(0, 3, n + 400).astype(np.int32)
    for row, label in zip(x, y, strict=True):
        size = random.integers(5, length * 3 // 4)
        row[:size] = random.integers(3, 40, size)
        first, second = sorted(random.choice(size, 2, replace=False))
        row[first] = (1, 2, 1)[label]
        row[second] = (2, 1, 1)[label]
    return Recipe(
        task="text", real=False, kind="classes", classes=3, **split(x, y, n),
        vocabulary=40, embedding=8, units=(24,), head=(3, "softmax"),
        loss="sparse_categorical_crossentropy", metrics=("accuracy",),
        optimizer_arguments={"learning_rate": 1e-2}, epochs=15, seed=seed,
    )  # fmt: skip


def events(seed: int = 0, length: int = 20, n: int = 700, share: float = 0.3) -> Recipe:
    """Is there a bump in the noise? `share` of the sequences have one."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 0.5, (n + 600, length, 2)).astype(np.float32)
    y = (random.random(n + 600) < share).astype(np.int32)
    bump = 1.8 * np.array([0.5, 1.0, 1.0, 0.5], np.float32)
    for row in np.flatnonzero(y):
        start = random.integers(0, length - 4)
        x[row, start : start + 4, 0] += bump
        x[row, start : start + 4, 1] -= bump
    return Recipe(
        task="events", real=False, kind="classes", classes=2, **split(x, y, n),
        units=(20,), head=(1, "sigmoid"), loss="binary_crossentropy", metrics=("accuracy",),
        optimizer_arguments={"learning_rate": 5e-3}, epochs=15, seed=seed,
    )  # fmt: skip


def waves(seed: int = 0, length: int = 30, n: int = 400, noise: float = 0.3) -> Recipe:
    """Sine, square, saw tooth or triangle, in noise?"""
    random = np.random.default_rng(seed)
    phase = (
        random.uniform(0.03, 0.1, (n + 400, 1)) * np.arange(length)
        + random.uniform(0, 1, (n + 400, 1))
    ) % 1
    shapes = np.stack(
        [np.sin(2 * np.pi * phase), np.sign(phase - 0.5), 2 * phase - 1, 4 * abs(phase - 0.5) - 1]
    )
    y = random.integers(0, 4, n + 400).astype(np.int32)
    x = shapes[y, np.arange(n + 400)] + noise * random.normal(size=phase.shape)
    return Recipe(
        task="waves", real=False, kind="classes", classes=4,
        **split(x[..., None].astype(np.float32), y, n),
        units=(24,), head=(4, "softmax"), loss="sparse_categorical_crossentropy",
        metrics=("accuracy",), optimizer_arguments={"learning_rate": 1e-2}, epochs=30, seed=seed,
    )  # fmt: skip


def filtered(seed: int = 0, length: int = 20, n: int = 300) -> Recipe:
    """Many to many: the output of a leaky filter with a product of its two inputs."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(n + 200, length, 2)).astype(np.float32)
    y = np.zeros((n + 200, length, 1), np.float32)
    for t in range(length):
        before = y[:, t - 1, 0] if t else 0
        y[:, t, 0] = 0.7 * before + 0.5 * x[:, t, 0] + 0.3 * x[:, t, 1]
    return Recipe(
        task="filtered", real=False, kind="steps-regression", **split(x, y, n),
        units=(24,), sequences=True, optimizer_arguments={"learning_rate": 1e-2}, epochs=15,
        seed=seed,
    )  # fmt: skip


TASKS: dict[str, Callable[..., Recipe]] = {
    f.__name__: f
    for f in (
        vowels, digits, names, sunspots, elnino, weather, co2,
        adding, sine, recall, labelling, text, events, waves, filtered,
    )
}  # fmt: skip
