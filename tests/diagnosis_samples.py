"""Made-up diagnoses that hold everything a report has to show; their numbers are invented."""

from __future__ import annotations

import numpy as np

from lstm_oracle.diagnosis.findings import (
    Diagnosis,
    Evidence,
    Figure,
    Finding,
    NotTested,
    Remedy,
    RuledOut,
)

HOSTILE = "<script>alert('x')</script>\x00\x1b[31m&\"'\u202e]]>\ud800"


def training_curves(epochs: int = 40) -> Figure:
    rng = np.random.default_rng(0)
    x = np.arange(1, epochs + 1)
    before = 2.19 - 0.05 * (1 - np.exp(-x / 15)) + 0.01 * rng.standard_normal(epochs)
    after = 0.18 + 2.0 * np.exp(-x / 7) + 0.02 * rng.standard_normal(epochs)
    return Figure(
        "curves",
        "Validation loss, 5 paired trainings each",
        "epoch",
        "cross-entropy",
        {
            "as it is": {"x": x, "y": before, "low": before - 0.03, "high": before + 0.03},
            "inputs standardized": {
                "x": x,
                "y": after,
                "low": after - 0.02 - 0.2 * np.exp(-x / 9),
                "high": after + 0.02 + 0.2 * np.exp(-x / 9),
            },
        },
    )


def gradient_per_lag() -> Figure:
    lag = np.arange(60)
    return Figure(
        "curves",
        "Gradient that reaches each step back in time",
        "lag (steps before the loss)",
        "norm of the gradient, relative to lag 0",
        {
            "as it is": {"x": lag, "y": 10.0 ** (-lag / 6)},
            "forget bias 4": {"x": lag, "y": 10.0 ** (-lag / 45)},
            "float32 epsilon": {"x": lag, "y": np.full(60, 1.19e-7)},
        },
        log_y=True,
    )


def gates() -> Figure:
    t, unit = np.meshgrid(np.arange(120), np.arange(24))
    wave = np.sin(t / 9 + unit)
    panels = {
        "input gate i": 1 / (1 + np.exp(-4 * wave - unit / 6)),
        "forget gate f": 1 / (1 + np.exp(-2 * np.cos(t / 14 - unit) - 2)),
        "candidate g": np.tanh(1.5 * wave),
        "output gate o": 1 / (1 + np.exp(-3 * np.cos(t / 5 + unit * unit))),
    }
    return Figure("heatmap", "Gates of lstm_1 on the first sequence", "time step", "unit", panels)


def remedies() -> Figure:
    names = ["standardize-inputs", "learning-rate-down", "clip-gradients", "wider", "no-dropout"]
    gain = np.array([0.87, 0.31, 0.12, 0.01, -0.02])
    return Figure(
        "bars",
        "Skill that each remedy recovers alone",
        "remedy",
        "gain in held-out skill, 95 % interval",
        {"gain": {"x": names, "y": gain, "low": gain - 0.06, "high": gain + 0.05}},
    )


def input_histogram() -> Figure:
    rng = np.random.default_rng(1)
    return Figure(
        "histogram",
        "Values of the inputs",
        "value",
        "count",
        {"training": rng.gamma(2, 900, 4000), "held out": rng.gamma(2.4, 950, 1000)},
    )


def confusion() -> Figure:
    labels = ["walking", "sitting", "standing", "lying"]
    return Figure(
        "confusion",
        "Held-out predictions",
        "predicted class",
        "true class",
        {
            "as it is": {
                "values": [[0, 0, 51, 0], [0, 0, 48, 0], [0, 0, 55, 0], [0, 0, 46, 0]],
                "labels": labels,
            },
            "remedied": {
                "values": [[50, 1, 0, 0], [2, 44, 2, 0], [0, 4, 51, 0], [0, 0, 0, 46]],
                "labels": labels,
            },
        },
    )


def predictions() -> Figure:
    rng = np.random.default_rng(2)
    true = rng.normal(size=150)
    return Figure(
        "scatter",
        "Predicted against true, held-out part",
        "true value",
        "predicted value",
        {
            "as it is": {"x": true, "y": 0.05 * rng.normal(size=150)},
            "remedied": {"x": true, "y": true + 0.15 * rng.normal(size=150)},
            "perfect": {"x": [-2.5, 2.5], "y": [-2.5, 2.5], "line": True},
        },
    )


def every_kind() -> tuple[Figure, ...]:
    return (
        training_curves(),
        gradient_per_lag(),
        gates(),
        remedies(),
        input_histogram(),
        confusion(),
        predictions(),
    )


def rich() -> Diagnosis:
    """Three findings of every severity, with all that can be said of a set-up."""
    scale = Finding(
        id="LSTM010",
        cause="data-scale",
        severity="error",
        confidence=0.97,
        summary="The inputs range from 0 to 65,535, so that 94 % of the gate derivatives are "
        "zero in float32; standardized, the same network learns the task.",
        evidence=(
            Evidence("largest |x|", 65535.0, None, ""),
            Evidence(
                "gate derivatives below float32 epsilon",
                0.94,
                0.01,
                "the same weights on the data standardized",
            ),
            Evidence("held-out skill as it is", 0.02, 0.0, "a constant prediction", (-0.03, 0.06)),
            Evidence("held-out skill standardized", 0.89, 0.02, "paired", (0.85, 0.92)),
        ),
        remedy=Remedy(
            key="standardize-inputs",
            text="Put a Normalization layer, fitted on the training part alone, before the first "
            "LSTM.",
            code="normalize = keras.layers.Normalization(axis=-1)\n"
            "normalize.adapt(x_train)\n"
            "model = keras.Sequential([\n"
            "    keras.Input((None, 12)),\n"
            "    normalize,  # before the first recurrent layer\n"
            "    keras.layers.LSTM(64),\n"
            '    keras.layers.Dense(4, activation="softmax"),\n'
            "])",
            tried=True,
            before=0.02,
            after=0.89,
            gain_interval=(0.81, 0.92),
        ),
        refuted_by="a training on the raw inputs, from the same weights and in the same order, "
        "that reaches a held-out skill above 0.85 within 10 epochs.",
        layer="lstm_1",
        figures=(training_curves(), remedies(), input_histogram()),
    )
    vanishing = Finding(
        id="LSTM120",
        cause="vanishing-gradient",
        severity="warning",
        confidence=0.81,
        summary="Beyond lag 42 the gradient is below float32 epsilon of what arrives at lag 0, "
        "while a label planted at lag 50 is needed.",
        evidence=(
            Evidence("memory horizon", 42, 50, "the planted lag", (38, 45), "steps"),
            Evidence("mean forget gate", 0.68),
        ),
        remedy=Remedy(
            "chrono-bias",
            "Begin with forget biases for time scales up to 60 steps (chrono initialization).",
            "keras.layers.LSTM(64, bias_initializer=lstm_oracle.keras_impl.Chrono(60))",
            True,
            0.89,
            0.93,
            (0.01, 0.07),
        ),
        refuted_by="a memory horizon of 50 steps or more after 200 steps of training.",
        layer="lstm_1",
        consequence_of="LSTM010",
        figures=(gradient_per_lag(), gates()),
    )
    metric = Finding(
        id="LSTM151",
        cause="class-imbalance",
        severity="info",
        confidence=0.6,
        summary="One class holds 71 % of the samples, and accuracy is the only metric: 71 % is "
        "what a constant answer reaches.",
        evidence=(Evidence("share of the largest class", 71, 25, "four even classes", None, "%"),),
        remedy=Remedy(
            "class-weights",
            "Watch balanced accuracy as well.",
            'model.compile(..., weighted_metrics=["accuracy"])',
        ),
        figures=(confusion(), predictions()),
    )
    return Diagnosis(
        findings=(scale, vanishing, metric),
        verdict="The network does not train because its inputs are not scaled. Standardizing them "
        "raises the held-out skill from 0.02 to 0.89.",
        ruled_out=(
            RuledOut("no-signal", "gradient boosting on window statistics", "skill 0.83"),
            RuledOut("output-loss-mismatch", "range of the head against the labels", "both 0 to 3"),
            RuledOut(
                "learning-rate-low",
                "three rates, paired, once the inputs are scaled",
                "gain +0.01 [-0.02, +0.04]",
            ),
            RuledOut("too-small", "overfitting 16 samples", "loss 0.003 after 60 steps"),
        ),
        not_tested=(
            NotTested("insufficient-data", "budget='standard': nested subsets take about 50 s"),
            NotTested("data-split", "the times at which the rows were recorded"),
        ),
        not_a_bug=(
            "Recurrent dropout of 0.2 costs 9 % of the speed here and nothing of the skill.",
        ),
        facts={
            "skill": 0.02,
            "skill_remedied": 0.93,
            "samples": 2000,
            "steps": 60,
            "features": 12,
            "parameters": 20_228,
            "loss": "sparse_categorical_crossentropy",
            "optimizer": {"class": "Adam", "learning_rate": 0.001},
            "seeds": [0, 1, 2, 3, 4],
        },
        figures=(),
        seconds={"examination": 1.4, "baselines": 2.2, "experiments": 13.9, "remedies": 6.3},
        versions={"lstm-oracle": "0.1.0", "keras": "3.15.1", "backend": "tensorflow 2.21.0"},
    )


def healthy() -> Diagnosis:
    return Diagnosis(
        findings=(),
        verdict="No fault was found: the network learns what the data hold.",
        ruled_out=(RuledOut("no-signal", "ridge regression", "skill 0.71 [0.68, 0.74]"),),
        facts={"skill": 0.88},
        seconds={"examination": 0.9, "experiments": 11.0, "total": 12.4},
    )


def empty() -> Diagnosis:
    return Diagnosis((), "")


def hostile() -> Diagnosis:
    """Every string an attack, every number one that breaks formatting."""
    worst = [float("nan"), float("inf"), -float("inf"), None, 1e308, -1e308, 0.0, 5e-324]
    finding = Finding(
        id=HOSTILE,
        cause="wiring",
        severity="error",
        confidence=float("nan"),
        summary=HOSTILE,
        evidence=tuple(
            Evidence(HOSTILE, value, value, HOSTILE, (0.0, float("nan")), HOSTILE)
            for value in [*worst, HOSTILE, [1.0] * 50, np.float32(2.5), np.arange(3)]
        ),
        remedy=Remedy(
            HOSTILE, HOSTILE, HOSTILE, True, float("nan"), float("inf"), (-float("inf"), 1.0)
        ),
        refuted_by=HOSTILE,
        layer=HOSTILE,
        consequence_of=HOSTILE,
        figures=tuple(
            Figure(kind, HOSTILE, HOSTILE, HOSTILE, {HOSTILE: data}, log_y=log, log_x=log)
            for log in (False, True)
            for kind, data in (
                ("curves", {"x": worst, "y": worst, "low": worst, "high": worst}),
                ("scatter", {"x": worst, "y": worst}),
                ("bars", {"x": [HOSTILE] * 8, "y": worst, "low": worst, "high": worst}),
                ("bars", {"x": worst, "y": worst}),
                ("histogram", worst),
                ("heatmap", {"values": [worst, worst], "x": [HOSTILE] * 8}),
                ("confusion", {"values": [worst[:2], worst[2:4]], "labels": [HOSTILE] * 2}),
            )
        ),
    )
    return Diagnosis(
        (finding,),
        HOSTILE,
        (RuledOut(HOSTILE, HOSTILE, HOSTILE),),
        (NotTested(HOSTILE, HOSTILE),),
        (HOSTILE,),
        {HOSTILE: {HOSTILE: HOSTILE}, "n": None},
        (),
        {HOSTILE: float("nan"), "b": 2.0},
        {HOSTILE: HOSTILE},
    )


def crowded() -> Diagnosis:
    """Twenty findings with long series and long strings."""
    rng = np.random.default_rng(3)
    x = np.arange(20_000)
    figure = Figure(
        "curves",
        "long " * 200,
        "step",
        "loss",
        {
            f"run {n}": {"x": x, "y": y, "low": y - 1, "high": y + 1}
            for n, y in enumerate(rng.standard_normal((4, 20_000)).cumsum(axis=1))
        },
    )
    grid = Figure("heatmap", "gates", "step", "unit", {"f": rng.random((512, 3000))})
    bars = Figure("bars", "classes", "class", "count", {f"class {n}": n for n in range(1000)})
    finding = Finding(
        "LSTM121",
        "exploding-gradient",
        "error",
        0.9,
        "word " * 3000 + "w" * 100_000,
        layer="層" * 300,
        figures=(figure, grid, bars),
    )
    return Diagnosis((finding,) * 20, "Überall Störungen: " * 30)
