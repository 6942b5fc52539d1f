r"""Data-parallel training: the batch split over the devices of a mesh, gradients summed over all.

A loss of a batch is the sum, over its sequences, of a loss of each. So every device computes the
gradient of its own sequences, and one sum over the mesh (`jax.lax.psum`) gives that of the whole
batch, everywhere the same: not an approximation, nor a mean of means.

    mesh = data_mesh()                                  # all devices of all processes
    step = value_and_gradients(loss, mesh)              # loss(params, batch) -> sum over the batch
    params, batch = replicated(params, mesh), split(batch, mesh)
    value, gradients = step(params, batch)

In several processes call `jax.distributed.initialize` first, in each, and give `split` the
sequences of that process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

AXIS = "batch"


def data_mesh(devices: Any = None) -> Mesh:
    """All devices, of all processes, in one row; or the given ones.

    Examples
    --------
    >>> data_mesh().axis_names
    ('batch',)
    """
    devices = jax.devices() if devices is None else list(devices)
    return jax.make_mesh((len(devices),), (AXIS,), devices=devices)


def replicated(tree: Any, mesh: Mesh) -> Any:
    """The arrays whole on every device: parameters, states of an optimizer."""
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(whole, a), tree)


def split(tree: Any, mesh: Mesh) -> Any:
    """The arrays split over the devices along their first axis, the batch.

    In several processes every one gives the sequences that its own devices take, equally many.

    Raises
    ------
    ValueError
        For a batch that the devices of this process do not divide.
    """
    here = len(mesh.local_devices)

    def put(a: Any) -> jax.Array:
        if a.shape[0] % here:
            raise ValueError(
                f"split: an array has batch size {a.shape[0]}, expected a multiple of the "
                f"{here} devices of this process. Leave sequences out, or add some that are "
                "masked throughout."
            )
        rows = NamedSharding(mesh, PartitionSpec(AXIS))
        return jax.make_array_from_process_local_data(rows, a)

    return jax.tree.map(put, tree)


def value_and_gradients(
    loss: Callable[[Any, Any], Any], mesh: Mesh
) -> Callable[[Any, Any], tuple[jax.Array, Any]]:
    """The loss of a split batch and its gradients by params, the same on every device.

    Parameters
    ----------
    loss : callable (params, batch) -> scalar
        A sum over the sequences of `batch`. For a mean divide by the size of the whole batch, not
        by that of the part that `loss` sees.
    mesh : jax.sharding.Mesh
        As from `data_mesh`.

    Returns
    -------
    callable (params, batch) -> (value, gradients)
        Jitted; `params` as from `replicated`, `batch` (any pytree) as from `split`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from lstm_oracle.jax_impl import init, lstm
    >>> from lstm_oracle.reference.spec import Spec
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> mesh = data_mesh(jax.devices()[:1])
    >>> def loss(params, batch):
    ...     return jnp.sum(lstm(params, batch["x"], spec=spec).y ** 2)
    >>> params = replicated(init(jax.random.key(0), spec), mesh)
    >>> batch = split({"x": jnp.ones((2, 5, 3))}, mesh)
    >>> value, gradients = value_and_gradients(loss, mesh)(params, batch)
    >>> gradients["U_f"].shape
    (4, 4)
    """

    @jax.jit
    @partial(
        jax.shard_map,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(),
        # Parameters count as equal everywhere, so that JAX would sum their gradients by itself
        # where it can see the differentiation; kernels called through FFI it cannot see into.
        check_vma=False,
    )
    def parallel(params: Any, batch: Any) -> tuple[jax.Array, Any]:
        return jax.lax.psum(jax.value_and_grad(loss)(params, batch), AXIS)

    return parallel


def training_step(
    loss: Callable[[Any, Any], Any],
    update: Callable[[Any, Any, Any], tuple[Any, Any]],
    mesh: Mesh,
) -> Callable[[Any, Any, Any], tuple[jax.Array, Any, Any]]:
    """One step of data-parallel training, compiled whole.

    `update(gradients, optimizer_state, params) -> params, optimizer_state` is what optax's
    `GradientTransformation` and `apply_updates` do together; every device does it alike.

    Returns
    -------
    callable (params, optimizer_state, batch) -> (value, params, optimizer_state)
    """
    gradients_of = value_and_gradients(loss, mesh)

    @jax.jit
    def step(params: Any, optimizer_state: Any, batch: Any) -> tuple[jax.Array, Any, Any]:
        value, gradients = gradients_of(params, batch)
        params, optimizer_state = update(gradients, optimizer_state, params)
        return value, params, optimizer_state

    return step
