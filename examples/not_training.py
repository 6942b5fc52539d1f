"""An LSTM that does not train, why it does not, and the same network once that is repaired.

    python examples/not_training.py                      # unscaled features and too long a step
    python examples/not_training.py --fault head         # only a head that cannot
    python examples/not_training.py --fault split,rate --budget quick

The network is to name the speaker of an utterance (the Japanese Vowels data beside this file) and
is set up wrongly in ways that everybody has been through. Each place where one of them sits is
marked in `wrong_setup` with what is right there.

What happens: the wrong set-up is trained, and its accuracy on utterances of its own is printed;
`diagnose` says what is wrong, from short trainings of clones, and tries the remedies; the remedied
model is trained for as long, and its accuracy printed. The exit status is 0 when it is better, 1
when it is not, 2 when nothing could be run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

DATA = Path(__file__).with_name("japanese_vowels.npz")
SPEAKERS = 9
EPOCHS = 30

FAULTS = {
    "scale": "features in units a thousand times too small, so numbers in the hundreds",
    "head": "a head that cannot give the probabilities that its loss wants",
    "rate": "a learning rate a thousand times too high",
    "split": "validation on the last fifth of utterances that are sorted by speaker",
    "padding": "padding read as if it were speech",
    "frozen": "a recurrent layer that is left frozen",
}
DEFAULT = "scale,rate"


def read(faults: set[str]):
    """Utterances and speakers to train on, and others to test with: (N, T, I) and (N,)."""
    with np.load(DATA, allow_pickle=False) as data:
        x, y, x_test, y_test = (data[name] for name in ("x_train", "y_train", "x", "y"))
    # >>> FAULT scale. Gates are made for numbers of the size of one. RIGHT: standardize, with the
    # mean and deviation of the training data, best inside the model: keras.layers.Normalization.
    unit = 1000.0 if "scale" in faults else 1.0
    if "split" not in faults:
        order = np.random.default_rng(0).permutation(len(x))
        x, y = x[order], y[order]
    # >>> FAULT split. Left sorted by speaker, the last fifth are speakers that were never trained
    # on. RIGHT: shuffle before validation_split, which takes the last rows.
    return x * unit, y, x_test * unit, y_test


def wrong_setup(faults: set[str], shape: tuple[int, int]):
    """The compiled model, with what is wrong marked."""
    import keras

    layers = [keras.Input(shape)]
    if "padding" not in faults:
        layers.append(keras.layers.Masking(0.0))
    # >>> FAULT padding. Utterances end with up to 22 steps of zeros, over which the layer forgets
    # what it has heard. RIGHT: keras.layers.Masking(0.0), in front of anything that moves zeros.

    # >>> FAULT frozen. RIGHT: leave out trainable=False, or set it back before compile.
    layers.append(keras.layers.LSTM(32, trainable="frozen" not in faults))

    # >>> FAULT head. A cross-entropy wants probabilities; relu gives zeros and numbers above one.
    # RIGHT: activation="softmax" (or none, and from_logits=True in the loss).
    activation = "relu" if "head" in faults else "softmax"
    layers.append(keras.layers.Dense(SPEAKERS, activation=activation))

    model = keras.Sequential(layers, name="speaker")
    # >>> FAULT rate. Adam moves every weight by about the rate at each step, and these weights are
    # of the size 0.1. RIGHT: 1e-3 to 1e-2.
    rate = 5.0 if "rate" in faults else 5e-3
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def accuracy(model, x, y) -> float:
    """Share of utterances named rightly."""
    return float((model.predict(x, verbose=0).argmax(axis=-1) == y).mean())


def watch(values: list[float], x, y):
    """A callback that notes the accuracy after every epoch."""
    import keras

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            values.append(accuracy(self.model, x, y))

    return Watch()


def picture(curves: dict[str, list[float]]) -> str:
    """Both trainings as the text of an SVG file."""
    from lstm_oracle.diagnosis.findings import Figure
    from lstm_oracle.diagnosis.report.figures import draw

    before, after = (values[-1] for values in curves.values())
    title = f"The same LSTM before and after diagnose: {before:.0%} and {after:.0%} right"
    series = {
        name: {"x": list(range(1, len(values) + 1)), "y": values} for name, values in curves.items()
    }
    figure = Figure("curves", title, "epoch", "accuracy on test utterances", series)
    return draw(figure, standalone=True)


def chosen(text: str) -> set[str]:
    faults = set(filter(None, text.split(",")))
    unknown = faults - set(FAULTS)
    if unknown:
        raise argparse.ArgumentTypeError(
            f"got {', '.join(sorted(unknown))}, expected any of {', '.join(FAULTS)}"
        )
    return faults


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    faults = "\n".join(f"  {name:9}{meaning}" for name, meaning in FAULTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=f"faults:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fault", type=chosen, default=chosen(DEFAULT), metavar="A,B")
    parser.add_argument("--budget", default="standard", help="quick, standard, thorough or seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw both trainings, as SVG")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        import keras

        from lstm_oracle.diagnosis import diagnose
    except ImportError as error:
        print(f"not_training: {error}. Install lstm-oracle[all].", file=sys.stderr)
        return 2
    keras.utils.set_random_seed(options.seed)
    x, y, x_test, y_test = read(options.fault)
    names = ", ".join(sorted(options.fault)) or "nothing"
    print(f"wrong: {names}. {len(x)} utterances to train on, {len(x_test)} to test with.\n")
    how = {"validation_split": 0.2, "batch_size": 32, "epochs": EPOCHS}

    # What one sees: a training that leads nowhere.
    model = wrong_setup(options.fault, x.shape[1:])
    start = model.get_weights()
    curves: dict[str, list[float]] = {"as set up": [], "remedied": []}
    model.fit(x, y, **how, verbose=0, callbacks=[watch(curves["as set up"], x_test, y_test)])
    before = accuracy(model, x_test, y_test)
    print(f"test accuracy as it is: {before:.1%} (chance: {1 / SPEAKERS:.1%})\n", flush=True)

    # What one types: the arguments of fit, given to diagnose.
    model.set_weights(start)
    budget = float(options.budget) if options.budget[0].isdigit() else options.budget
    diagnosis = diagnose(model, x, y, **how, budget=budget, seed=options.seed)
    print(diagnosis, flush=True)
    if options.html is not None:
        options.html.write_text(diagnosis.to_html(), encoding="utf-8")

    # What one gets: a compiled clone with the remedies applied, and what to give its fit.
    try:
        remedied = diagnosis.remedied()
    except ValueError as error:
        print(f"not_training: {error}", file=sys.stderr)
        return 1
    remedied.fit_arguments["callbacks"].append(watch(curves["remedied"], x_test, y_test))
    remedied.model.fit(
        remedied.x,
        remedied.y,
        validation_data=remedied.validation_data,
        **remedied.fit_arguments,
        verbose=0,
    )
    after = accuracy(remedied.model, x_test, y_test)
    if options.picture is not None:
        options.picture.write_text(picture(curves), encoding="utf-8")
    print(f"test accuracy as it was: {before:.1%}, remedied: {after:.1%}", flush=True)
    return 0 if after > before else 1


if __name__ == "__main__":
    sys.exit(main())
