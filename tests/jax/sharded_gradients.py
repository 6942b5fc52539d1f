"""Run by a test in processes of its own: gradients of a batch that a mesh has split.

sharded_gradients.py problem.npz answer.npz implementation [rank processes port]
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.jax_impl import lstm, sharding
from lstm_oracle.reference.spec import Spec, State

problem_file, answer_file, implementation, *distributed = sys.argv[1:]
jax.config.update("jax_enable_x64", True)
rank, processes = 0, 1
if distributed:
    rank, processes, port = map(int, distributed)
    jax.distributed.initialize(f"localhost:{port}", processes, rank)


def loss(params, batch):
    y, state = lstm(
        params,
        batch["x"],
        State(batch["h0"], batch["c0"]),
        batch["mask"],
        spec=spec,
        implementation=implementation,
    )
    return sum(
        jnp.vdot(d, a)
        for d, a in ((batch["d_y"], y), (batch["d_h"], state.h), (batch["d_c"], state.c))
    )


def descend(gradients, count, params):
    return jax.tree.map(lambda p, d: p - 0.125 * d, params, gradients), count + 1


numbers = dict(np.load(problem_file))
params = {name[2:]: a for name, a in numbers.items() if name.startswith("p.")}
I, H = params["W_i"].shape
spec = Spec(input_size=I, hidden_size=H)
mesh = sharding.data_mesh()
own = {
    name: np.array_split(a, processes)[rank]
    for name, a in numbers.items()
    if not name.startswith("p.")
}
batch, params = sharding.split(own, mesh), sharding.replicated(params, mesh)
value, gradients = sharding.value_and_gradients(loss, mesh)(params, batch)
_, stepped, count = sharding.training_step(loss, descend, mesh)(
    params, sharding.replicated(np.zeros(()), mesh), batch
)
np.savez(
    answer_file,
    value=value,
    count=count,
    devices=len(mesh.devices),
    **{f"d.{name}": d for name, d in gradients.items()},
    **{f"s.{name}": p for name, p in stepped.items()},
)
