"""What `identify` found, as data that prints itself."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from lstm_oracle.reference.layouts import Layout


@dataclass(frozen=True)
class Item:
    """One finding: its value, and how it is known."""

    value: Any  # None: could not be found out, and the evidence says why
    evidence: str
    calls: int = 0


@dataclass(frozen=True)
class Identity:
    """The conventions of a black box.

    Attributes
    ----------
    gate_order : Item
        "ifgo" and the like: which gate stands in which place of the input weights.
    recurrent_gate_order, bias_gate_order : Item
        The same of U and of b, which a bug may have in another order.
    bias : Item
        "none", "one", "two", or "first only" and "second only" of two.
    forget_bias : Item
        What is added to z_f at run time.
    direction : Item
        "forward", "backward, original order" or "backward, processing order".
    masked_output, before_first : Item
        At masked steps "zero", "previous" or "raw"; before the first real step "zero" or "initial".
    zero_length : Item
        The final state of a sequence of length 0: "initial", "zero", "run" or "refused".
    gate_activation, hard_sigmoid_slope : Item
        A name of `ACTIVATIONS`; 0.2, 1/6 or "none".
    clip, clip_bound : Item
        "none", "cell", "activation" or "activation and output".
    peephole_order : Item
        Gates in the order of their peepholes; "" without.
    """

    name: str
    gate_order: Item
    recurrent_gate_order: Item
    bias_gate_order: Item
    bias: Item
    forget_bias: Item
    direction: Item
    gate_activation: Item
    hard_sigmoid_slope: Item
    masked_output: Item
    before_first: Item
    zero_length: Item
    clip: Item
    clip_bound: Item
    peephole_order: Item
    calls: int
    base: Layout

    @property
    def layout(self) -> Layout:
        """The row of `reference.layouts` that was found, ready for `check(fn, layout=…)`."""
        return dataclasses.replace(
            self.base,
            gates=self.gate_order.value or self.base.gates,
            forget_bias=self.forget_bias.value or 0.0,
        )

    @property
    def items(self) -> dict[str, Item]:
        """Every finding by name."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: item for name, item in fields.items() if isinstance(item, Item)}

    def to_json(self, indent: int | None = None) -> str:
        """All findings as JSON."""
        found = {name: dataclasses.asdict(item) for name, item in self.items.items()}
        return json.dumps({"name": self.name, "calls": self.calls, "items": found}, indent=indent)

    def __str__(self) -> str:
        """A report for a terminal."""
        values = {name: _shown(item.value) for name, item in self.items.items()}
        width = max(map(len, values.values()))
        lines = [f"{self.name}, from {self.calls} calls"]
        for name, item in self.items.items():
            lines.append(f"  {name.replace('_', ' '):<22}{values[name]:<{width}}  {item.evidence}")
        return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "?"
    return "1/6" if value == 1 / 6 else str(value)
