"""What the diagnosis has to beat: a defaults fixer, AutoTrainer's rules, a random remedy.

Each rival takes a `Recipe`, as a person with the script would, and gives the causes it names, the
likeliest first, and the recipe it would train instead.

References
----------
X. Zhang, J. Zhai, S. Ma, C. Shen, "AUTOTRAINER: An Automatic DNN Training Problem Detection and
Repair System", ICSE 2021: the five problems, their thresholds and repairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from faults import chrono, layer
from parts import order
from tasks import Recipe, Setup, class_numbers

CAUSES = (
    "insufficient-data", "class-imbalance", "data-scale", "data-quality", "input-encoding",
    "data-split", "masking", "window", "no-signal", "naive-forecast", "output-loss-mismatch",
    "wiring", "too-small", "too-large", "activation", "learning-rate-high", "learning-rate-low",
    "optimizer", "batch-size", "vanishing-gradient", "exploding-gradient", "initialization",
    "over-regularized", "under-trained",
)  # fmt: skip


class Answer(NamedTuple):
    causes: tuple[frozenset[str], ...]  # each guess may stand for several causes
    repaired: Recipe | None


# ---- the defaults fixer -----------------------------------------------------------------------


def right_head(recipe: Recipe) -> dict[str, Any]:
    """The textbook's head and loss for the kind of target."""
    units = recipe.head[0]
    if recipe.kind.endswith("regression"):
        return {"head": (max(1, int(np.shape(recipe.y)[-1])), "linear"), "loss": "mse"}
    if recipe.classes == 2 and units == 1:
        return {"head": (1, "sigmoid"), "loss": "binary_crossentropy"}
    return {"head": (recipe.classes, "softmax"), "loss": "sparse_categorical_crossentropy"}


def standardized(recipe: Recipe) -> Recipe:
    if recipe.vocabulary or not np.isfinite(recipe.x).all():
        return recipe
    axes = tuple(range(recipe.x.ndim - 1))
    center, spread = recipe.x.mean(axes), recipe.x.std(axes) + 1e-7
    return recipe.but(
        x=((recipe.x - center) / spread).astype(np.float32),
        x_test=((recipe.x_test - center) / spread).astype(np.float32),
    )


def off_scale(recipe: Recipe) -> bool:
    if recipe.vocabulary:
        return False
    return bool(abs(recipe.x.mean()) > 3 or not 0.1 < recipe.x.std() < 10)


def defaults_fixer(recipe: Recipe) -> Answer:
    """Adam at 1e-3, standardized inputs, the right head; names what it had to change."""
    named = []
    right = right_head(recipe)
    wrong_head = (recipe.head, recipe.loss) != (right["head"], right["loss"])
    if wrong_head or recipe.after_head:
        named.append(frozenset({"output-loss-mismatch"}))
    if off_scale(recipe):
        named.append(frozenset({"data-scale"}))
    rate = recipe.optimizer_arguments["learning_rate"]
    if recipe.optimizer not in ("Adam", "AdamW", "Nadam", "RMSprop"):
        named.append(frozenset({"optimizer"}))
    elif rate > 1e-2:
        named.append(frozenset({"learning-rate-high"}))
    elif rate < 1e-4:
        named.append(frozenset({"learning-rate-low"}))
    repaired = standardized(recipe).but(
        **right, after_head=(), optimizer="Adam", optimizer_arguments={"learning_rate": 1e-3}
    )
    if wrong_head:
        repaired = repaired.but(decode=None)
    return Answer(tuple(named), repaired)


# ---- AutoTrainer's rules ----------------------------------------------------------------------

VANISH_RATIO = 1e-3  # first kernel's gradient norm over the last one's, and
VANISH_NORM = 1e-4  # the first kernel's norm itself
EXPLODE_RATIO = 70.0
DEAD_SHARE = 0.7  # of all gradient entries are zero
SLOW = 0.01  # largest gain of accuracy from one epoch to the next
SWING, SWING_SHARE = 0.03, 0.2  # of the accuracy; in this share of the epochs
SATISFIED = 0.7  # accuracy below which a run is asked about
JUDGED_FROM = 0.3  # of the epochs


def accuracy(recipe: Recipe, y: np.ndarray, output: np.ndarray) -> float:
    """Accuracy; for regression, which the paper leaves open, R squared."""
    if recipe.kind.endswith("regression"):
        if output.shape != y.shape or not np.isfinite(output).all():
            return 0.0
        return float(1 - np.mean((output - y) ** 2) / (np.var(y) + 1e-12))
    found = class_numbers(recipe, output)
    return float(np.mean(found == y.reshape(found.shape))) if found.size == y.size else 0.0


def gradients(setup: Setup, batch: int) -> list[np.ndarray]:
    """Of every kernel, on the first batch (TensorFlow)."""
    import tensorflow as tf

    x, y = setup.fit["x"][:batch], setup.fit["y"][:batch]
    kernels = [v for v in setup.model.trainable_variables if "kernel" in v.path]
    with tf.GradientTape() as tape:
        loss = setup.model.compute_loss(x, y, setup.model(x, training=True))
    found = tape.gradient(loss, [kernel.value for kernel in kernels])
    return [np.asarray(g) for g in found if g is not None]


def swings(accuracies: list[float]) -> bool:
    highs, lows = [], []
    for before, now, after in zip(accuracies, accuracies[1:], accuracies[2:], strict=False):
        if now >= before and now >= after:
            highs.append(now)
        if now <= before and now <= after:
            lows.append(now)
    pairs = zip(highs, lows, strict=False)
    return sum(h - w >= SWING for h, w in pairs) >= SWING_SHARE * len(accuracies)


def gradient_problem(found: list[np.ndarray]) -> str:
    zero = sum(int((g == 0).sum()) for g in found) / max(1, sum(g.size for g in found))
    first, last = np.linalg.norm(found[0]), np.linalg.norm(found[-1])
    ratio = first / max(float(last), 1e-30)
    if zero >= DEAD_SHARE:
        return "dying-relu"
    if ratio > EXPLODE_RATIO:
        return "exploding"
    if ratio < VANISH_RATIO and first < VANISH_NORM:
        return "vanishing"
    return ""


def epoch_problem(
    losses: list[float], accuracies: list[float], found: list[np.ndarray], epochs: int
) -> str:
    bad = not np.isfinite(losses[-1]) or losses[-1] >= 1e5
    if bad or not all(np.isfinite(g).all() for g in found):
        return "exploding"
    if not found or len(losses) < JUDGED_FROM * epochs:
        return ""
    slow = len(accuracies) > 1 and max(np.diff(accuracies)) < SLOW
    if max(accuracies) < SATISFIED or slow:
        return gradient_problem(found) or ("slow" if slow else "")
    return "oscillating" if swings(accuracies) else ""


MEANS: dict[str, frozenset[str]] = {
    "vanishing": frozenset({"vanishing-gradient"}),
    "exploding": frozenset({"exploding-gradient"}),
    "dying-relu": frozenset({"activation"}),
    "slow": frozenset({"learning-rate-low", "optimizer", "initialization"}),
    "oscillating": frozenset({"learning-rate-high", "batch-size"}),
}


def rate_times(factor: float) -> Callable[[Recipe], Recipe]:
    def change(recipe: Recipe) -> Recipe:
        rate = recipe.optimizer_arguments["learning_rate"]
        return recipe.but(
            optimizer_arguments={**recipe.optimizer_arguments, "learning_rate": rate * factor}
        )

    return change


def clipping(recipe: Recipe) -> Recipe:
    return recipe.but(optimizer_arguments={**recipe.optimizer_arguments, "clipnorm": 1.0})


def batch_normalized(recipe: Recipe) -> Recipe:
    return recipe.but(between=(*recipe.between, layer("BatchNormalization")))


# The first repair that the paper lists for each problem and that an LSTM can take.
REPAIRS: dict[str, Callable[[Recipe], Recipe]] = {
    "vanishing": batch_normalized,
    "exploding": clipping,
    "dying-relu": batch_normalized,
    "slow": rate_times(10.0),
    "oscillating": rate_times(0.1),
}


def autotrainer(recipe: Recipe) -> Answer:
    """Trains the user's set-up and asks its rules after every epoch; the first that rings."""
    setup = recipe.build()
    fit = {**setup.fit, "epochs": 1, "verbose": 0}
    losses: list[float] = []
    accuracies: list[float] = []
    for _ in range(recipe.epochs):
        losses += setup.model.fit(**fit).history["loss"]
        output = np.asarray(setup.model.predict(recipe.x, batch_size=recipe.batch_size, verbose=0))
        accuracies.append(accuracy(recipe, recipe.y, output))
        try:
            found = gradients(setup, recipe.batch_size)
        except (ValueError, TypeError):
            found = []
        problem = epoch_problem(losses, accuracies, found, recipe.epochs)
        if problem:
            return Answer((MEANS[problem],), REPAIRS[problem](recipe))
    return Answer((), None)


# ---- a random remedy --------------------------------------------------------------------------


def weights_by_class(recipe: Recipe) -> Recipe:
    if recipe.kind != "classes":
        return recipe
    labels, counts = np.unique(recipe.y, return_counts=True)
    weights = {int(k): len(recipe.y) / len(labels) / n for k, n in zip(labels, counts, strict=True)}
    return recipe.but(fit={**recipe.fit, "class_weight": weights})


def resized(factor: float) -> Callable[[Recipe], Recipe]:
    return lambda r: r.but(units=tuple(max(1, int(u * factor)) for u in r.units))


def without(recipe: Recipe, *keys: str) -> Recipe:
    return recipe.but(lstm={k: v for k, v in recipe.lstm.items() if k not in keys})


REMEDIES: dict[str, Callable[[Recipe], Recipe] | None] = {
    "insufficient-data": None,
    "class-imbalance": weights_by_class,
    "data-scale": standardized,
    "data-quality": lambda r: r.but(x=np.nan_to_num(r.x), x_test=np.nan_to_num(r.x_test)),
    "input-encoding": None,
    "data-split": lambda r: r.but(fit={k: v for k, v in r.fit.items() if k != "validation_split"}),
    "masking": lambda r: r.but(mask_zero=not r.mask_zero, masking=None if r.masking == 0 else 0.0),
    "window": None,
    "no-signal": None,
    "naive-forecast": None,
    "output-loss-mismatch": lambda r: r.but(**right_head(r), after_head=(), decode=None),
    "wiring": lambda r: r.but(edit=(), pool=(), after_head=()),
    "too-small": resized(2.0),
    "too-large": resized(0.25),
    "activation": lambda r: without(r, "activation", "recurrent_activation"),
    "learning-rate-high": rate_times(0.1),
    "learning-rate-low": rate_times(10.0),
    "optimizer": lambda r: r.but(optimizer="Adam", optimizer_arguments={"learning_rate": 1e-3}),
    "batch-size": lambda r: r.but(batch_size=32),
    "vanishing-gradient": lambda r: chrono(r, max(3, r.x.shape[1])),
    "exploding-gradient": clipping,
    "initialization": lambda r: without(
        r, "kernel_initializer", "recurrent_initializer", "bias_initializer"
    ).but(head_arguments={}),
    "over-regularized": lambda r: without(
        r, "dropout", "recurrent_dropout", "kernel_regularizer", "recurrent_regularizer"
    ).but(between=(), head_arguments={}),
    "under-trained": lambda r: r.but(epochs=3 * r.epochs, callbacks=()),
}


def random_remedy(recipe: Recipe, name: str) -> Answer:
    """Three verdicts drawn from the causes and "nothing is wrong", the first one applied."""
    random = np.random.default_rng(int(order(f"random {name}")[:8], 16))
    drawn = random.permutation([*CAUSES, "healthy"])[:3]
    if drawn[0] == "healthy":
        return Answer((), None)
    remedy = REMEDIES[drawn[0]]
    return Answer(
        tuple(frozenset({str(cause)}) for cause in drawn), remedy(recipe) if remedy else None
    )
