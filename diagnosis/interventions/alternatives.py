"""Other remedies: for what does not generalize, and for causes that have more cures than one.

The search names a cause with one change each (`TABLE`); where time is left, these are tried beside
it, so that a report says what else would have helped, and by how much.
"""

from __future__ import annotations

from collections.abc import Mapping

from lstm_oracle.diagnosis.interventions import augmentation, data, network, optimization
from lstm_oracle.diagnosis.interventions.base import Change, Intervention


def _augmentation(
    key: str, text: str, change: augmentation.Changed, *, any_target: bool
) -> Intervention:
    return Intervention(
        key, "insufficient-data", "LSTM150", text,
        f"from lstm_oracle.diagnosis.interventions import augmentation\n"
        f"more = augmentation.{change.__name__}(x_train, np.random.default_rng(0))\n"
        "x_train, y_train = np.concatenate([x_train, more]), np.concatenate([y_train, y_train])",
        augmentation.augmented(change, any_target=any_target),
    )  # fmt: skip


# What a set-up that fits its training data and no others is given, judged on held-out data.
AGAINST_OVERFITTING: tuple[Intervention, ...] = (
    Intervention(
        "dropout",
        "too-large",
        "LSTM091",
        "Drop a third of the LSTM's inputs and of its recurrent state.",
        "keras.layers.LSTM(units, dropout=0.3, recurrent_dropout=0.3)",
        network.dropout,
    ),
    Intervention(
        "weight-penalty",
        "too-large",
        "LSTM091",
        "Penalize squared weights.",
        "l2 = keras.regularizers.L2(1e-3)\n"
        "keras.layers.LSTM(units, kernel_regularizer=l2, recurrent_regularizer=l2)",
        network.weight_penalty,
    ),
    _augmentation("jitter", "Add noise to copies.", augmentation.jitter, any_target=True),
    _augmentation("scaling", "Add scaled copies.", augmentation.scaling, any_target=False),
    _augmentation("slicing", "Add stretched slices.", augmentation.slicing, any_target=False),
    _augmentation("warping", "Add copies warped in time.", augmentation.warping, any_target=False),
)


def _other(key: str, cause: str, finding: str, text: str, code: str, apply: Change) -> Intervention:
    return Intervention(key, cause, finding, text, code, apply)


_COMPILE = "model.compile(optimizer=keras.optimizers.{}, loss=...)"

# By cause: what is tried beside the change that named it.
ALTERNATIVES: Mapping[str, tuple[Intervention, ...]] = {
    "optimizer": (
        _other("rmsprop", "optimizer", "LSTM112", "Use RMSprop.",
               _COMPILE.format("RMSprop(1e-3)"), optimization.exchanged("RMSprop", 1e-3)),
        _other("adamw", "optimizer", "LSTM112", "Use AdamW.",
               _COMPILE.format("AdamW(3e-3)"), optimization.exchanged("AdamW", 3e-3)),
        _other("momentum", "optimizer", "LSTM112", "Use SGD with momentum.",
               _COMPILE.format("SGD(0.1, momentum=0.9, global_clipnorm=1.0)"),
               optimization.exchanged("SGD", 0.1, momentum=0.9, global_clipnorm=1.0)),
    ),
    "learning-rate-high": (
        _other("warm-up", "learning-rate-high", "LSTM110", "Raise the rate over the first tenth.",
               "keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=rate,\n"
               "    warmup_steps=steps // 10)", optimization.warm_up),
        _other("cosine", "learning-rate-high", "LSTM110", "Let the rate fall to zero as a cosine.",
               "keras.optimizers.schedules.CosineDecay(rate, steps)", optimization.cosine),
        _other("reduce-on-plateau", "learning-rate-high", "LSTM110",
               "Cut the rate whenever the loss has stopped falling.",
               'keras.callbacks.ReduceLROnPlateau("loss", factor=0.3, patience=2)',
               optimization.reduce_on_plateau),
    ),
    "initialization": (
        _other("he", "initialization", "LSTM130", "Use He initialization for the input weights.",
               'keras.layers.LSTM(units, kernel_initializer="he_normal")', network.he),
    ),
    "class-imbalance": (
        _other("resample", "class-imbalance", "LSTM151", "Draw every class equally often.",
               "rows = np.concatenate([np.random.default_rng(0).choice(np.flatnonzero(y == k), n)"
               "\n    for k in np.unique(y)])", data.resample),
    ),
}  # fmt: skip
