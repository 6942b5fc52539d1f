"""`torch.nn.LSTM`: plain and projected layers, bidirectional ones, stacks; masks as packed lengths.

What is not a stack of its own kind is put together from several modules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lstm_oracle.conformance.adapters.support import (
    first,
    lacking,
    specs,
    standard_activations,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import (
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
    State,
)
from lstm_oracle.reference.tree import flatten, map_leaves, replace


class TorchLSTM:
    """The module, differentiated by autograd."""

    def unsupported(self, case: Case) -> str:
        """What torch.nn.LSTM does not have."""
        return first(
            [
                *(_lacks(spec, case.mask is not None) for spec in specs(case.architecture)),
                unknown_options(case, frozenset()),
                "no masks on inputs and states" if case.dropout is not None else "",
                _mask_lacks(case.mask),
                _nesting_lacks(case.architecture),
            ]
        )

    def run(self, case: Case) -> Result:
        """The module's answer."""
        dtype = getattr(torch, case.dtype)

        def put(tree: Any, *, differentiated: bool = False) -> Any:
            return map_leaves(
                lambda a: torch.tensor(a, dtype=dtype, requires_grad=differentiated), tree
            )

        lengths = None if case.mask is None else torch.as_tensor(case.mask.sum(axis=1))
        x, state = put(case.x, differentiated=True), put(case.state, differentiated=True)
        layers = _layers(case.architecture, case.params, dtype)
        y, final = _apply(case.architecture, layers, x, state, lengths)
        weights = [p for module, _ in layers for p in module.parameters()]
        sources = [*weights, x, *flatten(state).values()]
        got = torch.autograd.grad(
            list(flatten((y, final)).values()),
            sources,
            grad_outputs=list(flatten(put((case.d_y, case.d_state))).values()),
        )
        d_weights, d_x, d_states = got[: len(weights)], got[len(weights)], got[len(weights) + 1 :]
        d_state = replace(state, dict(zip(flatten(state), d_states, strict=True)))
        y, final, d_x, d_state = map_leaves(_to_numpy, (y, final, d_x, d_state))
        return Result(y, final, _gradients(case, layers, d_weights), d_x, d_state)

    def versions(self) -> dict[str, str]:
        """PyTorch's."""
        return {"torch": torch.__version__}


def adapter() -> TorchLSTM:
    """The adapter."""
    return TorchLSTM()


# --- what it lacks --------------------------------------------------------------------------------


def _lacks(spec: Spec, masked: bool) -> str:
    reason = lacking(spec)
    if reason and reason != "no projection":
        return reason
    if not standard_activations(spec):
        return "no choice of activations"
    if masked and spec.masked_output != "zero":
        return "emits zeros at masked steps"
    return ""


def _mask_lacks(mask: np.ndarray | None) -> str:
    if mask is None:
        return ""
    lengths = mask.sum(axis=1)
    if not (mask == (np.arange(mask.shape[1]) < lengths[:, None])).all():
        return "masks are lengths only"
    return "no length zero" if not lengths.all() else ""


def _nesting_lacks(architecture: Any) -> str:
    if isinstance(architecture, (Reverse, Chunks)):
        return f"no {type(architecture).__name__}"
    if isinstance(architecture, Stack):
        return first(_nesting_lacks(layer) for layer in architecture.layers)
    if isinstance(architecture, Bidirectional):
        if architecture.forward != architecture.backward:
            return "halves are alike" if isinstance(architecture.forward, Spec) else "no nesting"
        if not isinstance(architecture.forward, Spec):
            return "no Bidirectional of combined layers"
    return ""


# --- modules --------------------------------------------------------------------------------------

Layer = tuple[Any, tuple[Spec, ...]]  # a module, and the Spec of each of its directions


def _layers(architecture: Any, params: Any, dtype: Any) -> list[Layer]:
    """One module per layer, with its weights."""
    if isinstance(architecture, Stack):
        pairs = zip(architecture.layers, params, strict=True)
        return [found for pair in pairs for found in _layers(*pair, dtype)]
    both = isinstance(architecture, Bidirectional)
    directions = (architecture.forward, architecture.backward) if both else (architecture,)
    spec = directions[0]
    module = torch.nn.LSTM(
        spec.input_size,
        spec.hidden_size,
        bias=spec.use_bias,
        batch_first=True,
        bidirectional=both,
        proj_size=spec.projection_size or 0,
        dtype=dtype,
    )
    named = dict(module.named_parameters())
    with torch.no_grad():
        for own, suffix in zip(params if both else (params,), _SUFFIXES, strict=False):
            for name, array in to_layout("torch", spec, own).items():
                named[f"{name}_l0{suffix}"].copy_(torch.as_tensor(np.ascontiguousarray(array)))
    return [(module, directions)]


_SUFFIXES = ("", "_reverse")


def _apply(architecture: Any, layers: list[Layer], x: Any, state: Any, lengths: Any) -> Any:
    """Output and final state; layers are in order."""
    if isinstance(architecture, Stack):
        finals = []
        for n, (layer, own) in enumerate(zip(architecture.layers, layers, strict=True)):
            x, final = _apply(layer, [own], x, None if state is None else state[n], lengths)
            finals.append(final)
        return x, tuple(finals)
    (module, directions), steps = layers[0], x.shape[1]
    both = len(directions) == 2
    initial = None if state is None else _stacked(state if both else (state,))
    if lengths is not None:
        x = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
    y, (h, c) = module(x, initial)
    if lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=steps)
    finals = [State(h[n], c[n]) for n in range(len(directions))]
    if not both:
        return y, finals[0]
    return _MERGE[architecture.merge](*y.chunk(2, dim=-1)), Directions(*finals)


_MERGE: dict[Any, Any] = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: Directions,
}


def _stacked(states: Any) -> tuple[Any, Any]:
    return torch.stack([s.h for s in states]), torch.stack([s.c for s in states])


def _gradients(case: Case, layers: list[Layer], d_weights: Any) -> Any:
    """Our parameters' gradients, in our nesting."""
    rest, leaves = list(d_weights), []
    for module, directions in layers:
        names = [name for name, _ in module.named_parameters()]
        values, rest = rest[: len(names)], rest[len(names) :]
        arrays = {n: _to_numpy(value) for n, value in zip(names, values, strict=True)}
        for spec, suffix in zip(directions, _SUFFIXES, strict=False):
            tail = f"_l0{suffix}"
            own = {
                name.removesuffix(tail): array
                for name, array in arrays.items()
                if name.endswith(tail)
            }
            leaves += list(gradients_from_layout("torch", spec, own).values())
    return replace(case.params, dict(zip(flatten(case.params), leaves, strict=True)))


def _to_numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float64, torch.float32):
        tensor = tensor.float()
    return np.asarray(tensor.numpy())
