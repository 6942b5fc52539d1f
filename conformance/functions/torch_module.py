"""A `torch.nn.LSTM` as a subject: a copy of it, with the weights of each case."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.functions import weights
from lstm_oracle.conformance.functions.frameworks import Torch, to_numpy
from lstm_oracle.conformance.functions.subject import Abilities
from lstm_oracle.reference.spec import Architecture, Bidirectional, Directions, Spec, Stack, State
from lstm_oracle.reference.tree import map_leaves

_ROW = weights.row_of("torch")


class TorchModuleSubject:
    """A module with any number of layers, directions and projections; it is not changed."""

    free_sizes = False

    def __init__(self, module: Any, options: dict[str, Any]) -> None:
        """Read what the module is."""
        if module.dropout and module.training and module.num_layers > 1:
            raise ValueError(
                f"module has dropout={module.dropout} between its layers and is in training, "
                "expected one that computes the same every time. Call module.eval() first."
            )
        own = str(next(module.parameters()).dtype).removeprefix("torch.")
        self.dtype = options["dtype"] or own
        self.architecture = _architecture(module)
        self.name = f"{type(module).__name__}({module.input_size}, {module.hidden_size})"
        self._module = copy.deepcopy(module).to("cpu", getattr(torch, self.dtype))
        self._framework = Torch(self.dtype)

    def abilities(self) -> Abilities:
        """Those of any `torch.nn.LSTM`; masks are packed sequences."""
        return Abilities(
            state=True,
            state_optional=True,
            masks="lengths",
            outputs=frozenset(("y", "state")),
            gradients=True,
            manner=f"a copy of the module in {self.dtype}; gradients by torch.autograd",
        )

    def close(self) -> None:
        """Nothing to end."""

    def run(self, case: Case, *, gradients: bool = True) -> Result:
        """The module's answer."""
        self._load(case)
        given = {
            "x": self._framework.put(case.x),
            "weights": dict(self._module.named_parameters()),
            "state": map_leaves(self._framework.put, case.state),
        }
        cotangents = map_leaves(self._framework.put, {"y": case.d_y, "state": case.d_state})
        outputs, found = self._framework.vjp(lambda g: self._called(case, g), given, cotangents)
        outputs, found = map_leaves(to_numpy, outputs), map_leaves(to_numpy, found)
        d_params = weights.gradients(_ROW, self.architecture, self._nested(found["weights"]))
        return Result(outputs["y"], outputs["state"], d_params, found["x"], found["state"])

    def _called(self, case: Case, given: Any) -> dict[str, Any]:
        module, x, state = self._module, given["x"], given["state"]
        x = x if module.batch_first else x.transpose(0, 1)
        if case.mask is not None:
            lengths = torch.as_tensor(case.mask.sum(axis=1))
            x = torch.nn.utils.rnn.pack_padded_sequence(
                x, lengths, batch_first=module.batch_first, enforce_sorted=False
            )
        y, final = module(x, None if state is None else _stacked(state))
        if case.mask is not None:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(
                y, batch_first=module.batch_first, total_length=case.x.shape[1]
            )
        y = y if module.batch_first else y.transpose(0, 1)
        return {"y": y, "state": self._unstacked(final)}

    def _load(self, case: Case) -> None:
        named = dict(self._module.named_parameters())
        stored = weights.stored(_ROW, self.architecture, case.params)
        with torch.no_grad():
            for suffix, arrays in zip(self._suffixes(), _dicts(stored), strict=True):
                for name, array in arrays.items():
                    contiguous = np.ascontiguousarray(array)
                    named[f"{name}_{suffix}"].copy_(torch.as_tensor(contiguous))

    def _suffixes(self) -> Iterator[str]:
        for n in range(self._module.num_layers):
            yield f"l{n}"
            if self._module.bidirectional:
                yield f"l{n}_reverse"

    def _nested(self, named: dict[str, Any]) -> Any:
        """Arrays by the module's names, nested like the architecture."""
        layers = [
            {
                name.removesuffix(f"_{suffix}"): array
                for name, array in named.items()
                if name.endswith(f"_{suffix}")
            }
            for suffix in self._suffixes()
        ]
        return self._in_nesting(layers)

    def _unstacked(self, final: Any) -> Any:
        h, c = final
        return self._in_nesting([State(h[n], c[n]) for n in range(len(h))])

    def _in_nesting(self, each: list[Any]) -> Any:
        if self._module.bidirectional:
            each = [Directions(*each[n : n + 2]) for n in range(0, len(each), 2)]
        return tuple(each) if self._module.num_layers > 1 else each[0]


def _architecture(module: Any) -> Architecture:
    directions = 2 if module.bidirectional else 1
    layers: list[Architecture] = []
    for n in range(module.num_layers):
        width = module.proj_size or module.hidden_size
        spec = Spec(
            input_size=module.input_size if n == 0 else directions * width,
            hidden_size=module.hidden_size,
            projection_size=module.proj_size or None,
            use_bias=module.bias,
            masked_output="zero",
        )
        layers.append(Bidirectional(spec, spec) if directions == 2 else spec)
    return layers[0] if len(layers) == 1 else Stack(tuple(layers))


def _dicts(tree: Any) -> list[dict[str, Any]]:
    """The weights of every layer and direction, in order."""
    return [tree] if isinstance(tree, dict) else [d for part in tree for d in _dicts(part)]


def _stacked(state: Any) -> tuple[Any, Any]:
    """(layers * directions, batch, size) each."""
    states = _states(state)
    return torch.stack([s.h for s in states]), torch.stack([s.c for s in states])


def _states(state: Any) -> list[State]:
    return [state] if isinstance(state, State) else [s for part in state for s in _states(part)]
