"""What is timed: a size, a dtype, and whether gradients belong to it; and the presets."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from lstm_oracle.reference.spec import Architecture, Bidirectional, Spec, Stack

Mode = Literal["forward", "training"]  # training: forward, then gradients of all weights and of x
MODES: tuple[Mode, ...] = ("forward", "training")
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Workload:
    """Sizes and options of one LSTM network and its batch.

    `layers` lie on top of each other, each of them of width H; with `directions` 2 each reads both
    ways and hands on 2 H features. `masked` sequences have lengths between T/2 and T.

    Examples
    --------
    >>> Workload(100, 32, 64, 128).name
    'T 100, B 32, I 64, H 128'
    >>> Workload.parse("50,4,8,16,layers=2,masked").name
    'T 50, B 4, I 8, H 16, 2 layers, masked'
    """

    T: int
    B: int
    I: int
    H: int
    layers: int = 1
    directions: int = 1
    masked: bool = False
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Reject what is no size.

        Raises
        ------
        ValueError
            With what was got, what was expected, and the fix.
        """
        for name in ("T", "B", "I", "H", "layers"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"workload: {name} is {getattr(self, name)}, expected at least 1. "
                    f"Give {name} a positive number."
                )
        if self.directions not in (1, 2):
            raise ValueError(
                f"workload: directions is {self.directions}, expected 1 or 2. Choose one of them."
            )
        if self.dtype not in DTYPES:
            raise ValueError(
                f"workload: dtype is {self.dtype!r}, expected one of {', '.join(DTYPES)}. "
                "Choose one of them."
            )

    @classmethod
    def parse(cls, text: str) -> Workload:
        """The workload of "T,B,I,H" and options: "layers=2", "directions=2", "masked".

        Raises
        ------
        ValueError
            For anything else, with what was got, what was expected, and the fix.
        """
        sizes: list[int] = []
        options: dict[str, Any] = {}
        for word in text.split(","):
            name, _, value = word.strip().partition("=")
            if re.fullmatch(r"\d{1,7}", name) and not options:
                sizes.append(int(name))
            elif name in ("layers", "directions") and re.fullmatch(r"\d{1,2}", value):
                options[name] = int(value)
            elif name == "masked" and not value:
                options[name] = True
            else:
                raise ValueError(_not_a_shape(text))
        if len(sizes) != 4:
            raise ValueError(_not_a_shape(text))
        T, B, I, H = sizes
        return cls(T, B, I, H, **options)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Workload:
        """What `as_json` gave."""
        return cls(**fields)

    def as_json(self) -> dict[str, Any]:
        """The fields, for a result or a worker."""
        return asdict(self)

    @property
    def name(self) -> str:
        """In a reader's words; the usual is left out."""
        parts = [f"{k} {getattr(self, k)}" for k in "TBIH"]
        parts += [f"{self.layers} layers"] * (self.layers > 1)
        parts += ["both directions"] * (self.directions == 2)
        parts += ["masked"] * self.masked
        parts += [self.dtype] * (self.dtype != "float32")
        return ", ".join(parts)

    @property
    def architecture(self) -> Architecture:
        """As the oracle is asked it."""
        built: list[Architecture] = []
        for n in range(self.layers):
            input_size = self.I if n == 0 else self.H * self.directions
            # What torch.nn.LSTM and ONNX emit at masked steps, and all others can.
            spec = Spec(input_size=input_size, hidden_size=self.H, masked_output="zero")
            built.append(Bidirectional(spec, spec) if self.directions == 2 else spec)
        return built[0] if self.layers == 1 else Stack(tuple(built))

    @property
    def specs(self) -> list[Spec]:
        """Of every direction of every layer, in the order of the parameters."""
        sizes = [self.I] + [self.H * self.directions] * (self.layers - 1)
        return [
            Spec(input_size=size, hidden_size=self.H, masked_output="zero")
            for size in sizes
            for _ in range(self.directions)
        ]

    @property
    def weights(self) -> int:
        """Parameters of all layers."""
        return sum(4 * spec.hidden_size * (spec.input_size + spec.hidden_size + 1)
                   for spec in self.specs)  # fmt: skip


def _not_a_shape(text: str) -> str:
    return (
        f"got {text!r}, expected T,B,I,H and perhaps layers=N, directions=2, masked. "
        "Write for example 100,32,64,128,layers=2."
    )


# Those by which the issue of the speed of this project judges it.
ISSUE = tuple(
    Workload(*sizes)
    for sizes in (
        (25, 4, 16, 32),
        (200, 1, 64, 128),
        (100, 32, 64, 128),
        (1000, 8, 32, 64),
        (100, 32, 256, 256),
        (50, 64, 128, 512),
        (100, 128, 512, 512),
    )
)
QUICK = (Workload(25, 4, 16, 32), Workload(50, 16, 32, 64))

# What the scaling curves vary, one size at a time.
BASE = Workload(100, 32, 64, 128)
AXES = {
    "T": (25, 50, 100, 200, 500, 1000),
    "B": (1, 4, 16, 32, 128, 512),
    "H": (32, 64, 128, 256, 512, 1024),
}


def grid() -> tuple[Workload, ...]:
    """One size varied at a time around T 100, B 32, I 64, H 128; then depth, directions, masks."""
    swept = [
        replace(BASE, **{name: value})  # type: ignore[arg-type]
        for name, values in AXES.items()
        for value in values
    ]
    variants = [
        replace(BASE, layers=2),
        replace(BASE, layers=4),
        replace(BASE, directions=2),
        replace(BASE, masked=True),
        replace(BASE, layers=2, directions=2, masked=True),
    ]
    return tuple(dict.fromkeys([*swept, *variants]))
