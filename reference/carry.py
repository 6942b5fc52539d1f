r"""What a step leaves of its new state: all of it, or the previous one's, in places.

Rules stand between the state that a step computes and the one that the next step gets. Each has
the form m * old + (1 - m) * new, so its gradient is shared in the same proportions.

References
----------
Krueger et al. 2017, "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
section 3.1.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lstm_oracle.reference.spec import Dropout, Spec, State

Array = np.ndarray


class Rule(Protocol):
    """From a new and an old state to the one that is carried, and the gradients of both."""

    def forward(self, new: State, old: State, t: int) -> State:
        """The state after step t."""

    def backward(self, d: State, t: int) -> tuple[State, State]:
        """d_new and d_old from the gradient of what is carried."""


class Zoneout:
    """Entries keep their previous value where their mask is 1 (Krueger et al. 2017).

    In expectation, without masks, they keep as much of it as the rate says.
    """

    def __init__(self, masks: State) -> None:
        """Keep the masks."""
        self.masks = masks  # (T or 1, B or 1, N or 1) each

    def forward(self, new: State, old: State, t: int) -> State:
        """m * old + (1 - m) * new."""
        m = self._at(t)
        return State(m.h * old.h + (1 - m.h) * new.h, m.c * old.c + (1 - m.c) * new.c)

    def backward(self, d: State, t: int) -> tuple[State, State]:
        """(1 - m) * d to the new state, m * d to the old one."""
        m = self._at(t)
        return State((1 - m.h) * d.h, (1 - m.c) * d.c), State(m.h * d.h, m.c * d.c)

    def _at(self, t: int) -> State:
        return State(*(mask[0 if len(mask) == 1 else t] for mask in self.masks))


class Hold:
    """A masked step leaves the state as it was, and its gradient too."""

    def __init__(self, keep: Array) -> None:
        """Keep the mask."""
        self.keep = keep  # (T, B, 1), True at real steps

    def forward(self, new: State, old: State, t: int) -> State:
        """The new state at real steps, the old one at masked steps."""
        keep = self.keep[t]
        return State(np.where(keep, new.h, old.h), np.where(keep, new.c, old.c))

    def backward(self, d: State, t: int) -> tuple[State, State]:
        """To the new state at real steps, to the old one at masked steps."""
        keep = self.keep[t]
        return (
            State(np.where(keep, d.h, 0), np.where(keep, d.c, 0)),
            State(np.where(keep, 0, d.h), np.where(keep, 0, d.c)),
        )


def rules(spec: Spec, x: Array, dropout: Dropout, keep: Array | None) -> tuple[Rule, ...]:
    """The rules of a scan over x (T, B, I), in the order in which they apply."""
    zoneout = (Zoneout(_zoneout_masks(spec, x, dropout)),) if spec.zoneout else ()
    return zoneout if keep is None else (*zoneout, Hold(keep))


def _zoneout_masks(spec: Spec, x: Array, dropout: Dropout) -> State:
    rates = State(spec.zoneout_h, spec.zoneout_c)
    masks = State(dropout.zoneout_h, dropout.zoneout_c)
    return State(
        *(
            np.full_like(x[:1, :1, :1], rate) if mask is None else np.swapaxes(mask, 0, 1)
            for rate, mask in zip(rates, masks, strict=True)
        )
    )


def forward(rules: tuple[Rule, ...], new: State, old: State, t: int) -> State:
    """The state that is carried out of step t."""
    for rule in rules:
        new = rule.forward(new, old, t)
    return new


def backward(rules: tuple[Rule, ...], d: State, t: int) -> tuple[State, tuple[State, ...]]:
    """d_new of step t, and what goes past the step to the old state."""
    past = []
    for rule in reversed(rules):
        d, d_old = rule.backward(d, t)
        past.append(d_old)
    return d, tuple(past)
