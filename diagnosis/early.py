"""Early warnings: what samples of a training in progress already prove.

Nothing here is a threshold that a healthy training crosses: a value that is not finite, a step that
float32 rounds away, one that is longer than the weights, a layer whose every gate is shut, a
gradient that overflows within the sequence. What needs a comparison is `diagnose`'s work.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.internals import EPSILON

SHUT = 0.95  # of all steps and units: no more than one in twenty still passes anything on
STILL = EPSILON / 2  # of a weight's size: a change that float32 rounds away
_JUMP = 100.0
_OVERFLOW = math.log(float(np.finfo(np.float32).max))
_ARITHMETIC = "arithmetic of float32"


@dataclass(frozen=True, eq=False)
class LayerSample:
    """One LSTM at one moment."""

    saturation: dict[str, float]
    saturation_if_standardized: dict[str, float] | None  # only where a gate is shut
    time_constant: float  # median over the units, in steps
    by_lag: np.ndarray  # (L,) size of dL/d(h, c)
    contribution: np.ndarray  # (L,) what each lag adds to the gradient of the weights
    reach: int
    exponent: float


@dataclass(eq=False)
class Sample:
    """The model at one moment of its training."""

    step: int  # updates made before
    loss: float  # on the monitor's sequences, without dropout
    layers: dict[str, LayerSample]
    gradients: dict[str, float]  # norm per layer with weights
    updates: dict[str, float] = field(default_factory=dict)  # |change of one update| / |weights|

    @property
    def gradient(self) -> float:
        """Norm of the whole gradient."""
        return float(np.sqrt(sum(norm**2 for norm in self.gradients.values())))


def findings(samples: Sequence[Sample]) -> Iterator[Finding]:
    """What these samples, the oldest first, prove; the same finding again and again."""
    for rule in _RULES:
        yield from rule(samples)


def lost(samples: Sequence[Sample]) -> bool:
    """Whether no LSTM has ever moved, in three samples and more."""
    done = [sample for sample in samples if sample.updates]
    return len(done) >= 3 and all(
        sample.updates.get(name, 1.0) < STILL for sample in done for name in sample.layers
    )


def not_finite(what: str, step: int, samples: Sequence[Sample], *, inputs_finite: bool) -> Finding:
    """Finding for a loss or a gradient that is NaN or infinite; what came before tells why."""
    happened = f"{what} is not finite after {step} updates"
    where = Evidence(f"updates before {what} was not finite", step, source=_ARITHMETIC)
    if not inputs_finite:
        return Finding(
            "LSTM001", "data-quality", "error", 1.0,
            f"{happened}: the sequences given to the monitor hold NaN or infinity.",
            (where,),
            Remedy("clean-data", "Remove or fill what is not finite before training.",
                   "keep = np.isfinite(x).all(axis=(1, 2))\nx, y = x[keep], y[keep]"),
            "np.isfinite(x).all() is True.",
        )  # fmt: skip
    exploded = [s for s in samples if _worst_growth(s) > 0.5 * _OVERFLOW]
    jumped = _jump(samples) > _JUMP
    if exploded or jumped:
        growth = max((_worst_growth(s) for s in samples), default=0.0)
        return Finding(
            "LSTM121", "exploding-gradient", "error", 0.8,
            f"{happened}, and the gradient was exploding before it.",
            (where, Evidence("growth of the gradient through the sequence", round(growth, 2),
                             round(_OVERFLOW, 1), _ARITHMETIC, unit="log")),
            _CLIP, "The same training with clipnorm=1 becomes NaN as well.",
        )  # fmt: skip
    return Finding(
        "LSTM110", "learning-rate-high", "error", 0.7 if samples else 0.5,
        f"{happened}, with finite inputs and no explosion through time: the steps are too long, "
        "or the loss divides by zero or takes the logarithm of it.",
        (where,), _SLOWER, "The same training with a tenth of the rate becomes NaN as well.",
    )  # fmt: skip


_CLIP = Remedy(
    "clip-gradients",
    "Clip the norm of the gradient.",
    "model.optimizer.clipnorm = 1.0  # or keras.optimizers.Adam(1e-3, clipnorm=1.0)",
)
_SLOWER = Remedy(
    "learning-rate-down", "Use a tenth of the learning rate.",
    "model.optimizer.learning_rate = 0.1 * float(model.optimizer.learning_rate)",
)  # fmt: skip


def _worst_growth(sample: Sample) -> float:
    """Log growth of the gradient over the whole sequence, in the worst layer."""
    sizes = [layer.exponent * (len(layer.by_lag) - 1) for layer in sample.layers.values()]
    return max((size for size in sizes if np.isfinite(size)), default=0.0)


def _jump(samples: Sequence[Sample]) -> float:
    """The last gradient over the median of those before it."""
    norms = [sample.gradient for sample in samples if np.isfinite(sample.gradient)]
    if len(norms) < 6:
        return 0.0
    return norms[-1] / max(float(np.median(norms[:-1])), 1e-30)


# --- rules ----------------------------------------------------------------------------------------


def _dead_updates(samples: Sequence[Sample]) -> Iterator[Finding]:
    done = [sample for sample in samples if sample.updates]
    if len(done) < 2:
        return
    for name in done[-1].updates:
        largest = max(sample.updates.get(name, 1.0) for sample in done)
        if largest >= STILL:
            continue
        if not any(sample.gradients.get(name, 0.0) for sample in samples):
            yield Finding(
                "LSTM080", "wiring", "warning", 0.9,
                f"layer {name!r} gets no gradient at all: nothing that it computes reaches the "
                "loss, or what follows it is flat.",
                (Evidence("norm of the layer's gradient", 0.0, 0.0, _ARITHMETIC),),
                refuted_by="Its gradient is not zero on other sequences.", layer=name,
            )  # fmt: skip
            continue
        yield Finding(
            "LSTM111", "learning-rate-low", "warning", 0.9,
            f"layer {name!r} does not move: an update changes its weights by {largest:.1g} of "
            "their size, which float32 rounds away.",
            (Evidence("largest update over weights", largest, STILL, _ARITHMETIC),),
            Remedy("learning-rate-up", "Use a larger learning rate.",
                   "model.optimizer.learning_rate = 1e-3"),
            "Its weights differ at the end from what they were at the start.", layer=name,
        )  # fmt: skip


def _long_updates(samples: Sequence[Sample]) -> Iterator[Finding]:
    done = [sample for sample in samples if sample.updates][-2:]
    if len(done) < 2:
        return
    for name in done[-1].layers:
        ratio = min(sample.updates.get(name, 0.0) for sample in done)
        if ratio >= 1:
            yield Finding(
                "LSTM110", "learning-rate-high", "warning", 0.8,
                f"one update changes the weights of {name!r} by {ratio:.1f} times their size: "
                "nothing learnt outlives a step.",
                (Evidence("update over weights", round(ratio, 2), 1.0,
                          "a step as long as the weights themselves"),),
                _SLOWER, "A tenth of the rate trains no better.", layer=name,
            )  # fmt: skip


_GATES = {
    "i_closed": "its input gates are shut",
    "o_closed": "its output gates are shut",
    "c": "its cell states are squashed flat",
}


def _shut(samples: Sequence[Sample]) -> Iterator[Finding]:
    last = samples[-2:]
    if len(last) < 2:
        return
    for name, layer in last[-1].layers.items():
        for gate, words in _GATES.items():
            share = min(sample.layers[name].saturation[gate] for sample in last)
            if share >= SHUT:
                yield _shut_finding(name, layer, gate, f"{words} at {share:.0%} of steps and units")


def _shut_finding(name: str, layer: LayerSample, gate: str, words: str) -> Finding:
    counterfactual = (layer.saturation_if_standardized or {}).get(gate, 1.0)
    evidence = (
        Evidence("saturated share", round(layer.saturation[gate], 3), SHUT,
                 "next to nothing passes on, forwards or backwards"),
        Evidence("the same on the layer's inputs standardized", round(counterfactual, 3)),
    )  # fmt: skip
    if counterfactual < layer.saturation[gate] / 2:
        return Finding(
            "LSTM010", "data-scale", "warning", 0.8,
            f"layer {name!r}: {words}, and standardized inputs would open them.", evidence,
            Remedy("standardize-inputs", "Standardize the inputs, inside the model.",
                   "norm = keras.layers.Normalization()\nnorm.adapt(x_train)"),
            "With standardized inputs the share stays.", layer=name,
        )  # fmt: skip
    return Finding(
        "LSTM130", "initialization", "warning", 0.6,
        f"layer {name!r}: {words}, on standardized inputs too: it is the weights.", evidence,
        Remedy("reinitialize", "Start again from fresh weights, with smaller steps."),
        "The share falls by itself as training goes on.", layer=name,
    )  # fmt: skip


def _explodes(samples: Sequence[Sample]) -> Iterator[Finding]:
    if not samples:
        return
    for name, layer in samples[-1].layers.items():
        growth = layer.exponent * (len(layer.by_lag) - 1)
        if growth > _OVERFLOW:
            yield Finding(
                "LSTM121", "exploding-gradient", "warning", 0.9,
                f"layer {name!r}: the gradient grows by e^{layer.exponent:.2f} per step back, over "
                f"{len(layer.by_lag)} steps more than float32 can hold.",
                (Evidence("growth through the sequence", round(growth, 1), round(_OVERFLOW, 1),
                          _ARITHMETIC, unit="log"),),
                _CLIP, "Clipping changes nothing.", layer=name,
            )  # fmt: skip
    jump = _jump(samples)
    if jump > _JUMP and samples[-1].gradient > 10 * samples[0].gradient:
        yield Finding(
            "LSTM121", "exploding-gradient", "warning", 0.7,
            f"the gradient is {jump:.0f} times the median of what it was before.",
            (Evidence("gradient over its median so far", round(jump, 1), _JUMP,
                      "Pascanu et al. 2013: rare and huge beside the usual"),),
            _CLIP, "Clipping changes nothing.",
        )  # fmt: skip


def _vanished(samples: Sequence[Sample]) -> Iterator[Finding]:
    if not samples:
        return
    for name, layer in samples[-1].layers.items():
        longest = len(layer.contribution) - 1
        if longest > 1 and layer.contribution.max() > 0 and layer.reach < longest / 2:
            yield Finding(
                "LSTM120", "vanishing-gradient", "info", 0.5,
                f"layer {name!r}: beyond lag {layer.reach} of {longest} the gradient is too small "
                "for float32 to add: what lies further back is not learnt.",
                (Evidence("longest lag that float32 still adds", layer.reach, longest, _ARITHMETIC,
                          unit="steps"),),
                refuted_by="The task needs nothing from further back; `diagnose` finds out.",
                layer=name,
            )  # fmt: skip


_RULES: tuple[Callable[[Sequence[Sample]], Iterator[Finding]], ...] = (
    _dead_updates,
    _long_updates,
    _shut,
    _explodes,
    _vanished,
)
