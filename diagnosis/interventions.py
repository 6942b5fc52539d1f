"""The changes that a diagnosis tries: each from a set-up to a set-up, each belonging to a cause.

An intervention gives None where it would change nothing: what the user has already is no suspect.
`size` orders them by how much they change: of two that do the same, the smaller names the cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.setup import Data, Setup
from lstm_oracle.diagnosis.task import Task, padded_steps

Array = np.ndarray
Change = Callable[[Setup], Setup | None]


@dataclass(frozen=True)
class Intervention:
    """One change, the cause that it stands for, and how to type it."""

    key: str
    cause: str
    finding: str
    text: str
    code: str
    apply: Change
    size: int = 1


# Data


def clean_data(setup: Setup) -> Setup | None:
    """Leave out sequences with a NaN or an infinity in x or y."""

    def kept(data: Data) -> Data:
        bad = np.zeros(len(data), bool)
        for a in (*data.x, *data.y):
            if a.dtype.kind == "f":
                bad |= ~np.isfinite(a.reshape(len(a), -1)).all(1)
        return data.take(np.flatnonzero(~bad)) if bad.any() else data

    train, held_out = kept(setup.train), kept(setup.held_out)
    if train is setup.train and held_out is setup.held_out:
        return None
    if len(train) < 2 or len(held_out) < 1:
        return None
    return setup.changed(train=train, held_out=held_out)


def standardize_inputs(setup: Setup) -> Setup | None:
    """Every feature to mean 0 and deviation 1 over the real steps of the training data."""
    moments = [_moments(x) for x in setup.train.x]
    if all(m is None for m in moments):
        return None

    def standardized(data: Data) -> Data:
        x = tuple(
            a if m is None else _standardize(a, *m) for a, m in zip(data.x, moments, strict=True)
        )
        return Data(x, data.y, data.weight)

    return setup.changed(train=standardized(setup.train), held_out=standardized(setup.held_out))


def _moments(x: Array) -> tuple[Array, Array] | None:
    """Mean and deviation per feature, or None where they are already about 0 and 1."""
    if x.ndim < 2 or x.dtype.kind != "f":
        return None
    padding = padded_steps(x)
    rows = x[~padding] if padding is not None else x.reshape(-1, x.shape[-1])
    if x.ndim == 2:
        rows = x.reshape(-1, 1)
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    deviation = np.where(deviation > 1e-12 * (1 + np.abs(mean)), deviation, 1.0)
    # A factor of about three either way is no difference to a gate.
    if (np.abs(mean) < 3).all() and (deviation < 4).all() and deviation.max() > 0.1:
        return None
    return mean, deviation


def _standardize(x: Array, mean: Array, deviation: Array) -> Array:
    out = ((x - mean) / deviation).astype(np.float32)
    padding = padded_steps(x)
    if padding is not None:
        out[padding] = 0
    return out


def standardize_targets(setup: Setup) -> Setup | None:
    """Regression targets to mean 0 and deviation 1 of the training data; predictions scaled back."""
    if setup.y_scale is not None or any(task.kind != "regression" for task in setup.tasks):
        return None
    scales = []
    for y in setup.train.y:
        columns = y.reshape(-1, y.shape[-1] if y.ndim > 1 else 1).astype(np.float64)
        deviation = columns.std(0)
        scales.append((columns.mean(0), np.where(deviation > 0, deviation, 1.0)))
    if all((np.abs(m) < 2).all() and (d < 3).all() and (d > 0.05).all() for m, d in scales):
        return None

    def scaled(data: Data) -> Data:
        y = tuple(
            ((a - m) / d).astype(np.float32).reshape(a.shape)
            for a, (m, d) in zip(data.y, scales, strict=True)
        )
        return Data(data.x, y, data.weight)

    return setup.changed(train=scaled(setup.train), y_scale=tuple(scales))


def class_weights(setup: Setup) -> Setup | None:
    """Weigh every class by n / (K n_k)."""
    if len(setup.tasks) != 1 or setup.tasks[0].kind == "regression" or setup.tasks[0].per_step:
        return None
    task = setup.tasks[0]
    counts = np.bincount(task.labels(setup.train.y[0]), minlength=task.class_count)
    if counts.min() == 0 or counts.max() < 3 * counts.min() or setup.class_weight is not None:
        return None
    weights = counts.sum() / (len(counts) * counts)
    codes = range(len(counts)) if task.coding == "one-hot" else task.classes
    return setup.changed(
        class_weight={int(k): float(w) for k, w in zip(codes, weights, strict=True)}
    )


def shuffle_split(setup: Setup) -> Setup | None:
    """Draw the held-out sequences at random from all of them."""
    n, held = len(setup.train), len(setup.held_out)
    if setup.y_scale is not None or any(
        a.shape[1:] != b.shape[1:] for a, b in zip(setup.train.x, setup.held_out.x, strict=True)
    ):
        return None
    order = np.random.default_rng(0).permutation(n + held)

    def joined(a: tuple[Array, ...], b: tuple[Array, ...], rows: Array) -> tuple[Array, ...]:
        return tuple(np.concatenate(pair)[rows] for pair in zip(a, b, strict=True))

    parts = [
        Data(
            joined(setup.train.x, setup.held_out.x, rows),
            joined(setup.train.y, setup.held_out.y, rows),
        )
        for rows in (order[:n], order[n:])
    ]
    return setup.changed(train=parts[0], held_out=parts[1], shuffle=True)


def shuffle_batches(setup: Setup) -> Setup | None:
    """Draw batches at random."""
    return None if setup.shuffle else setup.changed(shuffle=True)


# Optimization


def _optimizer(setup: Setup, name: str, rate: float, **config: Any) -> Setup:
    optimizer = getattr(keras.optimizers, name)(learning_rate=rate, **config)
    return setup.changed(optimizer=keras.optimizers.serialize(optimizer), learning_rate=None)


def rate_of(setup: Setup) -> float:
    """The learning rate in force; the initial one of a schedule."""
    if setup.learning_rate is not None:
        return setup.learning_rate
    rate = setup.optimizer["config"]["learning_rate"]
    while isinstance(rate, dict):
        rate = rate["config"].get(
            "initial_learning_rate", rate["config"].get("learning_rate", 1e-3)
        )
        rate = rate if not isinstance(rate, list) else rate[0]
    return float(rate)


def adam(setup: Setup) -> Setup | None:
    """Adam at 0.003."""
    if setup.optimizer["class_name"] in ("Adam", "AdamW", "Nadam"):
        return None
    return _optimizer(setup, "Adam", 3e-3)


def reference_optimizer(setup: Setup) -> Setup:
    """Adam at 0.003, whatever there was."""
    return _optimizer(setup, "Adam", 3e-3, global_clipnorm=1.0)


def with_rate(rate: float) -> Change:
    """The same optimizer at a constant rate."""

    def change(setup: Setup) -> Setup | None:
        if isinstance(setup.optimizer["config"]["learning_rate"], dict):
            config = setup.optimizer["config"] | {"learning_rate": rate}
            return setup.changed(optimizer=setup.optimizer | {"config": config}, learning_rate=None)
        return setup.changed(learning_rate=rate)

    return change


def clip_gradients(setup: Setup) -> Setup | None:
    """Gradients cut to a global norm of 1 (Pascanu et al. 2013)."""
    config = setup.optimizer["config"]
    if any(config.get(k) for k in ("clipnorm", "global_clipnorm", "clipvalue")):
        return None
    return setup.changed(optimizer=setup.optimizer | {"config": config | {"global_clipnorm": 1.0}})


def batch_smaller(setup: Setup) -> Setup | None:
    """Batches of 32, so that the same epochs make more updates."""
    return setup.changed(batch_size=32) if min(setup.batch_size, len(setup.train)) > 64 else None


def batch_larger(setup: Setup) -> Setup | None:
    """Batches of 32, so that one update averages over more sequences."""
    return setup.changed(batch_size=32) if setup.batch_size < 8 < len(setup.train) else None


def train_longer(setup: Setup) -> Setup | None:
    """Five times the epochs."""
    return setup.changed(epochs=5 * setup.epochs)


# The model

_DEFAULT_INITIALIZERS = {
    "kernel_initializer": "glorot_uniform",
    "recurrent_initializer": "orthogonal",
    "bias_initializer": "zeros",
    "embeddings_initializer": "uniform",
}


def _edited(setup: Setup, change: Callable[[str, dict[str, Any]], bool]) -> Setup | None:
    """The set-up with an edited model, or None where no layer was changed."""
    changed = False

    def noting(name: str, config: dict[str, Any]) -> bool:
        nonlocal changed
        did = change(name, config)
        changed |= did
        return did

    try:
        model = surgery.clone(setup.model, surgery.edit_config(noting))
    except surgery.NotCloneable:
        return None
    if not changed:
        return None
    surgery.copy_weights(setup.model, model)
    return setup.changed(model=model)


def reinitialize(setup: Setup) -> Setup | None:
    """Glorot, orthogonal and unit forget bias: Keras' defaults, freshly drawn."""

    def change(name: str, config: dict[str, Any]) -> bool:
        found = [k for k in _DEFAULT_INITIALIZERS if k in config]
        for key in found:
            config[key] = _DEFAULT_INITIALIZERS[key]
        if "unit_forget_bias" in config:
            config["unit_forget_bias"] = True
        return bool(found)

    edited = _edited(setup, change)
    return None if edited is None else edited.changed(fresh_weights=True)


def gate_activations(setup: Setup) -> Setup | None:
    """tanh for the candidate and the cell, sigmoid for the gates; relu in hidden Dense layers."""

    def change(name: str, config: dict[str, Any]) -> bool:
        wanted = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        if "recurrent_activation" not in config or all(config[k] == wanted[k] for k in wanted):
            return False
        config.update(wanted)
        return True

    return _edited(setup, change)


def _scaled_units(factor: float, least: int) -> Change:
    def change_setup(setup: Setup) -> Setup | None:
        head = surgery.head_of(setup.model)
        head_name = head[0].name if head else None

        def change(name: str, config: dict[str, Any]) -> bool:
            if "units" not in config or config.get("name") == head_name:
                return False
            if name == "Dense" and head_name and head_name.startswith("time_distributed"):
                return False
            units = int(max(least, round(config["units"] * factor)))
            if units == config["units"]:
                return False
            config["units"] = units
            return True

        edited = _edited(setup, change)
        return None if edited is None else edited.changed(fresh_weights=True)

    return change_setup


def no_regularization(setup: Setup) -> Setup | None:
    """Without dropout, noise, and weight penalties."""
    decay = setup.optimizer["config"].get("weight_decay")
    strong_decay = bool(decay) and decay > 0.02

    def change(name: str, config: dict[str, Any]) -> bool:
        did = False
        for key, value in list(config.items()):
            if key.endswith("_regularizer") and value is not None:
                config[key], did = None, True
            if key in ("dropout", "recurrent_dropout", "rate", "stddev") and value:
                config[key], did = 0.0, True
        return did

    edited = _edited(setup, change) or (setup if strong_decay else None)
    if edited is None or not strong_decay:
        return edited
    config = setup.optimizer["config"] | {"weight_decay": None}
    return edited.changed(optimizer=setup.optimizer | {"config": config})


def unfreeze(setup: Setup) -> Setup | None:
    """Every layer trainable."""
    frozen = [
        layer for layer in surgery.all_layers(setup.model) if layer.weights and not layer.trainable
    ]
    if not frozen:
        return None
    model = surgery.clone(setup.model)
    surgery.copy_weights(setup.model, model)
    for layer in (model, *surgery.all_layers(model)):
        layer.trainable = True
    return setup.changed(model=model)


def stateless(setup: Setup) -> Setup | None:
    """A state that starts anew with every batch."""

    def change(name: str, config: dict[str, Any]) -> bool:
        did = bool(config.get("stateful"))
        config.update({"stateful": False} if did else {})
        return did

    return _edited(setup, change)


def single_activation(setup: Setup) -> Setup | None:
    """No Activation layer behind an LSTM, which has squashed its output already."""
    previous_recurrent = {
        id(layer.output)
        for layer in surgery.all_layers(setup.model)
        if isinstance(layer, surgery.RECURRENT) and getattr(layer, "_inbound_nodes", None)
    }

    def edit(layer: Any) -> Any:
        if isinstance(layer, keras.layers.Activation) and id(layer.input) in previous_recurrent:
            return keras.layers.Activation("linear", name=layer.name)
        return None

    if not any(edit(layer) for layer in surgery.all_layers(setup.model)):
        return None
    model = surgery.clone(setup.model, edit)
    surgery.copy_weights(setup.model, model)
    return setup.changed(model=model)


def add_mask(setup: Setup) -> Setup | None:
    """A Masking layer in front, or mask_zero in the Embedding, so that padding is skipped."""
    if len(setup.train.x) != 1 or has_mask(setup.model):
        return None
    x = setup.train.x[0]
    if x.ndim == 2:
        return _mask_embedding(setup, x)
    if padded_steps(x) is None:
        return None
    try:
        masked = surgery.in_front(setup.model, [keras.layers.Masking(0.0)])
    except Exception:
        return None  # a layer that refuses masks: the change cannot be made
    return setup.changed(model=masked)


def _mask_embedding(setup: Setup, x: Array) -> Setup | None:
    if x.dtype.kind not in "iu" and not np.equal(x, np.round(x)).all():
        return None
    if ((x == 0).mean() < 0.05) or not ((x[:, -1] == 0).any() or (x[:, 0] == 0).any()):
        return None

    def change(name: str, config: dict[str, Any]) -> bool:
        did = config.get("mask_zero") is False
        config.update({"mask_zero": True} if did else {})
        return did

    return _edited(setup, change)


def has_mask(model: keras.Model) -> bool:
    """Whether anything in the model makes a mask."""
    return any(
        isinstance(layer, keras.layers.Masking) or getattr(layer, "mask_zero", False)
        for layer in surgery.all_layers(model)
    )


def remove_mask(setup: Setup) -> Setup | None:
    """No masks."""

    def edit(layer: Any) -> Any:
        if isinstance(layer, keras.layers.Masking):
            return keras.layers.Activation("linear", name=layer.name)
        if getattr(layer, "mask_zero", False):
            return type(layer).from_config(layer.get_config() | {"mask_zero": False})
        return None

    if not has_mask(setup.model):
        return None
    model = surgery.clone(setup.model, edit)
    surgery.copy_weights(setup.model, model)
    return setup.changed(model=model)


def remembering(setup: Setup) -> Setup | None:
    """Forget gates that start open for about the length of a sequence (chrono initialization)."""
    steps = setup.train.x[0].shape[1] if setup.train.x[0].ndim > 1 else 1
    if steps < 8:
        return None
    model = surgery.clone(setup.model)
    surgery.copy_weights(setup.model, model)
    rng = np.random.default_rng(0)
    did = False
    for layer in surgery.all_layers(model):
        cell = getattr(layer, "cell", layer)
        units, bias = getattr(cell, "units", None), getattr(cell, "bias", None)
        if bias is None or units is None or tuple(bias.shape) != (4 * units,):
            continue
        value = np.array(bias)
        open_for = np.log(rng.uniform(1, steps - 1, units))
        value[:units], value[units : 2 * units] = -open_for, open_for
        bias.assign(value)
        did = True
    return setup.changed(model=model) if did else None


# Head, loss and labels


def repair_head(setup: Setup) -> Setup | None:
    """The head, the coding of the labels and the loss that belong together.

    Quantities: linear and squared error. Two classes: one sigmoid and cross-entropy. K classes:
    K softmax units and cross-entropy.
    """
    if len(setup.tasks) != 1 or not head_is_wrong(setup):
        return None
    head = surgery.head_of(setup.model)
    if head is None:
        return None
    task, y = setup.tasks[0], setup.train.y[0]
    labels = task.labels
    if task.kind == "regression":
        width, activation, loss, code = len(task.mean), "linear", "mse", lambda a: a
    elif task.kind == "binary":
        width, activation, loss = 1, "sigmoid", "binary_crossentropy"
        code = lambda a: labels(a).astype(np.float32)  # noqa: E731
    else:
        width, activation, loss = task.class_count, "softmax", "sparse_categorical_crossentropy"
        code = labels
    shape = y.shape[:2] if task.per_step else y.shape[:1]

    def coded(data: Data) -> Data:
        a = code(data.y[0])
        full = (
            (len(data), *shape[1:]) if task.kind == "multiclass" else (len(data), *shape[1:], width)
        )
        return Data(data.x, (np.asarray(a).reshape(full),), data.weight)

    model = _with_head(setup, head, width, activation)
    if model is None:
        return None
    if task.kind != "regression":
        task = Task(task.kind, np.arange(task.class_count), "labels", task.mean, task.per_step)
    return setup.changed(
        model=model, loss=loss, loss_weights=None, tasks=(task,), class_weight=None,
        train=coded(setup.train), held_out=coded(setup.held_out),
    )  # fmt: skip


def _with_head(setup: Setup, head: Any, width: int, activation: str) -> keras.Model | None:
    name = head[0].name

    def change(class_name: str, config: dict[str, Any]) -> bool:
        return False

    def edit(layer: Any) -> Any:
        if isinstance(layer, (keras.layers.Activation, keras.layers.Softmax)) and _after(
            setup.model, layer, head[0]
        ):
            return keras.layers.Activation("linear", name=layer.name)
        if layer.name != name:
            return None
        config = layer.get_config()
        inner = config["layer"]["config"] if "layer" in config else config
        inner.update({"units": width, "activation": activation})
        return type(layer).from_config(config)

    del change
    try:
        model = surgery.clone(setup.model, edit)
    except surgery.NotCloneable:
        return None
    _copy_matching(setup.model, model)
    return model


def _after(model: keras.Model, layer: Any, head: Any) -> bool:
    layers = list(surgery.all_layers(model))
    return layers.index(layer) > layers.index(head)


def _copy_matching(source: keras.Model, target: keras.Model) -> None:
    """Weights of every layer whose shapes are as they were."""
    for old, new in zip(source.layers, target.layers, strict=False):
        weights = old.get_weights()
        if [w.shape for w in weights] == [w.shape for w in new.get_weights()]:
            new.set_weights(weights)


def loss_name(loss: Any) -> str:
    """A loss by its snake-case name, however it was given."""
    if isinstance(loss, (list, tuple)):
        return ",".join(loss_name(one) for one in loss)
    if isinstance(loss, dict):
        return ",".join(loss_name(one) for one in loss.values())
    name = loss if isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", ""))
    aliases = {
        "mse": "mean_squared_error",
        "mae": "mean_absolute_error",
        "bce": "binary_crossentropy",
    }
    return aliases.get(name, name) or type(loss).__name__.lower()


def head_is_wrong(setup: Setup) -> str:
    """Why head, loss and labels do not belong together, or an empty string.

    Arithmetic only: ranges that cannot reach the targets, units that cannot stand for the classes,
    shapes that only broadcasting makes comparable.
    """
    head = surgery.head_of(setup.model)
    if head is None:
        return ""
    _, activation, width = head
    task, y, name = setup.tasks[0], setup.train.y[0], loss_name(setup.loss)
    if task.kind == "regression":
        return _wrong_for_quantities(activation, width, y, name, task)
    return _wrong_for_classes(activation, width, y, name, task, setup.loss)


_RANGES = {
    "sigmoid": (0, 1),
    "softmax": (0, 1),
    "tanh": (-1, 1),
    "relu": (0, np.inf),
    "softplus": (0, np.inf),
}


def _wrong_for_quantities(activation: str, width: int, y: Array, loss: str, task: Task) -> str:
    low, high = _RANGES.get(activation, (-np.inf, np.inf))
    if activation == "softmax":
        return f"softmax over {width} unit(s) sums to one, the targets are quantities"
    outside = float(((y < low) | (y > high)).mean())
    if outside > 0.02:
        return (
            f"{activation} gives values in [{low}, {high}], and {100 * outside:.0f} % of the "
            "targets lie outside"
        )
    if "crossentropy" in loss:
        return f"{loss} needs classes, the targets are quantities"
    columns = y.shape[-1] if y.ndim > 1 else 1
    if width != columns and width > 1:
        return f"the head has {width} units, the targets have {columns} column(s)"
    return ""


def _wrong_for_classes(
    activation: str, width: int, y: Array, loss: str, task: Task, given: Any
) -> str:
    K = task.class_count
    logits = bool(getattr(given, "from_logits", False))
    if width == 1 and activation == "softmax":
        return "softmax over one unit is 1 whatever the input"
    if width == 1 and K > 2:
        return f"one unit cannot tell {K} classes apart"
    if 1 < width < K:
        return f"{width} units cannot tell {K} classes apart"
    if "sparse" in loss and task.coding == "one-hot":
        return f"{loss} wants class numbers, the labels are one-hot"
    if task.coding == "labels" and (task.classes.min() < 0 or task.classes.max() >= max(width, 2)):
        return (
            f"labels run from {task.classes.min():g} to {task.classes.max():g}, the head counts "
            f"from 0 to {max(width, 2) - 1}"
        )
    if loss == "categorical_crossentropy" and task.coding == "labels":
        return "categorical_crossentropy wants one-hot labels, these are class numbers"
    if loss == "binary_crossentropy" and width > 1 and activation == "softmax" and K > 2:
        return ""
    if "crossentropy" in loss and not logits and activation not in ("softmax", "sigmoid"):
        return f"{loss} wants probabilities, and {activation} gives any number (from_logits is off)"
    if logits and activation in ("softmax", "sigmoid"):
        return f"from_logits=True, and the head has applied {activation} already"
    if loss == "binary_crossentropy" and width > 1 and task.coding == "labels":
        return f"binary_crossentropy against one label broadcasts it to {width} units"
    if "crossentropy" not in loss and "hinge" not in loss and width == 1 and K > 2:
        return f"{loss} on class numbers treats classes as quantities"
    return ""


TABLE: tuple[Intervention, ...] = (
    Intervention("clean-data", "data-quality", "LSTM001", "Leave out sequences that hold NaN or infinity.", "ok = np.isfinite(x).all(axis=(1, 2)) & np.isfinite(y)\nx, y = x[ok], y[ok]", clean_data, 1),
    Intervention("repair-head", "output-loss-mismatch", "LSTM070", "Give the head, the labels and the loss that belong together.", "", repair_head, 1),
    Intervention("unfreeze", "wiring", "LSTM081", "Make every layer trainable.", "for layer in model.layers:\n    layer.trainable = True\nmodel.compile(...)", unfreeze, 1),
    Intervention("standardize-inputs", "data-scale", "LSTM010", "Standardize every input feature on the training data.", "norm = keras.layers.Normalization()\nnorm.adapt(x_train)   # put it in front of the LSTM", standardize_inputs, 1),
    Intervention("standardize-targets", "data-scale", "LSTM011", "Standardize the targets on the training data, and scale predictions back.", "mean, std = y_train.mean(), y_train.std()\nmodel.fit(x_train, (y_train - mean) / std)\nprediction = model.predict(x) * std + mean", standardize_targets, 1),
    Intervention("reinitialize", "initialization", "LSTM130", "Use Glorot, orthogonal and unit forget bias.", "keras.layers.LSTM(units)   # without initializer arguments", reinitialize, 2),
    Intervention("gate-activations", "activation", "LSTM100", "Use tanh for the cell and sigmoid for the gates.", 'keras.layers.LSTM(units, activation="tanh", recurrent_activation="sigmoid")', gate_activations, 1),
    Intervention("clip-gradients", "exploding-gradient", "LSTM121", "Clip the gradient's global norm.", "optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=1.0)", clip_gradients, 2),
    Intervention("adam", "optimizer", "LSTM112", "Use Adam.", 'model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=...)', adam, 3),
    Intervention("no-regularization", "over-regularized", "LSTM140", "Take dropout and weight penalties away, then bring them back weaker.", "keras.layers.LSTM(units)   # dropout=0, no regularizers", no_regularization, 2),
    Intervention("batch-smaller", "batch-size", "LSTM113", "Use batches of 32: more updates in the same epochs.", "model.fit(x, y, batch_size=32)", batch_smaller, 1),
    Intervention("batch-larger", "batch-size", "LSTM113", "Use batches of 32: less noise in each update.", "model.fit(x, y, batch_size=32)", batch_larger, 1),
    Intervention("add-mask", "masking", "LSTM040", "Mask the padding.", "keras.layers.Masking(mask_value=0.0)   # first layer; or Embedding(..., mask_zero=True)", add_mask, 2),
    Intervention("remove-mask", "masking", "LSTM041", "Take the mask away: it hides real content.", "", remove_mask, 2),
    Intervention("stateless", "wiring", "LSTM080", "Do not carry state between shuffled batches.", "keras.layers.LSTM(units, stateful=False)", stateless, 1),
    Intervention("single-activation", "wiring", "LSTM080", "Remove the Activation behind the LSTM.", "", single_activation, 1),
    Intervention("shuffle-batches", "data-split", "LSTM030", "Shuffle the training sequences.", "model.fit(x, y, shuffle=True)", shuffle_batches, 1),
    Intervention("class-weights", "class-imbalance", "LSTM151", "Weigh the classes.", "", class_weights, 2),
    Intervention("chrono-bias", "vanishing-gradient", "LSTM120", "Let the forget gates start open for the length of a sequence.", "", remembering, 3),
    Intervention("wider", "too-small", "LSTM090", "Use more units.", "", _scaled_units(4, 16), 3),
)  # fmt: skip

BY_KEY = {intervention.key: intervention for intervention in TABLE}
narrower = _scaled_units(0.25, 2)
