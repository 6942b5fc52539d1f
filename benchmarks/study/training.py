"""Many small trainings as one: every setting and every seed of a shape in one jitted call.

`train` is a pure function of stacked parameters and seeds, vmapped over their leading axis; the
axis may be sharded over a mesh of devices or processes (`mesh`), and the call stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from lstm_oracle.benchmarks.study.tasks import Batch, Task
from lstm_oracle.jax_impl import internals, lstm
from lstm_oracle.reference.spec import Spec, Stack


@dataclass(frozen=True)
class Recipe:
    """How long and how fast; Adam (Kingma & Ba 2015), gradient clipped to norm 1."""

    steps: int = 200
    evaluations: int = 10  # of the held-out loss, evenly spread, after the one at the start
    batch_size: int = 16
    learning_rate: float = 2e-2


def outputs(params: Any, batch: Batch, layers: tuple[Spec, ...]) -> Any:
    """What the network answers: (B, outputs), or (B, T, outputs) where every step counts."""
    # The plain scan: one that maps over many trainings, and splits over devices, as it is.
    y, state = lstm(
        params["layers"],
        batch.x,
        spec=Stack(layers),
        lengths=batch.lengths,
        implementation="scan",
    )
    read = state[-1].h if batch.counted is None else y
    return read @ params["head"]["W"] + params["head"]["b"]


def loss(answer: Any, batch: Batch, classes: bool) -> Any:
    """Mean squared error or cross-entropy in nats, over what counts."""
    if not classes:
        return jnp.square(answer - batch.target).mean()
    each = -jnp.take_along_axis(
        jax.nn.log_softmax(answer), batch.target[..., None].astype(int), axis=-1
    )[..., 0]
    return (
        each.mean() if batch.counted is None else (each * batch.counted).sum() / batch.counted.sum()
    )


def fit(
    params: Any, seed: Any, task: Task, layers: tuple[Spec, ...], recipe: Recipe
) -> tuple[Any, Any]:
    """Parameters after training, and held-out losses (evaluations,) on the way."""
    key = _key(seed)

    def value(params: Any, batch: Batch) -> Any:
        return loss(outputs(params, batch, layers), batch, task.classes)

    def update(carried: Any, step: Any) -> tuple[Any, None]:
        params, mean, square = carried
        batch = task.draw(jax.random.fold_in(key, step), recipe.batch_size)
        d = jax.grad(value)(params, batch)
        norm = jnp.sqrt(sum(jnp.square(a).sum() for a in jax.tree.leaves(d)))
        d = jax.tree.map(lambda a: a * jnp.minimum(1, 1 / jnp.maximum(norm, 1e-30)), d)
        mean = jax.tree.map(lambda m, a: 0.9 * m + 0.1 * a, mean, d)
        square = jax.tree.map(lambda s, a: 0.999 * s + 0.001 * a * a, square, d)
        first, second = 1 - 0.9 ** (step + 1.0), 1 - 0.999 ** (step + 1.0)

        def moved(p: Any, m: Any, s: Any) -> Any:
            return p - recipe.learning_rate * (m / first) / (jnp.sqrt(s / second) + 1e-8)

        return (jax.tree.map(moved, params, mean, square), mean, square), None

    every = recipe.steps // recipe.evaluations

    def leg(carried: Any, start: Any) -> tuple[Any, Any]:
        carried, _ = jax.lax.scan(update, carried, start + jnp.arange(every))
        return carried, value(carried[0], task.held_out)

    params = jax.tree.map(jnp.asarray, params)
    zero = jax.tree.map(jnp.zeros_like, params)
    starts = every * jnp.arange(recipe.evaluations)
    (params, _, _), losses = jax.lax.scan(leg, (params, zero, zero), starts)
    return params, losses


def _key(seed: Any) -> Any:
    return jax.random.fold_in(jax.random.key(0), seed)


def train(params: Any, seed: Any, task: Task, layers: tuple[Spec, ...], recipe: Recipe) -> Any:
    """Held-out losses (evaluations + 1,) of one training, and what was measured before it."""
    first_batch = task.draw(jax.random.fold_in(_key(seed), 0), recipe.batch_size)
    before = loss(outputs(params, task.held_out, layers), task.held_out, task.classes)
    _, losses = fit(params, seed, task, layers, recipe)
    losses = jnp.concatenate([before[None], losses])
    return {"loss": losses, **at_start(params, first_batch, task, layers)}


def at_start(params: Any, batch: Batch, task: Task, layers: tuple[Spec, ...]) -> dict[str, Any]:
    """Gates, variances and gradient flow of every layer on one batch: (depth,) or (depth, T)."""
    mask = jnp.arange(task.length) < batch.lengths[:, None]
    added = tuple(internals.probes(spec, batch.x) for spec in layers)

    def value(added: Any, cell_path_only: bool) -> Any:
        x, seen = batch.x, []
        for spec, p, probes in zip(layers, params["layers"], added, strict=True):
            seen.append(
                internals.trace(
                    p, x, mask=mask, spec=spec, added=probes, cell_path_only=cell_path_only
                )
            )
            x = seen[-1].r
        read = x[:, -1] if batch.counted is None else x
        answer = read @ params["head"]["W"] + params["head"]["b"]
        return loss(answer, batch, task.classes), seen

    whole, seen = jax.grad(value, has_aux=True)(added, False)
    cell, _ = jax.grad(value, has_aux=True)(added, True)
    of_layers = [
        _summary(trace, d, d_cell, mask) for trace, d, d_cell in zip(seen, whole, cell, strict=True)
    ]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *of_layers)


def _summary(seen: Any, d: Any, d_cell: Any, mask: Any) -> dict[str, Any]:
    real = mask[..., None]
    count = real.sum() * seen.f.shape[-1]

    def mean(a: Any) -> Any:
        return jnp.where(real, a, 0).sum() / count

    def by_step(a: Any) -> Any:
        """(T,) root mean square size of a (B, T, H) over the sequences that have the step."""
        return jnp.sqrt(jnp.square(a).sum(axis=(0, 2)) / jnp.maximum(mask.sum(axis=0), 1))

    def variance_by_step(a: Any) -> Any:
        """(T,) second moment over sequences and units."""
        squares = jnp.where(real, jnp.square(a), 0).sum(axis=(0, 2))
        return squares / jnp.maximum(mask.sum(axis=0), 1) / a.shape[-1]

    found = {f"mean_{k}": mean(getattr(seen, k)) for k in "ifo"}
    for k in "ifo":
        gate = getattr(seen, k)
        found[f"saturated_{k}"] = mean((gate < internals.CLOSED) | (gate > internals.OPEN))
    found["saturated_c"] = mean(jnp.abs(jnp.tanh(seen.c)) > internals.OPEN)
    found["log_f"] = mean(jnp.log(seen.f))
    found |= {f"second_moment_{k}": variance_by_step(seen.z[k]) for k in "ifgo"}
    found |= {
        "second_moment_c": variance_by_step(seen.c),
        "second_moment_h": variance_by_step(seen.h),
    }
    return found | {"d_h": by_step(d.h), "d_c": by_step(d.c), "d_c_cell": by_step(d_cell.c)}


@partial(jax.jit, static_argnames=("task", "layers", "recipe"))
def train_all(
    params: Any, seeds: Any, *, task: Task, layers: tuple[Spec, ...], recipe: Recipe
) -> Any:
    """`train` over the leading axis of every array of params, and of seeds (N,)."""
    return jax.vmap(lambda p, s: train(p, s, task, layers, recipe))(params, seeds)
