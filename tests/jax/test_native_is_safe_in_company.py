"""Threads, vmap, several devices and several processes: the native kernel gives the same bits."""

import concurrent.futures
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_oracle.jax_impl import lstm, native
from lstm_oracle.reference.spec import Spec

there, reason = native.available("float32")
pytestmark = pytest.mark.skipif(not there, reason=reason)

# Enough work for several threads, by rows and by units.
LARGE = [
    (Spec(input_size=24, hidden_size=64), 48, 12),
    (Spec(input_size=8, hidden_size=200), 2, 24),
]


def bits(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same_bits(got, expected):
    for a, b in zip(bits(got), bits(expected), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", LARGE, ids=["by rows", "by units"])
def test_calls_from_many_threads_give_the_bits_of_calls_in_turn(room, case):
    spec, B, T = case
    problems = [
        room.random_problem(spec, seed, B=B, T=T, mask="holes").cast(np.float32)
        for seed in range(4)
    ]

    def answer(problem):
        return bits(room.compiled_answer(problem, implementation="native"))

    expected = [answer(problem) for problem in problems]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for n, got in enumerate(pool.map(answer, problems * 10)):
            assert_same_bits(got, expected[n % len(problems)])


def sum_of_squares(params, x, state, mask, spec):
    y, state = lstm(params, x, state, mask, spec=spec, implementation="native")
    return (y**2).sum() + (state.h * state.c).sum()


gradients = jax.grad(sum_of_squares, argnums=(0, 1, 2))

AXES = {
    "examples": (None, 0, 0, 0),
    "seeds": (0, None, None, None),
    "everything": (0, 0, 0, 0),
    "examples of one state": (None, 0, None, None),
    "along another axis": (None, 1, 0, 0),
}


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES.keys())
def test_a_vmap_gives_the_bits_of_its_cases_in_turn(room, axes):
    spec = Spec(input_size=5, hidden_size=20)
    problems = [room.random_problem(spec, seed, B=3, T=4, mask="holes") for seed in range(3)]
    arguments = [(p.params, p.x, p.state, p.mask) for p in problems]

    def stacked(n):
        parts = [one[n] for one in arguments]
        if axes[n] is None:
            return parts[0]
        return jax.tree.map(lambda *leaves: np.stack(leaves, axis=axes[n]), *parts)

    def run(*arguments):
        return gradients(*arguments, spec)

    got = jax.jit(jax.vmap(run, axes))(*(stacked(n) for n in range(4)))
    for case in range(3):
        own = [arguments[0 if axes[n] is None else case][n] for n in range(4)]
        assert_same_bits(jax.tree.map(lambda a, n=case: a[n], got), jax.jit(run)(*own))


def test_a_vmap_of_cotangents_and_of_a_vmap_are_right(room):
    """The forward pass is shared there: what it keeps belongs to all the cases."""
    spec = Spec(input_size=3, hidden_size=4)
    problem = room.random_problem(spec, B=2, T=3, mask="holes")

    def last(implementation):
        def run(x):
            _, state = lstm(problem.params, x, problem.state, problem.mask, spec=spec,
                            implementation=implementation)  # fmt: skip
            return state.h

        return run

    x = jnp.stack([problem.x, 2 * problem.x])
    jacobians = [jax.vmap(jax.jacrev(last(name)))(x) for name in ("native", "scan")]
    assert room.relative_error(*jacobians) < 1e-13


# Prints the numbers of one training step as exact text.
SCRIPT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from lstm_oracle.jax_impl import lstm, native
from lstm_oracle.reference.spec import Spec

how, H, B = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
spec = Spec(input_size=24, hidden_size=H)
rng = np.random.default_rng(0)
def draw(*shape):
    return jnp.asarray(rng.normal(size=shape) / np.sqrt(shape[-1]), jnp.float32)
params = {f"W_{k}": draw(24, H) for k in "ifgo"} | {f"U_{k}": draw(H, H) for k in "ifgo"}
params |= {f"b_{k}": draw(H) for k in "ifgo"}
x = draw(B, 12, 24)
def loss(params, x):
    return (lstm(params, x, spec=spec, implementation="native").y ** 2).sum()
if how == "one device":
    got = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, x)
    got = [got[1], got[0]["U_f"]]
else:
    assert len(jax.devices()) == 4
    def shard(params, x):
        d_params, d_x = jax.grad(loss, argnums=(0, 1))(params, x)
        return d_x, d_params["U_f"][None]
    if how == "pmap":
        d_x, d_U = jax.pmap(shard, in_axes=(None, 0))(params, x.reshape(4, B // 4, 12, 24))
        got = [d_x.reshape(x.shape), d_U.sum((0, 1))]
    else:
        mesh = jax.make_mesh((4,), ("data",))
        def whole(params, x):
            # With check_vma, the gradient of what all have in common is summed by JAX.
            d_params, d_x = jax.grad(loss, argnums=(0, 1))(params, x)
            d_U = d_params["U_f"]
            return d_x, d_U if how == "shard_map" else jax.lax.psum(d_U, "data")
        place = lambda tree, spec: jax.device_put(tree, NamedSharding(mesh, spec))
        got = jax.jit(jax.shard_map(
            whole, mesh=mesh, in_specs=(P(), P("data")), out_specs=(P("data"), P()),
            check_vma=how == "shard_map"))(place(params, P()), place(x, P("data")))
print(json.dumps([native.threads(), *(np.asarray(a).astype(float).tolist() for a in got)]))
"""


def step(run_python, how, H=64, B=48, **variables):
    done = run_python(SCRIPT, how, str(H), str(B), JAX_PLATFORMS="cpu", **variables)
    assert done.returncode == 0, done.stderr
    threads, d_x, d_U = json.loads(done.stdout)
    return threads, np.asarray(d_x), np.asarray(d_U)


@pytest.mark.parametrize(("H", "B"), [(64, 48), (200, 4)])
def test_any_number_of_threads_gives_the_same_bits(run_python, H, B):
    _, d_x, d_U = step(run_python, "one device", H, B, LSTM_ORACLE_THREADS="1")
    for asked_for in (2, 7):
        threads, *got = step(run_python, "one device", H, B, LSTM_ORACLE_THREADS=str(asked_for))
        assert threads == asked_for
        assert_same_bits(got, [d_x, d_U])


@pytest.mark.parametrize("how", ["shard_map", "unchecked shard_map", "pmap"])
def test_four_devices_at_once_give_the_numbers_of_one(run_python, how):
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    _, d_x, d_U = step(run_python, "one device")
    _, got_d_x, got_d_U = step(run_python, how, LSTM_ORACLE_THREADS="4", **devices)
    np.testing.assert_array_equal(got_d_x, d_x)  # of each sequence on its own
    np.testing.assert_allclose(got_d_U, d_U, rtol=1e-4, atol=1e-4 * abs(d_U).max())
