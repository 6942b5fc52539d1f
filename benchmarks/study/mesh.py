"""The trainings' axis over every device of every process, by JAX's own runtime.

The study's call is the same on one CPU core, on four forced host devices and in two processes: the
leading axis of its arguments is laid over a mesh of all devices, and XLA splits the rest. The
trainings never talk to each other, so that nothing but the results crosses a device.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "trainings"


def join(coordinator: str, processes: int, process: int) -> None:
    """Make this process one of several; to be called before anything touches a device."""
    # The CPU backend has no collectives of its own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, num_processes=processes, process_id=process)


def sharding() -> NamedSharding:
    """The leading axis over all devices of all processes."""
    return NamedSharding(Mesh(np.array(jax.devices()), (AXIS,)), PartitionSpec(AXIS))


def spread(tree: Any) -> Any:
    """Arrays (N, ...), the same in every process, as global arrays over all devices.

    N is made a multiple of the number of devices by repeating the last row; `gather` takes the
    number of rows that count.
    """
    layout, devices = sharding(), len(jax.devices())

    def place(a: Any) -> jax.Array:
        a = np.asarray(a)
        short = -len(a) % devices
        padded = np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) if short else a
        return jax.make_array_from_callback(padded.shape, layout, lambda rows: padded[rows])

    return jax.tree.map(place, tree)


def gather(tree: Any, rows: int) -> Any:
    """The first rows of global arrays as NumPy's, in every process."""
    from jax.experimental.multihost_utils import process_allgather

    whole = process_allgather(tree, tiled=True) if jax.process_count() > 1 else tree
    return jax.tree.map(lambda a: np.asarray(a)[:rows], whole)
