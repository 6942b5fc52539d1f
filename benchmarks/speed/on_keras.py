"""Keras layers, Keras' own and ours, as a user runs them: compiled where the backend compiles."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from lstm_oracle.benchmarks.speed.contender import cells, result
from lstm_oracle.benchmarks.speed.workload import Mode, Workload
from lstm_oracle.conformance.adapters import keras_lstm, ours_keras
from lstm_oracle.conformance.adapters.keras_network import Network
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.spec import Bidirectional, Directions, Stack, State
from lstm_oracle.reference.tree import flatten

Run = Callable[..., Any]


class OnKeras:
    """A network of Keras layers on the backend of this process."""

    def __init__(self, make: Any, *, jit_compile: bool = False, **options: Any) -> None:
        """Take how a layer is made, whether TensorFlow uses XLA, and options of the layer."""
        self.make, self.jit_compile, self.options = make, jit_compile, options
        _set_threads()

    def versions(self) -> dict[str, str]:
        """Keras' and the backend's."""
        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: __import__(backend).__version__}

    def unsupported(self, workload: Workload, mode: Mode) -> str:
        """Nothing of what is asked here."""
        return ""

    def prepare(self, workload: Workload, mode: Mode) -> _Prepared:
        """Build the layers."""
        return _Prepared(self, workload, mode)


class _Prepared:
    def __init__(self, contender: OnKeras, workload: Workload, mode: Mode) -> None:
        self._contender, self._mode = contender, mode
        self._network: Network | None = None
        self._run: Run | None = None

    def place(self, case: Case) -> Any:
        if self._network is None:
            options = dict(self._contender.options)
            self._network = Network(replace(case, options=options), self._contender.make)
            self._run = _BACKENDS[keras.backend.backend()](
                self._network, self._mode, self._contender.jit_compile
            )
        network = self._network
        dtype = network.variables[0].dtype

        def put(a: Any) -> Any:
            return ops.convert_to_tensor(np.asarray(a, np.float32), dtype=dtype)

        weights = [put(a) for a in network.arrays(case)]
        for variable, value in zip(network.variables, weights, strict=True):
            variable.assign(value)
        states, d_states = ([State(*map(put, s)) for s in cells(tree)]
                            for tree in (case.state, case.d_state))  # fmt: skip
        mask = None if case.mask is None else ops.convert_to_tensor(case.mask)
        return weights, put(case.x), states, mask, [put(case.d_y), *_leaves(d_states)]

    def run(self, inputs: Any) -> Any:
        if self._run is None:
            raise RuntimeError("place comes before run")
        return self._run(*inputs)

    def result(self, case: Case, outputs: Any) -> Result:
        if self._network is None:
            raise RuntimeError("place comes before result")
        (y, *states), gradients = outputs
        y, *states = map(_to_numpy, (y, *states))
        pairs = [State(*states[n : n + 2]) for n in range(0, len(states), 2)]
        if gradients is None:
            return result(case, y, pairs)
        *d_weights, d_x = map(_to_numpy, gradients)
        d_cells = cells(self._network.gradients(case, list(d_weights)))
        return result(case, y, pairs, d_cells, d_x)


def _leaves(states: Any) -> list[Any]:
    return [a for state in states for a in state]


def _to_numpy(tensor: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(ops.cast(tensor, "float32")))


def _set_threads() -> None:
    threads = int(os.environ["OMP_NUM_THREADS"])
    if keras.backend.backend() == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.experimental.enable_tensor_float_32_execution(False)


def _forward(network: Network, x: Any, states: Any, mask: Any) -> list[Any]:
    """y and the final states as a flat list, from states one per cell."""
    nested = states[0] if len(states) == 1 else _nested(network, states)
    y, final = network.forward(x, nested, mask, None)
    return [y, *flatten(final).values()]


def _nested(network: Network, states: Any) -> Any:
    """In the nesting of the architecture."""
    architecture = network.node.architecture
    layers = architecture.layers if isinstance(architecture, Stack) else (architecture,)
    rest = list(states)
    nested = [
        Directions(rest.pop(0), rest.pop(0)) if isinstance(layer, Bidirectional) else rest.pop(0)
        for layer in layers
    ]
    return tuple(nested) if isinstance(architecture, Stack) else nested[0]


# --- one way per backend --------------------------------------------------------------------------


def _jax(network: Network, mode: Mode, jit_compile: bool) -> Run:
    import jax

    def forward(weights: Any, x: Any, states: Any, mask: Any) -> Any:
        pairs = list(zip(network.variables, weights, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return _forward(network, x, states, mask)

    @jax.jit
    def run(weights: Any, x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
        if mode == "forward":
            return forward(weights, x, states, mask), None
        outputs, pull_back = jax.vjp(lambda w, x: forward(w, x, states, mask), weights, x)
        d_weights, d_x = pull_back(list(cotangents))
        return outputs, [*d_weights, d_x]

    return lambda *inputs: jax.block_until_ready(run(*inputs))


def _tensorflow(network: Network, mode: Mode, jit_compile: bool) -> Run:
    import tensorflow as tf

    @tf.function(jit_compile=jit_compile)
    def run(x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
        if mode == "forward":
            return _forward(network, x, states, mask), None
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = _forward(network, x, states, mask)
        sources = [*(v.value for v in network.variables), x]
        return outputs, tape.gradient(outputs, sources, output_gradients=cotangents)

    def blocked(weights: Any, x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
        outputs, gradients = run(x, states, mask, cotangents)
        if os.environ.get("SPEED_DEVICE") == "gpu":
            tf.test.experimental.sync_devices()
        return outputs, gradients

    return blocked


def _torch(network: Network, mode: Mode, jit_compile: bool) -> Run:
    import torch

    def run(weights: Any, x: Any, states: Any, mask: Any, cotangents: Any) -> Any:
        if mode == "forward":
            with torch.no_grad():
                outputs, gradients = _forward(network, x, states, mask), None
        else:
            x = x.detach().requires_grad_(True)
            outputs = _forward(network, x, states, mask)
            sources = [*(v.value for v in network.variables), x]
            gradients = torch.autograd.grad(outputs, sources, cotangents)
        if os.environ.get("SPEED_DEVICE") == "gpu":
            torch.cuda.synchronize()
        return outputs, gradients

    return run


_BACKENDS = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}


def theirs() -> OnKeras:
    """`keras.layers.LSTM`."""
    return OnKeras(keras_lstm.make)


def theirs_xla() -> OnKeras:
    """`keras.layers.LSTM` on TensorFlow, compiled by XLA."""
    return OnKeras(keras_lstm.make, jit_compile=True)


def ours() -> OnKeras:
    """`lstm_oracle.keras_impl.LSTM` by its own equations."""
    return OnKeras(ours_keras.make)


def ours_fast() -> OnKeras:
    """`lstm_oracle.keras_impl.LSTM` on JAX with the fast path of `jax_impl`."""
    return OnKeras(ours_keras.make, implementation="auto")
