"""`torch.nn.LSTM`: layers, directions and projections; masks as packed lengths.

Layers in a row that are alike are one module; what is not alike is put together from several.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lstm_oracle.conformance.adapters.support import (
    Row,
    dictionaries,
    first,
    groups,
    lacking,
    nested,
    not_a_stack,
    not_lengths,
    specs,
    standard_activations,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import gradients_from_layout, to_layout
from lstm_oracle.reference.spec import Directions, Spec
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
                not_a_stack(case.architecture),
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
        modules = _modules(case, dtype)
        y, finals = _apply(modules, x, list(flatten(state).values()), lengths)
        weights = [p for module, _ in modules for p in module.parameters()]
        sources = [*weights, x, *flatten(state).values()]
        got = torch.autograd.grad(
            [*flatten(y).values(), *finals],
            sources,
            grad_outputs=list(flatten(put((case.d_y, case.d_state))).values()),
        )
        d_weights, d_x, d_states = got[: len(weights)], got[len(weights)], got[len(weights) + 1 :]
        d_state = replace(state, dict(zip(flatten(state), d_states, strict=True)))
        final = replace(case.d_state, dict(zip(flatten(case.d_state), finals, strict=True)))
        y, final, d_x, d_state = map_leaves(_to_numpy, (y, final, d_x, d_state))
        return Result(y, final, _gradients(case, modules, d_weights), d_x, d_state)

    def versions(self) -> dict[str, str]:
        """PyTorch's."""
        return {"torch": torch.__version__}


def adapter() -> TorchLSTM:
    """The adapter."""
    return TorchLSTM()


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
    if mask is None or not_lengths(mask):
        return not_lengths(mask)
    return "" if mask.any(axis=1).all() else "no length zero"


# --- modules --------------------------------------------------------------------------------------

Module = tuple[Any, list[Row]]  # a module, and the layers in it
_SUFFIXES = ("", "_reverse")


def _modules(case: Case, dtype: Any) -> list[Module]:
    """One module per group of layers that are alike, with its weights."""
    params = iter(dictionaries(case.params))
    return [(_module(group, params, dtype), group) for group in groups(case.architecture)]


def _module(group: list[Row], params: Any, dtype: Any) -> Any:
    spec = group[0].directions[0]
    module = torch.nn.LSTM(
        spec.input_size,
        spec.hidden_size,
        num_layers=len(group),
        bias=spec.use_bias,
        batch_first=True,
        bidirectional=len(group[0].directions) == 2,
        proj_size=spec.projection_size or 0,
        dtype=dtype,
    )
    named = dict(module.named_parameters())
    with torch.no_grad():
        for own, tail in _tails(group):
            for name, array in to_layout("torch", own, next(params)).items():
                named[name + tail].copy_(torch.as_tensor(np.ascontiguousarray(array)))
    return module


def _tails(group: list[Row]) -> list[tuple[Spec, str]]:
    """Every Spec in order, and how the names of its parameters end."""
    return [
        (spec, f"_l{n}{suffix}")
        for n, row in enumerate(group)
        for spec, suffix in zip(row.directions, _SUFFIXES, strict=False)
    ]


def _apply(modules: list[Module], x: Any, state: list[Any], lengths: Any) -> tuple[Any, list[Any]]:
    """Output, and h and c of every layer and direction in order, as `state` is."""
    finals: list[Any] = []
    rest = state
    for module, group in modules:
        count = 2 * len(_tails(group))
        own, rest = rest[:count], rest[count:]
        initial = (torch.stack(own[::2]), torch.stack(own[1::2])) if own else None
        x, (h, c) = _run(module, x, initial, lengths)
        finals += [a for pair in zip(h, c, strict=True) for a in pair]
        if len(group[-1].directions) == 2:
            x = _MERGE[group[-1].merge](*x.chunk(2, dim=-1))
    return x, finals


def _run(module: Any, x: Any, initial: Any, lengths: Any) -> Any:
    if lengths is None:
        return module(x, initial)
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        x, lengths, batch_first=True, enforce_sorted=False
    )
    y, final = module(packed, initial)
    padded, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return padded, final


_MERGE: dict[Any, Any] = {
    "concat": lambda a, b: torch.cat([a, b], dim=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: Directions,
}


def _gradients(case: Case, modules: list[Module], d_weights: Any) -> Any:
    """Our parameters' gradients, in our nesting."""
    rest, found = list(d_weights), []
    for module, group in modules:
        names = [name for name, _ in module.named_parameters()]
        values, rest = rest[: len(names)], rest[len(names) :]
        arrays = {n: _to_numpy(value) for n, value in zip(names, values, strict=True)}
        for spec, tail in _tails(group):
            own = {
                name.removesuffix(tail): array
                for name, array in arrays.items()
                if name.endswith(tail)
            }
            found.append(gradients_from_layout("torch", spec, own))
    return nested(case.params, found)


def _to_numpy(tensor: Any) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.dtype not in (torch.float64, torch.float32):
        tensor = tensor.float()
    return np.asarray(tensor.numpy())
