"""From the arguments of `fit` to a set-up: arrays, a held-out part, a prototype of the model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.intake_checks import (
    CannotDiagnose,
    by_output,
    check_data,
    check_options,
    gives_a_dictionary,
    in_order,
    input_names,
    output_names,
)
from lstm_oracle.diagnosis.interventions.head import loss_name
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.subclassed import opened
from lstm_oracle.diagnosis.task import as_list, task_of, with_all_classes, with_filler

Array = np.ndarray

MOST_SEQUENCES = 4000  # more add precision, not insight, and cost the budget
LAST = 0.2  # of the sequences: held out where nothing else is said and their order may matter


def setup_of(
    model: keras.Model,
    x: Any,
    y: Any,
    *,
    validation_data: Any,
    validation_split: float,
    batch_size: int,
    epochs: int,
    class_weight: Any,
    sample_weight: Any,
    shuffle: bool,
    seed: int,
    steps_per_epoch: int | None = None,
) -> Setup:
    """What `fit` was about to do, as a value.

    Raises
    ------
    CannotDiagnose
        With what was got, what was expected, and the fix.
    """
    _check_model(model)
    check_options(
        batch_size=batch_size, epochs=epochs, validation_split=validation_split, seed=seed,
        class_weight=class_weight, steps_per_epoch=steps_per_epoch,
    )  # fmt: skip
    data = _data(model, x, y, sample_weight, "x")
    prototype = _prototype(model, data)
    shapes = [_shape_of(prototype, n) for n in range(len(data.y))]
    data = _columns(data, shapes)
    held_out = (
        None if validation_data is None else _alike(data, _validation(model, validation_data))
    )
    drawn = held_out is None and not validation_split
    if surgery.carries_state(model):
        validation_split = validation_split or LAST  # what goes on from batch to batch stays whole
        drawn = False
    whole, held_out, places = _split(data, held_out, validation_split, seed)
    an_epoch = len(whole) if steps_per_epoch is None else steps_per_epoch * int(batch_size)
    rng = np.random.default_rng([seed, 1])
    train, held_out = _thinned(whole, rng), _thinned(held_out, rng)
    head = surgery.head_of(prototype)
    names = output_names(model)
    loss = by_output(model.loss, names)
    losses = as_list(loss)
    if len(names) == len(losses) == 1:
        loss = losses[0]
    tasks = tuple(
        with_filler(
            with_all_classes(
                task_of(
                    target,
                    loss_name(losses[n] if n < len(losses) else losses[0]),
                    head[2] if head and len(train.y) == 1 else None,
                    output_shape=shapes[n],
                    softmax=head is not None and len(train.y) == 1 and head[1] == "softmax",
                ),
                held_out.y[n],
            ),
            train.x[0],
            target,
        )
        for n, target in enumerate(train.y)
    )
    optimizer = keras.optimizers.serialize(model.optimizer)
    return Setup(
        prototype, train, held_out, tasks, optimizer, loss,
        loss_weights=by_output(surgery.compiled_with(model, "loss_weights"), names),
        metrics=by_output(surgery.compiled_with(model, "metrics"), names),
        batch_size=int(batch_size), epochs=int(epochs), shuffle=bool(shuffle),
        class_weight=class_weight, whole=whole, stands_for=an_epoch / len(train), drawn=drawn,
        places=places if train is whole else None,
    )  # fmt: skip


def _columns(data: Data, shapes: list[tuple[int | None, ...]]) -> Data:
    """Targets (B, T) of an output (B, T, 1) with that axis, as Keras reads them."""
    y = tuple(
        a[..., None]
        if len(shape) == 3
        and shape[-1] == 1
        and a.ndim == 2
        and a.shape[1] == (shape[1] or a.shape[1])
        else a
        for a, shape in zip(data.y, shapes, strict=True)
    )
    return Data(data.x, y, data.weight)


def _shape_of(model: keras.Model, output: int) -> tuple[int | None, ...]:
    """The shape of an output; empty where the model does not say it."""
    outputs = getattr(model, "outputs", None)
    return tuple(outputs[output].shape) if outputs else ()


def _check_model(model: Any) -> None:
    if not isinstance(model, keras.Model):
        raise CannotDiagnose(
            f"model is of type {type(model).__name__}, expected a compiled keras.Model. "
            "Load it with keras.saving.load_model, or build it with Keras 3."
        )
    if getattr(model, "optimizer", None) is None or getattr(model, "loss", None) is None:
        raise CannotDiagnose(
            f"model {model.name!r} is not compiled, expected an optimizer and a loss. "
            "Call model.compile(optimizer=..., loss=...) first."
        )
    if not any("LSTM" in type(layer).__name__ for layer in surgery.all_layers(model)):
        kinds = ", ".join(sorted({type(layer).__name__ for layer in surgery.all_layers(model)}))
        raise CannotDiagnose(
            f"model {model.name!r} has no LSTM, only {kinds or 'no layers'}; expected at least "
            "one LSTM layer. diagnose is about LSTMs."
        )


def _data(model: keras.Model, x: Any, y: Any, weight: Any, name: str) -> Data:
    if y is None:
        x, y, weight = _gathered(model, x, weight, name)
    xs, y = arrays_of(model, x, name), in_order(y, output_names(model), "y")
    ys = tuple(_array(a, f"y[{n}]") for n, a in enumerate(as_list(y)))
    if not xs or not ys:
        raise CannotDiagnose(f"{name} or y is empty, expected arrays. Pass what you give to fit.")
    counts = {len(a) for a in (*xs, *ys)}
    if len(counts) != 1:
        raise CannotDiagnose(
            f"{name} and y hold {', '.join(str(len(a)) for a in (*xs, *ys))} sequences, expected "
            "the same number. Check how they were cut."
        )
    if counts == {0}:
        raise CannotDiagnose(f"{name} holds no sequences, expected at least two. Pass more data.")
    data = Data(xs, ys, None if weight is None else np.asarray(weight))
    check_data(model, data, name)
    return data


def _validation(model: keras.Model, given: Any) -> Data:
    x, y = given[:2] if isinstance(given, (tuple, list)) and len(given) > 1 else (given, None)
    return _data(model, x, y, None, "validation x")


def arrays_of(model: keras.Model, x: Any, name: str) -> tuple[Array, ...]:
    """Inputs in the model's order, as the diagnosis reads them."""
    ordered = as_list(in_order(x, input_names(model), name))
    return tuple(_array(a, f"{name}[{n}]") for n, a in enumerate(ordered))


def _alike(data: Data, other: Data) -> Data:
    """The other with as many axes as this: a column for a row of numbers, and the other way."""

    def shaped(mine: Array, theirs: Array) -> Array:
        if theirs.ndim == mine.ndim - 1 and mine.shape[-1] == 1:
            return theirs[..., None]
        if theirs.ndim == mine.ndim + 1 and theirs.shape[-1] == 1:
            return theirs[..., 0]
        return theirs

    x, y = (
        tuple(shaped(*pair) for pair in zip(mine, theirs, strict=True))
        for mine, theirs in ((data.x, other.x), (data.y, other.y))
    )
    return Data(x, y, other.weight)


def _array(value: Any, name: str) -> Array:
    array = keras.ops.convert_to_numpy(value) if keras.ops.is_tensor(value) else np.asarray(value)
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise CannotDiagnose(
            f"{name} has dtype {array.dtype} and shape {array.shape}, expected numbers with a "
            "batch axis. Convert it with np.asarray(..., dtype='float32')."
        )
    return array.astype(np.float32) if array.dtype in (np.float64, np.bool_) else array


def _gathered(model: keras.Model, x: Any, weight: Any, name: str) -> tuple[Any, Any, Any]:
    """Batches of a dataset, generator or PyDataset, joined, up to the most that is used."""
    if isinstance(x, (np.ndarray, list, tuple, dict)) or keras.ops.is_tensor(x):
        raise CannotDiagnose(
            f"y is missing and {name} is {type(x).__name__}, expected targets, or a dataset that "
            "yields (x, y). Pass y."
        )
    try:
        batches, ended = _batches(x)
    except Exception as error:  # whatever the user's own code raises
        raise CannotDiagnose(
            f"{name} is {type(x).__name__}, which failed when it was read "
            f"({type(error).__name__}: {str(error)[:200]}), expected arrays, or a dataset that "
            "yields (x, y). Read it to its end without a model first."
        ) from error
    if not batches or not all(isinstance(b, (tuple, list)) and len(b) > 1 for b in batches):
        raise CannotDiagnose(
            f"{name} yielded {'nothing' if not batches else 'no (x, y) pairs'}, expected batches "
            "(x, y). Check the dataset; an exhausted generator has to be made anew."
        )
    xs = _joined([in_order(b[0], input_names(model), name) for b in batches])
    ys = _joined([in_order(b[1], output_names(model), "y") for b in batches])
    if weight is None and all(len(b) > 2 and b[2] is not None for b in batches):
        weight = _joined([b[2] for b in batches])[0]
    if weight is None:
        weight = _of_real_steps([as_list(b[1])[0] for b in batches])
    if ended and not hasattr(x, "__next__"):
        return xs, ys, weight
    new = _first_time(xs, ys)
    if len(new) <= len(as_list(batches[0][0])[0]):
        return xs, ys, weight  # the same batch again and again: a fault, to be seen as such
    return [a[new] for a in xs], [a[new] for a in ys], None if weight is None else weight[new]


def _batches(x: Any) -> tuple[list[Any], bool]:
    """All batches, or as many as are used; and whether these are all."""
    source = map(x.__getitem__, range(len(x))) if isinstance(x, keras.utils.PyDataset) else x
    batches: list[Any] = []
    held = 0
    for batch in source:
        batches.append(batch)
        held += len(as_list(batch[0])[0])
        if held >= MOST_SEQUENCES:
            return batches, False
    return batches, True


def _first_time(xs: list[Array], ys: list[Array]) -> Array:
    """The rows that have not come before: what yields for ever passes over its data again."""
    seen: set[bytes] = set()
    new = []
    for row in range(len(xs[0])):
        content = b"".join(np.ascontiguousarray(a[row]).tobytes() for a in (*xs, *ys))
        if content not in seen:
            seen.add(content)
            new.append(row)
    return np.asarray(new)


def _joined(parts: list[Any]) -> list[Array]:
    columns = zip(*(as_list(part) for part in parts), strict=True)
    return [_stacked([_array(a, "batch") for a in column]) for column in columns]


def _of_real_steps(batches: list[Any]) -> Array | None:
    """(B, T) weights of the steps: zero in those that only other batches have; None if none."""
    arrays = [_array(batch, "batch") for batch in batches]
    if len({batch.shape[1] if batch.ndim > 1 else 0 for batch in arrays}) == 1:
        return None
    return _stacked([np.ones(batch.shape[:2], np.float32) for batch in arrays])


def _stacked(batches: list[Array]) -> Array:
    """All rows; of batches that were each filled up to their longest, filled up to the longest."""
    most = max(batch.shape[1] if batch.ndim > 1 else 0 for batch in batches)
    return np.concatenate([
        np.pad(batch, [(0, 0), (0, most - batch.shape[1]), *[(0, 0)] * (batch.ndim - 2)])
        if batch.ndim > 1 else batch
        for batch in batches
    ])  # fmt: skip


def _split(
    data: Data, held_out: Data | None, fraction: float, seed: int
) -> tuple[Data, Data, Array | None]:
    """Training and held-out part: the user's, or every fifth sequence at random.

    With them, of rows drawn at random, the places that they had. A single sequence with a target
    for each step is both.
    """
    if held_out is not None:
        return data, held_out, None
    n = len(data)
    if n == 1 and all(y.ndim > 1 and y.shape[1] > 1 for y in data.y):
        return data, data, None  # one long sequence: whether it can be fitted at all
    if n < 2:
        raise CannotDiagnose(
            f"x holds {n} sequence, expected at least two: one to train on and one to test on. "
            "Pass more data."
        )
    if fraction:
        cut = int(n * (1 - fraction))  # Keras takes the last ones, before any shuffling
        if not 0 < cut < n:
            raise CannotDiagnose(
                f"validation_split is {fraction}, expected a fraction that leaves sequences on "
                "both sides. Pass for example 0.2."
            )
        return data.take(np.arange(cut)), data.take(np.arange(cut, n)), None
    order = np.random.default_rng(seed).permutation(n)
    held = max(1, n // 5)
    mine, theirs = np.sort(order[held:]), np.sort(order[:held])
    return data.take(mine), data.take(theirs), np.concatenate([mine, theirs])


def _thinned(data: Data, rng: np.random.Generator) -> Data:
    if len(data) <= MOST_SEQUENCES:
        return data
    return data.take(np.sort(rng.permutation(len(data))[:MOST_SEQUENCES]))


def _call(model: keras.Model, x: list[Array]) -> None:
    """Build a model that declares no inputs; refuse what is called by names."""
    try:
        outputs = model(x[0] if len(x) == 1 else x)
    except Exception as error:  # whatever the user's own code raises
        raise CannotDiagnose(
            f"model {model.name!r} raised {type(error).__name__} when it was called with "
            f"{len(x)} array{'s' if len(x) > 1 else ''} ({' '.join(str(error).split())[:200]}), "
            "expected outputs. If it takes them by name, build it with keras.Model(inputs, ...)."
        ) from error
    if isinstance(outputs, dict):
        raise CannotDiagnose(
            f"model {model.name!r} gives a dictionary and declares no outputs, expected to know "
            "which target belongs to which. Build it with keras.Model(inputs, outputs)."
        )


def _prototype(model: keras.Model, train: Data) -> keras.Model:
    """A clone with the model's weights: the user's own is never called."""
    try:
        prototype = surgery.clone(model)
    except surgery.NotCloneable as error:
        raise CannotDiagnose(
            f"{str(error)[:400]}; expected a model that can, to train clones of it. Give its class "
            "get_config and from_config, or build it with keras.Model(inputs, outputs)."
        ) from error
    if not prototype.built:
        # Zeros: what is fed may be what is wrong, an index outside of a table.
        _call(prototype, [np.zeros_like(a[:1]) for a in train.x])
    if model.built:
        surgery.copy_weights(model, prototype)
    for mine, theirs in zip(prototype.layers, model.layers, strict=False):
        mine.trainable = theirs.trainable
    prototype = opened(prototype, train.x) or prototype
    if gives_a_dictionary(prototype):
        return keras.Model(prototype.inputs, prototype.outputs, name=prototype.name)
    return prototype
