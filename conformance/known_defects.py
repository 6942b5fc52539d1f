"""Defects of others that are known and public: what explains a disagreement, and whom to tell.

A row never hides anything: a case that it matches still counts as a disagreement, and says why.
Every row was reproduced with the versions that it names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lstm_oracle.conformance.adapters.support import specs
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.reference.spec import Architecture, Bidirectional, Reverse, Stack
from lstm_oracle.reference.tree import flatten

KERAS = "keras.layers.LSTM"


@dataclass(frozen=True)
class Defect:
    """A known defect: where it shows, and what to say."""

    implementation: str
    backends: tuple[str, ...]
    first: tuple[int, int, int]  # the first version of `package` in which it was seen
    last: tuple[int, int, int]  # the last in which it was seen: later ones are not excused
    shows: Callable[[Case, str], bool]  # (case, backend)
    explanation: str
    package: str = "keras"
    at_most: float = math.inf  # a larger error has another cause


def _float64(case: Case, backend: str) -> bool:
    return case.dtype == "float64"


def _poisoned(case: Case, backend: str) -> bool:
    return case.mask is not None and bool((case.x != case.x)[~case.mask].any())


def _unrolled(case: Case) -> bool:
    return bool(case.options.get("unroll")) and case.mask is not None


def _has(architecture: Architecture, kind: type) -> bool:
    if isinstance(architecture, kind):
        return True
    return isinstance(architecture, Stack) and any(_has(a, kind) for a in architecture.layers)


def _unrolled_zero(case: Case, backend: str) -> bool:
    emits = {spec.masked_output for spec in specs(case.architecture)}
    return _unrolled(case) and "zero" in emits


def _unrolled_backwards(case: Case, backend: str) -> bool:
    both = (Bidirectional, Reverse)
    return _unrolled(case) and any(_has(case.architecture, kind) for kind in both)


def _unrolled_zero_backwards(case: Case, backend: str) -> bool:
    return _unrolled_zero(case, backend) and _unrolled_backwards(case, backend)


def _leading_mask(case: Case, backend: str) -> bool:
    """A masked step before the first real one of some sequence, in the order of processing.

    From a state of zeros it does not show, as zeros are right.
    """
    if case.mask is None or _has(case.architecture, Bidirectional):
        return False
    if not any(leaf.any() for leaf in flatten(case.state).values()):
        return False
    first_processed = -1 if _has(case.architecture, Reverse) else 0
    emits = {spec.masked_output for spec in specs(case.architecture)}
    return emits == {"previous"} and bool((~case.mask[:, first_processed]).any())


def _dropout_implementation_1(case: Case, backend: str) -> bool:
    return case.dropout is not None and (
        case.options.get("implementation") == 1 and case.dropout.h is None
    )


def _length_zero(case: Case, backend: str) -> bool:
    return case.mask is not None and not case.mask.any(axis=1).all()


def _ignored_by_the_onnx_reference(case: Case, backend: str) -> bool:
    lengths = case.mask is not None and not case.mask.all()
    plain = ("sigmoid", "tanh", "tanh")
    return lengths or any(
        spec.activation_clip is not None
        or spec.coupled
        or (spec.f_activation, spec.g_activation, spec.c_activation) != plain
        for spec in specs(case.architecture)
    )


DEFECTS: tuple[Defect, ...] = (
    Defect(
        KERAS, ("tensorflow", "jax", "torch"), (3, 15, 1), (3, 15, 1), _poisoned,
        "keras.layers.LSTM computes masked steps before it discards them, so NaN or Inf in the "
        "padding makes every weight gradient NaN. Replace the padding by zeros.",
    ),
    Defect(
        KERAS, ("tensorflow", "jax", "torch"), (3, 15, 1), (3, 15, 1), _dropout_implementation_1,
        "keras.layers.LSTM with dropout and implementation=1 fails in training: the fused path "
        "takes the list of one mask per gate for one mask. Use implementation=2.",
    ),
    Defect(
        KERAS, ("jax",), (3, 15, 1), (3, 15, 1), _unrolled_zero,
        "keras.layers.LSTM with unroll=True on JAX ignores zero_output_for_mask, which "
        "Bidirectional relies on: the previous output is emitted in place of zeros.",
    ),
    Defect(
        KERAS, ("tensorflow",), (3, 15, 1), (3, 15, 1), _unrolled_zero_backwards,
        "keras.layers.LSTM with unroll=True, go_backwards and zero_output_for_mask on TensorFlow "
        "puts the zeros where the mask has them in the other order of time.",
    ),
    Defect(
        KERAS, ("torch",), (3, 15, 1), (3, 15, 1), _unrolled_backwards,
        "keras.layers.LSTM with unroll=True, a mask and go_backwards crashes on PyTorch.",
    ),
    Defect(
        KERAS, ("jax",), (3, 15, 1), (3, 15, 1), _leading_mask,
        "keras.layers.LSTM on JAX emits the initial state at masked steps before the first real "
        "one; on TensorFlow and PyTorch it emits zeros.",
    ),
    Defect(
        KERAS, ("jax", "torch"), (3, 15, 1), (3, 15, 1), _float64,
        "float64 is not float64 in Keras on this backend: ops.tanh (JAX) and ops.matmul "
        "(PyTorch) compute in float32 and cast back (keras#23223, keras#23704).",
        at_most=1e-4,
    ),
    Defect(
        "flax.", ("",), (0, 12, 8), (0, 12, 8), _length_zero,
        "flax's RNN takes the last carry at index seq_lengths - 1, so a sequence of length zero "
        "ends in the state after all steps of padding.", package="flax",
    ),
    Defect(
        "jax.experimental.rnn.lstm_ref", ("",), (0, 10, 2), (0, 10, 2), _length_zero,
        "lstm_ref takes the last carry at index seq_lengths - 1, so a sequence of length zero "
        "ends in the state after all steps of padding.", package="jax",
    ),
    Defect(
        "onnxruntime", ("",), (1, 31, 1), (1, 31, 1), _length_zero,
        "onnxruntime gives a final state of zeros for a sequence of length zero, in place of the "
        "initial state.", package="onnxruntime",
    ),
    Defect(
        "onnx.reference", ("",), (1, 23, 2), (1, 23, 2), _ignored_by_the_onnx_reference,
        "ONNX's reference evaluator ignores sequence_lens, clip, activations and input_forget of "
        "LSTM.", package="onnx",
    ),
)  # fmt: skip


def explain(
    name: str, backend: str, versions: dict[str, str], case: Case, report: CaseReport | None = None
) -> str:
    """What is known about a disagreement of this implementation on this case; "" if nothing.

    `report`, where there is one, says how large the errors are: a defect that costs digits does
    not explain a result that is altogether wrong.
    """
    worst = max((block.error for block in report.blocks), default=0.0) if report else 0.0
    return next(
        (
            defect.explanation
            for defect in DEFECTS
            if name.startswith(defect.implementation)
            and backend in defect.backends
            and defect.first <= _version(versions.get(defect.package, "")) <= defect.last
            and defect.shows(case, backend)
            and worst <= defect.at_most
        ),
        "",
    )


def _version(text: str) -> tuple[int, ...]:
    """3.15.1 to (3, 15, 1); what is not a number ends it."""
    numbers: list[int] = []
    for part in text.split(".")[:3]:
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
