"""The monitor says what it sees: values in the logs, warnings once, a report, a stop."""

from __future__ import annotations

import csv

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from lstm_oracle.diagnosis import Monitor, early  # noqa: E402
from lstm_oracle.diagnosis.early import LayerSample, Sample  # noqa: E402
from lstm_oracle.diagnosis.internals import look_inside  # noqa: E402
from lstm_oracle.keras_impl.probe import capture  # noqa: E402
from lstm_oracle.reference.internals import CLOSED, OPEN  # noqa: E402

# Keras on TensorFlow, with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

N, T, I = 32, 6, 2
rng = np.random.default_rng(0)
X = rng.normal(size=(N, T, I)).astype("float32")
Y = X.sum((1, 2), keepdims=True)[:, :, 0]


def model(optimizer="sgd", **lstm):
    keras.utils.set_random_seed(3)
    one = keras.Sequential(
        [
            keras.Input((T, I)),
            keras.layers.LSTM(4, name="encoder", **lstm),
            keras.layers.Dense(1, name="head"),
        ]
    )
    one.compile(optimizer, "mse")
    return one


def fit(one, monitor, *callbacks, x=X, y=Y, **options):
    given = {"batch_size": 8, "epochs": 2, "verbose": 0, **options}
    return one.fit(x, y, callbacks=[monitor, *callbacks], **given)


def ids(monitor):
    return [finding.id for finding in monitor.findings]


# --- quantities -----------------------------------------------------------------------------------


def test_saturation_counts_steps_and_units_beyond_the_limits():
    one = model()
    one.layers[0].set_weights([w * 6 for w in one.layers[0].get_weights()])
    [call] = capture(one, X, Y)
    [scan] = look_inside(call)
    i = scan.trace.i
    share = scan.saturation()
    expected = [(i < CLOSED) | (i > OPEN), i < CLOSED, np.abs(np.tanh(scan.trace.c)) > OPEN]
    assert all(part.any() for part in expected)
    got = [share["i"], share["i_closed"], share["c"]]
    np.testing.assert_allclose(got, [part.mean() for part in expected], rtol=1e-12)


def test_a_unit_with_a_constant_forget_gate_has_its_time_constant():
    one = model()
    kernel, recurrent, bias = one.layers[0].get_weights()
    bias[4:8] = np.log([1.0, 3.0, 9.0, 99.0])  # f = 1/2, 3/4, 0.9, 0.99
    one.layers[0].set_weights([kernel * 0, recurrent * 0, bias])
    [scan] = look_inside(capture(one, X, Y)[0])
    expected = -1 / np.log([0.5, 0.75, 0.9, 0.99])
    np.testing.assert_allclose(scan.time_constants(), expected, rtol=1e-5)


def test_the_gradient_by_lag_falls_by_the_forget_gate():
    # Without recurrent weights all that goes back in time is dL/dc, times f at each step.
    one = model()
    kernel, recurrent, bias = one.layers[0].get_weights()
    bias[4:8] = np.log(3.0)
    one.layers[0].set_weights([kernel * 0, recurrent * 0, bias + 0.0])
    [scan] = look_inside(capture(one, X, Y)[0])
    np.testing.assert_allclose(scan.flow.d_c[1:] / scan.flow.d_c[:-1], 0.75, rtol=1e-6)
    assert scan.flow.reach == T - 1


def test_lags_are_counted_in_real_steps_from_each_sequence_s_last():
    padded = X.copy()
    padded[: N // 2, 3:] = 0
    one = keras.Sequential(
        [keras.Input((T, I)), keras.layers.Masking(), keras.layers.LSTM(4), keras.layers.Dense(1)]
    )
    one.compile("sgd", "mse")
    [scan] = look_inside(capture(one, padded, Y)[0])
    assert scan.flow.counts.tolist() == [N, N, N, N // 2, N // 2, N // 2]


def test_the_error_of_the_last_step_alone_is_followed_through_a_sequence_of_targets():
    one = keras.Sequential(
        [keras.Input((T, I)), keras.layers.LSTM(4, return_sequences=True), keras.layers.Dense(1)]
    )
    one.compile("sgd", "mse")
    targets = np.repeat(Y[:, None], T, 1)
    [scan] = look_inside(capture(one, X, targets)[0])
    d_h = np.sqrt(np.square(scan.gradient.d_h).sum(-1).mean(0))[::-1]
    assert scan.flow.d_h[0] == pytest.approx(d_h[0])
    assert (scan.flow.d_h[1:] < 0.9 * d_h[1:]).all()  # each step's own error is left out


# --- fit ------------------------------------------------------------------------------------------


def test_history_and_csv_files_have_the_values_of_every_epoch(tmp_path):
    monitor = Monitor(X, Y, every=3, verbose=False)
    file = tmp_path / "log.csv"
    history = fit(model(), monitor, keras.callbacks.CSVLogger(file)).history
    for name in ("encoder/saturated_f", "encoder/gradient", "encoder/reach", "head/update"):
        assert len(history[name]) == 2, name
    with file.open() as lines:
        rows = list(csv.DictReader(lines))
    assert float(rows[1]["encoder/gradient"]) == pytest.approx(history["encoder/gradient"][1])
    assert [sample.step for sample in monitor.samples_taken] == [0, 3, 6]


def test_the_columns_are_there_before_anything_was_measured():
    monitor = Monitor(X, Y, verbose=False)
    monitor._cost = 1e9  # a look that would never pay
    history = fit(model(), monitor).history
    assert np.isnan(history["encoder/gradient"]).all()
    assert monitor.samples_taken == []
    assert "Nothing alarming in 1 looks" in monitor.report()
    assert len(monitor.samples_taken) == 1


def test_steps_per_execution_are_counted_as_updates():
    one = model()
    one.compile("sgd", "mse", steps_per_execution=2)
    monitor = Monitor(X, Y, every=2, verbose=False)
    fit(one, monitor)
    assert [sample.step for sample in monitor.samples_taken] == [0, 2, 4, 6]


def test_a_healthy_training_is_left_in_peace(capsys):
    monitor = Monitor(X, Y, every=2, stop_lost=True)
    fit(model("adam"), monitor, epochs=8)
    assert not [f for f in monitor.findings if f.severity != "info"]
    assert not monitor.lost
    assert capsys.readouterr().out == ""


def test_an_exploding_run_is_warned_of_once_and_stopped(capsys):
    one = model(keras.optimizers.SGD(1e9))
    monitor = Monitor(X, Y, every=1, stop_lost=True)
    history = fit(one, monitor, epochs=50)
    assert len(history.epoch) < 50
    assert monitor.lost
    assert monitor.findings[0].severity == "error"
    out = capsys.readouterr().out
    assert out.count("LSTM110") + out.count("LSTM121") == len(monitor.findings)
    assert "stopping" in out


def test_a_lost_run_goes_on_unless_it_is_to_be_stopped():
    monitor = Monitor(X, Y, every=1, verbose=False)
    history = fit(model(keras.optimizers.SGD(1e9)), monitor, epochs=6)
    assert len(history.epoch) == 6
    assert monitor.lost


def test_nan_in_the_data_is_told_from_a_rate_that_is_too_high():
    x = X.copy()
    x[2, 3, 0] = np.nan
    monitor = Monitor(x, Y, every=2, verbose=False)
    fit(model(), monitor, x=x)
    assert "LSTM001" in ids(monitor)
    assert "LSTM110" not in ids(monitor)


def test_a_bad_loss_is_seen_at_batches_that_are_not_looked_at():
    monitor = Monitor(X, Y, every=10**6, stop_lost=True, verbose=False)
    x = X.copy()
    x[20:] = np.nan
    history = fit(model(), monitor, x=x, epochs=20, shuffle=False)
    assert monitor.lost
    assert len(history.epoch) <= 2


def test_updates_that_rounding_swallows_are_found():
    monitor = Monitor(X, Y, every=1, stop_lost=True, verbose=False)
    history = fit(model(keras.optimizers.SGD(1e-12)), monitor, epochs=20)
    assert "LSTM111" in ids(monitor)
    assert monitor.lost
    assert len(history.epoch) < 20


def test_inputs_that_shut_the_gates_are_told_from_weights_that_do():
    # The bias lets one feature of a thousand shut every input and output gate.
    def shut(kernel_size, bias_size):
        one = model()
        kernel, recurrent, bias = one.layers[0].get_weights()
        kernel[:] = kernel_size
        bias[:] = bias_size
        one.layers[0].set_weights([kernel, recurrent * 0, bias])
        return one

    of_inputs, of_weights = (Monitor(X - 1000, Y, every=1, verbose=False) for _ in range(2))
    fit(shut(0.1, 0.0), of_inputs, x=X - 1000, epochs=1)
    fit(shut(0.0, -9.0), of_weights, x=X - 1000, epochs=1)
    assert "LSTM010" in ids(of_inputs)
    assert "LSTM130" in ids(of_weights)


def test_a_layer_that_no_gradient_reaches_is_found():
    one = keras.Sequential(
        [
            keras.Input((T, I)),
            keras.layers.LSTM(4, name="encoder"),
            keras.layers.Dense(1, kernel_initializer="zeros", trainable=False),
        ]
    )
    one.compile("sgd", "mse")
    monitor = Monitor(X, Y, every=1, verbose=False)
    fit(one, monitor)
    [finding] = [f for f in monitor.findings if f.id == "LSTM080"]
    assert finding.layer == "encoder"


def test_the_report_names_the_findings_and_draws_what_was_measured():
    monitor = Monitor(X, Y, every=1, verbose=False)
    fit(model(keras.optimizers.SGD(1e9)), monitor)
    assert monitor.findings[0].id in monitor.report()
    page = monitor.diagnosis().to_html()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("<svg") >= 2


def test_a_model_that_cannot_be_looked_into_trains_on(capsys):
    class Stubborn(keras.Model):
        def __init__(self):
            super().__init__()
            self.lstm = keras.layers.LSTM(3)
            self.head = keras.layers.Dense(1)

        def call(self, x):
            return self.head(self.lstm(x))

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            if not training:
                raise RuntimeError("only in training")
            return super().compute_loss(x, y, y_pred, sample_weight)

    one = Stubborn()
    one.compile("sgd", "mse")
    monitor = Monitor(X, Y, every=1)
    history = fit(one, monitor)
    assert len(history.epoch) == 2
    assert "only in training" in monitor.failure
    assert capsys.readouterr().out.count("cannot look") == 1
    assert "Nothing could be measured" in monitor.report()


# --- a training loop of one's own -----------------------------------------------------------------


def test_a_model_of_two_outputs_that_the_first_batch_builds_is_looked_into():
    inputs = keras.Input((T, I))
    hidden = keras.layers.LSTM(3, name="encoder")(inputs)
    one = keras.Model(inputs, [keras.layers.Dense(1)(hidden), keras.layers.Dense(1)(hidden)])
    one.compile("sgd", ["mse", "mae"])
    monitor = Monitor(X, [Y, -Y], every=1, verbose=False)
    fit(one, monitor, y=[Y, -Y], epochs=1)
    assert monitor.failure == ""
    assert len(monitor.samples_taken) == 4
    assert len(set(monitor.samples_taken[0].gradients)) == 3


def test_a_training_loop_of_one_s_own_has_one_call_per_step():
    import tensorflow as tf

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the loop is TensorFlow's")
    keras.utils.set_random_seed(3)
    one = keras.Sequential(
        [keras.Input((T, I)), keras.layers.LSTM(4, name="encoder"), keras.layers.Dense(1)]
    )
    optimizer = keras.optimizers.SGD(0.1)
    monitor = Monitor(X, Y, every=2, loss="mse", verbose=False)
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(one(X) - Y))
        gradients = tape.gradient(loss, one.trainable_variables)
        optimizer.apply(gradients, one.trainable_variables)
        values = monitor.step(one, loss=loss, gradients=gradients)
    assert [sample.step for sample in monitor.samples_taken] == [1, 3, 5]
    expected = np.sqrt(sum(float(tf.reduce_sum(d**2)) for d in gradients[:3]))
    assert values["encoder/gradient"] == pytest.approx(expected, rel=1e-5)
    assert 0 < monitor.samples_taken[1].updates["encoder"] < 1


def test_a_step_whose_loss_is_not_finite_is_told_at_the_next():
    monitor = Monitor(X, Y, every=10**6, loss="mse", verbose=False)
    one = model()
    monitor.step(one, loss=np.float32("nan"))
    assert not monitor.lost
    monitor.step(one, loss=np.float32(1.0))
    assert monitor.lost


# --- rules ----------------------------------------------------------------------------------------


def sample(step, gradient=1.0, update=1e-2, exponent=-0.1, reach=T - 1):
    layer = LayerSample(
        {"i": 0.0, "f": 0.0, "o": 0.0, "c": 0.0, "i_closed": 0.0, "f_closed": 0.0, "o_closed": 0.0},
        None, 3.0, np.ones(T), np.ones(T), reach, exponent,
    )  # fmt: skip
    return Sample(step, 1.0, {"encoder": layer}, {"encoder": gradient}, {"encoder": update})


def found(*samples):
    return [(finding.id, finding.severity) for finding in early.findings(samples)]


def test_ordinary_samples_give_no_finding():
    assert found(*(sample(n) for n in range(10))) == []


def test_a_gradient_that_falls_as_the_loss_does_gives_none():
    assert found(*(sample(n, gradient=10.0**-n) for n in range(10))) == []


def test_a_gradient_a_hundred_times_its_median_explodes():
    assert found(*(sample(n) for n in range(8)), sample(8, gradient=1e3)) == [
        ("LSTM121", "warning")
    ]


def test_a_rate_that_a_schedule_brings_to_zero_gives_none():
    assert found(*(sample(n, update=10.0 ** (-n)) for n in range(12))) == []


def test_a_single_long_step_gives_none_and_two_give_one():
    assert found(sample(0, update=3.0), sample(1)) == []
    assert found(sample(0, update=3.0), sample(1, update=2.0)) == [("LSTM110", "warning")]


def test_growth_that_float32_cannot_hold_is_found():
    assert found(sample(0, exponent=90 / (T - 1))) == [("LSTM121", "warning")]
    assert found(sample(0, exponent=80 / (T - 1))) == []


def test_a_short_reach_is_only_worth_knowing():
    assert found(sample(0, reach=1)) == [("LSTM120", "info")]


# --- what is passed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "part"),
    [
        ((X, None), {}, "y is NoneType"),
        ((X, Y[:-1]), {}, "31, 32"),
        ((X[:0], Y[:0]), {}, "at least one"),
        ((X, Y), {"every": 0}, "every is 0"),
        ((X, Y), {"every": 2.5}, "every is 2.5"),
        ((X, Y), {"samples": -1}, "samples is -1"),
        (((n for n in range(3)), Y), {}, "generator"),
    ],
)
def test_what_it_cannot_use_is_refused(arguments, options, part):
    with pytest.raises(ValueError, match="Monitor") as caught:
        Monitor(*arguments, **options)
    assert part in str(caught.value)
