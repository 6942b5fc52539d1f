"""The kernel that keeps U on chip, in Pallas' interpreter; nothing here was run on a GPU."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle import reference
from lstm_oracle.jax_impl import choose, cudnn, gpu, gpu_kernel
from lstm_oracle.jax_impl.interface import Inputs, Options, Pieces, Setting
from lstm_oracle.reference.spec import Spec, State

ON_CPU = Options(unroll=1, precision="highest", implementation="gpu", remat=None, platform="cpu")


def problem(T, B, I, H, *, masked, use_bias=True):
    rng = np.random.default_rng([T, B, I, H])
    spec = Spec(input_size=I, hidden_size=H, use_bias=use_bias, masked_output="state")
    params = {name: rng.normal(size=s) / np.sqrt(H) for name, s in spec.param_shapes.items()}
    x, d_y = rng.normal(size=(B, T, I)), rng.normal(size=(B, T, H))
    state, d_state = (State(*rng.normal(size=(2, B, H))) for _ in range(2))
    mask = rng.random((B, T)) < 0.6 if masked else None
    return spec, params, x, state, mask, d_y, d_state


def run(spec, mask, params, x, state, implementation=gpu.IMPLEMENTATION):
    inputs = Inputs(params, jnp.swapaxes(x, 0, 1), state, None if mask is None else mask.T, None)
    y, final = implementation.run(spec, inputs, Pieces.whole(x.shape[1]), ON_CPU)
    return jnp.swapaxes(y, 0, 1), tuple(final)


# One row and one step; sizes that are no power of two; a batch of two programs.
SIZES = [(1, 1, 1, 1), (5, 3, 4, 16), (4, 19, 3, 20)]


def assert_agrees(answer, sizes, *, masked=False):
    """Every output and every gradient of a `run`, in float32."""
    spec, params, x, state, mask, d_y, d_state = problem(*sizes, masked=masked)
    (y, final), tape = reference.forward(spec, params, x, state, mask)
    expected = reference.backward(tape, d_y, d_state)
    cast = partial(jax.tree.map, partial(jnp.asarray, dtype="float32"))
    got, pull_back = jax.vjp(partial(answer, spec, mask), *cast((params, x, State(*state))))
    d_params, d_x, d_initial = pull_back(cast((d_y, tuple(d_state))))
    pairs = {"y": (got[0], y), "h": (got[1][0], final.h), "c": (got[1][1], final.c)}
    pairs |= {f"d_{name}": (d_params[name], expected.params[name]) for name in params}
    pairs |= {"d_x": (d_x, expected.x)}
    pairs |= {"d_h": (d_initial.h, expected.state.h), "d_c": (d_initial.c, expected.state.c)}
    for name, (mine, true) in pairs.items():
        np.testing.assert_allclose(mine, true, rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_output_and_gradient_agrees_with_the_oracle(sizes, masked):
    assert_agrees(run, sizes, masked=masked)


def test_weights_reach_cudnn_as_it_wants_them(monkeypatch):
    """By JAX's own reference of what cuDNN computes: there is no GPU here."""
    from jax.experimental import rnn

    def stand_in(x, h, c, flat, lengths, I, H, layers, dropout, both, precision):
        weights = rnn.unpack_lstm_weights(flat, I, H, layers, both)
        return rnn.lstm_ref(x, h, c, *weights, lengths, I, H, layers, dropout, both)

    monkeypatch.setattr(rnn, "lstm", stand_in)
    assert_agrees(partial(run, implementation=cudnn.IMPLEMENTATION), SIZES[1])


def test_a_layer_without_bias_agrees():
    spec, params, x, state, *_ = problem(3, 2, 2, 4, masked=False, use_bias=False)
    cast = partial(jax.tree.map, partial(jnp.asarray, dtype="float32"))
    y, _ = run(spec, None, *cast((params, x, State(*state))))
    true, _ = reference.forward(spec, params, x, state)[0]
    np.testing.assert_allclose(y, true, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("dtype", "H"), [("float32", 64), ("float32", 128), ("bfloat16", 128)])
def test_both_kernels_lower_for_cuda(dtype, H):
    how = gpu_kernel.How("highest" if dtype == "float32" else None, interpret=False)
    T, B = 7, 32
    shapes = {"z_x": (T, B, 4, H), "U": (4, H, H), "h_0": (B, H), "c_0": (B, H), "real": (T, B)}
    kinds = {"U": dtype, "h_0": dtype, "real": "int32"}
    arrays = [jax.ShapeDtypeStruct(s, kinds.get(n, "float32")) for n, s in shapes.items()]

    def training(z_x, U, h_0, c_0, real):
        out, pull_back = jax.vjp(lambda *a: gpu_kernel.recurrence(how, *a, real), z_x, U, h_0, c_0)
        return out, pull_back(jax.tree.map(jnp.ones_like, out))

    text = jax.jit(training).trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("__gpu$xla.gpu.triton") == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"platform": "cpu"}, "it runs on a GPU, not on cpu"),
        ({"dtype": "float64"}, "no float64"),
        ({"dropout": True}, "no dropout"),
        ({"remat": "chunk"}, "no remat='chunk'"),
    ],
)
def test_what_it_cannot_do_has_a_reason(change, reason):
    setting = Setting(10, 2, "float32", "gpu")._replace(**change)
    assert gpu.IMPLEMENTATION.unsupported(Spec(input_size=3, hidden_size=4), setting).startswith(
        reason
    )


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (Spec(input_size=3, hidden_size=129), "no hidden_size above 128"),
        (Spec(input_size=3, hidden_size=4, peepholes="o"), "no peepholes='o', only ''"),
    ],
)
def test_layers_that_it_cannot_do_have_a_reason(spec, reason):
    setting = Setting(10, 2, "float32", "gpu")
    assert gpu.IMPLEMENTATION.unsupported(spec, setting) == reason


@pytest.mark.parametrize("module", [gpu, cudnn], ids=["gpu", "cudnn"])
def test_auto_never_takes_what_was_not_measured(module):
    spec, setting = Spec(input_size=3, hidden_size=4), Setting(10, 2, "float32", "gpu")
    assert module.IMPLEMENTATION.unsupported(spec, setting) is None
    assert module.IMPLEMENTATION.advantage(spec, setting) is None
    assert choose(spec, 10, 2, platform="gpu").name not in ("gpu", "cudnn")
