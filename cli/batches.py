"""Training loops that feed single batches: what `train_on_batch` is given, until all of it is seen.

Nothing is trained: every call gives what the first batch is evaluated to. The loop is stopped when
its first batches come again, when enough was fed, or when it has made all of its calls. What it
would write of its models on the way is not written, for they have learnt nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np

from lstm_oracle.cli.loops import passes_of

ENOUGH = 4000  # sequences
UNKNOWN = 10  # passes, where the script does not say: as many epochs as without a script


class Unfit(Exception):
    """The first batch cannot be evaluated: model and data do not fit together."""


class Batches:
    """The batches of one model, and the arguments of `diagnose` that they amount to."""

    def __init__(self, model: Any, frame: FrameType) -> None:
        """Begin at the first call, which the frame is at."""
        self.model = model
        self.total, self.passes = passes_of(frame, "train_on_batch")
        self.parts: list[tuple[Any, Any, Any]] = []
        self.calls = 0
        self.class_weight: Any = None
        self.answer: Any = None
        self.again = False

    def take(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
             return_dict: bool = False) -> tuple[Any, bool]:  # fmt: skip
        """What the call gives, and whether it is to be the last.

        Raises
        ------
        Unfit
            Where the first batch cannot be evaluated; it is kept.
        """
        self.calls += 1
        content = _content(x, y)
        if self.parts and content == _content(*self.parts[-1][:2]):
            return self.answer, self.calls == self.total  # the same once more: another update
        if len(self.parts) > 1 and content == _content(*self.parts[0][:2]):
            self.again = True
            return self.answer, True
        self.parts.append((_copied(x), _copied(y), _copied(sample_weight)))
        self.class_weight = class_weight
        if self.answer is None:
            self.answer = self._evaluated(x, y, sample_weight, return_dict)
        enough = sum(map(_rows, self.parts)) >= ENOUGH
        return self.answer, enough or self.calls == self.total

    def _evaluated(self, x: Any, y: Any, weight: Any, return_dict: bool) -> Any:
        try:
            return self.model.test_on_batch(x, y, sample_weight=weight, return_dict=return_dict)
        except Exception as error:
            raise Unfit from error

    @property
    def updates(self) -> int:
        """How many the whole loop would make."""
        if self.total is not None:
            return self.total
        if self.again:  # the last call was the first batch once more
            return (self.calls - 1) * (self.passes or UNKNOWN)
        return self.calls

    def arguments(self) -> dict[str, Any]:
        """Arguments of `diagnose` for the whole loop; rows that come again are given once."""
        weighted = all(weight is not None for _, _, weight in self.parts)
        parts = [part if weighted else part[:2] for part in self.parts]
        different = len({row for x, y, _ in self.parts for row in _each_row(x, y)})
        epochs = self.updates * _rows(self.parts[0]) / different
        return {
            "x": iter(parts) if self.parts[0][1] is not None else self.parts[0][0],
            "y": None,
            "sample_weight": None,
            "class_weight": self.class_weight,
            "validation_data": None,
            "validation_split": 0.0,
            "epochs": max(1, math.ceil(epochs)),
            "batch_size": _rows(self.parts[0]),
            "shuffle": not self.again,
            "callbacks": (),
            "steps_per_epoch": None,
        }


def _arrays(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _copied(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: np.array(_array(part)) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [np.array(_array(part)) for part in value]
    return np.array(_array(value))


def _content(*values: Any) -> list[bytes]:
    return [
        np.ascontiguousarray(_array(part)).tobytes()
        for value in values if value is not None for part in _arrays(value)
    ]  # fmt: skip


def _each_row(*values: Any) -> Iterator[bytes]:
    arrays = [part for value in values if value is not None for part in _arrays(value)]
    for rows in zip(*arrays, strict=False):
        yield b"".join(np.ascontiguousarray(row).tobytes() for row in rows)


def _rows(part: tuple[Any, Any, Any]) -> int:
    return len(_arrays(part[0])[0])
