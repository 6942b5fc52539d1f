"""Training loops that feed single batches: what `train_on_batch` is given, until all of it is seen.

Nothing is trained: every call gives what the first batch is evaluated to. The loop is stopped when
its first batch comes again, when enough was fed, or when it has made all of its calls; and where
the script is about to write the model, which it has not trained.
"""

from __future__ import annotations

import math
from types import FrameType
from typing import Any

import numpy as np

from lstm_oracle.cli.loops import passes_of

ENOUGH = 4000  # sequences
WRITING = ("save", "save_weights", "export")


class Batches:
    """The batches of one model, and the arguments of `diagnose` that they amount to."""

    def __init__(self, model: Any, frame: FrameType) -> None:
        """Begin at the first call, which the frame is at."""
        self.model = model
        self.calls_to_come, self.passes = passes_of(frame, "train_on_batch")
        self.parts: list[tuple[Any, Any, Any]] = []
        self.class_weight: Any = None
        self.told: Any = None
        self.again = False

    def take(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
             return_dict: bool = False) -> tuple[Any, bool]:  # fmt: skip
        """What the call gives, and whether it is to be the last."""
        if self.parts and _content(x, y) == _content(*self.parts[0][:2]):
            self.again = True
            return None, True
        self.parts.append((_copied(x), _copied(y), _copied(sample_weight)))
        self.class_weight = class_weight
        if self.told is None:
            self.told = self._evaluated(x, y, sample_weight, return_dict)
        enough = sum(map(_rows, self.parts)) >= ENOUGH
        return self.told, enough or len(self.parts) == self.calls_to_come

    def _evaluated(self, x: Any, y: Any, weight: Any, return_dict: bool) -> Any:
        try:
            return self.model.test_on_batch(x, y, sample_weight=weight, return_dict=return_dict)
        except Exception:  # it does not fit together: that is for the diagnosis to say
            return {"loss": 0.0} if return_dict else 0.0

    def arguments(self) -> dict[str, Any]:
        """Arguments of `diagnose` for the whole loop."""
        xs, ys, weights = zip(*self.parts, strict=True)
        rows = sum(map(_rows, self.parts))
        updates = self.calls_to_come or len(self.parts) * self.passes
        epochs = updates / len(self.parts) if self.again else updates * _rows(self.parts[0]) / rows
        return {
            "x": _joined(xs),
            "y": _joined(ys),
            "sample_weight": None if any(w is None for w in weights) else _joined(weights),
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


def _rows(part: tuple[Any, Any, Any]) -> int:
    return len(_arrays(part[0])[0])


def _joined(batches: tuple[Any, ...]) -> Any:
    first = batches[0]
    if isinstance(first, dict):
        return {name: np.concatenate([batch[name] for batch in batches]) for name in first}
    if isinstance(first, list):
        return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return np.concatenate(batches)
