"""What can be seen without training: suspects for the experiments, and faults that need no proof.

A suspicion decides only the order in which changes are tried, and breaks ties between changes that
work equally well; it never makes a finding. What arithmetic alone decides (a loss that cannot be
computed, an index outside a table, NaN in the data) is a finding at once.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from lstm_oracle.diagnosis import interventions as iv
from lstm_oracle.diagnosis import surgery, typed
from lstm_oracle.diagnosis.findings import Evidence, Finding, Remedy
from lstm_oracle.diagnosis.setup import Setup
from lstm_oracle.diagnosis.task import padding_of

Array = np.ndarray

# The band in which an optimizer's rate usually works: where nothing else is wrong, rates outside
# are the first to be suspected.
_USUAL_RATES = {
    "sgd": (1e-3, 0.5),
    "adam": (2e-4, 2e-2),
    "adamw": (2e-4, 2e-2),
    "nadam": (2e-4, 2e-2),
    "rmsprop": (2e-4, 2e-2),
    "adamax": (5e-4, 5e-2),
    "adagrad": (1e-2, 1.0),
    "adadelta": (0.1, 5.0),
    "ftrl": (1e-2, 1.0),
}

USED = 0.1  # of a table's rows: fewer, and it was made for other indices
OUT_OF_REACH = 0.12  # of the variance: what two seeds of the same set-up may differ by


def suspicions(setup: Setup) -> dict[str, float]:
    """Key of an intervention to how much it is suspected, 0 to 3."""
    found: dict[str, float] = {}
    for look in _LOOKS:
        for key, weight in look(setup).items():
            found[key] = max(found.get(key, 0.0), min(weight, 3.0))
    return found


def _look_at_scale(setup: Setup) -> dict[str, float]:
    found = {}
    x = setup.train.x[0]
    if iv.data.is_quantity(x) and x.size:
        found["standardize-inputs"] = _off_scale(x)
    quantities = [
        y for y, task in zip(setup.train.y, setup.tasks, strict=True) if task.kind == "regression"
    ]
    if quantities:
        found["standardize-targets"] = max(map(_off_scale, quantities))
    return found


def _off_scale(a: Array) -> float:
    """How many factors of about three the values lie from a scale of one; of the worst column."""
    columns = a.reshape(-1, a.shape[-1]) if a.ndim > 1 else a.reshape(-1, 1)
    sizes = np.sqrt(np.nanmean(np.square(columns, dtype=np.float64), axis=0))
    sizes = np.maximum(sizes[sizes > 0], 1e-12)
    return max(0.0, float(np.abs(np.log10(sizes)).max(initial=0.0)) * 2 - 1)


def _look_at_head(setup: Setup) -> dict[str, float]:
    found = {"repair-head": 3.0} if iv.head.head_is_wrong(setup) else {}
    return found | ({"match-steps": 3.0} if iv.network.steps_do_not_match(setup) else {})


def _look_at_optimizer(setup: Setup) -> dict[str, float]:
    name, rate = iv.optimization.optimizer_name(setup), iv.optimization.rate_of(setup)
    low, high = _USUAL_RATES.get(name, (1e-4, 1.0))
    found = {}
    if rate > high:
        found["learning-rate-down"] = 1.5 + math.log10(rate / high)
    if rate < low:
        found["learning-rate-up"] = 1.5 + math.log10(low / max(rate, 1e-12))
    if name not in ("adam", "adamw", "nadam", "rmsprop"):
        found["adam"] = 1.0 if low <= rate <= high else 0.5
    if name == "adadelta" and rate <= 1e-2:
        found["adam"] = 3.0  # the default 0.001 is far below the 1.0 of the paper
    return found


def _look_at_batches(setup: Setup) -> dict[str, float]:
    share = setup.batch_size / max(1, len(setup.train))
    scheduled = (
        isinstance(setup.optimizer["config"]["learning_rate"], dict)
        or setup.plateau
        or setup.rate_of_epoch
    )
    found = {"constant-rate": 1.5 if scheduled else 0.0}
    found |= {"batch-smaller": 2.0 if share > 0.25 else 0.5, "train-longer": 0.0}
    if setup.batch_size < 4:
        found["batch-larger"] = 1.5
    if setup.epochs <= 3 or setup.total_steps < 60:
        found["train-longer"] = 2.0
    if not setup.shuffle:
        found["shuffle-batches"] = 1.5
    return found


def _look_at_layers(setup: Setup) -> dict[str, float]:
    found: dict[str, float] = {}

    def suspect(key: str, weight: float) -> None:
        found[key] = max(found.get(key, 0.0), weight)

    heads = surgery.head_names(setup.model)
    for layer in surgery.all_layers(setup.model):
        config = surgery.config_of(layer) or {}
        if layer.weights and not layer.trainable:
            suspect("unfreeze", 2.5)
        if config.get("stateful"):
            suspect("stateless", 2.0)
        if "recurrent_activation" in config and (
            config.get("activation") != "tanh" or config["recurrent_activation"] != "sigmoid"
        ):
            suspect("gate-activations", 2.0)
        squashes = type(layer).__name__ == "Dense" and layer.name not in heads
        if squashes and config.get("activation") in ("sigmoid", "softmax"):
            suspect("gate-activations", 0.5)
        suspect("no-regularization", _regularized(config))
    return found


def _look_at_joints(setup: Setup) -> dict[str, float]:
    """What a recurrent layer gives, and what is made of it."""
    return {
        "turn-back": 2.0 * bool(iv.network.left_turned(setup.model)),
        "dense-head": 2.0 * (iv.head.ends_in_a_state(setup.model) is not None),
    }


def _look_at_widths(setup: Setup) -> dict[str, float]:
    for layer in surgery.all_layers(setup.model):
        units = (surgery.config_of(layer) or {}).get("units", math.inf)
        least = 5 if hasattr(layer, "recurrent_activation") else _needed(setup)
        if units < least:
            return {"wider": 2.0}
    return {}


def _needed(setup: Setup) -> int:
    """The least width through which the outputs can differ in all directions that targets have."""
    if len(setup.tasks) != 1:
        return 0
    task = setup.tasks[0]
    return len(task.mean) if task.kind == "regression" else task.class_count - 1


def _regularized(config: dict[str, Any]) -> float:
    penalized = any(k.endswith("_regularizer") and v for k, v in config.items())
    dropped = max(
        (config.get(k) or 0.0 for k in ("dropout", "recurrent_dropout", "rate")), default=0.0
    )
    return max(1.5 * penalized, 2.5 * dropped if dropped >= 0.4 else 0.0)


def _look_at_weights(setup: Setup) -> dict[str, float]:
    """Identical units, zeros, or a size that no usual initializer gives."""
    worst = 0.0
    for layer in surgery.all_layers(setup.model):
        for weight in layer.get_weights() if not isinstance(layer, keras.Model) else []:
            if weight.ndim != 2 or min(weight.shape) < 2:
                continue
            expected = math.sqrt(2 / sum(weight.shape))
            deviation = float(weight.std())
            alike = np.allclose(weight, weight[:, :1])
            ratio = abs(math.log(max(deviation, 1e-12) / expected))
            worst = max(worst, 3.0 if alike else ratio - 1.0)
    return {"reinitialize": worst}


def _look_at_padding(setup: Setup) -> dict[str, float]:
    x = setup.train.x[0]
    padding = padding_of(x) if len(setup.train.x) == 1 else None
    share = float(padding.steps.mean()) if padding is not None else 0.0
    if not iv.network.has_mask(setup.model):
        return {"add-mask": 2 * share, "pad-in-front": 1.5 * share}
    return {
        # A mask that finds its value between real steps deletes content.
        "remove-mask": 10 * iv.network.deleted_content(setup),
        "mark-padding": 10 * share,
        # One that works hides the side on which padding stands.
        "pad-in-front": 10 * share if iv.network.reads_padding(setup) else 0.0,
    }


def _look_at_classes(setup: Setup) -> dict[str, float]:
    task = setup.tasks[0]
    if task.kind == "regression":
        return {}
    counts = np.bincount(task.labels(setup.train.y[0]), minlength=task.class_count)
    counts = counts[np.arange(len(counts)) != task.filler]
    return {"class-weights": math.log2(max(1.0, counts.max() / max(1, counts.min()))) / 2}


def _look_at_memory(setup: Setup) -> dict[str, float]:
    """One for each float32 epsilon that the first step's gradient shrinks by at the start."""
    shrunk = iv.network.forgetting(setup) / -math.log10(float(np.finfo(np.float32).eps))
    found = dict.fromkeys(("from-the-end", "chrono-bias", "pool-all-steps"), shrunk)
    return found | ({"see-all-steps": 3.0} if iv.network.misses_the_end(setup) else {})


_LOOKS = (
    _look_at_scale,
    _look_at_head,
    _look_at_optimizer,
    _look_at_batches,
    _look_at_layers,
    _look_at_joints,
    _look_at_widths,
    _look_at_weights,
    _look_at_padding,
    _look_at_classes,
    _look_at_memory,
)


def certain_findings(setup: Setup) -> list[Finding]:
    """Faults that arithmetic decides."""
    return [finding for test in _CERTAIN for finding in test(setup)]


def _not_finite(setup: Setup) -> list[Finding]:
    found = []
    for name, arrays in (("x", setup.train.x), ("y", setup.train.y)):
        for a in arrays:
            bad = ~np.isfinite(a) if a.dtype.kind == "f" else np.zeros(1, bool)
            if bad.any():
                first = tuple(int(n) for n in np.argwhere(bad)[0])
                found.append(
                    Finding(
                        "LSTM001", "data-quality", "error", 1.0,
                        f"{name} holds {int(bad.sum())} values that are NaN or infinite, the first "
                        f"at {first}: one of them makes every loss and every weight NaN.",
                        (Evidence(f"values of {name} that are not finite", int(bad.sum()), 0,
                                  "arithmetic"),),
                        refuted_by="np.isfinite(x).all() is True for what is given to fit.",
                    )
                )  # fmt: skip
    return found


def _embeddings(setup: Setup) -> list[Any]:
    return [
        layer
        for layer in surgery.all_layers(setup.model)
        if isinstance(layer, keras.layers.Embedding)
    ]


def _measured(x: Array) -> bool:
    """Whether these are quantities: floats that are no whole numbers."""
    return bool(x.dtype.kind == "f" and not np.equal(x, np.round(x)).all())


def _outside_the_table(setup: Setup) -> list[Finding]:
    x = setup.train.x[0]
    for layer in _embeddings(setup):
        largest, least = float(np.nanmax(x)), float(np.nanmin(x))
        if _measured(x):
            return []  # no index at all: `_floats_embedded` says so
        if x.ndim == 2 and (largest >= layer.input_dim or least < 0):
            rows = int(largest - min(least, 0)) + 1
            shift = "" if least >= 0 else f"x = x - ({least:g})   # from 0\n"
            return [
                Finding(
                    "LSTM020", "input-encoding", "error", 1.0,
                    f"indices run from {least:g} to {largest:g}, the embedding has rows 0 to "
                    f"{layer.input_dim - 1}.",
                    (Evidence("largest index", largest, layer.input_dim - 1, "the table's size"),),
                    Remedy("larger-table", "Give the table a row for every index, from 0.",
                           f"{shift}keras.layers.Embedding({rows}, {layer.output_dim})"),
                    refuted_by="x.max() < input_dim and x.min() >= 0.", layer=layer.name,
                )
            ]  # fmt: skip
    return []


def _floats_embedded(setup: Setup) -> list[Finding]:
    x = setup.train.x[0]
    if not _embeddings(setup) or not _measured(x):
        return []
    lost = float((x != np.round(x)).mean())
    return [
        Finding(
            "LSTM020", "input-encoding", "error", 1.0,
            f"{100 * lost:.0f} % of the inputs are not whole numbers, and the Embedding cuts "
            f"them to {len(np.unique(x.astype(int)))} indices: what was measured is lost.",
            (Evidence("inputs that are no whole number", lost, 0.0, "an index is a whole number"),),
            Remedy("no-embedding", "Feed quantities to the LSTM as they are, without an Embedding.",
                   "x_train = x_train[..., None]   # (batch, time, 1)\n"
                   f"keras.Input(({x.shape[1]}, 1))   # in place of the Embedding"),
            refuted_by="x holds word or category numbers.", layer=_embeddings(setup)[0].name,
        )
    ]  # fmt: skip


def hardly_used_table(setup: Setup) -> list[Finding]:
    """Indices that take few rows of their table: quantities, or shares, cut to whole numbers?

    No proof, for a table may be larger than it need be: to be said only where too little is learnt
    and nothing else explains it.
    """
    x, tables = setup.train.x[0], _embeddings(setup)
    if len(setup.train.x) != 1 or len(tables) != 1 or x.ndim != 2:
        return []
    used, rows = len(np.unique(x)), int(tables[0].input_dim)
    if used > USED * rows:
        return []
    return [
        Finding(
            "LSTM020", "input-encoding", "warning", 0.5,
            f"The inputs use {used} of the {rows} rows of the Embedding, and too little is learnt "
            "from them: what was measured may have been cut to whole numbers on the way.",
            (Evidence("different indices", used, round(USED * rows, 1), "a tenth of the table"),),
            refuted_by="x holds word or category numbers, and there are no more of them.",
            layer=tables[0].name,
        )
    ]  # fmt: skip


def _labels_outside(setup: Setup) -> list[Finding]:
    """Class numbers that the head has no unit for: the loss of those sequences is undefined."""
    head = surgery.head_of(setup.model)
    if head is None or len(setup.tasks) != 1 or "sparse" not in iv.head.loss_name(setup.loss):
        return []
    y, width = setup.train.y[0], head[2]
    outside = int(((y < 0) | (y >= width)).sum())
    if not outside or width < 2 or (y.shape[-1:] == (width,) and y.ndim > 1):
        return []
    return [
        Finding(
            "LSTM071", "output-loss-mismatch", "error", 1.0,
            f"{outside} labels lie outside 0 to {width - 1}, the classes that the head has units "
            f"for: they run from {y.min():g} to {y.max():g}.",
            (Evidence("largest label", float(y.max()), width - 1, "units of the head, from 0"),
             Evidence("smallest label", float(y.min()), 0, "class numbers start at 0")),
            Remedy("repair-labels", "Number the classes from 0, and give the head one unit each.",
                   "classes, y = np.unique(y, return_inverse=True)\n"
                   'keras.layers.Dense(len(classes), activation="softmax")'),
            "0 <= y.min() and y.max() < units of the last layer.", layer=head[0].name,
        )
    ]  # fmt: skip


def _out_of_reach(setup: Setup) -> list[Finding]:
    """Targets that the head's activation cannot give: no training can fit them."""
    lost = iv.head.out_of_reach(setup)
    if lost < OUT_OF_REACH:
        return []
    reason = iv.head.head_is_wrong(setup)
    repaired = iv.head.repair_head(setup)
    code = "" if repaired is None else typed.difference(setup, repaired)
    return [
        Finding(
            "LSTM070", "output-loss-mismatch", "error", 0.95,
            f"{reason[:1].upper()}{reason[1:]}: no weights give skill above "
            f"{max(0.0, 1 - lost):.2f}.",
            (Evidence("share of the targets' variance out of reach", round(lost, 3), OUT_OF_REACH,
                      "arithmetic: the range of the head's activation"),),
            Remedy("repair-head", "Give quantities linear units.",
                   code or f"keras.layers.Dense({len(setup.tasks[0].mean)})   # the last layer"),
            "The head's activation reaches from y.min() to y.max().",
        )
    ]  # fmt: skip


def _constant_head(setup: Setup) -> list[Finding]:
    """A head that says the same whatever the network has learnt: no training can change that."""
    reason = iv.head.gives_a_constant(setup)
    if not reason or iv.head.out_of_reach(setup) >= OUT_OF_REACH:
        return []
    repaired = iv.head.repair_head(setup)
    code = "" if repaired is None else typed.difference(setup, repaired)
    return [
        Finding(
            "LSTM070", "output-loss-mismatch", "error", 0.95,
            f"{reason[:1].upper()}{reason[1:]}: no weights give skill above 0.",
            (Evidence("head against targets", reason, source="arithmetic"),),
            Remedy("repair-head", iv.BY_KEY["repair-head"].text, code),
            "Two sequences get different predictions.",
        )
    ]  # fmt: skip


def _constant_features(setup: Setup) -> list[Finding]:
    x = setup.train.x[0]
    if x.ndim != 3 or x.dtype.kind != "f":
        return []
    constant = np.flatnonzero(np.ptp(x.reshape(-1, x.shape[-1]), axis=0) == 0)
    if len(constant) < x.shape[-1]:
        return []
    return [
        Finding(
            "LSTM002", "data-quality", "error", 1.0,
            "every input feature is constant: the inputs say nothing about the targets.",
            (Evidence("constant features", len(constant), x.shape[-1], "variance is zero"),),
            refuted_by="x.std(axis=(0, 1)) > 0 for some feature.",
        )
    ]  # fmt: skip


def _time_index(setup: Setup) -> list[Finding]:
    """Every sequence the same ramp: the inputs count steps and say nothing else."""
    x = setup.train.x[0]
    if len(setup.train.x) != 1 or x.ndim < 2 or x.dtype.kind != "f":
        return []
    if x[0].size == 1:
        return _row_number(x.ravel())
    if x.ndim != 3 or x.shape[1] < 3:
        return []
    steps = np.diff(x.reshape(len(x), x.shape[1], -1), axis=1)
    size = float(np.abs(steps).mean())
    if not (size > 0 and np.abs(steps - steps.mean()).max() <= 1e-3 * size):
        return []  # also where a value is missing
    return [
        Finding(
            "LSTM020", "input-encoding", "error", 0.9,
            "every input is a ramp of the same slope: the network is shown the clock and none of "
            "the values that it is to continue.",
            (Evidence("largest deviation from the ramp", float(np.abs(steps - steps.mean()).max()),
                      source="differences from step to step"),),
            Remedy("swap-axes", "Feed past values of the series, not their times.",
                   "x = windows of past values; y = the next value"),
            "Some input changes from sequence to sequence in more than its starting value.",
        )
    ]  # fmt: skip


def _row_number(x: Array) -> list[Finding]:
    """One number a sequence, no two alike, on a grid that they nearly fill: the rows are counted.

    Nearly: a part may be held out.
    """
    steps = np.diff(np.sort(x.astype(np.float64)))
    least = float(steps.min()) if len(steps) > 8 else 0.0
    if not least > 0 or steps.sum() > 2 * len(steps) * least:
        return []
    off = float(np.abs(steps / least - np.round(steps / least)).max())
    if off > 0.05:
        return []
    return [
        Finding(
            "LSTM020", "input-encoding", "error", 0.9,
            f"the only input counts the rows, in steps of {least:g}: the network is shown the "
            "clock and none of the values that it is to continue.",
            (Evidence("largest distance from the grid, in steps", round(off, 4), 0.05,
                      "float32"),),
            Remedy("swap-axes", "Feed past values of the series, not their times.",
                   "x = windows of past values; y = the next value"),
            "Two sequences may have the same input, or it is no even count.",
        )
    ]  # fmt: skip


def _unread_inputs(setup: Setup) -> list[Finding]:
    """An input of several that is not connected to any output."""
    names = [tensor.name for tensor in getattr(setup.model, "inputs", None) or ()]
    return [
        Finding(
            "LSTM080", "wiring", "error", 0.95,
            f"no output depends on input {names[k]!r}: whatever it holds is lost. (An encoder's "
            "states reach a decoder as its initial_state.)",
            (Evidence(f"change of the outputs when sequences exchange input {names[k]!r}", 0.0,
                      source="compared to the bit"),),
            Remedy("connect-input", "Join what is computed from it to what the output is computed "
                   "from.",
                   "states = keras.layers.LSTM(units, return_state=True)(encoder_inputs)[1:]\n"
                   "decoder = keras.layers.LSTM(units, return_sequences=True)\n"
                   "outputs = decoder(decoder_inputs, initial_state=states)"),
            "Exchanging this input between sequences changes the predictions.",
        )
        for k in iv.network.unread_inputs(setup)
    ]  # fmt: skip


def _one_class(setup: Setup) -> list[Finding]:
    y = setup.train.y[0]
    if len(np.unique(y[np.isfinite(y)] if y.dtype.kind == "f" else y)) > 1:
        return []
    return [
        Finding(
            "LSTM002", "data-quality", "error", 1.0,
            "all training targets have the same value: there is nothing to learn.",
            (Evidence("distinct targets", 1, 2, "a constant prediction is perfect"),),
            refuted_by="np.unique(y_train) has more than one value.",
        )
    ]  # fmt: skip


_CERTAIN = (
    _not_finite,
    _outside_the_table,
    _floats_embedded,
    _labels_outside,
    _out_of_reach,
    _constant_head,
    _constant_features,
    _time_index,
    _unread_inputs,
    _one_class,
)
