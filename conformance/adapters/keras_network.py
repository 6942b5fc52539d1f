"""An architecture out of Keras layers, and its value and gradients on each backend.

Keras' own parts are used for everything that Keras has: `go_backwards`, `Bidirectional`, layers in
a row, states passed in and out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from lstm_oracle.conformance.adapters.support import (
    by_gate,
    dictionaries,
    key,
    nested,
    parts,
    per_step,
    specs,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
)
from lstm_oracle.reference.tree import flatten, map_leaves, replace

MakeLayer = Callable[..., Any]  # (Spec, **constructor arguments) to a layer


class Node:
    """A part of an architecture, run by Keras layers."""

    def __init__(self, architecture: Architecture, make: MakeLayer, arguments: dict[str, Any]):
        """Make the layers."""
        self.architecture = architecture
        self.children: tuple[Node, ...] = ()
        self.layer: Any = None
        self._build(make, arguments)

    def _build(self, make: MakeLayer, arguments: dict[str, Any]) -> None:
        architecture = self.architecture
        if isinstance(architecture, Spec):
            self.layer = make(architecture, **arguments)
        elif isinstance(architecture, Reverse):
            self.layer = make(architecture.layer, go_backwards=True, **arguments)
        elif isinstance(architecture, Bidirectional):
            self.layer = keras.layers.Bidirectional(
                make(architecture.forward, **arguments),
                merge_mode=architecture.merge,
                backward_layer=make(architecture.backward, go_backwards=True, **arguments),
                dtype=arguments["dtype"],
            )
            self.layer.build((None, None, architecture.input_size))
        else:
            self.children = tuple(Node(part, make, arguments) for part in parts(architecture))

    def recurrent_layers(self) -> list[tuple[Spec, Any]]:
        """(Spec, layer) in the order in which parameters are nested."""
        if self.children:
            return [pair for child in self.children for pair in child.recurrent_layers()]
        if isinstance(self.architecture, Bidirectional):
            layers = [self.layer.forward_layer, self.layer.backward_layer]
        else:
            layers = [self.layer]
        return list(zip(specs(self.architecture), layers, strict=True))

    def __call__(self, x: Any, state: Any, mask: Any, **options: Any) -> tuple[Any, Any]:
        """Output and final state; state may be None."""
        if isinstance(self.architecture, Stack):
            return self._stack(x, state, mask, options)
        if isinstance(self.architecture, Chunks):
            return self._chunks(x, state, mask, options)
        flat = None if state is None else list(keras.tree.flatten(state))
        y, *final = self.layer(x, initial_state=flat, mask=mask, **options)
        if isinstance(self.architecture, Bidirectional):
            if self.architecture.merge is None:
                y = Directions(y, final.pop(0))
            return y, Directions(State(*final[:2]), State(*final[2:]))
        if isinstance(self.architecture, Reverse) and self.architecture.output_order == "original":
            y = ops.flip(y, axis=1)
        return y, State(*final)

    def _stack(self, x: Any, state: Any, mask: Any, options: Any) -> tuple[Any, Any]:
        finals = []
        for n, child in enumerate(self.children):
            x, final = child(x, None if state is None else state[n], mask, **options)
            finals.append(final)
        return x, tuple(finals)

    def _chunks(self, x: Any, state: Any, mask: Any, options: Any) -> tuple[Any, Any]:
        """As a stateful layer on consecutive pieces."""
        length, ys = self.architecture.length, []  # type: ignore[union-attr]
        for start in range(0, x.shape[1], length):
            piece = slice(start, start + length)
            if start and self.architecture.truncate:  # type: ignore[union-attr]
                state = map_leaves(ops.stop_gradient, state)
            part = None if mask is None else mask[:, piece]
            y, state = self.children[0](x[:, piece], state, part, **options)
            ys.append(y)
        return ops.concatenate(ys, axis=1), state


class Network:
    """A whole architecture with fixed options, ready to be asked for values and gradients."""

    def __init__(self, case: Case, make: MakeLayer) -> None:
        """Build the layers for cases like this one."""
        dropout = case.dropout
        arguments: dict[str, Any] = {"dtype": case.dtype, **case.options}
        arguments |= {"return_sequences": True, "return_state": True}
        # Any rate: it only switches on the use of the masks that are put in below.
        if dropout is not None and dropout.x is not None:
            arguments["dropout"] = 0.5
        if dropout is not None and dropout.h is not None:
            arguments["recurrent_dropout"] = 0.5
        self.training = dropout is not None
        self.node = Node(case.architecture, make, arguments)
        self.layers = self.node.recurrent_layers()
        self.variables = [v for _, layer in self.layers for v in layer.trainable_variables]
        self.compiled = BACKENDS[keras.backend.backend()](self)

    def forward(self, x: Any, state: Any, mask: Any, dropout: Any) -> tuple[Any, Any]:
        """Output and final state with the variables' present values."""
        if not self.training:
            return self.node(x, state, mask)
        self._put_dropout(dropout)
        return self.node(x, state, mask, training=True)

    def _put_dropout(self, dropout: Any) -> None:
        """Keras keeps the masks of a call on the cell, and draws none where there are some."""
        cell = self.layers[0][1].cell
        cell._dropout_mask, cell._recurrent_dropout_mask = dropout[:2]
        zoneout = list(dropout[2:])
        if zoneout:
            cell.zoneout_masks = lambda like, training: zoneout

    def dropout_masks(self, case: Case) -> Any:
        """Multipliers as the cell keeps them: one, or one per gate with implementation 1."""
        if case.dropout is None:
            return None
        spec, layer = self.layers[0]
        per_gate = layer.cell.implementation == 1

        def listed(multiplier: Any) -> Any:
            if multiplier is None:
                return None
            arrays = [a.astype(_numpy_dtype(case)) for a in by_gate(multiplier, len(spec.gates))]
            return arrays if per_gate else arrays[0]

        return listed(case.dropout.x), listed(case.dropout.h), *_zoneout_masks(case)

    def arrays(self, case: Case) -> list[np.ndarray]:
        """Values of the variables, in their order."""
        found = []
        for params, (spec, layer) in zip(dictionaries(case.params), self.layers, strict=True):
            named = to_layout("keras", spec, params)
            found += [named[variable.name] for variable in layer.trainable_variables]
        return found

    def gradients(self, case: Case, arrays: list[np.ndarray]) -> Any:
        """Our parameters' gradients from those of the variables."""
        rest, by_layer = list(arrays), []
        for spec, layer in self.layers:
            names = [variable.name for variable in layer.trainable_variables]
            values, rest = rest[: len(names)], rest[len(names) :]
            by_layer.append(
                gradients_from_layout("keras", spec, dict(zip(names, values, strict=True)))
            )
        return nested(case.params, by_layer)

    def run(self, case: Case) -> Result:
        """The network's answer to a case like the one it was built for."""
        dtype = _numpy_dtype(case)
        y, final, d_weights, d_x, d_state = self.compiled(
            [a.astype(dtype) for a in self.arrays(case)],
            case.x.astype(dtype),
            map_leaves(lambda a: a.astype(dtype), case.state),
            case.mask,
            self.dropout_masks(case),
            map_leaves(lambda a: a.astype(dtype), (case.d_y, case.d_state)),
        )
        y, final, d_weights, d_x, d_state = map_leaves(
            lambda a: _to_numpy(a, case.dtype), (y, final, tuple(d_weights), d_x, d_state)
        )
        return Result(y, final, self.gradients(case, list(d_weights)), d_x, d_state)


def _zoneout_masks(case: Case) -> list[np.ndarray]:
    """Masks of r and c with time leading, one step's for all steps where there is no other."""
    _, T, _ = case.x.shape
    found = []
    for mask in case.dropout[2:]:
        if mask is not None:
            per_step = mask[:, None] if mask.ndim == 2 else mask
            B, _, N = per_step.shape
            found.append(np.swapaxes(np.broadcast_to(per_step, (B, T, N)), 0, 1))
    return [mask.astype(_numpy_dtype(case)) for mask in found]


class KerasAdapter:
    """Runs cases on a kind of LSTM layer; one network for all cases that can share it."""

    def __init__(self, make: MakeLayer, unsupported: Callable[[Case], str]) -> None:
        """Take how a layer is made, and why one cannot be."""
        self._make, self._unsupported = make, unsupported
        self._networks: dict[Any, Network] = {}

    def unsupported(self, case: Case) -> str:
        """What neither Keras' wrappers nor the layer can do."""
        return wrappers_lack(case) or self._unsupported(case)

    def run(self, case: Case) -> Result:
        """The layers' answer."""
        kind = key(case)
        if kind not in self._networks:
            self._networks[kind] = Network(case, self._make)
        return self._networks[kind].run(case)

    def versions(self) -> dict[str, str]:
        """Keras' and the backend's."""
        backend = keras.backend.backend()
        module = __import__(backend)
        return {"keras": keras.__version__, backend: module.__version__}


def wrappers_lack(case: Case) -> str:
    """Why Keras' own building blocks cannot build this."""
    architecture = case.architecture
    if per_step(case.dropout) if not isinstance(case.dropout, tuple) or _single(case) else False:
        return "no dropout masks per step"
    if isinstance(architecture, Chunks) and case.mask is not None:
        return "a piece does not know whether earlier ones had a real step"
    return _nesting_lacks(architecture, case.mask is not None)


def _single(case: Case) -> bool:
    return isinstance(case.architecture, Spec)


def _nesting_lacks(architecture: Architecture, masked: bool) -> str:
    inner = parts(architecture)
    if isinstance(architecture, (Bidirectional, Reverse)):
        if not all(isinstance(part, Spec) for part in inner):
            return f"no {type(architecture).__name__} of combined layers"
        emits = {spec.masked_output for spec in specs(architecture)}
        if isinstance(architecture, Bidirectional) and masked and emits != {"zero"}:
            return "Bidirectional always emits zeros at masked steps"
    return next((r for part in inner if (r := _nesting_lacks(part, masked))), "")


def _numpy_dtype(case: Case) -> Any:
    """bfloat16 and float16 travel as float32."""
    return np.float64 if case.dtype == "float64" else np.float32


def _to_numpy(array: Any, dtype: str) -> np.ndarray:
    if dtype not in ("float64", "float32"):
        array = ops.cast(array, "float32")
    return np.asarray(ops.convert_to_numpy(array))


# --- value and gradients, one way per backend -----------------------------------------------------


def _put(network: Network, tree: Any) -> Any:
    """Arrays as tensors of the network's dtype."""
    dtype = network.variables[0].dtype
    return map_leaves(lambda a: ops.convert_to_tensor(a, dtype=dtype), tree)


def _dropout_tensors(network: Network, masks: Any) -> Any:
    if masks is None:
        return None
    return tuple(
        [_put(network, a) for a in part] if isinstance(part, list) else _put(network, part)
        for part in masks
    )


def _jax(network: Network) -> Any:
    import jax

    def forward(values: Any, x: Any, state: Any, mask: Any, dropout: Any) -> Any:
        pairs = list(zip(network.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return network.forward(x, state, mask, dropout)

    @jax.jit
    def compiled(values: Any, x: Any, state: Any, mask: Any, dropout: Any, cotangents: Any) -> Any:
        (y, final), pull_back = jax.vjp(
            lambda values, x, state: forward(values, x, state, mask, dropout), values, x, state
        )
        return y, final, *pull_back(cotangents)

    def run(values: Any, x: Any, state: Any, mask: Any, dropout: Any, cotangents: Any) -> Any:
        values = [_put(network, a) for a in values]
        tensors = _put(network, (x, state, cotangents))
        x, state, cotangents = tensors
        return compiled(values, x, state, mask, _dropout_tensors(network, dropout), cotangents)

    return run


def _assign(network: Network, values: Any) -> None:
    for variable, value in zip(network.variables, values, strict=True):
        variable.assign(ops.cast(value, variable.dtype))


def _tensorflow(network: Network) -> Any:
    import tensorflow as tf

    def run(values: Any, x: Any, state: Any, mask: Any, dropout: Any, cotangents: Any) -> Any:
        _assign(network, values)
        x, state, cotangents = _put(network, (x, state, cotangents))
        mask = None if mask is None else tf.constant(mask)
        dropout = _dropout_tensors(network, dropout)
        with tf.GradientTape() as tape:
            tape.watch([x, *flatten(state).values()])
            y, final = network.forward(x, state, mask, dropout)
        sources = [*(v.value for v in network.variables), x, *flatten(state).values()]
        got = tape.gradient(
            list(flatten((y, final)).values()),
            sources,
            output_gradients=list(flatten(cotangents).values()),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return _sorted(network, y, final, got, state)

    return run


def _torch(network: Network) -> Any:
    import torch

    def run(values: Any, x: Any, state: Any, mask: Any, dropout: Any, cotangents: Any) -> Any:
        _assign(network, values)
        x, state, cotangents = _put(network, (x, state, cotangents))
        mask = None if mask is None else torch.as_tensor(mask)
        dropout = _dropout_tensors(network, dropout)
        inputs = [x, *flatten(state).values()]
        for tensor in inputs:
            tensor.requires_grad_(True)
        y, final = network.forward(x, state, mask, dropout)
        sources = [*(v.value for v in network.variables), *inputs]
        emitted: list[Any] = list(flatten((y, final)).values())
        pairs = zip(emitted, flatten(cotangents).values(), strict=True)
        outputs = [(out, d) for out, d in pairs if out.requires_grad]
        got = torch.autograd.grad(
            [out for out, _ in outputs],
            sources,
            grad_outputs=[d for _, d in outputs],
            allow_unused=True,
        )
        got = [torch.zeros_like(s) if g is None else g for g, s in zip(got, sources, strict=True)]
        y, final = map_leaves(lambda a: a.detach(), (y, final))
        return _sorted(network, y, final, got, state)

    return run


def _sorted(network: Network, y: Any, final: Any, gradients: Any, state: Any) -> Any:
    """Gradients of the variables, of x and of the state, in our nesting."""
    count = len(network.variables)
    d_state = replace(state, dict(zip(flatten(state), gradients[count + 1 :], strict=True)))
    return y, final, gradients[:count], gradients[count], d_state


BACKENDS = {"jax": _jax, "tensorflow": _tensorflow, "torch": _torch}
