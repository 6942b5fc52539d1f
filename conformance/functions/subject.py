"""What `check` and `identify` look at: something that answers cases, and says which ones it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.spec import Architecture


class BadSignature(TypeError):
    """The function cannot be called as described, or returns what cannot be read."""


class Refused(Exception):
    """The function says itself that it does not do this case."""


class BrokenContract(Exception):
    """The function did what no function may do, such as writing into its arguments."""


class Died(Exception):
    """The process of the function crashed, hung, or ran out of memory."""


class Raised(Exception):
    """The function raised something in another process; the message begins with its kind."""


class NotImported(Exception):
    """There is no such function, or the module in which it stands cannot be imported."""


@dataclass(frozen=True)
class Abilities:
    """What a function takes and gives, as far as cases have to know."""

    state: bool = True  # whether it takes an initial state
    state_optional: bool = False  # and can do without
    masks: str = "none"  # "none", "lengths" (padding after the sequence only) or "any"
    dropout: bool = False
    outputs: frozenset[str] = frozenset("yhc")  # of y, h (h_T) and c (c_T)
    gradients: bool = False
    strided: bool = False  # whether arrays with gaps in memory can be handed over
    pieces: bool = False  # whether it can be called on pieces, the state carried over
    manner: str = ""  # in words: how it is called, and where gradients come from


class Subject(Protocol):
    """A function behind its calling convention."""

    name: str
    architecture: Architecture
    dtype: str
    free_sizes: bool  # whether it takes layers of other sizes than its architecture's

    def abilities(self) -> Abilities:
        """What the function takes and gives; this may call it once."""

    def run(self, case: Case, *, gradients: bool = True) -> Result:
        """Its answer; blocks that it does not give are None.

        Raises
        ------
        Refused, BrokenContract, Died
            And whatever the function raises.
        """

    def close(self) -> None:
        """End what was started for it."""
