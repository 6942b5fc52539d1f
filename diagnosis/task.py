"""What the targets ask for, and how much of it a set of predictions gives: skill.

Skill is 1 for perfect predictions and 0 for the best constant one, whatever the loss, so that
set-ups with different heads and losses can be compared:

- regression: R^2 = 1 - SSE / SST, the SST around the mean of the *training* targets;
- classes: (balanced accuracy - 1/K) / (1 - 1/K): a classifier that knows only the class
  frequencies gets 0, however imbalanced they are (Brodersen et al. 2010).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

Array = np.ndarray
Kind = Literal["regression", "binary", "multiclass"]

AT_THE_END = 0.9  # of the steps that look like padding: more between real ones, and it is content
ALONE = 0.99  # of the padded steps have a class that fills up, and none of the others
MANY_STEPS = 8  # in fewer, the same few numbers stand at both ends by chance
_CLASS_LOSSES = ("crossentropy", "hinge", "focal")


@dataclass(frozen=True)
class Task:
    """What one output has to predict."""

    kind: Kind
    classes: Array  # sorted label values; empty for regression
    coding: Literal["values", "labels", "one-hot"]
    mean: Array  # of the training targets, per column (regression)
    per_step: bool  # one target per time step
    filler: int | None = None  # the class that stands at padded steps alone

    @property
    def class_count(self) -> int:
        """K, 0 for regression."""
        return len(self.classes)

    def blank(self, y: Array) -> Array | None:
        """(B,) or (B, T), True where a target only fills up; None where none does.

        A one-hot target of zeros, or the class that stands at padded steps alone.
        """
        y = np.asarray(y)
        empty = y.sum(-1) == 0 if self.coding == "one-hot" else np.zeros(y.shape[:2], bool)
        if self.filler is not None:
            empty |= self.labels(y).reshape(empty.shape) == self.filler
        return empty if empty.any() else None

    def labels(self, y: Array) -> Array:
        """Class index of every target, flattened; regression targets as columns."""
        if self.kind == "regression":
            return np.asarray(y, np.float64).reshape(-1, len(self.mean))
        if self.coding == "one-hot":
            return np.asarray(y).reshape(-1, y.shape[-1]).argmax(-1)
        return np.searchsorted(self.classes, np.asarray(y).reshape(-1))

    def decided(self, predictions: Array) -> Array:
        """The class index that each prediction stands for.

        K or more columns: the largest. One column: the nearer class value; a probability or a
        logit of class 1 is told apart by whether it leaves [0, 1].
        """
        p = np.asarray(predictions, np.float64)
        p = p.reshape(-1, p.shape[-1] if p.ndim > 1 else 1)
        if p.shape[-1] > 1:
            return p.argmax(-1)
        p = p[:, 0]
        if self.kind == "binary":
            low, high = self.classes if self.coding == "labels" else (0.0, 1.0)
            outside = np.nanmin(p) < min(low, 0) - 1e-6 or np.nanmax(p) > max(high, 1) + 1e-6
            threshold = 0.0 if outside else (float(low) + float(high)) / 2
            return (p > threshold).astype(int)
        return np.abs(p[:, None] - np.asarray(self.classes, float)).argmin(-1)

    def skill(self, y: Array, predictions: Array, weight: Array | None = None) -> float:
        """Skill of predictions; -1 where any is not finite.

        `weight` 0 leaves an entry out, and so does a one-hot target of zeros.
        """
        p = np.asarray(predictions, np.float64)
        if not np.isfinite(p).all():
            return -1.0
        blank = self.blank(y)
        weight = None if weight is None else np.asarray(weight)
        if blank is not None:
            weight = left_out(weight, blank)
        truth = self.labels(y)
        keep = np.ones(1, bool) if weight is None else _repeated(weight.reshape(-1) > 0, len(truth))
        if self.kind == "regression":
            return self._r_squared(truth, p, keep)
        return self._balanced(truth, self.decided(p), keep)

    def surprise(self, y: Array, predictions: Array) -> float:
        """The mean of -log of the probability given to the true class.

        NaN where there are no classes, a target for each step, or no probabilities.
        """
        p = np.asarray(predictions, np.float64)
        if self.kind == "regression" or self.per_step or p.ndim != 2:
            return np.nan
        if p.shape[1] == 1:
            p = np.concatenate([1 - p, p], 1)
        whole = np.allclose(p.sum(1), 1, atol=1e-3) and p.min() >= 0
        if p.shape[1] != self.class_count or not whole:
            return np.nan
        of_the_true = p[np.arange(len(p)), self.labels(y)]
        return float(-np.log(np.maximum(of_the_true, 1e-7)).mean())  # as Keras clips it

    def _r_squared(self, y: Array, p: Array, keep: Array) -> float:
        if p.size != y.size:
            return -1.0  # a shape that only broadcasting makes comparable predicts nothing
        p = p.reshape(y.shape)
        y, p = (y, p) if keep.size == 1 else (y[keep], p[keep])
        total = np.square(y - self.mean).sum(0)
        rest = np.square(y - p).sum(0)
        columns = total > 0
        if not columns.any():
            return 0.0
        return float(np.clip(1 - rest[columns] / total[columns], -1, 1).mean())

    def _balanced(self, y: Array, decided: Array, keep: Array) -> float:
        if len(decided) != len(y):
            return -1.0
        y, decided = (y, decided) if keep.size == 1 else (y[keep], decided[keep])
        recalls = [(decided[y == k] == k).mean() for k in np.unique(y)]
        K = len(recalls)
        return 0.0 if K < 2 else float((np.mean(recalls) - 1 / K) / (1 - 1 / K))


def task_of(
    y: Array,
    loss_name: str,
    head_width: int | None = None,
    *,
    output_shape: tuple[int | None, ...] = (),
    softmax: bool = False,
) -> Task:
    """What the targets are, from themselves; loss and output decide only what they leave open.

    Integers with few distinct values are classes under a classification loss, or where the head
    has a unit for each of them; else they are quantities. One-hot rows may be left blank under a
    softmax or a categorical loss: padding. Several numbers for the units of one output, not one-hot
    (the labels of a text that may have several, the next hours of a series), are columns.
    """
    y = np.asarray(y)
    flat = y.reshape(-1)
    finite = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    mean = np.zeros(0)
    per_step = y.ndim > 2 or (y.ndim == 2 and y.shape[1] > 1)
    wants_classes = any(word in loss_name for word in _CLASS_LOSSES)
    padded = softmax or loss_name == "categorical_crossentropy"
    if _is_one_hot(y, padded=padded) and not _are_steps(y, output_shape):
        kind: Kind = "binary" if y.shape[-1] == 2 else "multiclass"
        return Task(kind, np.arange(y.shape[-1]), "one-hot", mean, y.ndim > 2)
    if _are_columns(y, output_shape):
        mean = np.nanmean(y.reshape(-1, y.shape[-1]).astype(np.float64), axis=0)
        return Task("regression", np.zeros(0), "values", mean, y.ndim > 2)
    values = np.unique(finite)
    whole = len(values) > 0 and np.equal(values, np.round(values.astype(float))).all()
    few = 2 <= len(values) <= max(2, min(64, len(finite) // 4))
    by_head = head_width is not None and head_width > 1 and head_width == len(values)
    # Whole numbers 0…K-1 stored as integers are class numbers until an experiment says otherwise.
    counted = y.dtype.kind in "iu" and few and len(values) <= 20 and np.ptp(values) < len(values)
    # Few sequences of many classes: a head with a unit for each number says what they are.
    few |= "sparse" in loss_name and len(values) <= (head_width or 1)
    if whole and few and (wants_classes or by_head or counted or len(values) == 2):
        kind = "binary" if len(values) == 2 else "multiclass"
        return Task(kind, values, "labels", mean, per_step)
    columns = 1 if y.ndim < 2 else y.shape[-1]
    mean = np.nanmean(y.reshape(-1, columns).astype(np.float64), axis=0)
    return Task("regression", np.zeros(0), "values", mean, y.ndim > 2)


def with_all_classes(task: Task, y: Array) -> Task:
    """The task with the classes that these targets have, where it counted fewer."""
    if task.coding != "labels":
        return task
    classes = np.unique(np.concatenate([task.classes, np.unique(y).astype(task.classes.dtype)]))
    return replace(task, classes=classes, kind="binary" if len(classes) == 2 else "multiclass")


def with_filler(task: Task, x: Array, y: Array) -> Task:
    """The task with the class noted that padded steps have, and no others."""
    padding = padding_of(x) if task.per_step and task.class_count > 2 else None
    if padding is None or padding.steps.shape != y.shape[:2]:
        return task
    labels = task.labels(y).reshape(y.shape[:2])
    most = int(np.bincount(labels[padding.steps]).argmax())
    inside, elsewhere = (
        float((labels[steps] == most).mean()) for steps in (padding.steps, ~padding.steps)
    )
    return replace(task, filler=most) if inside > ALONE and elsewhere < 1 - ALONE else task


def _is_one_hot(y: Array, *, padded: bool = False) -> bool:
    if y.ndim < 2 or y.shape[-1] < 2 or not np.isin(y, (0, 1)).all():
        return False
    ones = y.sum(-1)
    return bool((ones == 1).all() or (padded and (ones <= 1).all() and (ones == 1).any()))


def _are_columns(y: Array, output_shape: tuple[int | None, ...]) -> bool:
    """Whether the units of an output stand for the numbers of a target, each for one."""
    return y.ndim > 1 and y.ndim == len(output_shape) and 1 < y.shape[-1] == output_shape[-1]


def _repeated(keep: Array, n: int) -> Array:
    """For n entries: where a sequence has one weight, all of its steps have it."""
    return np.repeat(keep, n // len(keep)) if len(keep) < n else keep


def _are_steps(y: Array, output_shape: tuple[int | None, ...]) -> bool:
    """Whether (B, T) targets, a one in each row, stand for the steps of a (B, T, K) output."""
    if y.ndim != 2 or len(output_shape) != 3:
        return False
    steps, width = output_shape[1:]
    return y.shape[1] == steps or (steps is None and y.shape[1] != width)


def left_out(weight: Array | None, blank: Array) -> Array:
    """The weights with zeros where targets are blank."""
    kept = (~blank).astype(np.float32)
    if weight is None:
        return kept
    return kept * (weight[:, None] if weight.ndim < kept.ndim else weight.reshape(kept.shape))


class Padding(NamedTuple):
    """What the ends of sequences are filled up with."""

    value: Array  # of a padded step: (F,), or () for a sequence of numbers
    steps: Array  # (B, T), True where a step is padding

    @property
    def behind(self) -> bool:
        """Whether it comes after the content."""
        return bool(self.steps[:, -1].sum() > self.steps[:, 0].sum())


def padding_of(x: Array) -> Padding | None:
    """The step that fills up one end of many sequences, and where; None where there is none.

    Zeros, or whatever else: a step that many sequences end (or begin) with, to the bit. What also
    occurs between real steps is content, and no padding: one in ten may.

    None where x is no (B, T, F) or (B, T), where fewer than one sequence in twenty has such an end,
    and where no end is longer than a step: a signal may well begin at zero.
    """
    if x.ndim not in (2, 3) or x.shape[1] < 2 or len(x) < 2:
        return None
    for value in (np.zeros(x.shape[2:], x.dtype), *_often(x[:, -1]), *_often(x[:, 0])):
        steps = _end_runs(is_step(x, value))
        if steps is not None and (x.shape[1] >= MANY_STEPS or not value.any()):
            return Padding(value, steps)
    return None


def is_step(x: Array, value: Array) -> Array:
    """(B, T), True where a step of x is the value."""
    return (x == value).all(-1) if x.ndim == 3 else x == value


def _often(ends: Array) -> Iterator[Array]:
    """The step that most sequences end with, where that is one sequence in twenty."""
    values, counts = np.unique(ends, axis=0, return_counts=True)
    most = int(counts.argmax())
    if counts[most] > 0.05 * len(ends):
        yield values[most]


def _end_runs(blank: Array) -> Array | None:
    leading = np.logical_and.accumulate(blank, axis=1)
    trailing = np.logical_and.accumulate(blank[:, ::-1], axis=1)[:, ::-1]
    padding = leading if leading.sum() > trailing.sum() else trailing
    found = padding.any(1).mean() > 0.05 and padding.sum(1).max() > 1
    return padding if found and padding.sum() >= AT_THE_END * blank.sum() else None


def as_list(value: Any) -> list[Any]:
    """Inputs or targets as a list, however they came."""
    if value is None:
        return []
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]
