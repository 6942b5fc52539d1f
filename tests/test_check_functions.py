"""`check` agrees with what is right, in every calling convention, and says what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lstm_oracle import reference
from lstm_oracle.conformance import check
from lstm_oracle.reference.spec import Bidirectional, Reverse, Spec, State

SPEC = Spec(input_size=3, hidden_size=4)
FEW = ["plain", "one sequence, one step", "three sequences, two steps"]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def lstm(x, h0, c0, W, U, b):
    h, c, ys = h0, c0, []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        ys.append(h)
    return np.stack(ys, axis=1), h, c


def canonical(weights):
    return {name: np.asarray(a) for name, a in weights.items()}


def forward_with_tape(x, h0, c0, **weights):
    (y, state), tape = reference.forward(SPEC, canonical(weights), x, State(h0, c0))
    return y, state, tape


def backward(tape, d_y, d_h, d_c):
    gradients = reference.backward(tape, d_y, State(d_h, d_c))
    d_weights = {f"d_{name}": a for name, a in gradients.params.items()}
    return {"d_x": gradients.x, "d_h0": gradients.state.h, "d_c0": gradients.state.c, **d_weights}


# --- conventions ----------------------------------------------------------------------------------


def test_a_plain_function_agrees_in_every_block():
    verdict = check(lstm)
    assert verdict.agrees
    assert set(verdict.blocks) == {"y", "state.h", "state.c"}
    assert all(0 < block.ratio <= 1 and block.yardstick > 0 for block in verdict.blocks.values())
    assert "gradients" in verdict.left_out


def test_time_may_come_first():
    def time_first(x, h0, c0, W, U, b):
        y, h, c = lstm(x.swapaxes(0, 1), h0, c0, W, U, b)
        return y.swapaxes(0, 1), h, c

    assert check(time_first, time_major=True, cases=FEW).agrees
    wrong = check(time_first, cases=FEW)
    assert not wrong.agrees


def test_a_wrong_order_of_axes_is_said_to_be_one():
    def time_first_out(x, h0, c0, W, U, b):
        y, h, c = lstm(x, h0, c0, W, U, b)
        return y.swapaxes(0, 1), h, c

    assert "Pass time_major=True" in check(time_first_out, cases=FEW).explanation


def test_a_backward_function_gets_the_tape():
    verdict = check(forward_with_tape, SPEC, layout="gates", gradients=backward, cases="full")
    assert verdict.agrees
    assert {"d_W_i", "d_x", "d_state.h", "d_state.c"} <= set(verdict.blocks)


def test_gradients_may_be_returned_beside_the_outputs():
    def both(x, h0, c0, d_y, d_h, d_c, **weights):
        *outputs, tape = forward_with_tape(x, h0, c0, **weights)
        return *outputs, backward(tape, d_y, d_h, d_c)

    assert "d_U_f" in check(both, SPEC, layout="gates", cases=FEW).blocks

    verdict = check(
        lambda x, h0, c0, d_y, d_h, d_c, **weights: both(x, h0, c0, 0.5 * d_y, d_h, d_c, **weights),
        SPEC, layout="gates", cases=FEW,
    )  # fmt: skip
    assert not verdict.agrees
    assert "values agree, gradients do not" in verdict.explanation


def test_arguments_and_returns_can_be_listed():
    def cell_first(a, *rest):
        y, h, c = lstm(a, *rest)
        return y, c, h

    names = ("x", "h0", "c0", "W", "U", "b")
    assert check(cell_first, arguments=names, returns=("y", "c", "h"), cases=FEW).agrees
    assert not check(cell_first, arguments=names, cases=FEW).agrees


def test_a_mask_that_a_function_cannot_do_without_is_always_given():
    def masked(x, h0, c0, W, U, b, mask):
        assert mask.shape == x.shape[:2]
        (y, final), _ = reference.forward(SPEC, fused(W, U, b), x, State(h0, c0), mask)
        return y, *final

    def fused(*arrays):
        parts = (np.split(a, 4, axis=-1) for a in arrays)
        return {f"{n}_{k}": a for n, p in zip("WUb", parts, strict=True)
                for k, a in zip("ifgo", p, strict=True)}  # fmt: skip

    verdict = check(masked, SPEC)
    assert verdict.agrees, str(verdict)
    assert "masks" not in verdict.left_out


def test_every_layout_can_be_asked_for():
    def torch_like(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return lstm(x, h0, c0, weight_ih.T, weight_hh.T, bias_ih + bias_hh)

    def one_bias(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
        return lstm(x, h0, c0, weight_ih.T, weight_hh.T, bias_ih)

    def haiku_like(x, h0, c0, w, b):
        i, g, f, o = np.split(w, 4, axis=-1)
        w = np.concatenate([i, f, g, o], axis=-1)
        i, g, f, o = np.split(b, 4)
        b = np.concatenate([i, f + 1, g, o])
        return lstm(x, h0, c0, w[: x.shape[-1]], w[x.shape[-1] :], b)

    assert check(torch_like, layout="torch", cases=FEW).agrees
    assert not check(one_bias, layout="torch", cases=FEW).agrees
    assert check(haiku_like, layout="haiku", cases=FEW).agrees


@pytest.mark.parametrize("architecture", [Reverse(SPEC), Bidirectional(SPEC, SPEC, "sum")])
def test_layers_put_together_get_trees(architecture):
    def combined(x, state, weights, mask=None):
        (y, final), _ = reference.forward(architecture, weights, x, state, mask)
        return y, final

    assert check(combined, architecture, layout="gates", cases="quick").agrees


def test_torch_functions_are_differentiated_by_torch():
    torch = pytest.importorskip("torch")

    def function(x, h0, c0, W, U, b, cut=False):
        h, c, ys = h0, c0, []
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ W + h @ U + b).chunk(4, dim=-1)
            kept = c.detach() if cut else c
            c = torch.sigmoid(f) * kept + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys, dim=1), h, c

    verdict = check(function, cases=FEW)
    assert verdict.agrees
    assert "d_c_0" in str(verdict)
    wrong = check(lambda x, h0, c0, W, U, b: function(x, h0, c0, W, U, b, cut=True), cases=FEW,
                  framework="torch")  # fmt: skip
    assert "carry-dropped" in {one.id for one in wrong.nearest if one.fits}


def test_torch_modules_are_known():
    torch = pytest.importorskip("torch")
    assert check(torch.nn.LSTM(3, 4), cases="quick").agrees
    tall = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2, batch_first=True)
    before = [p.detach().clone() for p in tall.parameters()]
    assert check(tall, cases=FEW).agrees
    assert all(torch.equal(a, b) for a, b in zip(before, tall.parameters(), strict=True))


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_wrong_function_is_explained():
    verdict = check(lambda x, h0, c0, W, U, b: lstm(x, h0, c0, W, U.T.reshape(U.shape), b))
    assert not verdict.agrees
    assert verdict.blocks["y"].wrong_in > 0
    assert "y is wrong at" in verdict.explanation
    with pytest.raises(AssertionError, match="DISAGREES"):
        verdict.raise_if_wrong()


def test_the_nearest_bug_is_named():
    verdict = check(lambda x, h0, c0, W, U, b: lstm(x, 0 * h0, c0, W, U, b), cases=FEW)
    assert verdict.nearest[0].id == "initial-h-ignored"
    assert verdict.nearest[0].distance < 1e-6
    assert "h_0 is taken for zero" in verdict.explanation


def test_it_is_said_where_no_bug_fits():
    verdict = check(lambda x, h0, c0, W, U, b: lstm(np.sin(3 * x), h0, c0, W, U, b), cases=FEW)
    assert not verdict.agrees
    assert not any(one.fits for one in verdict.nearest)
    assert "none of the zoo's bugs" in verdict.explanation


def test_float32_in_place_of_float64_is_recognised_by_the_size_of_its_errors():
    def narrow(*arrays):
        return lstm(*(a.astype(np.float32) for a in arrays))

    verdict = check(lambda x, h0, c0, W, U, b: narrow(x, h0, c0, W, U, b), cases=FEW)
    assert not verdict.agrees
    assert "float32" in verdict.nearest[0].id
    assert check(lambda x, h0, c0, W, U, b: narrow(x, h0, c0, W, U, b), dtype="float32").agrees


def test_the_regime_that_goes_wrong_is_named():
    def long_sequences_lose_the_state(x, h0, c0, W, U, b):
        return lstm(x, h0 if x.shape[1] < 20 else 0 * h0, c0, W, U, b)

    verdict = check(long_sequences_lose_the_state)
    assert "wrong exactly where there are more than 20 steps" in verdict.explanation


def test_a_state_kept_between_calls_is_noticed_in_pieces():
    def forgetful(x, h0, c0, W, U, b):
        if x.shape[1] in (2, 3) and len(x) == 2:
            h0 = 0 * h0
        return lstm(x, h0, c0, W, U, b)

    verdict = check(forgetful, SPEC)
    assert "the state is carried from piece to piece" in verdict.explanation


def test_writing_into_arguments_is_wrong():
    def careless(x, h0, c0, W, U, b):
        result = lstm(x, h0, c0, W, U, b)
        h0 *= 0
        return result

    assert "writes into its argument" in check(careless, cases=FEW).explanation


def test_units_that_see_each_other_within_a_step_are_noticed_as_such():
    """Written in place: a unit's new h enters the gates of the units after it."""

    def in_place(x, h0, c0, W, U, b):
        h, c, ys, H = h0.copy(), c0.copy(), [], h0.shape[1]
        for t in range(x.shape[1]):
            for n in range(H):
                i, f, g, o = (x[:, t] @ W + h @ U + b)[:, n::H].T
                c[:, n] = sigmoid(f) * c[:, n] + sigmoid(i) * np.tanh(g)
                h[:, n] = sigmoid(o) * np.tanh(c[:, n])
            ys.append(h.copy())
        return np.stack(ys, axis=1), h, c

    verdict = check(in_place)
    assert "wrong exactly where there is more than one hidden unit" in verdict.explanation


def test_what_the_function_raises_is_a_result():
    def broken(x, h0, c0, W, U, b):
        if len(x) == 1:
            raise RuntimeError("one sequence is too few")
        return lstm(x, h0, c0, W, U, b)

    verdict = check(broken, cases="quick")
    assert not verdict.agrees
    assert "one sequence is too few" in verdict.explanation

    def never(x, h0, c0, W, U, b):
        raise RuntimeError("not today")

    assert "not today" in check(never).explanation


def test_a_verdict_is_json_even_where_it_is_infinite():
    verdict = check(lambda x, h0, c0, W, U, b: lstm(x * np.inf, h0, c0, W, U, b), cases=FEW)
    found = json.loads(verdict.to_json())
    assert found["agrees"] is False
    assert found["blocks"]["y"]["ratio"] == "inf"


# --- calls that cannot be made --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check(7), "fn is of type int, expected a callable"),
        (lambda: check(lambda q, W, U, b: q), "parameter 'q' means nothing"),
        (lambda: check(lambda x, W, U: x), "takes no b, expected all weights"),
        (lambda: check(lambda W, U, b: W), "expected x"),
        (lambda: check(lstm, layout="nobody"), "layout is 'nobody', expected one of"),
        (lambda: check(lstm, layout=3), "layout is of type int"),
        (lambda: check(lstm, gradients="maybe"), "gradients is 'maybe', expected one of"),
        (lambda: check(lstm, gradients="returned"), "takes no cotangents"),
        (lambda: check(lstm, dtype="float128"), "expected one of float64"),
        (lambda: check(lstm, framework="mxnet"), "framework is 'mxnet', expected one of"),
        (lambda: check(lstm, cases="all"), "expected 'quick', 'full'"),
        (lambda: check(lstm, cases=["nothing"]), "cases has 'nothing', expected names"),
        (lambda: check(lstm, arguments=("x", "q")), "arguments has 'q'"),
        (lambda: check(lambda x, W, U, b: None), "returned None, expected y"),
        (lambda: check(lambda x, W, U, b: (x, x, x, x)), "returned 4 arrays, expected"),
        (lambda: check("nothing"), "expected 'module:callable'"),
        (lambda: check("math:nothing"), "has no 'nothing'"),
        (lambda: check("nowhere.py:f"), "expected one that exists"),
    ],
)
def test_bad_calls_say_what_was_got_what_was_expected_and_the_fix(call, message):
    with pytest.raises((TypeError, ValueError), match=message.replace("(", r"\(")) as caught:
        call()
    assert str(caught.value).rstrip().endswith(".")
