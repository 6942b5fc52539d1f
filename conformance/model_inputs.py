"""What a user feeds to a model, checked against what the model takes, before anything runs.

A wrong array otherwise shows as a framework's error ten calls deep, or, worse, as a NaN that looks
like a disagreement. Nothing here imports Keras: a model is asked for its own attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Inputs(NamedTuple):
    """The rows that are used, in the structure that the model takes."""

    x: Any
    y: Any
    sample_weight: Any
    samples: int


def check_inputs(model: Any, x: Any, y: Any, sample_weight: Any, samples: int) -> Inputs:
    """The first `samples` rows, as arrays that the model can take.

    Raises
    ------
    TypeError, ValueError
        With what was got, what was expected, and the fix.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise ValueError(
            f"samples is {samples!r}, expected a whole number of at least 1. Pass for example "
            "samples=64."
        )
    x = _in_model_order(model, x)
    inputs = _declared_inputs(model)
    named = list(_named("x", x))
    if inputs is not None and len(named) != len(inputs):
        raise ValueError(
            f"x has {len(named)} arrays, expected {len(inputs)}, one per input of model "
            f"{model.name!r}: {_describe_inputs(inputs)}. Save them as x_0, x_1, …, or pass a list."
        )
    everything = named + list(_named("y", y)) + list(_named("sample_weight", sample_weight))
    for name, array in everything:
        _check_array(name, array)
    _check_lengths(everything)
    for (name, array), tensor in zip(named, inputs or [], strict=False):
        _check_shape(name, np.asarray(array), tensor)
    x, y, sample_weight = (_first(part, samples) for part in (x, y, sample_weight))
    for name, array in [*_named("x", x), *_named("y", y), *_named("sample_weight", sample_weight)]:
        _check_finite(name, array)
    for (name, array), tensor in zip(_named("x", x), inputs or [], strict=False):
        _check_tokens(name, array, model, tensor)
    _check_targets(model, y)
    return Inputs(x, y, sample_weight, min(samples, len(named[0][1])))


# --- structure ------------------------------------------------------------------------------------


def _declared_inputs(model: Any) -> list[Any] | None:
    """The model's symbolic inputs; None for a subclassed model, which declares none."""
    inputs = getattr(model, "inputs", None)
    return None if not inputs else list(inputs)


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, array) for one array, a list of them or a dict of them."""
    if value is None:
        return
    if isinstance(value, dict):
        yield from ((f"{name}[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        yield from ((f"{name}_{n}", part) for n, part in enumerate(value))
    else:
        yield name, value


def _in_model_order(model: Any, x: Any) -> Any:
    """A dict of inputs as the list that a functional model takes in any case."""
    inputs = _declared_inputs(model)
    if not isinstance(x, dict) or inputs is None:
        return x[0] if isinstance(x, (list, tuple)) and len(x) == 1 else x
    names = [tensor.name for tensor in inputs]
    if set(x) != set(names):
        raise ValueError(
            f"x has inputs {', '.join(map(repr, x))}, expected "
            f"{', '.join(map(repr, names))}. Name the arrays as the model's inputs."
        )
    if len(names) == 1:
        return x[names[0]]
    structure = getattr(model, "_inputs_struct", None)
    ordered = {name: x[name] for name in names}
    return ordered if isinstance(structure, dict) else list(ordered.values())


def _first(value: Any, samples: int) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        return {key: np.asarray(part)[:samples] for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [np.asarray(part)[:samples] for part in value]
    return np.asarray(value)[:samples]


def _describe_inputs(inputs: list[Any]) -> str:
    return ", ".join(f"{tensor.name!r} {tuple(tensor.shape)}" for tensor in inputs)


# --- values ---------------------------------------------------------------------------------------


def _check_array(name: str, value: Any) -> None:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{name} is ragged ({error}), expected an array. Pad the sequences to one length."
        ) from error
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected real numbers. Pad sequences of different "
            "lengths to one, and convert, for example with np.asarray(…, dtype='float32')."
        )
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name} has shape {array.shape}, expected (rows, …) with at least one of each. "
            "Pass at least one sample."
        )


def _check_lengths(named: list[tuple[str, Any]]) -> None:
    lengths = {name: len(array) for name, array in named}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(
            f"got different numbers of rows: {listed}; expected the same in each. "
            "Row n of every array is sample n."
        )


def _check_shape(name: str, array: Array, tensor: Any) -> None:
    wanted = tuple(tensor.shape)
    axes = dict(enumerate(zip(array.shape, wanted, strict=False)))
    wrong = [n for n, (got, want) in axes.items() if n and want is not None and got != want]
    if array.ndim == len(wanted) and not wrong:
        return
    fix = "Reshape it"
    if array.ndim == len(wanted) - 1:
        fix = "Add the missing axis, for one sequence x[None], for one feature x[..., None]"
    elif len(wanted) == 3 and array.ndim == 3 and wrong == [2]:
        fix = f"Its last axis holds the features of a step: {array.shape[2]} for {wanted[2]}"
    raise ValueError(
        f"{name} has shape {array.shape}, expected {_shape(wanted)} as the model's input "
        f"{tensor.name!r} has it. {fix}."
    )


def _shape(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if n is None else str(n) for n in shape)})"


def _rows(shape: tuple[int | None, ...]) -> str:
    """A shape behind the rows, as messages have it."""
    return f"(rows, {_shape(shape)[1:-1]})" if shape else "(rows,)"


def _check_finite(name: str, array: Array) -> None:
    if array.dtype.kind in "iub":
        return
    bad = ~np.isfinite(array.astype(np.float64, copy=False))
    if not bad.any():
        return
    first = tuple(int(n) for n in np.argwhere(bad)[0])
    kinds = [kind for kind, test in (("NaN", np.isnan), ("Inf", np.isinf)) if test(array).any()]
    raise ValueError(
        f"{name} has {int(bad.sum())} {' and '.join(kinds)} among {array.size} numbers, the first "
        f"at {first}, expected finite ones. Mark missing steps with a finite padding value and a "
        "mask, as Keras gives NaN gradients for NaN in masked steps too."
    )


def _check_tokens(name: str, array: Array, model: Any, tensor: Any) -> None:
    """Whole numbers, and inside the table, where an Embedding reads the input.

    Keras casts fractions silently; a token outside the table reads NaN on one backend and
    something else on another.
    """
    tables = [
        int(layer.input_dim)
        for layer in model.layers
        if type(layer).__name__ == "Embedding" and getattr(layer, "input", None) is tensor
    ]
    wants_whole = "int" in str(getattr(tensor, "dtype", "")) or tables
    if wants_whole and array.dtype.kind == "f" and (array != np.round(array)).any():
        raise TypeError(
            f"{name} has dtype {array.dtype} with fractions, expected whole numbers, as the "
            f"model's input {tensor.name!r} has them. Pass token ids."
        )
    if tables and (array.min() < 0 or array.max() >= min(tables)):
        raise ValueError(
            f"{name} has tokens from {array.min():g} to {array.max():g}, expected 0 to "
            f"{min(tables) - 1}, as the model's Embedding has them. Renumber them, or make the "
            "Embedding larger."
        )


# --- targets --------------------------------------------------------------------------------------


def _check_targets(model: Any, y: Any) -> None:
    outputs = getattr(model, "outputs", None)
    if y is None or not outputs:
        return
    targets = list(_named("y", y))
    if len(targets) != len(outputs):
        raise ValueError(
            f"y has {len(targets)} arrays, expected {len(outputs)}, one per output of model "
            f"{model.name!r}. Save them as y_0, y_1, …, or pass a list."
        )
    losses = _losses(model, len(outputs))
    for (name, array), output, loss in zip(targets, outputs, losses, strict=True):
        shape = tuple(output.shape)[1:]
        if _loss_name(loss) == "categoricalcrossentropy" and array.shape[1:] != shape:
            raise ValueError(
                f"{name} has shape {array.shape}, expected {_rows(shape)} one-hot rows as the "
                "model's loss is categorical. For class numbers compile with "
                "sparse_categorical_crossentropy."
            )
        if _loss_name(loss) == "sparsecategoricalcrossentropy":
            _check_label_shape(name, array, shape)
            _check_labels(name, array, shape[-1], loss)


def _losses(model: Any, outputs: int) -> list[Any]:
    loss = getattr(model, "loss", None)
    if isinstance(loss, dict):
        loss = [loss.get(name) for name in getattr(model, "output_names", [])]
    if isinstance(loss, (list, tuple)):
        return list(loss) if len(loss) == outputs else [None] * outputs
    return [loss] * outputs


def _loss_name(loss: Any) -> str:
    """A loss given by name, as a function or as an object, in one spelling."""
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    return str(name or getattr(loss, "__name__", "")).lower().replace("_", "")


def _check_label_shape(name: str, labels: Array, output: tuple[int | None, ...]) -> None:
    rows = output[:-1]
    for wanted in (rows, (*rows, 1)):
        got = labels.shape[1:]
        if len(got) == len(wanted) and all(
            want in (None, n) for n, want in zip(got, wanted, strict=True)
        ):
            return
    raise ValueError(
        f"{name} has shape {labels.shape}, expected {_rows(rows)} class numbers as the model's "
        "loss is sparse. For one-hot rows compile with categorical_crossentropy, or pass "
        "y.argmax(-1)."
    )


def _check_labels(name: str, labels: Array, classes: int, loss: Any) -> None:
    if (labels != np.round(labels)).any():
        raise ValueError(
            f"{name} has labels with fractions, expected whole numbers from 0 to {classes - 1} "
            "for a sparse categorical loss. Pass class numbers, or use categorical_crossentropy "
            "for one-hot rows."
        )
    config: dict[str, Any] = getattr(loss, "get_config", dict)()
    labels = labels[labels != config.get("ignore_class")]
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        hint = "Subtract 1 if they start at 1" if low == 1 and high == classes else "Renumber them"
        raise ValueError(
            f"{name} has labels from {low:g} to {high:g}, expected 0 to {classes - 1}: the model's "
            f"output has {classes} classes and its loss is sparse. {hint}."
        )
