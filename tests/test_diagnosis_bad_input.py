"""Whatever is wrong with what diagnose is given: a finding, or one clear error, never another."""

from __future__ import annotations

import threading

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import Diagnosis, diagnose  # noqa: E402

# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T, I, CLASSES = 12, 5, 3, 2
SECONDS = 1.0
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, I)).astype("float32")
Y = np.arange(N) % CLASSES


def model(*layers, shape=(T, I), loss="sparse_categorical_crossentropy", **compiled):
    built = keras.Sequential([keras.Input(shape), *(layers or usual())])
    built.compile(compiled.pop("optimizer", "adam"), loss, **compiled)
    return built


def usual():
    return keras.layers.LSTM(3), keras.layers.Dense(CLASSES, activation="softmax")


def uncompiled():
    return keras.Sequential([keras.Input((T, I)), *usual()])


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@keras.saving.register_keras_serializable("bad_input")
class Raises(keras.layers.Layer):
    """Fails when it is called on real numbers."""

    def call(self, x):
        raise RuntimeError("a layer of the user's own failed")

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


class Unrepeatable(keras.Model):
    """Cannot be built a second time: it holds what cannot be copied."""

    def __init__(self, units):
        super().__init__()
        self.lock = threading.Lock()
        self.lstm = keras.layers.LSTM(units)
        self.head = keras.layers.Dense(CLASSES, activation="softmax")

    def call(self, x):
        return self.head(self.lstm(x))


def raising_loss(y, prediction):
    raise RuntimeError("a loss of the user's own failed")


def unrepeatable():
    one = Unrepeatable(np.int64(3))
    one.compile("adam", "sparse_categorical_crossentropy")
    return one


def batches(count, fails=False):
    for n in range(count):
        yield X[n : n + 4], Y[n : n + 4]
    if fails:
        raise OSError("a file of the user's own is missing")


class Sequence(keras.utils.PyDataset):
    """Batches by number."""

    def __init__(self, count):
        super().__init__()
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, n):
        return X[:4], Y[:4]


def dense():
    return model(keras.layers.Flatten(), keras.layers.Dense(CLASSES, activation="softmax"))


def two_inputs():
    a, b = keras.Input((T, I), name="a"), keras.Input((T, I), name="b")
    joined = keras.layers.Concatenate()([keras.layers.LSTM(2)(a), keras.layers.LSTM(2)(b)])
    one = keras.Model([a, b], keras.layers.Dense(CLASSES, activation="softmax")(joined))
    one.compile("adam", "sparse_categorical_crossentropy")
    return one


# What is passed, and a part of the error; None where there has to be a diagnosis.
REFUSED = {
    "no model": (lambda: (None, X, Y, {}), "NoneType"),
    "a path for a model": (lambda: ("model.keras", X, Y, {}), "str"),
    "a layer for a model": (lambda: (keras.layers.LSTM(3), X, Y, {}), "LSTM"),
    "an uncompiled model": (lambda: (uncompiled(), X, Y, {}), "not compiled"),
    "no LSTM": (lambda: (dense(), X, Y, {}), "no LSTM"),
    "a GRU": (
        lambda: (model(keras.layers.GRU(3), keras.layers.Dense(2)), X, Y, {}),
        "no LSTM",
    ),
    "y missing": (lambda: (model(), X, None, {}), "y is missing"),
    "x missing": (lambda: (model(), None, Y, {}), "x"),
    "x and y of different lengths": (lambda: (model(), X, Y[:-1], {}), "same number"),
    "no sequences": (lambda: (model(), X[:0], Y[:0], {}), "no sequences"),
    "one sequence": (lambda: (model(), X[:1], Y[:1], {}), "1 sequence"),
    "objects": (lambda: (model(), np.array([X, None], object), Y[:2], {}), "object"),
    "text": (lambda: (model(), X.astype(str), Y, {}), "<U"),
    "labels as text": (lambda: (model(), X, np.where(Y, "cat", "dog"), {}), "<U"),
    "complex numbers": (lambda: (model(), X.astype(complex), Y, {}), "complex"),
    "dates": (lambda: (model(), np.zeros(X.shape, "datetime64[s]"), Y, {}), "datetime"),
    "ragged sequences": (
        lambda: (model(), [np.ones((n % 3 + 1, I)) for n in range(N)], Y, {}),
        "x",
    ),
    "a number for x": (lambda: (model(), np.float32(1), Y, {}), "batch axis"),
    "a number for y": (lambda: (model(), X, 1.0, {}), "y"),
    "a generator of nothing": (lambda: (model(), batches(0), None, {}), "nothing"),
    "a generator of x alone": (lambda: (model(), (X[:4] for _ in range(3)), None, {}), "(x, y)"),
    "a generator that fails": (lambda: (model(), batches(1, fails=True), None, {}), "missing"),
    "an empty PyDataset": (lambda: (model(), Sequence(0), None, {}), "nothing"),
    "a set": (lambda: (model(), {1, 2}, Y[:2], {}), "x"),
    "a function for x": (lambda: (model(), batches, None, {}), "x"),
    "too few features": (lambda: (model(), X[..., :2], Y, {}), "(5, 3)"),
    "too many steps": (lambda: (model(), np.concatenate([X, X], 1), Y, {}), "(5, 3)"),
    "a time axis missing": (lambda: (model(), X[:, 0], Y, {}), "(5, 3)"),
    "one input for two": (lambda: (two_inputs(), X, Y, {}), "2 inputs"),
    "three inputs for two": (lambda: (two_inputs(), [X, X, X], Y, {}), "2 inputs"),
    "two targets for one": (lambda: (model(), X, [Y, Y], {}), "1 output"),
    "inputs under another name": (lambda: (two_inputs(), {"a": X, "c": X}, Y, {}), "'b'"),
    "batch_size 0": (lambda: (model(), X, Y, {"batch_size": 0}), "batch_size"),
    "batch_size below 0": (lambda: (model(), X, Y, {"batch_size": -4}), "batch_size"),
    "batch_size text": (lambda: (model(), X, Y, {"batch_size": "all"}), "batch_size"),
    "epochs 0": (lambda: (model(), X, Y, {"epochs": 0}), "epochs"),
    "epochs NaN": (lambda: (model(), X, Y, {"epochs": float("nan")}), "epochs"),
    "an unknown budget": (lambda: (model(), X, Y, {"budget": "fast"}), "budget"),
    "budget 0": (lambda: (model(), X, Y, {"budget": 0}), "budget"),
    "budget NaN": (lambda: (model(), X, Y, {"budget": float("nan")}), "budget"),
    "validation_split 1": (lambda: (model(), X, Y, {"validation_split": 1.0}), "validation_split"),
    "validation_split below 0": (
        lambda: (model(), X, Y, {"validation_split": -0.5}),
        "validation_split",
    ),
    "validation data without y": (lambda: (model(), X, Y, {"validation_data": X}), "validation"),
    "validation data of another shape": (
        lambda: (model(), X, Y, {"validation_data": (X[..., :2], Y)}),
        "validation",
    ),
    "sample_weight of another length": (
        lambda: (model(), X, Y, {"sample_weight": np.ones(N + 1)}),
        "sample_weight",
    ),
    "class_weight a list": (lambda: (model(), X, Y, {"class_weight": [1, 2]}), "class_weight"),
    "seed text": (lambda: (model(), X, Y, {"seed": "one"}), "seed"),
}
FOUND = {
    "all NaN": (lambda: (model(), np.full_like(X, np.nan), Y, {}), "data-quality"),
    "one NaN": (lambda: (model(), changed(X, (1, 2, 0), np.nan), Y, {}), "data-quality"),
    "an infinite target": (
        lambda: (
            model(keras.layers.LSTM(3), keras.layers.Dense(1), loss="mse"),
            X,
            changed(X[:, 0, :1], (1, 0), np.inf),
            {},
        ),
        "data-quality",
    ),
    "every input the same": (lambda: (model(), np.ones_like(X), Y, {}), "data-quality"),
    "one class": (lambda: (model(), X, np.zeros_like(Y), {}), "data-quality"),
    "a label too large": (lambda: (model(), X, changed(Y, 3, 9), {}), "output-loss-mismatch"),
    "a label below 0": (lambda: (model(), X, changed(Y, 3, -1), {}), "output-loss-mismatch"),
    "one-hot labels for a sparse loss": (
        lambda: (model(), X, np.eye(CLASSES, dtype="float32")[Y], {}),
        "output-loss-mismatch",
    ),
    "an index outside the table": (
        lambda: (
            model(keras.layers.Embedding(4, 2), *usual(), shape=(T,)),
            np.full((N, T), 9),
            Y,
            {},
        ),
        "input-encoding",
    ),
    "a layer that raises": (lambda: (model(Raises(), *usual()), X, Y, {}), None),
    "a loss that raises": (lambda: (model(loss=raising_loss), X, Y, {}), None),
    "one step": (lambda: (model(shape=(1, I)), X[:, :1], Y, {}), None),
    "two sequences": (lambda: (model(), X[:2], Y[:2], {}), None),
    "truth values": (lambda: (model(), X > 0, Y, {}), None),
    "bytes": (lambda: (model(), (40 * X + 120).astype("uint8"), Y, {}), None),
    "half precision": (lambda: (model(), X.astype("float16"), Y, {}), None),
    "targets that are truth values": (
        lambda: (
            model(loss="categorical_crossentropy"),
            X,
            np.eye(CLASSES, dtype=bool)[Y],
            {},
        ),
        None,
    ),
    "a generator that ends early": (lambda: (model(), batches(3), None, {}), None),
    "a batch larger than the data": (lambda: (model(), X, Y, {"batch_size": 4096}), None),
    "class_weight without a class": (lambda: (model(), X, Y, {"class_weight": {0: 1.0}}), None),
    "a frozen model": (lambda: (frozen(), X, Y, {}), None),
    "no shuffling, and every class in turn": (lambda: (model(), X, Y, {"shuffle": False}), None),
}


def frozen():
    one = model()
    one.trainable = False
    one.compile("adam", "sparse_categorical_crossentropy")
    return one


def test_the_tables_are_long_enough():
    assert len(REFUSED) + len(FOUND) >= 40


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_one_clear_error(name):
    case, part = REFUSED[name]
    network, x, y, options = case()
    with pytest.raises((ValueError, TypeError)) as caught:
        diagnose(network, x, y, **{"budget": SECONDS, "epochs": 1, **options})
    message = str(caught.value)
    assert part in message, message
    assert len(message) < 600, message
    assert "expected" in message, message


@pytest.mark.parametrize("name", FOUND)
def test_it_is_diagnosed(name):
    case, cause = FOUND[name]
    network, x, y, options = case()
    diagnosis = diagnose(network, x, y, **{"budget": SECONDS, "epochs": 1, **options})
    assert isinstance(diagnosis, Diagnosis)
    assert diagnosis.verdict
    if cause is not None:
        assert diagnosis.findings[0].cause == cause, diagnosis.verdict


def test_a_loss_of_the_user_s_own_is_no_hindrance():
    def own(y, prediction):
        return keras.ops.mean(keras.ops.square(y - prediction))

    one = model(keras.layers.LSTM(3), keras.layers.Dense(1), loss=own)
    diagnosis = diagnose(one, X, X[:, 0, :1], budget=SECONDS, epochs=1)
    assert isinstance(diagnosis, Diagnosis)
    assert one.compiled
    assert one.loss is own


def test_a_model_that_cannot_be_built_again_is_refused():
    with pytest.raises(ValueError, match="cannot be built again"):
        diagnose(unrepeatable(), X, Y, budget=SECONDS)
