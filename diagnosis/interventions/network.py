"""Changes of the network and of the weights that it starts from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import surgery
from lstm_oracle.diagnosis.interventions.base import Change
from lstm_oracle.diagnosis.setup import Data, Scale, Setup
from lstm_oracle.diagnosis.task import is_step, padding_of

Array = np.ndarray

SHORT = 8  # steps: in fewer, nothing lies far back


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
    return _initialized(setup, _DEFAULT_INITIALIZERS)


def he(setup: Setup) -> Setup | None:
    """He et al. 2015 for the input weights, else Keras' defaults, freshly drawn."""
    return _initialized(setup, _DEFAULT_INITIALIZERS | {"kernel_initializer": "he_normal"})


def _initialized(setup: Setup, initializers: dict[str, str]) -> Setup | None:
    def change(name: str, config: dict[str, Any]) -> bool:
        found = [k for k in initializers if k in config]
        for key in found:
            config[key] = initializers[key]
        if "unit_forget_bias" in config:
            config["unit_forget_bias"] = True
        return bool(found)

    edited = _edited(setup, change)
    return None if edited is None else edited.changed(fresh_weights=True)


def gate_activations(setup: Setup) -> Setup | None:
    """tanh for the candidate and the cell, sigmoid for the gates; relu in hidden Dense layers."""
    heads = surgery.head_names(setup.model)

    def change(name: str, config: dict[str, Any]) -> bool:
        wanted = {}
        if "recurrent_activation" in config:
            wanted = {"activation": "tanh", "recurrent_activation": "sigmoid"}
        elif name == "Dense" and config.get("activation") in ("sigmoid", "softmax", "tanh"):
            wanted = {"activation": "relu"} if config["name"] not in heads else {}
        changed = {k: v for k, v in wanted.items() if config[k] != v}
        config.update(changed)
        return bool(changed)

    return _edited(setup, change)


def match_steps(setup: Setup) -> Setup | None:
    """One output per step where there is a target per step, and one per sequence elsewhere."""
    if not steps_do_not_match(setup):
        return None
    recurrent = (*surgery.RECURRENT, keras.layers.Bidirectional)
    last = next((x for x in reversed(setup.model.layers) if isinstance(x, recurrent)), None)
    if last is None:
        return None
    halves = (getattr(last, half, last) for half in ("forward_layer", "backward_layer"))
    names = {layer.name for layer in halves}
    per_step = setup.tasks[0].per_step

    def change(name: str, config: dict[str, Any]) -> bool:
        if config.get("name") not in names or config.get("return_sequences", per_step) == per_step:
            return False
        config["return_sequences"] = per_step
        return True

    return _edited(setup, change)


def steps_do_not_match(setup: Setup) -> str:
    """Why outputs and targets differ in having a time axis, or an empty string.

    Keras broadcasts (B, T, 1) against (B, 1) without a word.
    """
    if len(setup.tasks) != 1 or not getattr(setup.model, "outputs", None):
        return ""
    output, y = tuple(setup.model.outputs[0].shape), setup.train.y[0].shape
    if setup.tasks[0].per_step == (len(output) > 2):
        return ""
    return f"the model gives {output}, the targets are {(None, *y[1:])}: one has a time axis"


def scaled_units(factor: float, least: int) -> Change:
    """Every hidden width multiplied, but for the head; never below `least`."""

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


def dropout(setup: Setup) -> Setup | None:
    """A third of the LSTM inputs and of its state dropped (Gal & Ghahramani 2016)."""

    def change(name: str, config: dict[str, Any]) -> bool:
        if "recurrent_dropout" not in config or config["dropout"] or config["recurrent_dropout"]:
            return False
        config.update({"dropout": 0.3, "recurrent_dropout": 0.3})
        return True

    return _edited(setup, change)


def weight_penalty(setup: Setup) -> Setup | None:
    """Squared weights of the recurrent layers in the loss (L2)."""

    def change(name: str, config: dict[str, Any]) -> bool:
        if "recurrent_regularizer" not in config or config["kernel_regularizer"]:
            return False
        penalty = keras.regularizers.serialize(keras.regularizers.L2(1e-3))
        config.update({"kernel_regularizer": penalty, "recurrent_regularizer": penalty})
        return True

    return _edited(setup, change)


def unfreeze(setup: Setup) -> Setup | None:
    """Every layer trainable."""
    frozen = [
        layer for layer in surgery.all_layers(setup.model) if layer.weights and not layer.trainable
    ]
    if not frozen:
        return None
    model = surgery.twin(setup.model)
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


def in_order(setup: Setup) -> Setup | None:
    """Batches one after the other, where a state is carried from each to the next."""
    if not (setup.shuffle and surgery.carries_state(setup.model)):
        return None
    return setup.changed(shuffle=False)


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
    model = surgery.twin(setup.model, edit)
    return setup.changed(model=model)


def add_mask(setup: Setup) -> Setup | None:
    """A Masking layer in front, or mask_zero in the Embedding, so that padding is skipped.

    Padding that is another number is given that of the mask.
    """
    if len(setup.train.x) != 1 or has_mask(setup.model):
        return None
    padding = padding_of(setup.train.x[0])
    if padding is None:
        return None
    setup = _filled(setup, padding.value, 0.0)
    if setup.train.x[0].ndim == 2:
        return _mask_embedding(setup)
    try:
        masked = surgery.in_front(setup.model, keras.layers.Masking(0.0))
    except Exception:
        return None  # a layer that refuses masks: the change cannot be made
    return setup.changed(model=masked)


def mark_padding(setup: Setup) -> Setup | None:
    """Padding made the number that the mask looks for, where it is another one."""
    if len(setup.train.x) != 1 or not has_mask(setup.model):
        return None
    padding, masked = padding_of(setup.train.x[0]), mask_value(setup.model)
    if padding is None or (padding.value == masked).all():
        return None
    return _filled(setup, padding.value, masked)


def _filled(setup: Setup, padding: Array, value: float) -> Setup:
    """The padding written as another number; of whole numbers the two change places."""

    def written(x: Array) -> Array:
        if x.ndim == 2:
            return np.select([x == padding, x == value], [value, padding], x).astype(x.dtype)
        return np.where(is_step(x, padding)[..., None], value, x).astype(x.dtype)

    if (padding == value).all():
        return setup
    return _refilled(setup.with_inputs(written), value)


def _refilled(setup: Setup, value: float) -> Setup:
    """With a scale, if there is one, that leaves the new padding what it is."""
    scales = tuple(
        s if s is None or s.padding is None else s._replace(padding=np.full_like(s.padding, value))
        for s in setup.x_scale
    )
    return setup.changed(x_scale=scales)


def own_padding(setup: Setup) -> tuple[Setup, bool]:
    """The set-up with padding that is zero and nothing else is, and whether there is any.

    Whole numbers are counted from 1 where there is. For a network that masks zeros.
    """
    x = np.concatenate([p.x[0] for p in _alike_parts(setup)])
    padding = padding_of(x)
    if padding is None or padding.steps.all(1).any():
        return setup, False  # of a sequence of padding alone no step would be left

    def written(a: Array) -> Array:
        blank = is_step(a, padding.value)
        if a.ndim == 2:
            return np.where(blank, 0, a + 1).astype(a.dtype)
        return np.where(blank[..., None], 0, a).astype(a.dtype)

    return _refilled(setup.with_inputs(written), 0.0), True


def _alike_parts(setup: Setup) -> list[Data]:
    parts = [setup.train, setup.held_out]
    return parts if parts[0].x[0].shape[1:] == parts[1].x[0].shape[1:] else parts[:1]


def pad_in_front(setup: Setup) -> Setup | None:
    """Padding moved from behind the content to before it, where the outputs depend on that."""
    if not reads_padding(setup):
        return None
    value = _padding_behind(setup)
    return None if value is None else setup.with_inputs(functools.partial(_moved, value=value))


@functools.lru_cache(maxsize=4)
def reads_padding(setup: Setup) -> bool:
    """Whether outputs depend on the side on which padding stands: a mask that works hides it."""
    value = _padding_behind(setup)
    if value is None or any(getattr(a, "stateful", False) for a in surgery.all_layers(setup.model)):
        return False
    if not has_mask(setup.model):
        return True
    x = setup.train.x[0]
    some = x[np.argsort(~is_step(x, value)[:, -1], kind="stable")[:8]]
    both = np.concatenate([some, _moved(some, value)])
    before, after = np.split(_outputs_in_training(setup, both), 2)
    return not np.allclose(before, after, rtol=1e-3, atol=1e-5)


def _outputs_in_training(setup: Setup, x: Array) -> Array:
    """Outputs as in training, but without dropout: a BatchNormalization moves padding only there.

    Of a copy, for these layers learn from what they see.
    """
    still = no_regularization(setup) or setup
    return _outputs(still.changed(model=surgery.twin(still.model)), x, training=True)


def _padding_behind(setup: Setup) -> Array | None:
    """The number, or step, that sequences with one target each are filled up with behind."""
    if len(setup.train.x) != 1 or any(task.per_step for task in setup.tasks):
        return None
    padding = padding_of(setup.train.x[0])
    return padding.value if padding is not None and padding.behind else None


def _moved(x: Array, value: Array) -> Array:
    blank = is_step(x, value)
    behind = np.logical_and.accumulate(blank[:, ::-1], axis=1).sum(1)
    return np.stack([np.roll(a, n, axis=0) for a, n in zip(x, behind, strict=True)])


def _mask_embedding(setup: Setup) -> Setup | None:
    def change(name: str, config: dict[str, Any]) -> bool:
        did = config.get("mask_zero") is False
        config.update({"mask_zero": True} if did else {})
        return did

    return _edited(setup, change)


def mask_value(model: keras.Model) -> float:
    """The number that the model's first mask looks for."""
    layers = surgery.all_layers(model)
    return next((a.mask_value for a in layers if isinstance(a, keras.layers.Masking)), 0.0)


def deleted_content(setup: Setup) -> float:
    """The share of all steps that a mask takes for padding, and that are none."""
    x = setup.train.x[0]
    if len(setup.train.x) != 1 or x.ndim not in (2, 3) or not has_mask(setup.model):
        return 0.0
    masked, padding = is_step(x, np.asarray(mask_value(setup.model))), padding_of(x)
    if padding is not None:
        masked = masked & ~padding.steps
    return float(masked.mean())


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
    model = surgery.twin(setup.model, edit)
    return setup.changed(model=model)


def remembering(setup: Setup) -> Setup | None:
    """Forget gates that start open for about the length of a sequence (chrono initialization)."""
    steps = setup.train.x[0].shape[1] if setup.train.x[0].ndim > 1 else 1
    if steps < SHORT:
        return None
    model = surgery.twin(setup.model)
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


def from_the_end(setup: Setup) -> Setup | None:
    """Sequences read from their last step to their first: what stood first is then the nearest."""
    return None if misses_the_end(setup) else _turned(setup)


def seeing_all_steps(setup: Setup) -> Setup | None:
    """The same, where the output is taken at a step that comes before the last ones."""
    return _turned(setup) if misses_the_end(setup) else None


def _turned(setup: Setup) -> Setup | None:
    x = setup.train.x[0]
    # An answer of its own length is given after the whole of what is read.
    in_step = any(
        task.per_step and y.shape[1] == x.shape[1]
        for task, y in zip(setup.tasks, setup.train.y, strict=True)
    )
    if in_step or len(setup.train.x) != 1 or x.ndim < 2 or x.shape[1] < SHORT:
        return None
    if any(isinstance(a, keras.layers.Bidirectional) for a in surgery.all_layers(setup.model)):
        return None
    turned = False

    def change(name: str, config: dict[str, Any]) -> bool:
        nonlocal turned
        did = not turned and config.get("go_backwards") is False
        if did:
            config["go_backwards"] = turned = True
        return did

    return _edited(setup, change)


_JOINTS = (
    keras.layers.Concatenate, keras.layers.Add, keras.layers.Average, keras.layers.Maximum,
    keras.layers.Multiply,
)  # fmt: skip


def looks_ahead(model: keras.Model) -> bool:
    """Whether a layer reads from the last step to the first."""
    return any(getattr(layer, "go_backwards", False) for layer in surgery.all_layers(model))


def left_turned(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers that give the last step first, and are joined as they are to what does not."""
    return [
        layer
        for layer in surgery.graph_layers(model)
        if isinstance(layer, surgery.RECURRENT)
        and layer.go_backwards
        and layer.return_sequences
        and any(isinstance(node.operation, _JOINTS) for node in layer._outbound_nodes)
    ]


def turned_back(setup: Setup) -> Setup | None:
    """What was read from the end, put back into the order of the steps."""
    names = {layer.name for layer in left_turned(setup.model)}

    def edit(layer: Any) -> Any:
        if layer.name not in names:
            return None
        again = type(layer).from_config(layer.get_config())
        return keras.Sequential([again, TurnedBack()], name=layer.name)

    try:
        return setup.changed(model=surgery.twin(setup.model, edit)) if names else None
    except surgery.NotCloneable:
        return None


@keras.saving.register_keras_serializable(package="lstm_oracle")
class TurnedBack(keras.layers.Layer):
    """Steps (B, T, ...) in the reversed order."""

    supports_masking = True

    def call(self, x: Any) -> Any:
        """The last step first."""
        return keras.ops.flip(x, axis=1)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """As it is: Keras' layers reverse their outputs and leave the mask."""
        return mask


def pool_all_steps(setup: Setup) -> Setup | None:
    """The largest value over all steps in place of the last output: no step is far from it."""
    x = setup.train.x[0]
    per_step = any(task.per_step for task in setup.tasks)
    if per_step or len(setup.train.x) != 1 or x.ndim < 2 or x.shape[1] < SHORT:
        return None
    recurrent = (*surgery.RECURRENT, keras.layers.Bidirectional)
    last = next((a for a in reversed(setup.model.layers) if isinstance(a, recurrent)), None)
    if last is None or getattr(last, "return_sequences", True) or misses_the_end(setup):
        return None

    def edit(layer: Any) -> Any:
        if layer.name != last.name:
            return None
        steps = type(layer).from_config(_giving_all_steps(layer.get_config()))
        return keras.Sequential([steps, keras.layers.GlobalMaxPooling1D()], name=layer.name)

    try:
        return setup.changed(model=surgery.twin(setup.model, edit))
    except surgery.NotCloneable:
        return None


def _giving_all_steps(config: dict[str, Any]) -> dict[str, Any]:
    for inner in (config, *(v["config"] for v in config.values() if _is_layer(v))):
        if "return_sequences" in inner:
            inner["return_sequences"] = True
    return config


def _is_layer(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("config"), dict)


@functools.lru_cache(maxsize=4)
def misses_the_end(setup: Setup) -> bool:
    """Whether no output depends, to the bit, on the second half of the steps.

    Their values are exchanged between sequences: an output that reads them moves. The first half
    is no such test: gates may have forgotten it.
    """
    x = setup.train.x[0]
    special = any(
        getattr(layer, "go_backwards", False) or getattr(layer, "stateful", False)
        for layer in surgery.all_layers(setup.model)
    )
    if len(setup.train.x) != 1 or x.ndim < 2 or x.shape[1] < SHORT or special:
        return False
    some = np.ascontiguousarray(x[:8])
    exchanged = some.copy()
    exchanged[:, x.shape[1] // 2 :] = np.roll(some, 1, axis=0)[:, x.shape[1] // 2 :]
    before, after = _outputs(setup, some), _outputs(setup, exchanged)
    moves = np.isfinite(before).all() and np.ptp(before, axis=0).max() > 0
    return bool(moves and np.array_equal(before, after) and not np.array_equal(some, exchanged))


def _outputs(setup: Setup, *x: Array, training: bool = False) -> Array:
    """All outputs of some sequences, one beside the other."""
    fed = setup.fed(x)
    outputs = setup.model(fed[0] if len(fed) == 1 else list(fed), training=training)
    listed = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    arrays = (np.asarray(keras.ops.convert_to_numpy(output)) for output in listed)
    return np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)


def unread_inputs(setup: Setup) -> list[int]:
    """Which of several inputs no output depends on, to the bit: sequences exchange them."""
    xs = setup.train.x
    if len(xs) < 2 or any(getattr(a, "stateful", False) for a in surgery.all_layers(setup.model)):
        return []
    some = [np.ascontiguousarray(a[:8]) for a in xs]
    before = _outputs(setup, *some)
    unread = []
    for k, a in enumerate(some):
        other = np.roll(a, 1, axis=0)
        after = _outputs(setup, *some[:k], other, *some[k + 1 :])
        if np.array_equal(before, after) and not np.array_equal(a, other):
            unread.append(k)
    # Where the outputs depend on none, they are constant, and that has another cause.
    return unread if len(unread) < len(xs) else []


def forgetting(setup: Setup) -> float:
    """How much of the first step's gradient the forget gates take at the start, in decades.

    The sum over the steps of -log10 of the median gate, from the biases alone (Gers, Schmidhuber &
    Cummins 2000, equation 7); of the layer that forgets most.
    """
    steps = setup.train.x[0].shape[1] if setup.train.x[0].ndim > 1 else 1
    most = 0.0
    for bias in _lstm_biases(setup.model):
        units = len(bias) // 4
        forget = float(np.median(bias[units : 2 * units]))
        most = max(most, steps * float(np.log10(1 + np.exp(-forget))))
    return most


def _lstm_biases(model: keras.Model) -> Iterator[Array]:
    for layer in surgery.all_layers(model):
        cell = getattr(layer, "cell", layer)
        units, bias = getattr(cell, "units", None), getattr(cell, "bias", None)
        if bias is not None and units is not None and tuple(bias.shape) == (4 * units,):
            yield keras.ops.convert_to_numpy(bias)


def with_normalization(setup: Setup) -> Setup:
    """The scales that inputs are standardized with, kept in the model as layers in front.

    Not where float32 could no longer tell the raw values apart: there the data are standardized,
    in float64, before they are fed.
    """
    if not any(setup.x_scale):
        return setup
    if all(s is None or s.survives_float32 for s in setup.x_scale):
        fronts = [None if s is None else _normalization(s) for s in setup.x_scale]
        try:
            return setup.changed(model=surgery.in_front(setup.model, *fronts), x_scale=())
        except (TypeError, ValueError, surgery.NotCloneable):
            pass  # a model that takes its inputs in a form of its own

    def fed(data: Data) -> Data:
        return Data(setup.fed(data.x), data.y, data.weight)

    return setup.changed(
        train=fed(setup.train), held_out=fed(setup.held_out), x_scale=(),
        prepared=(*setup.prepared, setup.fed),
    )  # fmt: skip


def _normalization(scale: Scale) -> Callable[[Any], Any]:
    mean, variance = scale.mean, np.square(scale.deviation)
    whole = len(mean) == 1
    layer = keras.layers.Normalization(
        axis=None if whole else -1,
        mean=float(mean[0]) if whole else mean.tolist(),
        variance=float(variance[0]) if whole else variance.tolist(),
    )

    def front(x: Any) -> Any:
        if scale.padding is None:
            return layer(x)
        real = keras.ops.any(keras.ops.not_equal(x, scale.padding), axis=-1, keepdims=True)
        return keras.ops.where(real, layer(x), keras.ops.cast(scale.padding, x.dtype))

    return front


wider = scaled_units(4, 16)
narrower = scaled_units(0.25, 2)
