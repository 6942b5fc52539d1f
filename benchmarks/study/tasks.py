"""The four tasks of the initialization study, each in two lengths.

Two are drawn anew at every step (adding, copy memory), two are real (Japanese Vowels, handwritten
digits). A task gives batches from a random key alone, so that every setting of a seed is trained on
the same sequences: differences between settings are then differences of the settings.

References
----------
Hochreiter & Schmidhuber 1997, sections 5.4 (adding) and 5.2 (long time lags); Arjovsky, Shah &
Bengio 2016, section 5.1 (copy memory as it is done today). The real data are described in
`examples/README.md` and `benchmarks/faults/data/README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SYMBOLS, RECALLED = 4, 2  # copy memory: kinds of symbols, and how many are to be remembered
HELD_OUT = 128


class Batch(NamedTuple):
    """Sequences x (B, T, I), what is asked for, and which steps are real and which count."""

    x: Any
    target: Any  # (B, outputs) values, or (B,) or (B, T) class numbers
    lengths: Any  # (B,) real steps
    counted: Any  # (B, T) steps whose output is judged; None: that of the last step


@dataclass(frozen=True, eq=False)
class Task:
    """A problem: what it draws, how wide it is, and the loss of the best constant answer."""

    name: str
    length: int
    input_size: int
    output_size: int
    classes: bool  # cross-entropy over output_size classes, or squared error
    baseline: float  # loss of the best constant answer: skill 0
    draw: Callable[[Any, int], Batch]  # (key, batch size), training data
    held_out: Batch

    def skill(self, loss: Any) -> Any:
        """0 for the best constant answer, 1 for perfect."""
        return 1 - loss / self.baseline


def adding(length: int) -> Task:
    """The sum of the two marked numbers, one in each half of the sequence."""

    def draw(key: Any, size: int) -> Batch:
        values, first, second = jax.random.split(key, 3)
        numbers = jax.random.uniform(values, (size, length))
        half = length // 2
        marked = jnp.stack(
            [
                jax.random.randint(first, (size,), 0, half),
                jax.random.randint(second, (size,), half, length),
            ],
            axis=1,
        )
        markers = jax.nn.one_hot(marked, length).sum(axis=1)
        target = (numbers * markers).sum(axis=1, keepdims=True)
        x = jnp.stack([numbers, markers], axis=-1)
        return Batch(x, target, jnp.full(size, length), None)

    held_out = draw(jax.random.key(2**31 - 1), HELD_OUT)
    # Var of the sum of two U(0, 1).
    return Task("adding", length, 2, 1, False, 1 / 6, draw, held_out)


def copy_memory(length: int) -> Task:
    """The first symbols again, in their order, at the end of a long blank."""
    blank, recall = SYMBOLS, SYMBOLS + 1

    def draw(key: Any, size: int) -> Batch:
        shown = jax.random.randint(key, (size, RECALLED), 0, SYMBOLS)
        codes = jnp.full((size, length), blank).at[:, :RECALLED].set(shown)
        codes = codes.at[:, length - RECALLED - 1].set(recall)
        target = jnp.zeros((size, length), int).at[:, -RECALLED:].set(shown)
        counted = jnp.broadcast_to(jnp.arange(length) >= length - RECALLED, (size, length))
        x = jax.nn.one_hot(codes, SYMBOLS + 2)
        return Batch(x, target, jnp.full(size, length), counted)

    held_out = draw(jax.random.key(2**31 - 1), HELD_OUT)
    return Task(
        "copy memory", length, SYMBOLS + 2, SYMBOLS, True, float(np.log(SYMBOLS)), draw, held_out
    )


def _stored(name: str, train: Batch, held_out: Batch, classes: int) -> Task:
    def draw(key: Any, size: int) -> Batch:
        rows = jax.random.randint(key, (size,), 0, train.x.shape[0])
        return Batch(train.x[rows], train.target[rows], train.lengths[rows], None)

    share = np.bincount(np.asarray(held_out.target), minlength=classes) / len(held_out.target)
    share = share[share > 0]
    entropy = float(-(share * np.log(share)).sum())
    T, I = train.x.shape[1:]
    return Task(name, T, I, classes, True, entropy, draw, held_out)


def vowels(length: int) -> Task:
    """Which of nine speakers? 12 cepstral coefficients; `length` 29, or 15: every other frame."""
    with np.load(ROOT / "examples" / "japanese_vowels.npz", allow_pickle=False) as data:
        stored = {name: data[name] for name in data.files}
    every = {29: 1, 15: 2}[length]
    real = np.arange(stored["x_train"].shape[1]) < stored["lengths_train"][:, None]
    mean, deviation = (f(stored["x_train"][real], axis=0) for f in (np.mean, np.std))

    def part(suffix: str, rows: Any) -> Batch:
        lengths = -(-stored[f"lengths{suffix}"][rows] // every)
        x = ((stored[f"x{suffix}"][rows] - mean) / deviation)[:, ::every]
        x = np.where((np.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)
        target = stored[f"y{suffix}"][rows].astype(np.int32)
        return Batch(
            jnp.asarray(x.astype(np.float32)), jnp.asarray(target), jnp.asarray(lengths), None
        )

    held = np.random.default_rng(0).permutation(len(stored["y"]))[:HELD_OUT]
    return _stored("Japanese Vowels", part("_train", slice(None)), part("", held), 9)


def digits(length: int) -> Task:
    """Which digit? 8 x 8 pixels, by rows (`length` 8) or by quarters of rows (32)."""
    path = ROOT / "benchmarks" / "faults" / "data" / "digits.npz"
    with np.load(path, allow_pickle=False) as data:
        x, y = data["x"] / np.float32(16) - np.float32(0.3), data["y"].astype(np.int32)
    order = np.random.default_rng(0).permutation(len(y))
    x = x.astype(np.float32).reshape(len(x), length, -1)

    def part(rows: Any) -> Batch:
        lengths = np.full(len(rows), length)
        return Batch(jnp.asarray(x[rows]), jnp.asarray(y[rows]), jnp.asarray(lengths), None)

    return _stored("digits", part(order[:1200]), part(order[-HELD_OUT:]), 10)


TASKS: dict[str, tuple[Callable[[int], Task], tuple[int, int]]] = {
    "adding": (adding, (16, 32)),
    "copy memory": (copy_memory, (16, 32)),
    "Japanese Vowels": (vowels, (15, 29)),
    "digits": (digits, (8, 32)),
}
"""By name: how to make a task, and its two lengths."""
