"""A user's own Keras model held against the oracle, layer by layer, on its own data.

Importing this does not import Keras; `verify_model` does, with the backend that the model runs on.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.known_defects import explain
from lstm_oracle.conformance.model_inputs import check_inputs
from lstm_oracle.conformance.report import CaseReport, LayerReport, ModelReport
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.sampled_yardstick import (
    longer_sampled_yardsticks,
    sampled_yardstick,
)
from lstm_oracle.conformance.tolerances import FORMATS
from lstm_oracle.conformance.yardstick import truth
from lstm_oracle.reference.spec import Reverse, Spec, Stack
from lstm_oracle.reference.tree import flatten, map_leaves

if TYPE_CHECKING:
    from lstm_oracle.keras_impl.probe import Capture, Unsupported

Array = np.ndarray

_FROM_LOSS = "the model's own loss"
_FROM_RANDOM = "random numbers at the model's outputs, as there is no y"
_FROM_UNCOMPILED = "random numbers at the model's outputs, as the model is not compiled"


def input_names(model: Any) -> tuple[str, ...]:
    """Names of the model's inputs; none for a subclassed model, which declares none."""
    return tuple(tensor.name for tensor in getattr(model, "inputs", None) or ())


def verify_model(
    model: Any,
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    samples: int = 64,
    seed: int = 0,
) -> ModelReport:
    """Whether every LSTM of a Keras model computes what the oracle computes.

    Each layer is held against the oracle on the input that really reaches it and with the gradient
    that really reaches its output: its outputs, the states that it returns, and the framework's
    own gradients of its weights, its input and its initial state.

    Parameters
    ----------
    model : keras.Model
        Built. It is not changed.
    x, y, sample_weight
        Some data, as for `model.fit`: arrays, lists of arrays, or dicts by name. Without `y`, or
        for a model that is not compiled, gradients start from random numbers at the outputs.
    samples : int
        At most the first so many rows are used.
    seed : int
        Of the random numbers.

    Returns
    -------
    ModelReport
        With a row per call of each layer; `report.agrees` sums it up.

    Raises
    ------
    TypeError, ValueError
        Where the data do not fit the model, with what was got, what was expected, and the fix.

    Examples
    --------
    >>> import keras
    >>> model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    >>> report = verify_model(model, np.random.default_rng(0).normal(size=(8, 5, 3)))
    >>> report.agrees, [layer.case.status for layer in report.layers]
    (True, ['agree'])
    """
    from lstm_oracle.keras_impl import probe

    start = time.perf_counter()
    if not getattr(model, "built", True):
        raise ValueError(
            f"model {model.name!r} has no weights yet, expected a built one. "
            "Call it on a batch first: model(x[:1])."
        )
    inputs = check_inputs(model, x, y, sample_weight, samples)
    compiled = bool(getattr(model, "compiled", False))
    with_loss = y is not None and compiled
    loss_arguments = (inputs.y, inputs.sample_weight) if with_loss else (None, None)
    try:
        found = probe.capture(model, inputs.x, *loss_arguments, seed=seed)
    except Exception as error:  # whatever the model's own layers and losses raise
        raise ValueError(_failed(model, error)) from error
    checked = [_check(model, one) for one in found]
    return ModelReport(
        model=model.name,
        backend=_backend(),
        layers=tuple(layer for layer, _ in checked),
        cotangent=_FROM_LOSS if with_loss else _FROM_UNCOMPILED if y is not None else _FROM_RANDOM,
        samples=inputs.samples,
        seconds=time.perf_counter() - start,
        versions=_versions(),
        notes=tuple(note for _, note in checked if note),
    )


# --- one call of one layer ------------------------------------------------------------------------


def _check(model: Any, found: Capture | Unsupported) -> tuple[LayerReport, str]:
    """A row of the report, and a note about it."""
    from lstm_oracle.keras_impl.probe import Unsupported

    if isinstance(found, Unsupported):
        case = CaseReport(found.layer_path, "unsupported", "", message=found.reason)
        return LayerReport(case, found.layer_type), ""
    case, note = _compare(model, found)
    B, T, I = found.x.shape
    layer = LayerReport(
        case,
        found.layer_type,
        found.call_index,
        "backward" if isinstance(found.architecture, Reverse) else "forward",
        (B, T, I, _hidden_size(found.architecture)),
        0 if found.mask is None else int((~found.mask).sum()),
    )
    return layer, note


def _compare(model: Any, found: Capture) -> tuple[CaseReport, str]:
    if found.dtype not in FORMATS:
        reason = f"it computes in {found.dtype}; known are {', '.join(FORMATS)}"
        return CaseReport(found.layer_path, "unsupported", found.dtype, message=reason), ""
    case = _case(model, found)
    problem = _overflow(case)
    if problem:
        return CaseReport(found.layer_path, "error", found.dtype, message=problem), ""
    ours = found.layer_type.startswith("lstm_oracle.")
    view = partial(_comparable, found)
    measured = sampled_yardstick(case, view=view)
    true = view(truth(case).blocks())
    longer = longer_sampled_yardsticks(case, measured.yardstick, view=view)
    report = compare(case, _result(found), measured.yardstick, longer=longer, true=true)
    if report.status == "disagree" and not ours:
        known = explain("keras.layers.LSTM", _backend(), _versions(), case, report)
        report = dataclasses.replace(report, explanation=known)
    note = ""
    if measured.sequences < len(found.x):
        note = (
            f"the yardstick of {found.layer_path} was measured on {measured.sequences} of its "
            f"{len(found.x)} sequences, those with the largest gradients."
        )
    return report, note


def _case(model: Any, found: Capture) -> Case:
    """What the layer was asked, as the oracle is asked it."""
    exact = partial(map_leaves, partial(to_format, dtype=found.dtype))
    d_state = found.d_final_state
    if d_state is None:
        d_state = map_leaves(np.zeros_like, found.state)
    return Case(
        name=found.layer_path,
        architecture=found.architecture,
        params=exact(found.params),
        x=exact(found.x),
        state=exact(found.state),
        mask=found.mask,
        dropout=None,
        d_y=exact(found.d_y),
        d_state=exact(d_state),
        dtype=found.dtype,
        options=_options(model, found.layer_path),
    )


def _result(found: Capture) -> Result:
    """What the framework answered."""
    return Result(_as_steps(found.y), found.final_state, found.d_params, found.d_x, found.d_state)


def _comparable(found: Capture, blocks: dict[str, Array]) -> dict[str, Array]:
    """Of the oracle's blocks those that the layer gives: what it emits, the states it returns."""
    kept = dict(blocks)
    kept["y"] = _as_steps(found.emitted(blocks["y"]))
    if found.final_state is None:
        kept = {name: block for name, block in kept.items() if not name.startswith("state.")}
    return kept


def _as_steps(y: Array) -> Array:
    """(B, R), which a layer emits at its end, as a sequence of one step."""
    return y if y.ndim == 3 else y[:, None]


def _overflow(case: Case) -> str:
    """Why there is nothing to compare: numbers that are not finite, from before or by the layer."""
    x = case.x if case.mask is None else case.x[case.mask]
    if not np.isfinite(x).all():
        return "the layers before it give it NaN or Inf, so there is nothing to compare"
    if not all(np.isfinite(block).all() for block in (case.d_y, *flatten(case.d_state).values())):
        return "the gradient that reaches it is NaN or Inf, so there is nothing to compare"
    with np.errstate(over="ignore"):
        answers = [to_format(block, case.dtype) for block in truth(case).blocks().values()]
    if not all(np.isfinite(answer).all() for answer in answers):
        return f"its own equations overflow {case.dtype} on this input"
    return ""


def _hidden_size(architecture: Any) -> int:
    """H, of the last layer of a stack."""
    if isinstance(architecture, Stack):
        return _hidden_size(architecture.layers[-1])
    return (
        architecture.hidden_size
        if isinstance(architecture, Spec)
        else _hidden_size(architecture.layer)
    )


# --- the framework --------------------------------------------------------------------------------


def _options(model: Any, path: str) -> dict[str, Any]:
    """Ways of computing that known defects depend on."""
    from lstm_oracle.keras_impl.recurrent_layers import recurrent_layers

    layer = next(found.layer for found in recurrent_layers(model) if found.path == path)
    return {"unroll": True} if layer.unroll else {}


def _backend() -> str:
    import keras

    return keras.backend.backend()


def _versions() -> dict[str, str]:
    names = {"tensorflow": ("tensorflow", "tensorflow-cpu")}.get(_backend(), (_backend(),))
    versions = {}
    for name in ("lstm-oracle", "keras", "numpy", *names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _failed(model: Any, error: Exception) -> str:
    text = " ".join(str(error).split())
    return (
        f"model {model.name!r} raised {type(error).__name__} on the data: {text[:300]}; expected "
        "that it runs. Try model.evaluate(x, y), or model(x) without y."
    )
