"""Cases and healthy runs that were added once the part to develop on had become too easy.

All of them are for development; which of the older ones is only measured on does not change.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from faults import (
    Case,
    add,
    batch,
    chrono,
    clipped,
    clipped_at_zero,
    crop,
    fewer,
    forget_bias,
    history,
    holes,
    layer,
    learning_rate,
    long_recall,
    lossy,
    misaligned,
    narrow,
    noisy_few,
    one_against_rest,
    outliers,
    oversized,
    pad_more,
    pooled,
    quiet_tail,
    rare_events,
    scaled,
    tiny_batch,
    unbounded,
    unchanged,
    weighted,
)
from healthy import NOISE, Healthy, with_
from tasks import TASKS, Recipe

LATER: list[Case] = []
later = functools.partial(add, to=LATER)

# ---- masks ------------------------------------------------------------------------------------


def padded_with(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    """Longer, and the padding is another number than zero."""
    length, number = level
    recipe = pad_more(recipe, length)

    def written(x: np.ndarray) -> np.ndarray:
        blank = (x == 0).all(-1, keepdims=True) if x.ndim == 3 else x == 0
        return np.where(blank, number, x).astype(x.dtype)

    return recipe.but(
        x=written(recipe.x), x_test=written(recipe.x_test),
        masking=None if recipe.vocabulary else number,
        vocabulary=max(recipe.vocabulary, int(number) + 1) if recipe.vocabulary else 0,
    )  # fmt: skip


def as_the_task(recipe: Recipe, level: Any) -> Recipe:
    return TASKS[recipe.task]()


later("padded-with-another-number", "masking", lambda r, level: r.but(masking=None),
      {"vowels": [(60, -1.0)], "text": [(60, 40)]},
      prepare=padded_with, repair=as_the_task, plain=True,
      also=("vanishing-gradient",))  # fmt: skip


def behind_batch_normalization(recipe: Recipe, level: int) -> Recipe:
    """The mask is looked for where the padding is no longer zero."""
    front = (layer("BatchNormalization"), layer("Masking", 0.0))
    return recipe.but(masking=None, front=front)


later("mask-behind-normalization", "masking", behind_batch_normalization,
      {"vowels": [70]}, prepare=pad_more, plain=True, also=("vanishing-gradient",))  # fmt: skip


def lost_on_the_way(recipe: Recipe, level: int) -> Recipe:
    """A layer between the Embedding and the LSTM that passes no mask on."""
    return recipe.but(front=(layer("Reshape", (level, recipe.embedding)),))


later("mask-lost-on-the-way", "masking", lost_on_the_way, {"names": [55], "text": [70]},
      prepare=pad_more, plain=True, also=("vanishing-gradient",))  # fmt: skip


def mean_over_steps(recipe: Recipe, level: int) -> Recipe:
    return pad_more(recipe.but(sequences=True, pool=(layer("GlobalAveragePooling1D"),)), level)


later("mean-over-padding", "masking", lambda r, level: r.but(mask_zero=False, masking=None),
      {"names": [150]}, prepare=mean_over_steps)  # fmt: skip


def codes_from_zero(recipe: Recipe, level: int) -> Recipe:
    """Whole numbers 0, 1, 2, … through an Embedding, no number of which is padding."""

    def codes(x: np.ndarray) -> np.ndarray:
        if x.shape[-1] > 1:
            return x.argmax(-1).astype(np.int32)
        return np.clip((x[..., 0] + 1.5) / 3 * level, 0, level - 1).astype(np.int32)

    return recipe.but(
        x=codes(recipe.x), x_test=codes(recipe.x_test), vocabulary=level, mask_zero=False
    )


later("mask-deletes-a-code", "masking", lambda r, level: r.but(mask_zero=True),
      {"recall": [4], "sine": [4]},
      prepare=lambda r, level: codes_from_zero(r, level).but(epochs=2 * r.epochs))  # fmt: skip
later("mask-deletes-quiet-steps", "masking", lambda r, level: r.but(masking=0.0),
      {"filtered": [0], "labelling": [0]}, prepare=clipped_at_zero)  # fmt: skip

# ---- uneven classes ---------------------------------------------------------------------------


def one_or_not(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    return one_against_rest(recipe, level).but(
        epochs=max(5, recipe.epochs // 2), optimizer_arguments={"learning_rate": 3e-3}
    )


def one_of_most(recipe: Recipe, level: tuple[int, int]) -> Recipe:
    """One class as it was; of each of the others so many."""
    label, count = level
    kept = [
        np.flatnonzero(recipe.y == number)[: None if number == label else count]
        for number in range(recipe.classes)
    ]
    rows = np.random.default_rng(5).permutation(np.concatenate(kept))
    return recipe.but(x=recipe.x[rows], y=recipe.y[rows])


def weighted_all(recipe: Recipe, level: Any) -> Recipe:
    share = np.bincount(recipe.y, minlength=recipe.classes) / len(recipe.y)
    weights = {number: float(1 / (recipe.classes * p)) for number, p in enumerate(share)}
    return recipe.but(fit={**recipe.fit, "class_weight": weights})


def rare_steps(recipe: Recipe, level: float) -> Recipe:
    """For each step: is the sum of the last three inputs above a level that is seldom reached?"""

    def labels(x: np.ndarray) -> np.ndarray:
        total = sum(np.pad(x[..., 0], ((0, 0), (lag, 0)))[:, : x.shape[1]] for lag in range(3))
        return (total > level).astype(np.int32)

    return recipe.but(
        y=labels(recipe.x)[..., None], truth=labels(recipe.x_test),
        epochs=5, optimizer_arguments={"learning_rate": 3e-3},
    )  # fmt: skip


def weighted_steps(recipe: Recipe, level: float) -> Recipe:
    share = float(recipe.y.mean())
    weights = np.where(recipe.y[..., 0] == 1, 0.5 / share, 0.5 / (1 - share))
    return recipe.but(fit={**recipe.fit, "sample_weight": weights})


later("rare-class-later", "class-imbalance", unchanged,
      {"digits": [(5, 0.05)], "names": [(0, 0.06)], "text": [(1, 0.04), (0, 0.08)],
       "recall": [(2, 0.05)], "waves": [(1, 0.05)]},
      prepare=one_or_not, repair=weighted, also=("under-trained",))  # fmt: skip
later("rare-event-later", "class-imbalance", unchanged, {"events": [(1, 0.02)]},
      prepare=rare_events, repair=weighted, also=("under-trained",))  # fmt: skip
later("one-of-most", "class-imbalance", unchanged,
      {"names": [(0, 20)], "digits": [(3, 6)]},
      prepare=one_of_most, repair=weighted_all, also=("under-trained",))  # fmt: skip
later("rare-steps", "class-imbalance", unchanged, {"labelling": [3.0, 2.4]},
      prepare=rare_steps, repair=weighted_steps, also=("under-trained",))  # fmt: skip

# ---- too few, too large, too small ------------------------------------------------------------

later("few-sequences", "insufficient-data", fewer,
      {"sine": [20], "events": [40, 20], "weather": [40], "labelling": [10]},
      remediable=False)  # fmt: skip
later("few-and-split", "insufficient-data",
      lambda r, n: fewer(r, n).but(fit={"validation_split": 0.25}),
      {"digits": [100]}, remediable=False)  # fmt: skip
later("oversized-later", "too-large", oversized,
      {"adding": [(100, 0.6)], "co2": [(100, 1.0)], "weather": [(60, 1.0)]},
      prepare=noisy_few, also=("insufficient-data",))  # fmt: skip
later("narrow-later", "too-small", narrow,
      {"digits": [(4, 0)], "text": [(2, 0)], "waves": [(3, 0)],
       "filtered": [(1, 0)]})  # fmt: skip
later("narrow-still", "too-small", narrow,
      {"digits": [(3, 0)], "recall": [(2, 0)], "names": [(24, 1)], "vowels": [(2, 0)],
       "labelling": [(2, 0)], "waves": [(2, 0)], "sine": [(1, 0)]})  # fmt: skip

# ---- scale ------------------------------------------------------------------------------------


def one_column(recipe: Recipe, level: tuple[int, float, float]) -> Recipe:
    """One feature of several times a plus b."""
    column, a, b = level

    def changed(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[..., column] = x[..., column] * a + b
        return x

    return recipe.but(x=changed(recipe.x), x_test=changed(recipe.x_test))


later("one-column-off", "data-scale", one_column,
      {"adding": [(0, 1e-3, 0), (0, 1, 200)], "labelling": [(0, 1e-3, 0)],
       "vowels": [(0, 1e3, 0)]})  # fmt: skip


def whole_numbers(recipe: Recipe, level: float) -> Recipe:
    """As a sensor or a camera stores them: integers of a large range."""
    return recipe.but(
        x=np.rint(recipe.x * level).astype(np.int32),
        x_test=np.rint(recipe.x_test * level).astype(np.int32),
    )


later("whole-numbers", "data-scale", whole_numbers,
      {"waves": [8000]})  # fmt: skip
later("targets-off", "data-scale", scaled,
      {"filtered": [(1, 0, 300, 0)], "co2": [(1, 0, 2e-3, 0)]},
      also=("learning-rate-low",))  # fmt: skip

# ---- data quality -----------------------------------------------------------------------------

later("stand-in", "data-quality", holes,
      {"weather": [(0.03, -999.0)], "adding": [(0.2, 1e3)], "events": [(0.04, -9999.0)]},
      also=("data-scale",))  # fmt: skip


def row_lost(recipe: Recipe, level: float) -> Recipe:
    """From a row on, y belongs to the sequence before: one was left out of x."""
    n = int(level * len(recipe.x))
    order = np.arange(len(recipe.x))
    order[n:] = np.maximum(order[n:] - 1, 0)
    return recipe.but(y=recipe.y[order])


later("row-lost", "data-quality", row_lost, {"digits": [0.3]},
      remediable=False)  # fmt: skip
later("misaligned-later", "data-quality", misaligned,
      {"text": [1.0], "recall": [-1], "labelling": [1.0, -2], "vowels": [1.0], "filtered": [1.0],
       "events": [0.8]},
      remediable=False, also=("no-signal",))  # fmt: skip
later("lossy-cast-later", "data-quality", lossy, {"sunspots": ["int32 xy"]},
      remediable=False, also=("no-signal",))  # fmt: skip
later("holes-later", "data-quality", holes,
      {"filtered": [(0.02, np.nan)], "digits": [(0.01, np.nan)], "events": [(0.02, np.inf)],
       "co2": [(0.02, np.nan)]})  # fmt: skip

# ---- windows ----------------------------------------------------------------------------------

later("short-history-later", "window", lambda r, level: crop(r, (-level["kept"], 0)),
      {"sine": [{"lag": 12, "window": 16, "kept": 4}, {"lag": 3, "window": 6, "kept": 1}],
       "filtered": [{"lag": 7, "window": 8, "kept": 6}],
       "co2": [{"window": 40, "kept": 8}]},
      prepare=history, remediable=False, also=("no-signal",))  # fmt: skip
later("short-window-later", "window", crop,
      {"sunspots": [(-1, 0)]},
      remediable=False, also=("no-signal", "input-encoding"))  # fmt: skip

# ---- gradients --------------------------------------------------------------------------------

later("unbounded-state", "exploding-gradient", unbounded,
      {"recall": [{"gain": 1.6, "rate": 0.3}], "labelling": [{"gain": 2.0, "rate": 0.3}]},
      repair=clipped, also=("activation", "initialization", "learning-rate-high"))  # fmt: skip


def amid_noise(recipe: Recipe, length: int) -> Recipe:
    """What matters stands between two long stretches of background noise."""

    def wrap(x: np.ndarray, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        quiet = np.zeros((len(x), length, x.shape[2]))
        full = np.concatenate([quiet, x, quiet], 1)
        return (full + 0.1 * random.normal(size=full.shape)).astype(np.float32)

    return recipe.but(x=wrap(recipe.x, 33), x_test=wrap(recipe.x_test, 34), masking=None)


later("amid-noise", "vanishing-gradient", unchanged,
      {"digits": [45], "recall": [40]}, prepare=amid_noise,
      repair=lambda r, level: r.but(sequences=True, pool=(layer("GlobalMaxPooling1D"),)),
      also=("initialization", "window", "masking", "wiring"))  # fmt: skip
later("forget-gate-shut", "vanishing-gradient", forget_bias, {"text": [-6.0], "waves": [-7.0]},
      also=("initialization",))  # fmt: skip

later("forget-gate-nearly-shut", "vanishing-gradient", forget_bias,
      {"recall": [-4.0]},
      also=("initialization",))  # fmt: skip
later("long-lag-later", "vanishing-gradient", unchanged, {"recall": [90]},
      prepare=long_recall, repair=chrono, also=("initialization", "window"))  # fmt: skip
later("quiet-tail-later", "vanishing-gradient", unchanged,
      {"digits": [55], "vowels": [40], "events": [40], "adding": [50]},
      prepare=quiet_tail, repair=pooled,
      also=("initialization", "window", "masking", "wiring"))  # fmt: skip
later("unbounded-still", "exploding-gradient", unbounded,
      {"text": [{"gain": 1.6, "rate": 0.3}], "digits": [{"gain": 1.6, "rate": 0.5}],
       "events": [{"gain": 2.0, "rate": 0.1}]},
      repair=clipped, also=("activation", "initialization", "learning-rate-high"))  # fmt: skip
later("outlier-targets-later", "exploding-gradient", outliers,
      {"sunspots": [1e3], "elnino": [3e2], "adding": [100], "filtered": [1e3]},
      repair=clipped,
      also=("data-quality", "data-scale", "learning-rate-high"))  # fmt: skip

# ---- optimizer --------------------------------------------------------------------------------

later("rate-somewhat-high", "learning-rate-high", learning_rate,
      {"digits": [("Adam", 0.06), ("Adam", 0.15)], "names": [("Adam", 0.1), ("Adam", 0.2)],
       "waves": [("Adam", 0.1), ("Adam", 0.25)], "labelling": [("Adam", 0.4)],
       "elnino": [("Nadam", 0.5)], "vowels": [("Adam", 0.15), ("Adam", 0.3)]},
      also=("exploding-gradient",))  # fmt: skip
later("whole-batch", "batch-size", batch,
      {"labelling": [300], "events": [700], "sine": [500]},
      also=("under-trained", "learning-rate-low"))  # fmt: skip
later("one-by-one", "batch-size", tiny_batch,
      {"recall": [(1, 0.05)], "events": [(1, 0.03)]},
      repair=lambda r, level: r.but(batch_size=32, epochs=25),
      also=("learning-rate-high",))  # fmt: skip


# ---- healthy ----------------------------------------------------------------------------------


def sound(number: int) -> Recipe:
    """Padding, masks, scales and sizes that look unusual and do no harm."""
    made = (
        lambda: padded_with(TASKS["vowels"](), (40, -1.0)),
        lambda: codes_from_zero(TASKS["recall"](seed=2, length=6), 4),
        lambda: in_front(TASKS["names"](seed=4)).but(mask_zero=False),
        lambda: in_front(TASKS["vowels"](seed=4)).but(masking=None),
        lambda: one_column(TASKS["filtered"](seed=3), (1, 0.3, 0.5)),
        lambda: TASKS["labelling"](n=150, seed=7).but(epochs=25),
        lambda: TASKS["adding"](seed=6).but(optimizer_arguments={"learning_rate": 0.03}),
        lambda: clipped_at_zero(TASKS["sine"](seed=2), 0),
    )
    return made[number]()


def in_front(recipe: Recipe) -> Recipe:
    """The padding before the content."""

    def turned(x: np.ndarray) -> np.ndarray:
        blank = (x == 0).all(-1) if x.ndim == 3 else x == 0
        lengths = x.shape[1] - np.logical_and.accumulate(blank[:, ::-1], axis=1).sum(1)
        return np.stack([np.roll(a, -n, axis=0) for a, n in zip(x, lengths, strict=True)])

    return recipe.but(x=turned(recipe.x), x_test=turned(recipe.x_test))


def labels_at_random(seed: int) -> Recipe:
    """Few sequences, whose labels were drawn by chance."""
    recipe = fewer(TASKS[("digits", "text", "events")[seed]](seed=seed), 150)
    random = np.random.default_rng(100 + seed)  # another than the task's own
    return recipe.but(
        y=random.integers(0, recipe.classes, len(recipe.y)).astype(np.int32),
        truth=random.integers(0, recipe.classes, len(recipe.truth)),
    )


def half_noise(seed: int) -> Recipe:
    """As much noise as signal in the targets of many sequences, and the model finds the signal."""
    recipe = TASKS[("adding", "labelling", "weather")[seed]](seed=seed + 3)
    random = np.random.default_rng(seed)
    if recipe.kind.endswith("classes"):
        flip = random.random(recipe.y.shape) < 0.3
        return recipe.but(y=np.where(flip, 1 - recipe.y, recipe.y).astype(np.int32), epochs=8)
    y = recipe.y + float(recipe.y.std()) * random.normal(size=recipe.y.shape)
    return recipe.but(y=y.astype(np.float32), epochs=8)


LATER_HEALTHY = [
    Healthy(f"{name}-{n}", name, with_(make, n), accepted, True)
    for name, make, count, accepted in (
        ("sound", sound, 8, ()),
        ("labels-at-random", labels_at_random, 3, NOISE),
        ("half-noise", half_noise, 3, NOISE),
    )
    for n in range(count)
]
