"""Do inputs, targets, windows and the held-out part belong together? Baselines decide.

The same baselines (ridge, nearest neighbours) on the data as they are and on the data put right, on
the same rows: where the second has much more held-out skill, the first were put together wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.data_tests import GAIN, Found, baseline_skill
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.interventions.data import is_quantity, shuffle_split
from lstm_oracle.diagnosis.setup import Data, Setup

Array = np.ndarray

LONGER = 0.15  # of held-out skill: what a longer past has to gain
FEW_VALUES = 20  # different ones: they occur everywhere
_PAIRS = 32  # of neighbouring sequences, that are compared


def _unlike(setup: Setup) -> Iterator[Found]:
    """Held-out targets of other classes or another range, which a random split would not have."""
    mixed = shuffle_split(setup)
    if mixed is None:
        return
    difference, what = _difference_of_targets(setup.changed(tasks=mixed.tasks))
    if difference < 1:
        return
    here = baseline_skill(setup.changed(tasks=mixed.tasks), setup.train, setup.held_out)
    there = baseline_skill(mixed, mixed.train, mixed.held_out)
    if there < here + GAIN:
        return
    yield Found(
        Finding(
            "LSTM030", "data-split", "error", 0.9,
            f"The held-out part is unlike the training part: {what}. A baseline has held-out skill "
            f"{here:.2f} there, and {there:.2f} where the held-out part is drawn at random.",
            (Evidence("held-out skill of a baseline, this split", round(here, 3)),
             Evidence("held-out skill of a baseline, a random split", round(there, 3)),
             Evidence("difference of the targets, in its allowance", round(difference, 2), 1.0,
                      "three standard errors, at least 0.3")),
            Remedy("shuffle-split", "Shuffle before splitting.",
                   "order = np.random.default_rng(0).permutation(len(x))\n"
                   "x, y = x[order], y[order]   # before fit", True, here, there),
            "Both parts hold the same targets about equally often.",
        ),
        mixed,
    )  # fmt: skip


def _difference_of_targets(setup: Setup) -> tuple[float, str]:
    """How unlike the targets of the two parts are, as a multiple of what chance allows."""
    task = setup.tasks[0]
    train, held_out = (task.labels(data.y[0]) for data in (setup.train, setup.held_out))
    few = min(len(train), len(held_out))
    if task.kind == "regression":
        deviation = np.maximum(train.std(0), 1e-12)
        moved = float((np.abs(train.mean(0) - held_out.mean(0)) / deviation).max())
        return moved / max(0.75, 3 / few**0.5), f"its targets lie {moved:.1f} deviations off"
    K = task.class_count
    shares = [np.bincount(part, minlength=K) / len(part) for part in (train, held_out)]
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    unseen = int(((shares[0] == 0) & (shares[1] > 0)).sum())
    what = f"{100 * distance:.0f} % of its labels would have to be others"
    what += f", {unseen} of its classes never occur in training" if unseen else ""
    return distance / max(0.3, 3 * (K / few) ** 0.5 / 2), what


def _misaligned(setup: Setup) -> Iterator[Found]:
    """Targets that belong to the sequence k places on."""
    task, data = setup.tasks[0], setup.train
    n = len(data)
    # Windows of one series hold targets of the past, and a forecast may be of any horizon.
    if task.per_step or n < 60 or _of_one_series(_in_order(setup)[0].x[0]):
        return
    cut = int(n * 0.75)

    def shifted(k: int) -> float:
        x, y = data.x[0][max(0, -k) : n - max(0, k)], data.y[0][max(0, k) : n - max(0, -k)]
        x_train, y_train, x_held, y_held = x[:cut], y[:cut], x[cut:], y[cut:]
        return baseline_skill(setup, Data((x_train,), (y_train,)), Data((x_held,), (y_held,)))

    here = shifted(0)
    if here > 0.6:
        return
    # Of single steps, the row k places before may be the past, which a longer window would hold.
    single = data.x[0].ndim == 3 and data.x[0].shape[1] == 1
    past = () if single and any(True for _ in _short_window(setup)) else (1, 2, 3)
    shifts = [k for k in (-3, -2, -1, *past) if not _in_the_window(data, k)]
    best = max(((shifted(k), k) for k in shifts), default=(here, 0))
    neighbours_alike = _alike(data.y[0])
    if best[0] < here + GAIN or neighbours_alike:
        return
    step = best[1]
    yield Found(Finding(
        "LSTM003", "data-quality", "error", 0.85,
        f"x and y are out of step by {best[1]:+d}: a baseline predicts y[n {best[1]:+d}] from x[n] "
        f"with held-out skill {best[0]:.2f}, and y[n] with {here:.2f}.",
        (Evidence("skill for the targets as they are", round(here, 3)),
         Evidence(f"skill for the targets shifted by {best[1]:+d}", round(best[0], 3))),
        Remedy("clean-data", "Put x and y in step.",
               f"x, y = x[:-{best[1]}], y[{best[1]}:]" if best[1] > 0
               else f"x, y = x[{-best[1]}:], y[:{best[1]}]",
               True, here, best[0]),
        "A baseline is as good for y[n] as for its neighbours.",
    ), setup.changed(
        train=_in_step(data, step), held_out=_in_step(setup.held_out, step)
    ))  # fmt: skip


def _in_step(data: Data, k: int) -> Data:
    """x[n] with y[n + k]; a part that is too short for that stays as it is."""
    n = len(data)
    if n < 8 * abs(k):
        return data
    x_rows, y_rows = np.arange(max(0, -k), n - max(0, k)), np.arange(max(0, k), n - max(0, -k))
    return Data(data.take(x_rows).x, data.take(y_rows).y, data.take(y_rows).weight)


def _in_the_window(data: Data, k: int) -> bool:
    """Whether the shifted targets are values of the inputs: windows of one series overlap."""
    x, y = data.x[0], data.y[0]
    n = len(x)
    if x.dtype.kind != "f" or y.dtype.kind != "f":
        return False
    x = x[max(0, -k) : n - max(0, k)].reshape(n - abs(k), -1)
    target = y[max(0, k) : n - max(0, -k)].reshape(n - abs(k), -1)[:, :1]
    if len(np.unique(target)) <= FEW_VALUES:
        return False  # a few values occur everywhere
    return bool((np.abs(x - target) <= 1e-6 * (1 + np.abs(target))).any(1).mean() > 0.5)


def _alike(y: Array) -> bool:
    """Whether neighbouring targets are so alike that a shift hardly matters."""
    flat = y.reshape(len(y), -1)[:, 0].astype(float)
    deviation = flat.std()
    return bool(deviation > 0 and np.abs(np.diff(flat)).mean() < 0.15 * deviation)


def _short_window(setup: Setup) -> Iterator[Found]:
    """Consecutive windows of one series: does a longer past predict better?"""
    given, setup = setup, _of_single_steps(setup)
    whole, _ = _in_order(setup)
    x = whole.x[0]
    carried = surgery.carries_state(setup.model) and not setup.shuffle  # the past, beyond windows
    if setup.tasks[0].per_step or len(x) < 120 or carried:
        return
    series = _series(x)
    if series is None:
        return
    T = x.shape[1]
    here = _window_skill(setup, whole, series, T)
    found = [(_window_skill(setup, whole, series, T * k), T * k) for k in (2, 4, 8, 16, 32)
             if T * k < len(x) // 3]  # fmt: skip
    if not found:
        return
    best, length = max(found)
    length = min(n for skill, n in found if skill > best - 0.05)
    if best < here + LONGER or not _is_the_past(setup, whole, series, length, best):
        return
    yield Found(Finding(
        "LSTM050", "window", "error", 0.85,
        f"Windows of {T} step{'s' if T > 1 else ''} end before what matters: with {length} a "
        f"baseline has held-out skill {best:.2f}, with {T} it has {here:.2f}.",
        (Evidence("window in steps", [T, *(n for _, n in found)]),
         Evidence("held-out skill of the baseline",
                  [round(here, 3), *(round(s, 3) for s, _ in found)])),
        Remedy("longer-window", f"Cut windows of {length} steps.", _code(length - T), True, here,
               best),
        "A baseline gains nothing from a longer window.",
    ), _with_longer_windows(setup, length) if setup is given else None)  # fmt: skip


def _code(first: int) -> str:
    """What to type for as many earlier steps in front of each window."""
    return (
        f"earlier = {first}   # steps\n"
        "x = np.stack([np.concatenate([x[n - earlier : n, 0], x[n]]) "
        "for n in range(earlier, len(x))])\n"
        "y = y[earlier:]"
    )


def _of_single_steps(setup: Setup) -> Setup:
    """One target for a sequence of one step, where it was given as that of the step."""
    task = setup.tasks[0]
    if not task.per_step or setup.train.x[0].shape[1] != 1:
        return setup
    train, held_out = (
        Data(data.x, (data.y[0][:, 0],), None) for data in (setup.train, setup.held_out)
    )
    return setup.changed(train=train, held_out=held_out, tasks=(replace(task, per_step=False),))


def _is_the_past(setup: Setup, whole: Data, series: Array, length: int, skill: float) -> bool:
    """Whether what helps is the past.

    Of single steps that do not go on from each other the rows after help as well where rows are
    sorted by their targets.
    """
    if whole.x[0].shape[1] > 1 or _looks_like_a_series(whole.x[0]) or _comes_next(whole):
        return True
    backwards = whole.take(np.arange(len(whole))[::-1])
    return skill > _window_skill(setup, backwards, series[::-1], length) + LONGER


def _series(x: Array) -> Array | None:
    """The series (n + T - 1, F) that consecutive windows (n, T, F) were cut from, or None.

    Single steps may always be one.
    """
    if x.ndim != 3 or not is_quantity(x) or len(x) < 2:
        return None
    T = x.shape[1]
    if T > 1 and not np.array_equal(x[1:, :-1], x[:-1, 1:]):
        return None
    return np.concatenate([x[0], x[1:, -1]])


def _of_one_series(x: Array) -> bool:
    """Whether most sequences go on within the one before them: windows, any number of steps apart.

    Seen on a few pairs, spread evenly; single steps are told by how alike they are.
    """
    if x.ndim < 2 or x.shape[1] < 2:
        return x.ndim == 3 and _looks_like_a_series(x)
    first = np.linspace(0, len(x) - 2, min(len(x) - 1, _PAIRS)).astype(int)
    pairs = list(zip(x[first], x[first + 1], strict=True))
    return any(
        np.mean([_goes_on(one[step:], other[: len(other) - step]) for one, other in pairs]) > 0.5
        for step in range(1, x.shape[1] - 1)
    )


def _goes_on(end: Array, start: Array) -> bool:
    """Whether the end of one sequence is the start of another, and says something."""
    return bool(np.array_equal(end, start) and np.ptp(end) > 0)


def _in_order(setup: Setup) -> tuple[Data, Array]:
    """Training data with the held-out windows between theirs put back, and which are for training.

    A random split takes windows out of a series; each follows the one that it continues. Where the
    held-out part is none of it, the training data as they are.
    """
    train, held_out = setup.train, setup.held_out
    alone = train, np.ones(len(train), bool)
    parts = (train.x[0], held_out.x[0])
    if parts[0].ndim != 3 or parts[0].shape[1:] != parts[1].shape[1:]:
        return alone
    order = _order(setup, parts)
    if order is None:
        return alone
    weight = None
    if train.weight is not None and held_out.weight is not None:
        weight = np.concatenate([train.weight, held_out.weight])
    both = Data(_joined(train.x, held_out.x), _joined(train.y, held_out.y), weight)
    return both.take(order), order < len(train)


def _order(setup: Setup, parts: tuple[Array, Array]) -> Array | None:
    """The rows of both parts as they stood: by their places, else by what goes on from what."""
    if setup.places is not None and len(setup.places) == sum(map(len, parts)):
        return np.argsort(setup.places)
    if parts[0].shape[1] < 2:
        return None
    chained = _chained(parts, 0)
    return _chained(parts, 1) if chained is None else chained


def _joined(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[Array, ...]:
    return tuple(np.concatenate(pair) for pair in zip(one, other, strict=True))


def _chained(parts: tuple[Array, Array], first: int) -> Array | None:
    """Rows of both parts, one after the other, each beginning a step after the one before it."""
    at, order = [0, 0], []
    take = first
    while True:
        order.append(at[take] + (len(parts[0]) if take else 0))
        end = parts[take][at[take], 1:]
        at[take] += 1
        nexts = [
            k for k in (0, 1)
            if at[k] < len(parts[k]) and np.array_equal(parts[k][at[k], :-1], end)
        ]  # fmt: skip
        if not nexts:
            return np.asarray(order) if at == [len(parts[0]), len(parts[1])] else None
        take = nexts[0]


def _with_longer_windows(setup: Setup, length: int) -> Setup | None:
    model = surgery.for_steps(setup.model, length)
    whole, training = _in_order(setup)
    if training.all():
        parts = [_longer_windows(data, length) for data in (setup.train, setup.held_out)]
    else:
        longer = _longer_windows(whole, length)
        kept = training[length - whole.x[0].shape[1] :]
        parts = [
            None if longer is None else longer.take(np.flatnonzero(rows)) for rows in (kept, ~kept)
        ]
    if model is None or parts[0] is None or parts[1] is None:
        return None

    def as_long(x: tuple[Array, ...]) -> tuple[Array, ...]:
        if x[0].shape[1] != length:
            raise ValueError(
                f"x holds windows of {x[0].shape[1]} steps, expected {length}: that is what the "
                "remedied model reads. Cut them from the series, whose past these no longer hold."
            )
        return x

    return setup.changed(
        model=model, train=parts[0], held_out=parts[1], prepared=(*setup.prepared, as_long)
    )


def _longer_windows(data: Data, length: int) -> Data | None:
    """Windows of `length` steps with the ends that the present ones have."""
    series = _series(data.x[0])
    first = length - data.x[0].shape[1]
    if series is None or len(data) - first < 16:
        return None
    rows = np.arange(first, len(data))
    x = np.stack([series[row - first : row - first + length] for row in rows])
    kept = data.take(rows)
    return Data((x,), kept.y, kept.weight)


def _looks_like_a_series(x: Array) -> bool:
    """Whether consecutive single steps go on from each other."""
    flat = x[:, 0, 0]
    return bool(flat.std() > 0 and np.corrcoef(flat[:-1], flat[1:])[0, 1] > 0.3)


def _comes_next(data: Data) -> bool:
    """Whether the targets of single steps are values of one of the next steps."""
    x, y = data.x[0][:, 0], data.y[0].reshape(len(data), -1)[:, :1]
    return len(np.unique(y)) > FEW_VALUES and any(
        bool(np.isclose(x[k:], y[:-k]).any(1).mean() > 0.9) for k in range(1, 9) if k < len(x)
    )


def _window_skill(setup: Setup, whole: Data, series: Array, length: int) -> float:
    """Held-out skill of the baselines with windows of `length` that end where the present ones do.

    The first windows of the longest length are left out everywhere, so that rows stay the same.
    """
    y, T = whole.y[0], whole.x[0].shape[1]
    ends = np.arange(max(0, len(y) // 3), len(y)) + T  # one past the last step of each window
    ends = ends[ends >= length]
    x = np.stack([series[end - length : end] for end in ends])
    target = y[ends - T]
    cut = int(len(x) * 0.7)
    return baseline_skill(
        setup, Data((x[:cut],), (target[:cut],)), Data((x[cut:],), (target[cut:],))
    )


# For set-ups of one input and one output.
TESTS = (_unlike, _misaligned, _short_window)
