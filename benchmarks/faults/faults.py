"""The broken set-ups of the fault bench, each with its cause, its healthy twin and its fix.

A fault is a change of a healthy `Recipe`; a `Case` is that change at one severity on one task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tasks import TASKS, Recipe, Setup, windows

Make = Callable[[], Recipe]


@dataclass(frozen=True)
class Case:
    """A broken set-up; `fixed` is the smallest change that restores its skill."""

    name: str
    cause: str  # one of lstm_oracle.diagnosis.CAUSES
    task: str
    severity: int  # 1 is the mildest of its fault
    broken_recipe: Make = field(repr=False)
    fixed_recipe: Make = field(repr=False)
    also_right: tuple[str, ...] = ()  # causes whose remedy is as good, because equivalent
    decidable: bool = True  # False where what is broken leaves no trace in model and arrays
    remediable: bool = True  # False where no change of set-up can help: other data are needed
    twin: str = ""  # runs with the same twin have the same fix

    @property
    def real(self) -> bool:
        return self.task in REAL

    def build(self, seed: int = 0) -> Setup:
        return self.broken_recipe().build(seed)

    def fixed(self, seed: int = 0) -> Setup:
        return self.fixed_recipe().build(seed)


REAL = ("vowels", "digits", "names", "sunspots", "elnino", "weather", "co2")
CASES: list[Case] = []


def add(
    fault: str,
    cause: str,
    change: Callable[..., Recipe],
    levels: dict[str, list[Any]],
    *,
    also: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = (),
    prepare: Callable[..., Recipe] | None = None,
    repair: Callable[..., Recipe] | None = None,
    remediable: bool = True,
    decidable: Callable[[str], bool] = lambda task: True,
    plain: bool = False,
    to: list[Case] = CASES,
) -> None:
    """One case per task and level: `change(recipe, level)` breaks what `prepare(recipe, level)`
    made; the fix is `repair(broken, level)`, or the recipe as it was before the fault. `plain`: it
    trains exactly as the plain task does (masked padding is inert). `decidable`: whether, on a
    task, the arrays hold what tells the fault from a healthy set-up. `to`: the list it goes to."""
    for task, values in levels.items():
        for severity, level in enumerate(values, 1):

            def healthy(task: str = task, level: Any = level) -> Recipe:
                recipe = TASKS[task]()
                return recipe if prepare is None else prepare(recipe, level)

            def broken(healthy: Make = healthy, level: Any = level) -> Recipe:
                return change(healthy(), level)

            def fixed(healthy: Make = healthy, broken: Make = broken, level: Any = level) -> Recipe:
                return healthy() if repair is None else repair(broken(), level)

            name = f"{fault}-{task}-{severity}"
            own = (prepare is not None or repair is not None) and not plain
            twin = name if own else f"healthy {task}"
            too = also(level) if callable(also) else also
            seen = decidable(task)
            to.append(Case(
                name, cause, task, severity, broken, fixed, too, seen, remediable, twin
            ))  # fmt: skip


def layer(name: str, *args: Any, **kwargs: Any) -> Callable[[], Any]:
    """A Keras layer, made when the model is built."""

    def make() -> Any:
        import keras

        return getattr(keras.layers, name)(*args, **kwargs)

    return make


def initializer(name: str, **kwargs: Any) -> dict[str, Any]:
    return {"class_name": name, "config": kwargs}


def optimizer(recipe: Recipe, name: str, **arguments: Any) -> Recipe:
    return recipe.but(optimizer=name, optimizer_arguments=arguments)


def one_unit(recipe: Recipe, **changes: Any) -> Recipe:
    return recipe.but(head=(1, "sigmoid"), **changes)


# ---- too little, too uneven -------------------------------------------------------------------


def fewer(recipe: Recipe, n: int) -> Recipe:
    """The first n sequences, for about as many steps of training."""
    more = min(8, max(1, len(recipe.x) // (2 * n)))
    batch = min(recipe.batch_size, max(4, n // 4))
    return recipe.but(x=recipe.x[:n], y=recipe.y[:n], epochs=recipe.epochs * more, batch_size=batch)


add(
    "few-sequences", "insufficient-data", fewer,
    {"digits": [60, 25], "names": [80, 30], "vowels": [14], "adding": [40],
     "recall": [24], "text": [60], "waves": [40]},
    remediable=False,
)  # fmt: skip


def one_against_rest(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    """Is it class k? Positives thinned out to a share, in training only."""
    label, share = level
    y = (recipe.y == label).astype(np.int32)
    random = np.random.default_rng(3)
    positives = random.permutation(np.flatnonzero(y))
    negatives = np.flatnonzero(y == 0)
    kept = positives[: max(5, int(share * len(negatives)))]
    order = random.permutation(np.concatenate([kept, negatives]))
    return one_unit(
        recipe, classes=2, x=recipe.x[order], y=y[order],
        truth=(recipe.truth == label).astype(np.int32), loss="binary_crossentropy",
    )  # fmt: skip


def weighted(recipe: Recipe, level: Any) -> Recipe:
    share = float(np.mean(recipe.y))
    return recipe.but(fit={**recipe.fit, "class_weight": {0: 0.5 / (1 - share), 1: 0.5 / share}})


def unchanged(recipe: Recipe, level: Any) -> Recipe:
    return recipe


def rare_events(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    return TASKS["events"](share=level[1], n=900).but(epochs=8)


add(
    "rare-class", "class-imbalance", unchanged,
    {"digits": [(8, 0.04), (3, 0.03)], "names": [(2, 0.10), (3, 0.08)],
     "text": [(2, 0.05)], "waves": [(3, 0.06)]},
    prepare=lambda r, level: one_against_rest(r, level).but(
        epochs=max(5, r.epochs // 2), optimizer_arguments={"learning_rate": 3e-3}
    ),
    repair=weighted,
    also=("under-trained",),
)  # fmt: skip
add(
    "rare-event", "class-imbalance", unchanged, {"events": [(1, 0.05), (1, 0.03)]},
    prepare=rare_events, repair=weighted, also=("under-trained",),
)  # fmt: skip


# ---- scale, quality, encoding -----------------------------------------------------------------


def scaled(recipe: Recipe, level: tuple[float, float, float, float]) -> Recipe:
    """Inputs times a plus b, targets times c plus d."""
    a, b, c, d = level
    changes: dict[str, Any] = {
        "x": recipe.x * np.float32(a) + np.float32(b),
        "x_test": recipe.x_test * np.float32(a) + np.float32(b),
    }
    if (c, d) != (1, 0):
        changes |= {
            "y": recipe.y * np.float32(c) + np.float32(d),
            "decode": lambda output: ((output - d) / c).reshape(recipe.truth.shape),
        }
    return recipe.but(**changes)


def scaled_padded(recipe: Recipe, level: float) -> Recipe:
    return recipe.but(x=recipe.x * np.float32(level), x_test=recipe.x_test * np.float32(level))


add(
    "raw-units", "data-scale", scaled,
    {"elnino": [(2.2, 23.2, 2.2, 23.2)], "sunspots": [(50, 50, 50, 50)],
     "weather": [(10, 300, 10, 300)], "co2": [(3e-3, 0, 3e-3, 0)],
     "sine": [(100, 500, 1, 0)], "adding": [(1, 0, 500, 0), (1000, 0, 1000, 0)],
     "digits": [(2550, 0, 1, 0)], "waves": [(1, 60, 1, 0), (0.001, 0, 1, 0)],
     "labelling": [(300, 1000, 1, 0)]},
    # Targets far from what a head reaches at this rate: a larger rate gets there too.
    also=lambda level: ("learning-rate-low",) if level[:2] == (1, 0) else (),
)  # fmt: skip
add("tiny-inputs", "data-scale", scaled_padded, {"vowels": [1e-3, 1e3]})


def one_huge_column(recipe: Recipe, level: float) -> Recipe:
    def widen(x: np.ndarray, seed: int) -> np.ndarray:
        extra = np.random.default_rng(seed).normal(size=(*x.shape[:2], 1)) * level
        return np.concatenate([x, extra], -1).astype(np.float32)

    return recipe.but(x=widen(recipe.x, 1), x_test=widen(recipe.x_test, 2))


add(
    "one-huge-column", "data-scale", one_huge_column, {"recall": [3e3], "weather": [1e4]},
    prepare=None,
    repair=lambda r, level: r.but(
        x=r.x / np.where(r.x.std((0, 1)) > 100, level, 1).astype(np.float32),
        x_test=r.x_test / np.where(r.x.std((0, 1)) > 100, level, 1).astype(np.float32),
    ),
)  # fmt: skip


def holes(recipe: Recipe, level: tuple[float, float]) -> Recipe:
    """A share of the sequences has a missing value, written as NaN, inf or a stand-in."""
    share, stand_in = level

    def punch(x: np.ndarray, seed: int) -> np.ndarray:
        random, x = np.random.default_rng(seed), x.copy()
        rows = np.flatnonzero(random.random(len(x)) < share)
        x[rows, random.integers(0, x.shape[1], len(rows)), 0] = stand_in
        return x

    return recipe.but(x=punch(recipe.x, 5))


add(
    "holes", "data-quality", holes,
    {"elnino": [(0.02, np.nan)], "weather": [(0.01, np.inf)], "sunspots": [(0.02, np.nan)],
     "sine": [(0.01, np.nan)], "adding": [(0.005, np.nan)]},
)  # fmt: skip


def misaligned(recipe: Recipe, level: float) -> Recipe:
    """x was shuffled (or shifted) and y was not."""
    n = len(recipe.x)
    if level > 0:  # that share of rows is out of order
        random = np.random.default_rng(7)
        rows = random.permutation(n)[: int(level * n)]
        order = np.arange(n)
        order[np.sort(rows)] = rows
        return recipe.but(y=recipe.y[order])
    return recipe.but(y=np.roll(recipe.y, int(level), axis=0))


add(
    "misaligned", "data-quality", misaligned,
    {"digits": [1.0, -1], "names": [1.0], "waves": [-1], "adding": [0.9]}, remediable=False,
    also=("no-signal",),
)  # fmt: skip


def lossy(recipe: Recipe, level: str) -> Recipe:
    """A cast on the way that throws the values away."""
    dtype, wanted = level.split()
    changes: dict[str, Any] = {}
    if "x" in wanted:
        changes["x"] = recipe.x.astype(dtype).astype(np.float32)
        changes["x_test"] = recipe.x_test.astype(dtype).astype(np.float32)
    if "y" in wanted:
        changes["y"] = recipe.y.astype(dtype).astype(np.float32)
    return recipe.but(**changes)


add(
    "lossy-cast", "data-quality", lossy,
    {"digits": ["int32 x"], "vowels": ["int32 x"], "sine": ["int32 y"], "adding": ["int32 xy"]},
    remediable=False, also=("no-signal",),
)  # fmt: skip


def floats_through_embedding(recipe: Recipe, level: float) -> Recipe:
    """Real values times a factor, cut to integers, looked up in a table."""

    def look_up(x: np.ndarray) -> np.ndarray:
        return np.clip(x[..., 0] * level, 0, 99).astype(np.int32)

    return recipe.but(
        x=look_up(recipe.x), x_test=look_up(recipe.x_test), vocabulary=100, mask_zero=False
    )


def codes_as_numbers(recipe: Recipe, level: float) -> Recipe:
    """Word or letter numbers as one real feature, without a table."""
    return recipe.but(
        x=(recipe.x * level)[..., None].astype(np.float32),
        x_test=(recipe.x_test * level)[..., None].astype(np.float32),
        vocabulary=0, masking=0.0,
    )  # fmt: skip


def normalized_codes(recipe: Recipe, level: float) -> Recipe:
    """Numbers of words divided by the largest, then fed to the table: all become 0 or 1."""
    top = recipe.x.max() * level
    return recipe.but(
        x=(recipe.x / top).astype(np.int32), x_test=(recipe.x_test / top).astype(np.int32),
        mask_zero=False,
    )  # fmt: skip


def swapped_axes(recipe: Recipe, level: Any) -> Recipe:
    return recipe.but(x=recipe.x.transpose(0, 2, 1), x_test=recipe.x_test.transpose(0, 2, 1))


def one_step(recipe: Recipe, level: Any) -> Recipe:
    """All the history as features of a single time step."""

    def flat(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), 1, -1)

    return recipe.but(x=flat(recipe.x), x_test=flat(recipe.x_test), masking=None)


def time_as_input(recipe: Recipe, level: Any) -> Recipe:
    """The row number is all the model is given."""
    n, total = len(recipe.x), len(recipe.x) + len(recipe.x_test)
    index = np.arange(total, dtype=np.float32)[:, None, None] / n - 0.5
    return recipe.but(x=index[:n], x_test=index[n:])


add(
    "floats-through-embedding", "input-encoding", floats_through_embedding,
    {"sine": [1.0], "waves": [1.0], "elnino": [1.0], "sunspots": [1.0], "adding": [1.0]},
    remediable=False,
)  # fmt: skip
add("codes-as-numbers", "input-encoding", codes_as_numbers, {"text": [0.02], "names": [1.0, 0.04]})
add("normalized-codes", "input-encoding", normalized_codes, {"text": [1.0], "names": [1.0]},
    remediable=False)  # fmt: skip
add("swapped-axes", "input-encoding", swapped_axes, {"vowels": [0], "adding": [0], "events": [0]})
add("one-step", "input-encoding", one_step, {"waves": [0], "adding": [0], "events": [0]})
add("time-as-input", "input-encoding", time_as_input, {"elnino": [0], "weather": [0]},
    remediable=False, also=("no-signal",))  # fmt: skip


# ---- split, masks, window, signal -------------------------------------------------------------


def sorted_split(recipe: Recipe, level: float) -> Recipe:
    """Rows sorted by label; `validation_split` takes the last classes away."""
    order = np.argsort(recipe.y.reshape(len(recipe.y), -1)[:, 0], kind="stable")
    return recipe.but(
        x=recipe.x[order], y=recipe.y[order], fit={**recipe.fit, "validation_split": level}
    )


def shuffled(recipe: Recipe, level: Any) -> Recipe:
    order = np.random.default_rng(11).permutation(len(recipe.x))
    return recipe.but(x=recipe.x[order], y=recipe.y[order])


add(
    "sorted-split", "data-split", sorted_split,
    {"digits": [0.3, 0.5], "names": [0.45], "vowels": [0.25], "waves": [0.5], "text": [0.6],
     "recall": [0.5], "adding": [0.5]},
    repair=shuffled,
)  # fmt: skip


def pad_more(recipe: Recipe, length: int) -> Recipe:
    def pad(x: np.ndarray) -> np.ndarray:
        wide = [(0, 0), (0, length - x.shape[1])] + [(0, 0)] * (x.ndim - 2)
        return np.pad(x, wide)

    return recipe.but(x=pad(recipe.x), x_test=pad(recipe.x_test))


def without_mask(recipe: Recipe, level: int) -> Recipe:
    return recipe.but(mask_zero=False, masking=None)


add(
    "padding-unmasked", "masking", without_mask,
    {"names": [50, 80], "text": [60, 90], "vowels": [80, 110]},
    prepare=pad_more, plain=True, also=("vanishing-gradient",),
)  # fmt: skip


def word_zero(recipe: Recipe, level: int) -> Recipe:
    """The word that matters has number 0, which the mask deletes."""

    def swap(x: np.ndarray) -> np.ndarray:
        return np.select([x == level, x == 0], [0, level], x).astype(np.int32)

    return recipe.but(x=swap(recipe.x), x_test=swap(recipe.x_test))


def zero_steps(recipe: Recipe, level: float) -> Recipe:
    """Masking with a value that real steps have."""
    return recipe.but(masking=level)


def lost_mask(recipe: Recipe, level: int) -> Recipe:
    """Normalized before Masking, so that no step equals the mask value any more."""
    center = np.asarray(recipe.x[recipe.x.any(-1)].mean(0), np.float32)
    shift = [center + 0.5]
    return recipe.but(x=recipe.x - shift, x_test=recipe.x_test - shift)


add("mask-deletes-word", "masking", word_zero, {"text": [1]},
    prepare=lambda r, level: r, repair=without_mask)  # fmt: skip


def clipped_at_zero(recipe: Recipe, level: Any) -> Recipe:
    """Inputs whose zeros are content: nothing, for so many steps."""
    return recipe.but(x=np.maximum(recipe.x, 0), x_test=np.maximum(recipe.x_test, 0))


add(
    "mask-deletes-steps",
    "masking",
    zero_steps,
    {"sine": [0.0], "elnino": [0.0]},
    prepare=clipped_at_zero,
)
add("mask-lost", "masking", lost_mask, {"vowels": [80]}, prepare=pad_more, plain=True)


def crop(recipe: Recipe, level: tuple[int, int]) -> Recipe:
    start, stop = level
    keep = slice(start, stop or None)
    return recipe.but(x=recipe.x[:, keep], x_test=recipe.x_test[:, keep])


add(
    "short-window", "window", crop,
    {"recall": [(1, 0), (6, 0)], "adding": [(4, 0)], "elnino": [(-1, 0)],
     "names": [(0, 2), (0, 3)], "digits": [(0, 3), (0, 2)], "text": [(0, 4)], "events": [(15, 0)],
     "sine": [(-2, 0)]},
    remediable=False, also=("no-signal", "input-encoding"),
    # Consecutive windows of a series hold the past of one another. Elsewhere the steps that were
    # cut off stand in no array: the same arrays would come of a healthy task that ends there.
    decidable=lambda task: task == "elnino",
)  # fmt: skip


def history(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    """Consecutive windows of one series whose next value lies `lag` steps back, in noise."""
    if recipe.task == "co2":
        from tasks import stored

        weekly = np.diff(stored("co2")["ppm"][::2])
        series, cut, ahead = weekly / weekly.std(), 800, 4
        x, _ = windows(series[:, None].astype(np.float32), level["window"])
        total = np.convolve(series, np.ones(ahead), "valid").astype(np.float32)
        y = total[level["window"] :, None] / np.float32(total.std())
        x = x[: len(y)]
    else:
        random = np.random.default_rng(level["lag"])
        series, cut, lag = random.normal(size=1300), 900, level["lag"]
        for t in range(lag, len(series)):
            series[t] = 0.95 * series[t - lag] + 0.3 * random.normal()
        x, y = windows((series / series.std())[:, None].astype(np.float32), level["window"])
    return recipe.but(
        kind="regression", sequences=False, epochs=20, batch_size=32,
        x=x[:cut], y=y[:cut], x_test=x[cut:], truth=y[cut:], persistence=None,
        optimizer_arguments={"learning_rate": 1e-2},
    )  # fmt: skip


add(
    "short-history", "window", lambda r, level: crop(r, (-level["kept"], 0)),
    {"sine": [{"lag": 5, "window": 8, "kept": 3}, {"lag": 9, "window": 12, "kept": 6}],
     "adding": [{"lag": 4, "window": 6, "kept": 2}],
     "filtered": [{"lag": 7, "window": 10, "kept": 4}],
     "co2": [{"window": 40, "kept": 1}, {"window": 40, "kept": 3}]},
    prepare=history, remediable=False, also=("no-signal",),
)  # fmt: skip


def useless_column(recipe: Recipe, level: int) -> Recipe:
    """Only columns (or a coarse property) that say nothing about the target."""
    if recipe.vocabulary:  # the letters are lost, all are "1"
        return recipe.but(x=np.minimum(recipe.x, 1), x_test=np.minimum(recipe.x_test, 1))
    if level < 0:  # an unrelated series
        random = np.random.default_rng(17)
        return recipe.but(
            x=random.normal(size=recipe.x.shape).astype(np.float32),
            x_test=random.normal(size=recipe.x_test.shape).astype(np.float32),
        )
    keep = slice(level, level + 1)
    return recipe.but(x=recipe.x[..., keep], x_test=recipe.x_test[..., keep])


add(
    "useless-input", "no-signal", useless_column,
    {"names": [0], "text": [0], "digits": [0], "labelling": [1], "adding": [1],
     "elnino": [-1], "sunspots": [-1], "waves": [-1], "weather": [3]},
    remediable=False, also=("data-quality", "input-encoding"),
)  # fmt: skip


def level_forecast(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    """The level itself is the target; a copy of the last value is hard to beat."""
    return drifting(recipe, level, difference=False)


def difference_forecast(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    return drifting(recipe, level, difference=True)


def drifting(recipe: Recipe, level: dict[str, Any], difference: bool) -> Recipe:
    """Forecast of a drifting series, standardized on its training part, split by time."""
    if recipe.task == "co2":
        from tasks import stored

        series, cut, horizon = stored("co2")["ppm"][:: level["every"]], level["cut"], level["ahead"]
    else:
        random = np.random.default_rng(level["seed"])
        n, cut, horizon = level["n"], level["cut"], 1
        increments = np.zeros(n)
        for t in range(1, n):
            increments[t] = level["memory"] * increments[t - 1] + random.normal()
        if recipe.task == "sine":
            increments += 1.5 * np.sin(np.arange(n) * 0.5)
        series = np.cumsum(increments + level["drift"])
    series = (series - series[:cut].mean()) / series[:cut].std()
    x, y = windows(series[:, None].astype(np.float32), level["length"], horizon)
    last = x[:, -1].copy()
    truth, persistence = y[cut:], last[cut:]
    changes: dict[str, Any] = {"x": x[:cut], "y": y[:cut], "x_test": x[cut:], "truth": truth}
    if difference:
        scale = np.float32((y - last)[:cut].std())
        local = (x - last[:, None]) / scale
        changes |= {
            "x": local[:cut], "x_test": local[cut:], "y": ((y - last) / scale)[:cut],
            "decode": lambda output: output * scale + persistence,
        }  # fmt: skip
    return recipe.but(persistence=persistence, **changes)


add(
    "level-forecast", "naive-forecast", unchanged,
    {"co2": [{"every": 2, "cut": 800, "ahead": 4, "length": 26},
             {"every": 1, "cut": 900, "ahead": 2, "length": 20},
             {"every": 4, "cut": 400, "ahead": 1, "length": 13}],
     "sine": [{"seed": 1, "n": 1000, "cut": 700, "memory": 0.3, "drift": 0.1, "length": 16}],
     "adding": [{"seed": 2, "n": 1000, "cut": 700, "memory": 0.7, "drift": 0.0, "length": 10}],
     "filtered": [{"seed": 3, "n": 1200, "cut": 900, "memory": 0.8, "drift": 0.2, "length": 12}]},
    prepare=lambda r, level: level_forecast(
        r.but(kind="regression", sequences=False, epochs=12, batch_size=32), level
    ),
    repair=lambda r, level: difference_forecast(r, level), also=("data-split",),
)  # fmt: skip


# ---- head, loss, labels, wiring ---------------------------------------------------------------


def head(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    return recipe.but(**level)


def one_hot(recipe: Recipe, level: Any = None) -> Recipe:
    return recipe.but(y=np.eye(recipe.classes, dtype=np.float32)[recipe.y])


def rounded(output: np.ndarray) -> np.ndarray:
    return np.rint(np.nan_to_num(output[..., -1])).astype(int)


SIGMOID_ONE = {"head": (1, "sigmoid"), "loss": "binary_crossentropy", "decode": rounded}
SOFTMAX_ONE = {"head": (1, "softmax")}

add("one-sigmoid-for-many", "output-loss-mismatch", head,
    {"names": [SIGMOID_ONE], "text": [SIGMOID_ONE], "vowels": [SIGMOID_ONE]})  # fmt: skip
add("softmax-over-one", "output-loss-mismatch", head,
    {"events": [SOFTMAX_ONE], "labelling": [SOFTMAX_ONE]})  # fmt: skip
add("linear-head-cross-entropy", "output-loss-mismatch", head,
    {"digits": [{"head": (10, "linear")}], "recall": [{"head": (4, "linear")}],
     "events": [{"head": (1, "linear")}]})  # fmt: skip
add("relu-head", "output-loss-mismatch", head,
    {"elnino": [{"head": (1, "relu")}], "adding": [{"head": (1, "relu")}],
     "digits": [{"head": (10, "relu")}]})  # fmt: skip
add("squashed-head", "output-loss-mismatch", head,
    {"sunspots": [{"head": (1, "tanh")}], "sine": [{"head": (1, "tanh")}],
     "elnino": [{"head": (1, "sigmoid")}]},
    prepare=lambda r, level: scaled(r, (1, 0, 20, 25)), repair=lambda r, level: TASKS[r.task](),
    plain=True, also=("data-scale",))  # fmt: skip
add("sigmoid-head", "output-loss-mismatch", head,
    {"sine": [{"head": (1, "sigmoid")}], "weather": [{"head": (1, "sigmoid")}],
     "filtered": [{"head": (1, "sigmoid")}]})  # fmt: skip
add("softmax-for-regression", "output-loss-mismatch", head,
    {"weather": [{"head": (1, "softmax")}]})  # fmt: skip
add("cross-entropy-for-regression", "output-loss-mismatch", head,
    {"elnino": [{"head": (1, "sigmoid"), "loss": "binary_crossentropy"}]})  # fmt: skip


def every_step(recipe: Recipe, level: Any) -> Recipe:
    """Many to many: the next value after each step."""
    if recipe.kind.startswith("steps"):
        return recipe
    y = np.concatenate([recipe.x[1:, :, :1], recipe.x[-1:, :, :1]])
    truth = np.concatenate([recipe.x_test[1:, :, :1], recipe.x_test[-1:, :, :1]])
    return recipe.but(kind="steps-regression", sequences=True, y=y, truth=truth)


def only_last_step(recipe: Recipe, level: Any) -> Recipe:
    """return_sequences forgotten: (B, 1) is held against (B, T, 1), and broadcast in silence."""
    return recipe.but(sequences=False)


add("forgotten-sequences", "output-loss-mismatch", only_last_step,
    {"labelling": [0], "filtered": [0], "elnino": [0], "sunspots": [0]}, prepare=every_step,
    also=("wiring",))  # fmt: skip


def two_targets(recipe: Recipe, level: Any) -> Recipe:
    """Highest temperature and wind of tomorrow (or the value and its negative)."""
    if recipe.task == "weather":
        from tasks import weather_series

        wind = weather_series()[7:, 3:4]
        y, truth = wind[: len(recipe.y)], wind[len(recipe.y) :]
    else:
        y, truth = -recipe.y, -recipe.truth
    return recipe.but(
        y=np.concatenate([recipe.y, y], 1), truth=np.concatenate([recipe.truth, truth], 1),
        head=(2, "linear"),
    )  # fmt: skip


add("one-unit-for-two", "output-loss-mismatch", lambda r, level: r.but(head=(1, "linear")),
    {"adding": [0], "weather": [0]}, prepare=two_targets)  # fmt: skip


def labels_plus_minus(recipe: Recipe, level: Any) -> Recipe:
    return recipe.but(y=2 * recipe.y - 1)


add("labels-minus-one", "output-loss-mismatch", labels_plus_minus, {"events": [0]})


def freeze(recipe: Recipe, level: tuple[str, ...]) -> Recipe:
    def change(model: Any) -> None:
        for part in model.layers:
            if type(part).__name__ in level:
                part.trainable = False

    return recipe.but(edit=(*recipe.edit, change))


add("frozen", "wiring", freeze,
    {"recall": [("LSTM",)], "names": [("Embedding", "LSTM")], "digits": [("LSTM",)],
     "adding": [("LSTM",), ("LSTM", "Dense")], "vowels": [("LSTM", "Dense")]})  # fmt: skip


def bottleneck(recipe: Recipe, level: tuple[int, str]) -> Recipe:
    return recipe.but(hidden=(*recipe.hidden, level))


add("bottleneck", "wiring", bottleneck,
    {"digits": [(1, "relu")], "vowels": [(1, "tanh")], "waves": [(1, "relu")]},
    also=("too-small",))  # fmt: skip


def doubled_activation(recipe: Recipe, level: str) -> Recipe:
    return recipe.but(after_head=(layer("Activation", level),))


add("doubled-activation", "wiring", doubled_activation,
    {"digits": ["softmax"], "vowels": ["softmax"], "elnino": ["relu"], "events": ["sigmoid"]},
    also=("output-loss-mismatch",))  # fmt: skip


def first_step(recipe: Recipe, level: int) -> Recipe:
    """The output of the wrong time step is taken."""
    return recipe.but(sequences=True, pool=(layer("Cropping1D", (0, level)), layer("Flatten")))


add(
    "wrong-step",
    "wiring",
    first_step,
    {"digits": [7], "sine": [23], "waves": [29], "recall": [11]},
    prepare=lambda r, level: (
        r if r.task != "recall" else r.but(x=r.x[:, ::-1].copy(), x_test=r.x_test[:, ::-1].copy())
    ),
)


def stateful(recipe: Recipe, level: int) -> Recipe:
    n = len(recipe.x) - len(recipe.x) % recipe.batch_size
    return recipe.but(lstm={**recipe.lstm, "stateful": True}, x=recipe.x[:n], y=recipe.y[:n])


add("stateful-shuffled", "wiring", stateful, {"adding": [0], "labelling": [0], "events": [0]})


# ---- size -------------------------------------------------------------------------------------


def narrow(recipe: Recipe, level: tuple[int, int]) -> Recipe:
    units, embedding = level
    return recipe.but(units=(units,), embedding=embedding or recipe.embedding)


add("narrow", "too-small", narrow,
    {"digits": [(2, 0), (1, 0)], "vowels": [(1, 0)], "names": [(1, 0), (1, 1)], "recall": [(1, 0)],
     "text": [(1, 1)], "waves": [(1, 0)], "labelling": [(1, 0)], "filtered": [(1, 0)]})  # fmt: skip


def noisy_few(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    """Few noisy sequences: what a small model can still learn from."""
    n, noise = level
    random = np.random.default_rng(23)
    rows = np.linspace(0, len(recipe.x) - 1, n).astype(int)  # all seasons
    y = recipe.y[rows]
    if recipe.kind.endswith("regression"):
        y = (y + noise * random.normal(size=y.shape)).astype(np.float32)
    else:
        wrong = random.random(y.shape) < noise
        y = np.where(wrong, random.integers(0, recipe.classes, y.shape), y).astype(y.dtype)
    return recipe.but(
        x=recipe.x[rows], y=y, units=(6,), epochs=20, batch_size=16,
        optimizer_arguments={"learning_rate": 1e-2},
    )  # fmt: skip


def oversized(recipe: Recipe, level: Any) -> Recipe:
    return recipe.but(units=(96,), hidden=((64, "relu"),), epochs=70)


add("oversized", "too-large", oversized,
    {"weather": [(120, 1.0)], "elnino": [(120, 1.0), (80, 1.0)], "sine": [(100, 1.0)],
     "filtered": [(30, 1.0)], "labelling": [(40, 0.5)], "sunspots": [(100, 1.0)]},
    prepare=noisy_few, also=("insufficient-data",))  # fmt: skip


# ---- activation, initialization, gradients ----------------------------------------------------


def lstm(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    return recipe.but(lstm={**recipe.lstm, **level})


add("lstm-activation", "activation", lstm,
    {"recall": [{"activation": "relu", "recurrent_activation": "relu"}],
     "vowels": [{"activation": "softmax"}, {"recurrent_activation": "softmax"}],
     "digits": [{"activation": "exponential"}], "waves": [{"activation": "softmax"}],
     "names": [{"activation": "relu", "recurrent_activation": "relu"}, {"activation": "softmax"}],
     "adding": [{"activation": "softmax"}, {"recurrent_activation": "linear"}],
     "text": [{"activation": "hard_sigmoid", "recurrent_activation": "softmax"}]},
    also=lambda level: () if "softmax" in level.values() else ("exploding-gradient",))  # fmt: skip


def dense_activation(recipe: Recipe, level: tuple[int, str]) -> Recipe:
    return recipe.but(hidden=tuple((16, level[1]) for _ in range(level[0])))


add("deep-squash", "activation", dense_activation,
    {"digits": [(5, "sigmoid")], "text": [(4, "sigmoid")]},
    prepare=lambda r, level: r.but(hidden=((16, "relu"),)),
    also=("vanishing-gradient", "wiring"))  # fmt: skip


ZERO = initializer("Zeros")
add(
    "symmetric-init",
    "initialization",
    lambda r, level: r.but(
        lstm={**r.lstm, "kernel_initializer": level, "recurrent_initializer": level},
        head_arguments={"kernel_initializer": level},
    ),
    {
        "digits": [ZERO],
        "recall": [initializer("Ones")],
        "adding": [ZERO],
        "vowels": [initializer("Constant", value=0.3)],
        "names": [initializer("Constant", value=0.1)],
    },
)
add("wild-init", "initialization", lstm,
    {"digits": [{"kernel_initializer": initializer("RandomNormal", stddev=20.0),
                 "recurrent_initializer": initializer("RandomNormal", stddev=5.0)}],
     "waves": [{"kernel_initializer": initializer("RandomNormal", stddev=30.0),
                "recurrent_initializer": initializer("RandomNormal", stddev=4.0)}],
     "adding": [{"recurrent_initializer": initializer("RandomNormal", stddev=10.0)}]})  # fmt: skip


def forget_bias(recipe: Recipe, level: float) -> Recipe:
    """The forget gate's bias, set by hand after building (its block is the second)."""

    def change(model: Any) -> None:
        for part in model.layers:
            if type(part).__name__ == "LSTM":
                kernel, recurrent, bias = part.get_weights()
                bias[part.units : 2 * part.units] = level
                part.set_weights([kernel, recurrent, bias])

    return recipe.but(edit=(*recipe.edit, change))


add("closed-forget-gate", "vanishing-gradient", forget_bias,
    {"recall": [-3.0, -6.0]},
    also=("initialization",))  # fmt: skip


def long_recall(recipe: Recipe, level: int) -> Recipe:
    return TASKS[recipe.task](length=level).but(epochs=12)


def chrono(recipe: Recipe, level: int) -> Recipe:
    """Chrono initialization (Tallec and Ollivier 2018): b_f = log U(1, T - 1), b_i = -b_f."""

    def change(model: Any) -> None:
        random = np.random.default_rng(0)
        for part in model.layers:
            if type(part).__name__ == "LSTM":
                kernel, recurrent, bias = part.get_weights()
                n = part.units
                bias[n : 2 * n] = np.log(random.uniform(1, level - 1, n))
                bias[:n] = -bias[n : 2 * n]
                part.set_weights([kernel, recurrent, bias])

    return recipe.but(edit=(*recipe.edit, change))


add("long-lag", "vanishing-gradient", unchanged, {"recall": [50, 70]},
    prepare=long_recall, repair=chrono, also=("initialization", "window"))  # fmt: skip


def quiet_tail(recipe: Recipe, length: int) -> Recipe:
    """What matters is followed by a long stretch of background noise."""

    def extend(x: np.ndarray, seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        tail = np.zeros((len(x), length, x.shape[2]))
        full = np.concatenate([x, tail], 1)
        return (full + 0.1 * random.normal(size=full.shape)).astype(np.float32)

    return recipe.but(x=extend(recipe.x, 31), x_test=extend(recipe.x_test, 32), masking=None)


def pooled(recipe: Recipe, level: int) -> Recipe:
    return recipe.but(sequences=True, pool=(layer("GlobalMaxPooling1D"),))


add("quiet-tail", "vanishing-gradient", unchanged,
    {"digits": [40, 70], "vowels": [60], "recall": [50], "waves": [50], "events": [60]},
    prepare=quiet_tail, repair=pooled,
    also=("initialization", "window", "masking", "wiring"))  # fmt: skip


def deep(recipe: Recipe, level: int) -> Recipe:
    return recipe.but(units=(16,) * level, lstm={**recipe.lstm, "activation": "sigmoid"})


add("deep-sigmoid-stack", "vanishing-gradient", deep, {"digits": [5], "vowels": [4]},
    also=("activation", "wiring", "too-large"))  # fmt: skip


def outliers(recipe: Recipe, level: float) -> Recipe:
    """A few rows have huge targets; SGD with momentum and no clipping is thrown off by them."""
    random = np.random.default_rng(29)
    y = recipe.y.copy()
    rows = random.permutation(len(y))[: max(2, len(y) // 100)]
    y[rows] *= level
    return recipe.but(
        y=y, optimizer="SGD", optimizer_arguments={"learning_rate": 0.05, "momentum": 0.9}
    )


def clipped(recipe: Recipe, level: Any) -> Recipe:
    return recipe.but(optimizer_arguments={**recipe.optimizer_arguments, "clipnorm": 0.5})


add("outlier-targets", "exploding-gradient", outliers,
    {"adding": [1e3], "sine": [1e3], "elnino": [3e3], "weather": [1e3], "co2": [1e3],
     "filtered": [300]}, repair=clipped,
    also=("data-quality", "data-scale", "learning-rate-high"))  # fmt: skip


def unbounded(recipe: Recipe, level: dict[str, Any]) -> Recipe:
    """Unbounded cell and a recurrent matrix with gain: the state grows with every step."""
    gain = level["gain"]
    return recipe.but(
        lstm={**recipe.lstm, "activation": "linear",
              "recurrent_initializer": initializer("Orthogonal", gain=gain)},
        optimizer="SGD", optimizer_arguments={"learning_rate": level["rate"], "momentum": 0.9},
    )  # fmt: skip


add("unbounded-state", "exploding-gradient", unbounded,
    {"digits": [{"gain": 2.5, "rate": 0.3}], "events": [{"gain": 1.6, "rate": 0.3}],
     "vowels": [{"gain": 1.6, "rate": 0.3}], "waves": [{"gain": 1.6, "rate": 0.3}],
     "names": [{"gain": 2.0, "rate": 0.3}]},
    repair=clipped, also=("activation", "initialization", "learning-rate-high"))  # fmt: skip


# ---- optimizer --------------------------------------------------------------------------------


def learning_rate(recipe: Recipe, level: tuple[str, float]) -> Recipe:
    name, rate = level
    return optimizer(recipe, name, learning_rate=rate)


add(
    "rate-high",
    "learning-rate-high",
    learning_rate,
    {
        "digits": [("Adam", 0.3), ("Adam", 1.0)],
        "names": [("Adam", 0.3)],
        "vowels": [("RMSprop", 0.5)],
        "sine": [("Adam", 1.0)],
        "adding": [("Adam", 0.5)],
        "recall": [("RMSprop", 3.0)],
        "weather": [("Adam", 2.0)],
        "events": [("SGD", 30.0)],
    },
    also=lambda level: ("exploding-gradient",) if level[0] == "SGD" else (),
)
add(
    "rate-low",
    "learning-rate-low",
    learning_rate,
    {
        "digits": [("Adam", 1e-5), ("Adam", 1e-7)],
        "names": [("Adam", 3e-5)],
        "vowels": [("RMSprop", 1e-5)],
        "sine": [("Adam", 1e-6)],
        "adding": [("Nadam", 3e-5)],
        "recall": [("Adam", 1e-5)],
        "text": [("RMSprop", 1e-6)],
        "elnino": [("Adam", 1e-6)],
    },
)
add("weak-optimizer", "optimizer", learning_rate,
    {"recall": [("SGD", 0.01)], "text": [("Adadelta", 0.001)], "names": [("SGD", 0.01)],
     "vowels": [("Adadelta", 0.001)], "digits": [("SGD", 0.003)], "adding": [("Adagrad", 0.001)],
     "waves": [("SGD", 0.01)], "labelling": [("Ftrl", 0.001)]},
    also=("learning-rate-low",))  # fmt: skip


def batch(recipe: Recipe, level: int) -> Recipe:
    return recipe.but(batch_size=level)


add("huge-batch", "batch-size", batch,
    {"digits": [600], "names": [1000], "elnino": [548], "weather": [1000], "recall": [700],
     "text": [800], "adding": [1200], "waves": [400]},
    also=("under-trained", "learning-rate-low"))  # fmt: skip


def tiny_batch(recipe: Recipe, level: tuple[int, float]) -> Recipe:
    size, rate = level
    return optimizer(
        recipe.but(batch_size=size, x=recipe.x[:400], y=recipe.y[:400], epochs=3),
        "Adam", learning_rate=rate,
    )  # fmt: skip


add(
    "tiny-batch",
    "batch-size",
    tiny_batch,
    {"names": [(1, 0.03)], "digits": [(1, 0.03)]},
    repair=lambda r, level: r.but(batch_size=32, epochs=25),
    also=("learning-rate-high",),
)


# ---- regularization and length ----------------------------------------------------------------


def dropped(recipe: Recipe, level: float) -> Recipe:
    return recipe.but(between=(*recipe.between, layer("Dropout", level)))


def penalized(recipe: Recipe, level: tuple[str, float]) -> Recipe:
    kind, weight = level
    penalty = {"class_name": kind.upper(), "config": {kind: weight}}
    return recipe.but(
        lstm={**recipe.lstm, "kernel_regularizer": penalty, "recurrent_regularizer": penalty},
        head_arguments={"kernel_regularizer": penalty},
    )


add(
    "dropout",
    "over-regularized",
    dropped,
    {"digits": [0.9], "vowels": [0.98], "names": [0.98], "adding": [0.9], "sine": [0.95]},
)
add("recurrent-dropout", "over-regularized", lstm,
    {"recall": [{"recurrent_dropout": 0.9, "dropout": 0.8}],
     "names": [{"recurrent_dropout": 0.9, "dropout": 0.9}]})  # fmt: skip
add("penalty", "over-regularized", penalized,
    {"digits": [("l2", 0.1), ("l2", 1.0)], "vowels": [("l1", 0.1)], "text": [("l2", 0.3)],
     "waves": [("l1", 0.05)]})  # fmt: skip


def fewer_epochs(recipe: Recipe, level: int) -> Recipe:
    return recipe.but(epochs=level)


add("few-epochs", "under-trained", fewer_epochs,
    {"digits": [2, 1], "vowels": [2], "names": [1], "recall": [2], "adding": [1], "waves": [3],
     "text": [1]},
    also=("learning-rate-low", "batch-size"))  # fmt: skip


def callback(name: str, **arguments: Any) -> Callable[[], Any]:
    """A Keras callback, made when the model is built."""

    def make() -> Any:
        import keras

        return getattr(keras.callbacks, name)(**arguments)

    return make


def called(recipe: Recipe, level: Callable[[], Any]) -> Recipe:
    return recipe.but(callbacks=(level,))


IMPATIENT = callback("EarlyStopping", monitor="loss", patience=0, min_delta=0.5)
HASTY = callback("ReduceLROnPlateau", monitor="loss", patience=0, min_delta=0.5, factor=0.05)
add(
    "impatient-stop",
    "under-trained",
    called,
    {"adding": [IMPATIENT], "vowels": [IMPATIENT], "sine": [IMPATIENT]},
    also=("learning-rate-low", "batch-size"),
)
add(
    "hasty-schedule",
    "learning-rate-low",
    called,
    {"digits": [HASTY], "weather": [HASTY], "labelling": [HASTY]},
    also=("under-trained",),
)
