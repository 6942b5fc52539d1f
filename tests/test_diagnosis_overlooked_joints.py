"""How layers are joined, and what stands at padded steps: faults that look like others."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras is not installed")

from lstm_oracle.diagnosis import (  # noqa: E402
    alignment,
    data_tests,
    examination,
    generalization,
    surgery,
)
from lstm_oracle.diagnosis import interventions as iv  # noqa: E402
from lstm_oracle.diagnosis.baselines import baselines  # noqa: E402
from lstm_oracle.diagnosis.intake import setup_of  # noqa: E402
from lstm_oracle.diagnosis.lab import Lab, Run  # noqa: E402
from lstm_oracle.diagnosis.outcome import Outcome  # noqa: E402
from lstm_oracle.diagnosis.plain import plain  # noqa: E402
from lstm_oracle.diagnosis.task import Task, task_of, with_filler  # noqa: E402

# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T = 80, 10
layers = keras.layers


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, T, 2)).astype("float32")


def setup(model, x, y, loss="mse", validation=None):
    model.compile("adam", loss)
    return setup_of(
        model, x, y, validation_data=validation, validation_split=0.0, batch_size=8, epochs=2,
        class_weight=None, sample_weight=None, shuffle=True, seed=0,
    )  # fmt: skip


def sequential(*parts):
    return keras.Sequential([keras.Input((T, 2)), *parts])


# ---- heads ------------------------------------------------------------------------------------


def test_a_head_for_each_step_is_no_hidden_layer(x):
    head = layers.TimeDistributed(layers.Dense(3, activation="softmax"))
    model = sequential(layers.LSTM(4, return_sequences=True), head)
    y = np.arange(N * T).reshape(N, T) % 3
    given = setup(model, x, y, "sparse_categorical_crossentropy")
    assert iv.network.gate_activations(given) is None
    assert "gate-activations" not in examination.suspicions(given)


def test_a_hidden_layer_that_squashes_is_still_one(x):
    given = setup(
        sequential(layers.LSTM(4), layers.Dense(4, activation="sigmoid"), layers.Dense(1)),
        x, x[:, -1, :1],
    )  # fmt: skip
    assert iv.network.gate_activations(given) is not None


def test_a_layer_that_is_the_answer_itself_gets_a_head(x):
    given = setup(sequential(layers.LSTM(1)), x, 5 * x[:, -1, :1])
    assert examination.suspicions(given)["dense-head"] >= 1
    repaired = iv.BY_KEY["dense-head"].apply(given)
    assert repaired.model.output_shape == (None, 1)
    assert any(getattr(a, "units", 0) == 16 for a in surgery.all_layers(repaired.model))
    assert iv.head.repair_head(given).model.output_shape == (None, 1)
    assert surgery.head_of(iv.head.repair_head(given).model)[1] == "linear"


def test_a_dense_answer_needs_no_other(x):
    given = setup(sequential(layers.LSTM(1), layers.Dense(1)), x, x[:, -1, :1])
    assert iv.BY_KEY["dense-head"].apply(given) is None
    assert not examination.suspicions(given).get("dense-head")


# ---- directions -------------------------------------------------------------------------------


def two_ways(turned):
    inputs = keras.Input((T, 2))
    forward = layers.LSTM(3, return_sequences=True, name="forward")(inputs)
    backward = layers.LSTM(3, return_sequences=True, go_backwards=True, name="backward")(inputs)
    joined = layers.Concatenate()([forward, turned(backward)])
    return keras.Model(inputs, layers.Dense(1, name="answer")(joined))


def test_what_is_read_from_the_end_is_put_back_in_order(x):
    model = two_ways(lambda steps: steps)
    given = setup(model, x, x[..., :1])
    assert examination.suspicions(given)["turn-back"] >= 1
    repaired = iv.BY_KEY["turn-back"].apply(given).model
    wanted = two_ways(iv.network.TurnedBack())
    for name in ("forward", "backward", "answer"):
        wanted.get_layer(name).set_weights(model.get_layer(name).get_weights())
    np.testing.assert_allclose(repaired.predict(x, verbose=0), wanted.predict(x, verbose=0), 1e-5)


def test_the_mask_of_what_is_turned_back_is_that_of_bidirectional():
    x = np.zeros((2, 6, 2), "float32")
    x[:, :3] = 1
    inputs = keras.Input((6, 2))
    masked = layers.Masking()(inputs)
    backward = layers.LSTM(3, return_sequences=True, go_backwards=True)
    turned = keras.Model(inputs, layers.LSTM(2)(iv.network.TurnedBack()(backward(masked))))
    lstm = layers.LSTM(3, return_sequences=True)
    both = layers.Bidirectional(lstm, merge_mode=None)
    reference = keras.Model(inputs, layers.LSTM(2)(both(masked)[1]))
    reference.layers[2].backward_layer.set_weights(backward.get_weights())
    reference.layers[-1].set_weights(turned.layers[-1].get_weights())
    np.testing.assert_allclose(
        turned.predict(x, verbose=0), reference.predict(x, verbose=0), rtol=1e-5
    )


def test_what_is_turned_by_hand_is_left_alone(x):
    given = setup(two_ways(iv.network.TurnedBack()), x, x[..., :1])
    assert not examination.suspicions(given)["turn-back"]
    stacked = sequential(
        layers.LSTM(3, return_sequences=True, go_backwards=True), layers.LSTM(3), layers.Dense(1)
    )
    assert not examination.suspicions(setup(stacked, x, x[:, -1, :1]))["turn-back"]


def test_bidirectional_layers_are_in_order_by_themselves(x):
    both = layers.Bidirectional(layers.LSTM(3, return_sequences=True))
    given = setup(sequential(both, layers.Dense(1)), x, x[..., :1])
    assert iv.BY_KEY["turn-back"].apply(given) is None


@pytest.mark.parametrize("ahead", [False, True])
def test_a_plain_network_looks_ahead_only_where_the_user_s_may(x, ahead):
    lstm = layers.LSTM(3, return_sequences=True)
    model = sequential(layers.Bidirectional(lstm) if ahead else lstm, layers.Dense(1))
    found = plain(setup(model, x, x[..., :1])).model
    assert any(isinstance(a, layers.Bidirectional) for a in found.layers) == ahead


def test_a_plain_network_gives_an_answer_of_its_own_length(x):
    model = sequential(
        layers.LSTM(4), layers.RepeatVector(3), layers.LSTM(4, return_sequences=True),
        layers.Dense(1),
    )  # fmt: skip
    given = setup(model, x, x[:, :3, :1])
    assert plain(given).model.output_shape == (None, 3, 1)
    assert iv.network.from_the_end(given) is not None


# ---- labels of padding ------------------------------------------------------------------------


def padded(x):
    lengths = 4 + np.arange(len(x)) % 5
    real = np.arange(T) < lengths[:, None]
    labels = np.where(x[..., 0] > 1.5, 2, 1) * real
    return (x * real[..., None]).astype("float32"), labels, real


@pytest.mark.parametrize("coding", ["labels", "one-hot"])
def test_the_class_of_padded_steps_is_not_judged(x, coding):
    x, labels, real = padded(x)
    y = labels if coding == "labels" else np.eye(3)[labels]
    task = with_filler(task_of(y, "categorical_crossentropy", 3), x, y)
    assert task.filler == 0
    np.testing.assert_array_equal(task.blank(y), ~real)
    always = np.broadcast_to([0.0, 1.0, 0.0], (*real.shape, 3))
    assert task.skill(y, always) == 0


def test_a_class_that_real_steps_have_is_judged(x):
    x, labels, _ = padded(x)
    labels[0, 0] = labels[1, 0] = labels[2, 0] = labels[3, 0] = labels[4, 0] = labels[5, 0] = 0
    task = task_of(labels, "sparse_categorical_crossentropy", 3)
    assert with_filler(task, x, labels) == task


def test_classes_are_weighed_by_the_real_steps(x):
    x, labels, real = padded(x)
    model = sequential(layers.LSTM(3, return_sequences=True), layers.Dense(3, activation="softmax"))
    given = setup(model, x, labels, "sparse_categorical_crossentropy", (x, labels))
    weight = iv.data.class_weights(given).train.weight
    assert (weight[~real] == 0).all()
    sums = [weight[labels == k].sum() for k in (1, 2)]
    np.testing.assert_allclose(*sums, rtol=1e-5)


# ---- rows -------------------------------------------------------------------------------------


def test_a_value_some_single_steps_before_is_a_matter_of_the_window(rng):
    series = rng.normal(size=400).astype("float32")
    x, y = series[2:, None, None], series[:-2, None]
    model = keras.Sequential([keras.Input((1, 1)), layers.LSTM(3), layers.Dense(1)])
    given = setup(model, x, y)
    causes = [found.finding.cause for test in alignment.TESTS for found in test(given)]
    assert causes == ["window"]


def test_a_forecast_of_what_comes_is_one_of_the_past(rng):
    series = rng.normal(size=500).astype("float32")
    for n in range(3, len(series)):
        series[n] = 0.95 * series[n - 3] + 0.3 * series[n]
    x, y = series[:-1, None, None], series[1:, None]
    model = keras.Sequential([keras.Input((1, 1)), layers.LSTM(3), layers.Dense(1)])
    causes = [f.finding.cause for test in alignment.TESTS for f in test(setup(model, x, y))]
    assert causes == ["window"]


def words(rng, n, length):
    table = rng.normal(size=(12, 2)).astype("float32")
    x = np.zeros((n, T, 2), "float32")
    x[:, -length:] = table[rng.integers(0, 12, (n, length))]
    return x


def test_short_sequences_of_few_steps_are_equal_by_chance(rng):
    x = words(rng, 300, 2)
    given = setup(sequential(layers.LSTM(3), layers.Dense(1)), x, x[:, -1, :1])
    assert not list(data_tests._leaked(given))


def test_held_out_sequences_from_the_training_data_are_a_leak(rng, x):
    y = x[:, -1, :1]
    model = sequential(layers.LSTM(3), layers.Dense(1))
    found = list(data_tests._leaked(setup(model, x, y, "mse", (x[:20], y[:20]))))
    assert [f.finding.cause for f in found] == ["data-quality"]


def test_few_sequences_with_targets_far_off_decide_the_loss(x):
    y = x[..., :1].copy()
    model = sequential(layers.LSTM(3, return_sequences=True), layers.Dense(1))
    assert not list(data_tests._outlying_targets(setup(model, x, y, "mse", (x, y))))
    far = y.copy()
    far[3] *= 500
    (found,) = data_tests._outlying_targets(setup(model, x, far, "mse", (x, y)))
    assert found.finding.cause == "data-quality"
    assert len(found.repaired.train) == N - 1


# ---- what is learnt by heart ------------------------------------------------------------------


def run(surprise, train=1.0, held_out=0.5):
    count = len(surprise)
    return Run(
        np.ones(100), np.linspace(10, 100, count).astype(int), np.full(count, train),
        np.full(count, held_out), 1.0, surprise=np.asarray(surprise),
    )  # fmt: skip


@pytest.fixture
def classes(rng):
    x = rng.normal(size=(400, T, 2)).astype("float32")
    model = sequential(layers.LSTM(3), layers.Dense(2, activation="softmax"))
    given = setup(model, x, (x[:, -1, 0] > 0).astype(int), "sparse_categorical_crossentropy")
    return given.changed(epochs=100 // given.steps_per_epoch)


def test_a_loss_that_ends_above_a_constant_s_is_told(classes):
    (finding,), sooner = generalization.too_sure(classes, run([0.6, 0.3, 0.9, 1.4]))
    assert finding.cause == "too-large"
    assert sooner.epochs == round(40 / classes.steps_per_epoch)


@pytest.mark.parametrize(
    "surprise", [[0.6, 0.3, 0.4, 0.5], [0.7, 0.69, 0.9, 1.4], [0.6, 0.3, np.nan, 1.4]]
)
def test_a_loss_that_rises_a_little_or_never_fell_is_not(classes, surprise):
    assert generalization.too_sure(classes, run(surprise)) == ([], None)


def test_surprise_is_minus_the_logarithm_of_the_true_class():
    task = Task("multiclass", np.arange(3), "labels", np.zeros(0), False)
    p = np.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
    assert task.surprise(np.array([0, 2]), p) == pytest.approx(-np.log([0.5, 0.8]).mean())
    assert np.isnan(task.surprise(np.array([0, 2]), 3 * p))
    binary = Task("binary", np.arange(2), "labels", np.zeros(0), False)
    assert binary.surprise(np.array([1, 0]), np.array([[0.9], [0.4]])) == pytest.approx(
        -np.log([0.9, 0.6]).mean()
    )


@pytest.mark.parametrize(
    ("skill", "cause", "severity"),
    [(0.9, "too-large", "warning"), (0.6, "insufficient-data", "info")],
)
def test_a_simpler_model_that_is_far_ahead_is_told(classes, skill, cause, severity):
    lab = Lab(0)  # no time to try anything else
    found = generalization._fits_better(
        lab, classes.changed(drawn=True), run([0.5]), 1, 0, 1.0, ("ridge", skill)
    ).findings
    assert [(f.cause, f.severity) for f in found] == [(cause, severity)]


def test_a_random_split_of_one_series_proves_nothing(rng):
    noise = rng.normal(size=400).astype("float32")
    x = np.stack([noise[n : n + T] for n in range(360)])[..., None]
    y = np.stack([noise[n + T : n + T + 20].sum() for n in range(360)])[:, None]
    model = keras.Sequential([keras.Input((T, 1)), layers.LSTM(8), layers.Dense(1)])
    given = setup(model, x[:300], y[:300], "mse", (x[300:], y[300:]))
    assert not given.drawn
    outcome = Outcome(run([0.5], 1.0, 0.0), run([0.5], 1.0, 0.0), 1)
    found = generalization.learnt(
        Lab(5), given, outcome.user, outcome,
        baselines(given.tasks[0], given.train, given.held_out), seed=0, reserve=0.1,
    )  # fmt: skip
    assert [f.cause for f in found.findings] == ["no-signal"]


def test_events_that_are_rare_are_no_outliers(rng, x):
    y = np.zeros((N, T, 1), "float32")
    y[:2, 3] = 1.5
    model = sequential(layers.LSTM(3, return_sequences=True), layers.Dense(1))
    assert not list(data_tests._outlying_targets(setup(model, x, y, "mse", (x, y))))


def test_outliers_among_two_values_are_told_without_an_error(x):
    y = np.tile([0.0, 1.0], N // 2)[:, None].astype("float32")
    y[0] = 999
    model = sequential(layers.LSTM(3), layers.Dense(1))
    list(data_tests._outlying_targets(setup(model, x, y, "mse", (x, y))))
