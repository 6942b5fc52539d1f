"""Train an LSTM on Japanese Vowels until it names the right speaker 95 times out of 100.

    python examples/train_japanese_vowels.py --out out/japanese_vowels.keras

Takes some fifteen seconds on two cores with Keras on TensorFlow or JAX (`KERAS_BACKEND=jax`), and
minutes on PyTorch, which runs the steps of a sequence one by one.
The exit status is 0 when at least 95 % of the 370 test utterances are named rightly, 1 when fewer
are, 2 when it could not run.

Input noise and dropout were chosen by five-fold cross-validation within the 270 training utterances
(log loss 0.18 without either, 0.14 with these), and the number of epochs is fixed: the test
utterances decide nothing and are looked at once, at the end.
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
HIDDEN_SIZE = 64
BATCH_SIZE = 32
LEARNING_RATE = 0.01
INPUT_NOISE = 0.6
DROPOUT = 0.5
REQUIRED_ACCURACY = 0.95


def recurrent_layer(kind: str):
    """The layer under test: Keras' own, ours, ours on JAX's fast path, Keras' own both ways."""
    import keras

    if kind in ("ours", "fast"):
        from lstm_oracle.keras_impl import LSTM

        return LSTM(HIDDEN_SIZE, implementation="auto" if kind == "fast" else 2)
    layer = keras.layers.LSTM(HIDDEN_SIZE)
    return keras.layers.Bidirectional(layer) if kind == "bidirectional" else layer


def build_model(kind: str, x: np.ndarray, lengths: np.ndarray, epochs: int):
    """The compiled model; x (N, T, I) and lengths (N,) give the scale of the features."""
    import keras

    n, steps, features = x.shape
    real = x[np.arange(steps) < lengths[:, None]].astype(np.float64)
    inputs = keras.Input((None, features))
    # Scaling stands behind Masking: it would move the zeros by which Masking knows the padding.
    hidden = keras.layers.Masking(0.0)(inputs)
    hidden = keras.layers.Normalization(
        mean=real.mean(axis=0).tolist(), variance=real.var(axis=0).tolist()
    )(hidden)
    hidden = keras.layers.GaussianNoise(INPUT_NOISE)(hidden)
    hidden = recurrent_layer(kind)(hidden)
    hidden = keras.layers.Dropout(DROPOUT)(hidden)
    outputs = keras.layers.Dense(SPEAKERS, activation="softmax")(hidden)
    model = keras.Model(inputs, outputs, name="japanese_vowels")
    batches = -(-n // BATCH_SIZE)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, decay_steps=epochs * batches)
    model.compile(
        optimizer=keras.optimizers.Adam(rate, clipnorm=1.0),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def progress_printer(epochs: int):
    """A callback that prints every tenth epoch and the last."""
    import keras

    def print_epoch(epoch, logs):
        if epoch % 10 == 9 or epoch == epochs - 1:
            print(
                f"epoch {epoch + 1:3d} of {epochs}: loss {logs['loss']:.4f}, "
                f"training accuracy {logs['accuracy']:.1%}",
                flush=True,
            )

    return keras.callbacks.LambdaCallback(on_epoch_end=print_epoch)


def save(model, path: Path) -> None:
    """Write the model under another name first, so that no half-written file is ever found."""
    temporary = path.with_name(f".{path.stem}-{os.getpid()}.keras")
    try:
        model.save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"got {value}, expected a whole number from 1 up")
    return value


def keras_file(text: str) -> Path:
    path = Path(text)
    if path.suffix != ".keras":
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a name that ends in .keras")
    return path


def parse_options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--layer", choices=("keras", "ours", "fast", "bidirectional"), default="keras"
    )
    parser.add_argument("--epochs", type=positive, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=keras_file, metavar="MODEL.keras", help="write the model here"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse_options(argv)
    try:
        if options.out is not None:
            options.out.parent.mkdir(parents=True, exist_ok=True)
        import keras
    except ImportError as error:
        print(f"train_japanese_vowels: {error}. Install lstm-oracle[all].", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:  # a folder that cannot be made; an unknown KERAS_BACKEND
        print(f"train_japanese_vowels: {error}", file=sys.stderr)
        return 2
    keras.utils.set_random_seed(options.seed)
    with np.load(DATA, allow_pickle=False) as data:
        x, y = data["x"], data["y"]
        x_train, y_train, lengths_train = (
            data[name] for name in ("x_train", "y_train", "lengths_train")
        )
    print(
        f"Japanese Vowels: {len(x_train)} training and {len(x)} test utterances of {SPEAKERS} "
        f"speakers; layer {options.layer!r}, {HIDDEN_SIZE} units, Keras {keras.__version__} on "
        f"{keras.backend.backend()}, seed {options.seed}",
        flush=True,
    )
    model = build_model(options.layer, x_train, lengths_train, options.epochs)
    model.fit(
        x_train,
        y_train,
        batch_size=BATCH_SIZE,
        epochs=options.epochs,
        verbose=0,
        callbacks=[progress_printer(options.epochs)],
    )
    right = int((model.predict(x, verbose=0).argmax(axis=-1) == y).sum())
    if options.out is not None:
        save(model, options.out)
        print(f"model: {options.out}")
    print(f"test accuracy: {right / len(y):.1%} ({right} of {len(y)} right)", flush=True)
    if right < REQUIRED_ACCURACY * len(y):
        print(
            f"train_japanese_vowels: test accuracy is {right / len(y):.1%}, expected at least "
            f"{REQUIRED_ACCURACY:.0%}. Train longer than {options.epochs} epochs.",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
