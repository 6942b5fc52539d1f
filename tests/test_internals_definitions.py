"""Every quantity of `reference.internals` equals an independent computation to 1e-10.

Independent: complex step through `forward` for derivatives, 50-digit mpmath for products, an
own loop in plain Python for counts and means. None shares code with what it checks.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import pytest

from lstm_oracle.reference import (
    Bidirectional,
    Chunks,
    Reverse,
    Spec,
    Stack,
    State,
    backward,
    forward,
    gradcheck,
    initializers,
    internals,
)
from lstm_oracle.reference.activations import TABLE
from lstm_oracle.reference.internals import flow, units
from tests.strategies import normal

B, T, I, H = 3, 6, 2, 3
TOLERANCE = 1e-10
SPECS = {
    "plain": Spec(input_size=I, hidden_size=H),
    "projection, peepholes, clips": Spec(
        input_size=I, hidden_size=H, projection_size=2, peepholes="ifo", cell_clip=0.6,
        activation_clip=1.5,
    ),
    "coupled": Spec(input_size=I, hidden_size=H, coupled=True, peepholes="fo"),
    "normalized, zoneout": Spec(
        input_size=I, hidden_size=H, layer_norm=True, zoneout_h=0.2, zoneout_c=0.3
    ),
    "zero output": Spec(input_size=I, hidden_size=H, masked_output="zero"),
}  # fmt: skip
MASKS = {
    "whole": None,
    "holes": np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0], [0, 1, 0, 1, 1, 1]], dtype=bool),
}
every_spec = pytest.mark.parametrize("variant", SPECS)
every_mask = pytest.mark.parametrize("mask", MASKS)


class Run:
    """One layer on one batch: what goes in, the tape, and the gradients."""

    def __init__(self, variant: str, mask: str = "whole", scale: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.spec, self.mask = SPECS[variant], MASKS[mask]
        self.params = normal(rng, self.spec.param_shapes, scale)
        self.x = rng.standard_normal((B, T, I))
        R = self.spec.recurrent_size
        self.state, self.d_state = (
            State(rng.standard_normal((B, R)), rng.standard_normal((B, H))) for _ in range(2)
        )
        self.d_y = rng.standard_normal((B, T, R))
        (self.y, self.final), self.tape = forward(
            self.spec, self.params, self.x, self.state, self.mask
        )
        [self.scan] = internals.scans(self.tape)
        self.trace = self.tape.trace()
        self.back = backward(self.tape, self.d_y, self.d_state, trace=True).trace
        self.real = np.ones((B, T), bool) if self.mask is None else self.mask
        self.found = internals.measure(
            self.spec, self.params, self.x, self.state, self.mask, self.d_y, self.d_state
        )

    def between(self, h: Any, c: Any, start: int, stop: int) -> State:
        """The state after steps start + 1 ... stop, from one before them."""
        if start == stop:
            return State(h, c)
        mask = None if self.mask is None else self.mask[:, start:stop]
        x = self.x[:, start:stop]
        return forward(self.spec, self.params, x, State(h, c), mask)[0].state


def close(got: Any, expected: Any, tolerance: float = TOLERANCE) -> None:
    expected = np.asarray(expected, float)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * scale)


# --- gates ----------------------------------------------------------------------------------------


@every_mask
def test_saturated_shares_are_counted_step_by_step(mask):
    run = Run("plain", mask, scale=3.0)
    for k in "ifo":
        for j in range(H):
            values = [
                float(getattr(run.trace, k)[b, t, j])
                for b in range(B)
                for t in range(T)
                if run.real[b, t]
            ]
            assert run.found[f"closed_{k}"][j] == sum(v < 0.05 for v in values) / len(values)
            assert run.found[f"open_{k}"][j] == sum(v > 0.95 for v in values) / len(values)
    squashed = [math.tanh(v) for v in run.trace.c[run.real].ravel()]
    share = internals.saturated(run.spec, run.trace, run.real)
    close(share["c"], sum(abs(v) > 0.95 for v in squashed) / len(squashed))
    close(run.found["saturated_g"], (np.abs(run.trace.g[run.real]) > 0.95).mean(axis=0))
    assert 0 < share["i_closed"] < share["i"] < 1


def test_a_gate_without_an_upper_end_has_no_saturated_share():
    spec = Spec(input_size=I, hidden_size=H, i_activation="relu", c_activation="linear")
    rng = np.random.default_rng(0)
    params = initializers.init(spec, rng)
    _, tape = forward(spec, params, rng.standard_normal((B, T, I)))
    share = internals.saturated(spec, tape.trace(), np.ones((B, T), bool))
    assert math.isnan(share["i"])
    assert math.isnan(share["c"])
    assert math.isfinite(share["f"])


def test_quantiles_are_those_of_the_sorted_values():
    run = Run("plain", "holes")
    values = sorted(run.trace.f[run.real].ravel())
    for share, got in zip(internals.QUANTILES, run.found["quantiles_f"], strict=True):
        place = share * (len(values) - 1)
        low = values[math.floor(place)]
        close(got, low + (values[math.ceil(place)] - low) * (place - math.floor(place)))


def test_quantiles_are_the_ends_the_quarters_and_the_twentieths():
    values, real = np.arange(101.0).reshape(1, 101, 1), np.ones((1, 101), bool)
    np.testing.assert_allclose(
        internals.quantiles(values, real), [0, 5, 25, 50, 75, 95, 100], rtol=1e-14
    )


def test_a_gate_at_the_limit_itself_is_not_saturated():
    spec = Spec(input_size=I, hidden_size=1, c_activation="linear")
    low = np.array([0.05, np.nextafter(0.05, 0), 0.5, 0.5]).reshape(1, 4, 1)
    high = np.array([0.95, np.nextafter(0.95, 1), 0.5, 0.5]).reshape(1, 4, 1)
    trace = SimpleNamespace(i=low, f=high, o=low, g=-high, c=-high)
    found = internals.saturated_units(spec, trace, np.ones((1, 4), bool))
    ends = {"closed_i": 0.25, "open_i": 0, "closed_f": 0, "open_f": 0.25, "closed_o": 0.25,
            "open_o": 0, "saturated_g": 0.25, "saturated_c": 0.25}  # fmt: skip
    assert {name: share.item() for name, share in found.items()} == ends


@every_mask
def test_time_constants_are_the_decay_of_a_cell_left_alone(mask):
    run = Run("plain", mask)
    for j in range(H):
        with mpmath.workdps(50):
            kept = mpmath.mpf(1)
            for value in run.trace.f[run.real][:, j]:
                kept *= mpmath.mpf(float(value))
            # The cell after n steps is kept = e^(-n / tau) of what it was.
            tau = -int(run.real.sum()) / mpmath.log(kept)
        close(run.found["time_constant"][j], float(tau))


def test_a_gate_that_never_forgets_has_a_finite_time_constant():
    f = np.ones((2, 3, 1))
    assert internals.time_constants(f, np.ones((2, 3), bool)) == pytest.approx(1e12)


def test_a_single_real_step_tells_a_time_constant_and_none_tells_nothing():
    f, real = np.full((1, 2, 1), math.exp(-0.25)), np.array([[True, False]])
    close(internals.time_constants(f, real), [4.0])
    assert internals.time_constants(f, ~real & real) == pytest.approx(1e12)


# --- gradients through time -----------------------------------------------------------------------


def frozen_loss(run: Run, start: int, h: Any, c: Any) -> Any:
    """<d_y, y> + <d_state, state_T> from step `start` on, every later gate held at its value."""
    spec, V = run.spec, run.params.get("V", np.eye(H))
    r = h @ V
    emitted = np.ones((B, T), bool) if run.scan.emitting is None else run.scan.emitting[..., 0].T
    value = (run.d_y[:, start] * r * emitted[:, start, None]).sum()
    for t in range(start + 1, T):
        i, f, g, o = (getattr(run.trace, k)[:, t] for k in "ifgo")
        c_free = f * c + i * g
        if spec.cell_clip is not None:
            inside = np.abs(c_free.real) <= spec.cell_clip
            c_free = np.where(inside, c_free, spec.cell_clip * np.sign(c_free.real))
        if spec.layer_norm:
            centred = c_free - c_free.mean(axis=-1, keepdims=True)
            size = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + spec.layer_norm_epsilon)
            squashed = np.tanh(run.params["gain_c"] * centred / size + run.params["shift_c"])
        else:
            squashed = np.tanh(c_free)
        new_r, new_c = (o * squashed) @ V, c_free
        real = run.real[:, t, None]
        new_r = spec.zoneout_h * r + (1 - spec.zoneout_h) * new_r
        new_c = spec.zoneout_c * c + (1 - spec.zoneout_c) * new_c
        r, c = np.where(real, new_r, r), np.where(real, new_c, c)
        value = value + (run.d_y[:, t] * r * emitted[:, t, None]).sum()
    return value + (run.d_state.h * r).sum() + (run.d_state.c * c).sum()


@every_mask
@pytest.mark.parametrize(
    "variant", ["plain", "projection, peepholes, clips", "coupled", "zero output"]
)
def test_the_cell_path_is_the_gradient_with_every_later_gate_held(variant, mask):
    run = Run(variant, mask)
    apart = internals.paths(run.scan, run.d_y, run.d_state)
    for t in range(T):
        o = run.trace.o[:, t]

        def by_c(c, t=t, o=o):
            return frozen_loss(run, t, o * np.tanh(c), c)

        def by_h(h, t=t):
            return frozen_loss(run, t, h, run.trace.c[:, t])

        real = run.real[:, t, None]
        cell = np.where(real, gradcheck.complex_step(by_c, run.trace.c[:, t]), 0)
        direct = np.where(real, gradcheck.complex_step(by_h, run.trace.h[:, t]), 0)
        close(apart.cell[:, t], cell)
        close(apart.direct[:, t], direct)


def test_the_cell_path_of_an_error_at_the_end_is_the_product_of_forget_gates():
    run = Run("plain")
    nothing = np.zeros_like(run.d_y)
    cell = internals.paths(run.scan, nothing, State(np.zeros((B, H)), run.d_state.c)).cell
    for b in range(B):
        for j in range(H):
            with mpmath.workdps(50):
                product = mpmath.mpf(float(run.d_state.c[b, j]))
                for t in reversed(range(T)):
                    close(cell[b, t, j], float(product))
                    product *= mpmath.mpf(float(run.trace.f[b, t, j]))


@every_spec
@every_mask
def test_both_paths_together_are_the_whole_gradient(variant, mask):
    run = Run(variant, mask)
    apart = internals.paths(run.scan, run.d_y, run.d_state)
    gates = run.back.d_c - apart.cell
    for name, whole in (("d_h", run.back.d_h), ("d_c", run.back.d_c)):
        norms = [[math.hypot(*whole[b, t]) for t in range(T)] for b in range(B)]
        close(run.found[name], norms)
    close(run.found["d_c_gates"], [[math.hypot(*gates[b, t]) for t in range(T)] for b in range(B)])
    through = run.back.d_h - apart.direct
    close(
        run.found["d_h_gates"], [[math.hypot(*through[b, t]) for t in range(T)] for b in range(B)]
    )
    # An error that enters at a sequence's last real step passes no gate before that step.
    last = [int(np.flatnonzero(run.real[b])[-1]) for b in range(B)]
    if run.spec.peepholes == "":
        close([gates[b, t] for b, t in enumerate(last)], np.zeros((B, H)))


def test_sizes_by_lag_are_root_mean_squares_over_sequences():
    run = Run("plain", "holes")
    lags = internals.by_lag(run.trace, run.back, run.state.h, run.real)
    for lag in range(len(lags.d_c)):
        squares = []
        for b in range(B):
            steps = np.flatnonzero(run.real[b])
            if lag < len(steps):
                squares.append(sum(v * v for v in run.back.d_c[b, steps[-1 - lag]]))
        close(lags.d_c[lag], math.sqrt(sum(squares) / len(squares)))
        assert lags.counts[lag] == len(squares)


def whole_numbers(seed, quiet=()):
    """Errors and states of 4 sequences of 5 steps, so small that sums of them are exact."""
    rng = np.random.default_rng(seed)
    d_h, d_c, d_f, d_g, r = (rng.integers(1, 4, (4, 5, n)) / 8 for n in (2, 2, 2, 2, 3))
    for b, t in quiet:
        d_h[b, t:] = d_c[b, t:] = d_f[b, t:] = d_g[b, t:] = 0
    back = SimpleNamespace(d_h=d_h, d_c=d_c, d_z={"f": d_f, "g": d_g})
    return back, SimpleNamespace(r=r), rng.integers(1, 4, (4, 3)) / 8


def test_lags_count_from_the_last_real_step_that_the_error_reaches():
    """Signal to noise is the sum over sequences, over what sequences that were noise would give."""
    real = np.array(
        [[1, 1, 1, 1, 1], [1, 0, 1, 1, 1], [0, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=bool
    )
    back, trace, r_0 = whole_numbers(0, quiet=((1, 3), (3, 0)))
    lags = internals.by_lag(trace, back, r_0, real)
    assert list(lags.counts) == [4, 4, 2, 2, 2]  # of sequence 3, which nothing reaches, all steps
    before = np.concatenate([r_0[:, None], trace.r[:, :-1]], axis=1)
    d_z = np.concatenate([back.d_z["f"], back.d_z["g"]], axis=-1)
    steps = [[0, 1, 2, 3, 4], [0, 2], [1, 2], [0, 1, 2, 3, 4]]
    for lag, count in enumerate(lags.counts):
        at = [(b, one[-1 - lag]) for b, one in enumerate(steps) if lag < len(one)]
        assert len(at) == count
        each = np.stack([np.outer(np.append(before[p], 1), d_z[p]) for p in at])
        spread = np.square(each - each.mean(axis=0)).sum() / (count - 1)
        added = math.sqrt(np.square(each.sum(axis=0)).sum())
        close(lags.contribution[lag], added)
        close(lags.signal_to_noise[lag], added / math.sqrt(count * spread))
        for got, d in ((lags.d_h, back.d_h), (lags.d_c, back.d_c)):
            close(got[lag], math.sqrt(sum(np.square(d[p]).sum() for p in at) / count))


def test_one_sequence_is_all_signal_and_none_has_no_lags():
    d = np.array([[[3.0, 4.0], [0.0, 0.0]]])
    back = SimpleNamespace(d_h=d, d_c=0 * d, d_z={"f": d})
    trace, real = SimpleNamespace(r=0 * d), np.ones((1, 2), bool)
    lags = internals.by_lag(trace, back, np.zeros((1, 2)), real)
    assert (list(lags.contribution), list(lags.signal_to_noise)) == ([5.0], [math.inf])
    still = internals.by_lag(trace, SimpleNamespace(d_h=0 * d, d_c=0 * d, d_z={"f": 0 * d}),
                             np.zeros((1, 2)), real)  # fmt: skip
    assert list(still.contribution) == [0.0, 0.0]
    assert np.isnan(still.signal_to_noise).all()
    nothing = internals.by_lag(trace, back, np.zeros((1, 2)), ~real)
    assert len(nothing.counts) == len(nothing.d_h) == 0


def test_contributions_by_lag_add_up_to_the_gradient_of_one_sequence():
    run = Run("plain")
    one = slice(0, 1)
    state = State(run.state.h[one], run.state.c[one])
    d_state = State(run.d_state.h[one], run.d_state.c[one])
    _, tape = forward(run.spec, run.params, run.x[one], state)
    found = backward(tape, run.d_y[one], d_state, trace=True)
    trace = tape.trace()
    lags = internals.by_lag(trace, found.trace, state.h, np.ones((1, T), bool))
    r = np.concatenate([state.h[:, None], trace.r[:, :-1]], axis=1)
    for lag in range(T):
        t, added = T - 1 - lag, 0.0
        for k in run.spec.gates:
            d_z = found.trace.d_z[k][0, t]
            added += np.square(np.outer(np.append(r[0, t], 1.0), d_z)).sum()
        close(lags.contribution[lag], math.sqrt(added))
    assert lags.reach == T - 1


def test_the_exponent_is_the_slope_of_the_logarithm():
    size = np.exp(-0.25 * np.arange(8))
    lags = internals.Lags(size, 0 * size, size, size, np.ones(8, int))
    close(lags.exponent, -0.25)
    close(internals.Lags(*(a[:3] for a in (size, 0 * size, size, size, size))).exponent, -0.25)
    close(lags.total, size)
    # Lags without an error, or with one beyond all numbers, say nothing of the slope.
    gaps = np.where(np.arange(8) % 3 == 1, [0, 0, 0, 0, np.inf, 0, 0, 0], size)
    close(internals.Lags(gaps, 0 * size, size, size, np.ones(8, int)).exponent, -0.25)
    assert math.isnan(internals.Lags(*(a[:2] for a in (size, 0 * size, size, size, size))).exponent)


def test_reach_ends_where_float32_loses_a_contribution():
    nothing = np.zeros(4)
    for last, reach in ((1.0, 3), (0.999, 1)):
        found = np.array([0.5, 1.0, 0.0, last]) * [1, 1, 1, internals.EPSILON]
        assert internals.Lags(nothing, nothing, found, nothing, nothing).reach == reach


def test_nothing_that_reaches_no_step_has_a_reach():
    nothing = np.zeros(4)
    assert internals.Lags(nothing, nothing, nothing, nothing, nothing).reach == 0


# --- the Jacobian ---------------------------------------------------------------------------------


@every_spec
@every_mask
def test_the_temporal_jacobian_is_the_derivative_of_a_later_state_by_an_earlier_one(variant, mask):
    run = Run(variant, mask)
    jacobians, _ = internals.step_jacobians(run.scan)
    R = run.spec.recurrent_size
    for start, stop in ((0, 1), (2, 3), (1, 5), (0, T)):
        got = internals.temporal_jacobian(jacobians, start, stop)
        h, c = (np.swapaxes(a, 0, 1)[:, start] for a in (run.scan.r, run.scan.c))
        for n in range(R + H):

            def entry(state, n=n, start=start, stop=stop):
                later = run.between(*state, start, stop)
                return np.concatenate(later, axis=-1)[:, n].sum()

            row = np.concatenate(gradcheck.complex_step(entry, (h, c)), axis=-1)
            close(got[:, n], row)


@every_spec
@every_mask
def test_sensitivity_is_the_norm_of_the_derivative_of_the_last_state_by_an_input(variant, mask):
    run = Run(variant, mask)
    squares = np.zeros((B, T))
    for n in range(run.spec.recurrent_size):

        def entry(x, n=n):
            return forward(run.spec, run.params, x, run.state, run.mask)[0].state.h[:, n].sum()

        squares += np.square(gradcheck.complex_step(entry, run.x)).sum(axis=-1)
    close(run.found["sensitivity"], np.sqrt(squares))


@every_mask
def test_singular_values_are_those_of_fifty_digits(mask):
    run = Run("plain", mask)
    jacobians, _ = internals.step_jacobians(run.scan)
    with mpmath.workdps(50):
        product = mpmath.eye(2 * H)
        for t in reversed(range(T)):
            product = product * mpmath.matrix(jacobians[0, t].tolist())
            squared = mpmath.eigsy(product.T * product, eigvals_only=True)
            expected = sorted((float(mpmath.sqrt(abs(v))) for v in squared), reverse=True)
            close(run.found["singular_values"][0, t], expected)


def test_singular_values_of_one_number_are_its_powers():
    close(internals.singular_values(np.full((2, 3, 1, 1), -2.0)), [[[8], [4], [2]]] * 2)


@every_mask
def test_lyapunov_exponents_add_up_to_the_logarithm_of_the_determinant(mask):
    run = Run("plain", mask)
    jacobians, _ = internals.step_jacobians(run.scan)
    exponents = internals.lyapunov_exponents(jacobians, run.real)
    for b in range(B):
        with mpmath.workdps(50):
            total = sum(
                mpmath.log(abs(mpmath.det(mpmath.matrix(jacobians[b, t].tolist()))))
                for t in range(T)
            )
        close(exponents[b].sum(), float(total / int(run.real[b].sum())))


@every_mask
def test_every_lyapunov_exponent_is_the_growth_of_a_volume(mask):
    run = Run("plain", mask)
    jacobians, _ = internals.step_jacobians(run.scan)
    exponents = internals.lyapunov_exponents(jacobians, run.real)
    for b in range(B):
        with mpmath.workdps(50):
            product = mpmath.eye(2 * H)
            for t in range(T):
                product = mpmath.matrix(jacobians[b, t].tolist()) * product
            volumes = [mpmath.mpf(1)]
            for k in range(1, 2 * H + 1):
                columns = product[:, :k]
                volumes.append(mpmath.sqrt(mpmath.det(columns.T * columns)))
            steps = int(run.real[b].sum())
            each = [float(mpmath.log(volumes[k + 1] / volumes[k]) / steps) for k in range(2 * H)]
        close(exponents[b], each)
        close(run.found["lyapunov"][b], max(each))


def test_a_direction_that_dies_at_once_has_minus_infinity():
    jacobians = np.zeros((1, 2, 1, 1))
    assert internals.lyapunov_exponents(jacobians, np.ones((1, 2), bool))[0, 0] == -np.inf


def test_a_single_real_step_tells_a_lyapunov_exponent():
    jacobians, real = np.full((1, 2, 1, 1), 3.0), np.array([[False, True]])
    close(internals.lyapunov_exponents(jacobians, real), [[math.log(3)]])


def test_memory_length_is_the_longest_lag_that_matters():
    found = np.array([[0.5, 9.0, 1.1, 100.0], [2.0, 0.0, 9.0, 100.0]])
    real = np.array([[True, True, True, True], [True, False, True, True]])
    # Lags 2 (9 of 100) and 2 real steps (2 of 100); 0.5 of 100 matters no more.
    assert internals.memory_length(found, real) == 2.0
    assert internals.memory_length(found[:1] * [0, 0, 0, 1], real[:1]) == 0.0
    assert internals.memory_length(np.array([[1.0, 0.0, 100.0]]), real[:1, :3]) == 2.0
    assert internals.memory_length(np.array([[0.0, 0.0, 9.0, 100.0]]), real[1:]) == 1.0


# --- noise and units ------------------------------------------------------------------------------


@every_spec
@every_mask
def test_gradients_of_single_sequences_add_up_to_that_of_the_batch(variant, mask):
    run = Run(variant, mask)
    alone = internals.per_sequence_gradients(
        run.spec, run.params, run.x, run.state, run.real, run.d_y, run.d_state
    )
    whole = backward(run.tape, run.d_y, run.d_state).params
    for name, d in whole.items():
        close(alone[name].sum(axis=0), d)


def test_the_noise_scale_is_trace_over_signal():
    run = Run("plain")
    alone = internals.per_sequence_gradients(
        run.spec, run.params, run.x, run.state, run.real, run.d_y, run.d_state
    )
    entries = np.concatenate([a.reshape(B, -1) for a in alone.values()], axis=1)
    trace, mean_square = 0.0, 0.0
    for column in entries.T:
        mean = math.fsum(column) / B
        trace += math.fsum((v - mean) ** 2 for v in column) / (B - 1)
        mean_square += mean * mean
    close(run.found["noise_scale"], trace / (mean_square - trace / B), 1e-9)


def test_two_sequences_say_something_of_noise():
    # Mean 3, variance 2: 2 / (9 - 2 / 2).
    assert internals.noise_scale({"w": np.array([[2.0], [4.0]])}) == pytest.approx(0.25)


def test_one_sequence_says_nothing_of_noise():
    assert math.isnan(internals.noise_scale({"w": np.ones((1, 3))}))


def test_the_noise_scale_of_drawn_gradients_is_the_known_one():
    rng = np.random.default_rng(0)
    # Mean 1 in 4 entries, variance 9 in each: 36 / 4.
    drawn = {"w": 1 + 3 * rng.standard_normal((200_000, 4))}
    assert internals.noise_scale(drawn) == pytest.approx(9, rel=0.03)


def test_effective_rank_is_the_exponential_of_the_entropy():
    run = Run("plain", "holes")
    rows = run.trace.h[run.real]
    with mpmath.workdps(50):
        matrix = mpmath.matrix((rows - rows.mean(axis=0)).tolist())
        squared = mpmath.eigsy(matrix.T * matrix, eigvals_only=True)
        s = [mpmath.sqrt(v) for v in squared]
        entropy = -sum(v / sum(s) * mpmath.log(v / sum(s)) for v in s)
        expected = float(mpmath.exp(entropy))
    close(run.found["effective_rank"], expected)


def test_equal_directions_have_full_rank_and_silence_has_none():
    h = np.concatenate([np.eye(4), -np.eye(4)])[None]
    real = np.ones((1, 8), bool)
    close(internals.effective_rank(h, real), 4)
    assert math.isnan(internals.effective_rank(0 * h, real))
    close(internals.effective_rank(h * [1, 0, 0, 0], real), 1)


def test_a_still_unit_is_dead_and_a_repeated_one_a_duplicate():
    rng = np.random.default_rng(0)
    h = rng.uniform(-1, 1, (3, 7, 5))
    h[..., 1], h[..., 3], h[..., 4] = 0.7, -0.5 * h[..., 0], 0.7 + 1e-5 * h[..., 2]
    real = np.ones((3, 7), bool)
    np.testing.assert_array_equal(internals.dead(h, real), [False, True, False, False, True])
    np.testing.assert_array_equal(internals.duplicate(h, real), [False, False, False, True, False])


def test_a_unit_is_dead_below_a_thousandth_and_a_duplicate_above_0_999():
    one, across = np.array([[1.0, -1, 1, -1], [1, 1, -1, -1]])
    for cosine, alike in ((0.9995, True), (0.9985, False), (-0.9995, True), (-0.9985, False)):
        other = cosine * one + math.sqrt(1 - cosine**2) * across
        h = np.stack([one, other], axis=-1)[None]
        assert list(internals.duplicate(h, np.ones((1, 4), bool))) == [False, alike]
    h = np.stack([0.0009 * one, 0.0011 * one], axis=-1)[None] + 0.5
    assert list(internals.dead(h, np.ones((1, 4), bool))) == [True, False]


def test_a_correlation_at_the_limit_itself_makes_no_duplicate(monkeypatch):
    monkeypatch.setattr(units, "DUPLICATE", 1.0)
    h = np.array([[[1.0, 1], [-1, -1], [1, 1], [-1, -1]]])
    assert not internals.duplicate(h, np.ones((1, 4), bool)).any()


def test_update_to_weight_is_a_ratio_of_norms():
    before = {"W_i": np.array([[3.0, 4.0]]), "b_i": np.zeros(2)}
    after = {"W_i": np.array([[3.0, 4.1]]), "b_i": np.ones(2)}
    found = internals.update_to_weight(before, after)
    close(found["W_i"], 0.1 / 5)
    assert math.isnan(found["b_i"])


# --- what is measured -----------------------------------------------------------------------------


def test_every_scan_of_an_architecture_is_found():
    spec = SPECS["plain"]
    upper = Spec(input_size=2 * H, hidden_size=2)
    architecture = Stack((Bidirectional(spec, spec), Reverse(upper)))
    rng = np.random.default_rng(0)
    params = initializers.init(architecture, rng)
    _, tape = forward(architecture, params, rng.standard_normal((B, T, I)))
    found = internals.scans(tape)
    assert [scan.architecture for scan in found] == [spec, spec, upper]
    np.testing.assert_array_equal(found[1].x[0], found[0].x[-1])


def test_chunks_have_no_whole_scan():
    spec = SPECS["plain"]
    params = initializers.init(spec, np.random.default_rng(0))
    _, tape = forward(Chunks(spec, 2), params, np.ones((B, T, I)))
    with pytest.raises(ValueError, match="expected one of a whole sequence"):
        internals.scans(tape)


def test_what_is_no_tape_is_refused():
    with pytest.raises(TypeError, match="expected what forward returned"):
        internals.scans("tape")


def test_several_layers_are_measured_one_by_one():
    with pytest.raises(TypeError, match="expected a Spec"):
        internals.measure(Stack((SPECS["plain"],)), (), np.ones((B, T, I)))


def test_what_is_left_out_is_zero():
    run = Run("plain")
    found = internals.measure(run.spec, run.params, run.x)
    assert not found["d_h"].any()
    assert found["time_constant"].all()
    narrow = Run("projection, peepholes, clips")
    assert not internals.measure(narrow.spec, narrow.params, narrow.x)["d_c"].any()


def test_the_slope_at_the_limits_is_a_fifth_of_the_largest():
    slope = TABLE["sigmoid"].derivative
    z = math.log(internals.OPEN / internals.CLOSED)
    assert float(slope(np.float64(z))) == pytest.approx(0.0475)
    assert float(np.finfo(np.float32).eps) == flow.EPSILON
