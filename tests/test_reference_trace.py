"""The trace holds what the equations say, and its gradients are dL/dh_t, dL/dc_t and dL/dz_t."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from lstm_oracle.reference import (
    Bidirectional,
    Chunks,
    Directions,
    GradientTrace,
    Output,
    Reverse,
    Spec,
    Stack,
    State,
    backward,
    forward,
    gradcheck,
    state_shapes,
)
from lstm_oracle.reference.activations import sigmoid, tanh
from lstm_oracle.reference.spec import param_shapes
from lstm_oracle.reference.tree import map_leaves
from tests import fifty_digits
from tests.compare import assert_close, assert_identical
from tests.strategies import normal

B, T, I = 2, 5, 2
SPECS = {
    "plain": Spec(input_size=I, hidden_size=3),
    "peepholes": Spec(input_size=I, hidden_size=3, peepholes="ifo"),
    "coupled": Spec(input_size=I, hidden_size=3, coupled=True, peepholes="fo"),
    "projection": Spec(input_size=I, hidden_size=3, projection_size=2, peepholes="o"),
}
every_spec = pytest.mark.parametrize("variant", SPECS)


class Run:
    """A layer run forwards and backwards with everything traced."""

    def __init__(self, architecture: Any, mask: np.ndarray | None = None) -> None:
        rng = np.random.default_rng(0)
        self.architecture, self.mask = architecture, mask
        self.params = normal(rng, param_shapes(architecture))
        self.x = rng.standard_normal((B, T, architecture.input_size))
        self.state = normal(rng, state_shapes(architecture, B))
        (y, final), self.tape = forward(architecture, self.params, self.x, self.state, mask)
        self.d_y, self.d_state = map_leaves(lambda a: rng.standard_normal(a.shape), (y, final))
        self.gradients = backward(self.tape, self.d_y, self.d_state, trace=True)
        self.trace, self.d = self.tape.trace(), self.gradients.trace

    def loss(self, params: Any, x: np.ndarray, state: Any, start: int = 0) -> Any:
        """<d_y, y> + <d_state, state_T> of the steps from `start` on."""
        if start == T:
            return sum((d * a).sum() for d, a in zip(self.d_state, state, strict=True))
        (y, final), _ = forward(self.architecture, params, x[:, start:], state)
        tail = sum((d * a).sum() for d, a in zip(self.d_state, final, strict=True))
        return (self.d_y[:, start:] * y).sum() + tail


@every_spec
def test_gates_and_states_are_those_of_the_equations(variant):
    run = Run(SPECS[variant])
    with mpmath.workdps(fifty_digits.DIGITS):
        p = {name: fifty_digits.exact(a) for name, a in run.params.items()}
        for b in range(B):
            r, c = (fifty_digits.exact(a[b]) for a in run.state)
            for t in range(T):
                step, r, c = fifty_digits.step(
                    run.architecture, p, fifty_digits.exact(run.x[b, t]), r, c, (0, 0)
                )
                expected = {k: fifty_digits.round_off(getattr(step, k)) for k in "ifgoch"}
                expected["r"] = fifty_digits.round_off(r)
                got = {k: getattr(run.trace, k)[b, t] for k in expected}
                assert_close(got, expected, 1e-14)


@every_spec
def test_pre_activations_are_those_of_the_gates(variant):
    run = Run(SPECS[variant])
    assert set(run.trace.z) == set(run.architecture.gates)
    assert_identical(sigmoid(run.trace.z["f"]), run.trace.f)
    assert_identical(sigmoid(run.trace.z["o"]), run.trace.o)
    assert_identical(tanh(run.trace.z["g"]), run.trace.g)


@every_spec
def test_d_z_is_the_gradient_of_the_loss_by_every_pre_activation(variant):
    run = Run(SPECS[variant])
    # One more input per step, which is 1 there: its weights are added to z of that step alone.
    clock = np.broadcast_to(np.eye(T), (B, T, T))
    x = np.concatenate([run.x, clock], axis=-1)
    wider = Spec(**{**vars(run.architecture), "input_size": I + T})
    for b in range(B):

        def loss(added, b=b):
            params = run.params | {
                f"W_{k}": np.concatenate([run.params[f"W_{k}"], added[k]])
                for k in run.architecture.gates
            }
            (y, final), _ = forward(wider, params, x[b : b + 1], map_leaves(one(b), run.state))
            tail = sum((d[b] * a).sum() for d, a in zip(run.d_state, final, strict=True))
            return (run.d_y[b] * y).sum() + tail

        zeros = {k: np.zeros((T, 3)) for k in run.architecture.gates}
        assert_close({k: d[b] for k, d in run.d.d_z.items()}, gradcheck.complex_step(loss, zeros))


def one(b: int):
    return lambda a: a[b : b + 1]


@every_spec
def test_d_h_is_the_gradient_of_the_loss_by_every_h(variant):
    run = Run(SPECS[variant])
    for t in range(T):

        def loss(h, t=t):
            r = h @ run.params["V"] if "V" in run.params else h
            rest = run.loss(run.params, run.x, State(r, run.trace.c[:, t]), t + 1)
            return (run.d_y[:, t] * r).sum() + rest

        assert_close(run.d.d_h[:, t], gradcheck.complex_step(loss, run.trace.h[:, t]))


@every_spec
def test_d_c_is_the_gradient_of_the_loss_by_every_c(variant):
    run = Run(SPECS[variant])
    p_o = run.params.get("p_o", 0)
    for t in range(T):
        without_peephole = run.trace.z["o"][:, t] - p_o * run.trace.c[:, t]

        def loss(c, t=t, z_o=without_peephole):
            h = sigmoid(z_o + p_o * c) * np.tanh(c)
            r = h @ run.params["V"] if "V" in run.params else h
            rest = run.loss(run.params, run.x, State(r, c), t + 1)
            return (run.d_y[:, t] * r).sum() + rest

        assert_close(run.d.d_c[:, t], gradcheck.complex_step(loss, run.trace.c[:, t]))


def test_gradients_of_masked_steps_are_zero_and_their_state_is_carried():
    mask = np.array([[True, False, True, True, False], [False, False, True, False, False]])
    run = Run(SPECS["peepholes"], mask)
    for a in (run.d.d_h, run.d.d_c, *run.d.d_z.values()):
        assert not a[~mask].any()
        assert a[mask].all()
    r = np.concatenate([run.state.h[:, None], run.trace.r], axis=1)
    np.testing.assert_array_equal(r[:, 1:][~mask], r[:, :-1][~mask])
    np.testing.assert_array_equal(run.trace.r[mask], run.trace.h[mask])


def test_traces_are_asked_for():
    run = Run(SPECS["plain"])
    assert backward(run.tape, run.d_y).trace is None


def test_a_reversed_layer_is_traced_in_its_order_of_processing():
    spec = SPECS["plain"]
    run = Run(Reverse(spec))
    (_, _), tape = forward(spec, run.params, run.x[:, ::-1], run.state)
    assert_identical(run.trace, tape.trace())
    assert_identical(run.d, backward(tape, run.d_y[:, ::-1], run.d_state, trace=True).trace)


def test_chunks_are_traced_as_the_whole():
    spec = SPECS["peepholes"]
    whole, chunks = Run(spec), Run(Chunks(spec, 2))
    assert_close(chunks.trace, whole.trace)
    assert_close(chunks.d, whole.d)


def test_both_directions_and_every_layer_have_a_trace():
    spec = SPECS["plain"]
    both = Bidirectional(spec, SPECS["coupled"])
    run = Run(Stack((both, Spec(input_size=6, hidden_size=2))))
    assert isinstance(run.trace[0], Directions)
    assert isinstance(run.d[0].backward, GradientTrace)
    assert set(run.trace[0].backward.z) == {"f", "g", "o"}
    assert run.trace[1].h.shape == run.d[1].d_h.shape == (B, T, 2)
    lower = Output(np.concatenate([run.trace[0].forward.r, run.trace[0].backward.r[:, ::-1]], 2), 0)
    (y, _), _ = forward(run.architecture.layers[1], run.params[1], lower.y, run.state[1])
    assert_close(run.trace[1].r, y)
