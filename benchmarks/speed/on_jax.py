"""Everything that runs in JAX: our own implementations, Flax, Equinox, and cuDNN through JAX."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from lstm_oracle.benchmarks.speed.contender import cells, composed, result
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import Directions, Spec, State

Array = np.ndarray
Network = Callable[..., Any]  # (weights, x, states, mask) to (y, states), states one per cell
PRECISION: Literal["highest"] = "highest"  # float32 is float32: no TF32 on GPUs


class OnJax:
    """A network written in JAX, jitted, differentiated by `jax.vjp`."""

    def __init__(
        self,
        network: Callable[[Workload], Network],
        weights: Callable[[Spec, dict[str, Array]], Any],
        gradients: Callable[[Spec, Any], dict[str, Array]],
        unsupported: Callable[[Workload], str] = lambda workload: "",
        packages: tuple[str, ...] = (),
    ) -> None:
        """Take the network, the maps of a cell's weights to its layout and of gradients back."""
        self.network, self.weights, self.gradients = network, weights, gradients
        self._unsupported, self._packages = unsupported, packages

    def versions(self) -> dict[str, str]:
        """JAX's, and those of what is built on it."""
        return {"jax": jax.__version__, **{name: version(name) for name in self._packages}}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """What the network does not have."""
        return self._unsupported(workload)

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """Trace nothing yet."""
        return _Prepared(self, workload, mode)


class _Prepared:
    def __init__(self, contender: OnJax, workload: Workload, mode: Mode) -> None:
        self._contender, self._workload, self._mode = contender, workload, mode
        network = contender.network(workload)

        def training(weights: Any, x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
            outputs, pull_back = jax.vjp(
                lambda weights, x: network(weights, x, states, mask), weights, x
            )
            cotangents = jax.tree.map(lambda d, a: d.astype(a.dtype), cotangents, outputs)
            return outputs, pull_back(cotangents)

        def forward(weights: Any, x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
            return network(weights, x, states, mask), None

        self._run = jax.jit(training if mode == "training" else forward)

    def place(self, case: Case) -> Any:
        dtype = jnp.dtype(case.dtype)

        def put(tree: Any) -> Any:
            return jax.tree.map(lambda a: jnp.asarray(a, dtype), tree)

        pairs = zip(self._workload.specs, cells(case.params), strict=True)
        weights = [self._contender.weights(spec, params) for spec, params in pairs]
        cotangents = put((case.d_y, cells(case.d_state))) if self._mode == "training" else None
        mask = None if case.mask is None else jnp.asarray(case.mask)
        placed = put(weights), put(case.x), put(cells(case.state)), mask, cotangents
        return jax.block_until_ready(placed)

    def run(self, inputs: Any) -> Any:
        return jax.block_until_ready(self._run(*inputs))

    def result(self, case: Case, outputs: Any) -> Result:
        ((y, states), gradients) = jax.tree.map(lambda a: np.asarray(a, np.float32), outputs)
        if gradients is None:
            return result(case, y, states)
        d_weights, d_x = gradients
        pairs = zip(self._workload.specs, d_weights, strict=True)
        d_cells = [self._contender.gradients(spec, own) for spec, own in pairs]
        return result(case, y, states, d_cells, d_x)


def _identity(spec: Spec, params: Any) -> Any:
    return params


# --- ours -----------------------------------------------------------------------------------------


def _ours(implementation: str) -> OnJax:
    from lstm_oracle.jax_impl import lstm
    from lstm_oracle.jax_impl.implementations import NAMES

    if implementation not in NAMES:
        raise RuntimeError(f"jax_impl.lstm has no implementation {implementation!r}")

    def network(workload: Workload) -> Network:
        def run(weights: Any, x: Any, states: Any, mask: Any) -> Any:
            nest = _Nest(workload)
            y, state = lstm(
                nest(weights), x, nest(states), mask,
                spec=workload.architecture, precision=PRECISION, implementation=implementation,
            )  # fmt: skip
            return y, cells(state)

        return run

    def unsupported(workload: Workload) -> str:
        from lstm_oracle.jax_impl import choose

        reasons = []
        for spec in workload.specs:
            try:
                choose(spec, workload.T, workload.B, workload.dtype,
                       implementation=implementation, masked=workload.masked)  # fmt: skip
            except ValueError as error:
                reasons.append(str(error))
        return reasons[0] if reasons else ""

    return OnJax(network, _identity, _by_name, unsupported)


def _by_name(spec: Spec, gradients: Any) -> dict[str, Array]:
    """A pytree's dicts come back sorted by key."""
    return {name: gradients[name] for name in spec.param_shapes}


class _Nest:
    """A list of one thing per cell, nested as the architecture nests its parameters."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def __call__(self, parts: Any) -> Any:
        layers = list(parts)
        if self._workload.directions == 2:
            layers = [Directions(*layers[n : n + 2]) for n in range(0, len(layers), 2)]
        return layers[0] if self._workload.layers == 1 else tuple(layers)


def scan() -> OnJax:
    """The plain scan, differentiated by JAX."""
    return _ours("scan")


def fused() -> OnJax:
    """The hand-written derivative in pure XLA."""
    return _ours("fused")


def native() -> OnJax:
    """The compiled kernel."""
    return _ours("native")


def gpu() -> OnJax:
    """The kernel that keeps U on chip."""
    return _ours("gpu")


def auto() -> OnJax:
    """The one that the written rule chooses."""
    return _ours("auto")


# --- Flax -----------------------------------------------------------------------------------------


def flax() -> OnJax:
    """`flax.linen.RNN` around `OptimizedLSTMCell`."""
    import flax.linen as nn

    def network(workload: Workload) -> Network:
        layers = [
            nn.RNN(nn.OptimizedLSTMCell(workload.H), return_carry=True, reverse=reverse,
                   keep_order=True)
            for reverse in (False, True)
        ]  # fmt: skip

        def run(weights: Any, x: Any, states: Any, mask: Any) -> Any:
            lengths = None if mask is None else mask.sum(axis=1)

            def layer(cell: int, x: Any, state: Any, reverse: bool) -> Any:
                h, c = state
                (c, h), y = layers[reverse].apply(
                    {"params": {"cell": weights[cell]}}, x,
                    initial_carry=(c, h), seq_lengths=lengths,
                )  # fmt: skip
                # It goes on computing behind the end of a sequence.
                return (y if mask is None else jnp.where(mask[..., None], y, 0)), State(h, c)

            return composed(workload, layer, lambda ys: jnp.concatenate(ys, -1), x, states)

        return run

    def weights(spec: Spec, params: dict[str, Array]) -> Any:
        nested: dict[str, dict[str, Array]] = {}
        for path, array in to_layout("flax", spec, params).items():
            module, _, name = path.partition("/")
            nested.setdefault(module, {})[name] = array
        return nested

    def gradients(spec: Spec, own: Any) -> dict[str, Array]:
        flat = {f"{module}/{name}": a for module, part in own.items() for name, a in part.items()}
        return gradients_from_layout("flax", spec, flat)

    return OnJax(network, weights, gradients, packages=("flax",))


# --- Equinox --------------------------------------------------------------------------------------


def equinox() -> OnJax:
    """`equinox.nn.LSTMCell`, mapped over the batch, in a `lax.scan`."""
    import equinox as eqx

    def network(workload: Workload) -> Network:
        shells = [
            eqx.nn.LSTMCell(spec.input_size, spec.hidden_size, key=jax.random.key(0))
            for spec in workload.specs
        ]

        def run(weights: Any, x: Any, states: Any, mask: Any) -> Any:
            def layer(cell: int, x: Any, state: Any, reverse: bool) -> Any:
                own = weights[cell]
                filled = eqx.tree_at(
                    lambda c: (c.weight_ih, c.weight_hh, c.bias), shells[cell],
                    (own["weight_ih"], own["weight_hh"], own["bias"]),
                )  # fmt: skip

                def step(state: Any, inputs: Any) -> Any:
                    x_t, real = inputs
                    new = State(*jax.vmap(filled)(x_t, tuple(state)))
                    if real is None:
                        return new, new.h
                    new = jax.tree.map(lambda n, s: jnp.where(real[:, None], n, s), new, state)
                    return new, jnp.where(real[:, None], new.h, 0)

                inputs = jnp.swapaxes(x, 0, 1), None if mask is None else mask.T
                final, y = jax.lax.scan(step, State(*state), inputs, reverse=reverse)
                return jnp.swapaxes(y, 0, 1), final

            return composed(workload, layer, lambda ys: jnp.concatenate(ys, -1), x, states)

        return run

    def weights(spec: Spec, params: dict[str, Array]) -> Any:
        return to_layout("equinox", spec, params)

    def gradients(spec: Spec, own: Any) -> dict[str, Array]:
        return gradients_from_layout("equinox", spec, own)

    return OnJax(network, weights, gradients, packages=("equinox",))


# --- cuDNN ----------------------------------------------------------------------------------------


class Cudnn(OnJax):
    """`jax.experimental.rnn.lstm`: all layers in one call, weights in one array."""

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """One flat array of weights instead of one tree per cell."""
        return _CudnnPrepared(self, workload, mode)


class _CudnnPrepared(_Prepared):
    """Between cuDNN's flat weights and one tree per cell."""

    def place(self, case: Case) -> Any:
        trees, *rest = super().place(case)
        matrices = [own[name].ravel() for own in trees for name in ("weight_ih", "weight_hh")]
        biases = [own[name] for own in trees for name in ("bias_ih", "bias_hh")]
        return jnp.concatenate([*matrices, *biases]), *rest

    def result(self, case: Case, outputs: Any) -> Result:
        from jax.experimental import rnn

        forward, gradients = outputs
        if gradients is None:
            return super().result(case, outputs)
        d_flat, d_x = gradients
        w = self._workload
        parts = rnn.unpack_lstm_weights(d_flat, w.I, w.H, w.layers, w.directions == 2)
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        trees = [
            dict(zip(names, (part[n] for part in parts), strict=True)) for n in range(len(w.specs))
        ]
        return super().result(case, (forward, (trees, d_x)))


def cudnn(run: Any = None) -> Cudnn:
    """cuDNN; `run` stands in for it where there is no GPU, in tests."""
    from jax.experimental import rnn

    run = rnn.lstm if run is None else run

    def network(workload: Workload) -> Network:
        def forward(flat: Any, x: Any, states: Any, mask: Any) -> Any:
            B, T, _ = x.shape
            lengths = jnp.full(B, T) if mask is None else mask.sum(axis=1)
            h, c = (jnp.stack(parts) for parts in zip(*states, strict=True))
            y, h, c = run(
                x, h, c, flat, lengths.astype(jnp.int32), workload.I, workload.H, workload.layers,
                0.0, workload.directions == 2, jax.lax.Precision.HIGHEST,
            )  # fmt: skip
            return y, [State(h[n], c[n]) for n in range(len(states))]

        return forward

    def unsupported(workload: Workload) -> str:
        return "" if workload.dtype == "float32" else f"no {workload.dtype}"

    def weights(spec: Spec, params: dict[str, Array]) -> Any:
        return to_layout("torch", spec, params)

    def gradients(spec: Spec, own: Any) -> dict[str, Array]:
        return gradients_from_layout("torch", spec, own)

    return Cudnn(network, weights, gradients, unsupported)
