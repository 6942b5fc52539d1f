"""What a scan emits at masked steps: a named choice, because every framework makes another.

Each rule is a pair over the whole sequence: `forward` from the carried r (T, B, R) to y, `backward`
from d_y to the gradient of the carried r. `keep` is (T, B, 1), True at real steps, or None.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class MaskedOutputRule(NamedTuple):
    """A rule for masked steps, forward and backward."""

    forward: Callable[[Array, Array | None], Array]
    backward: Callable[[Array, Array | None], Array]


def _state(r: Array, keep: Array | None) -> Array:
    """y_t = r_t, which a masked step leaves as it was: r_0 before the first real step."""
    return r


def _zero(r: Array, keep: Array | None) -> Array:
    """y_t = 0. Its own gradient: what is not emitted gets none."""
    return r if keep is None else np.where(keep, r, 0)


def _previous(r: Array, keep: Array | None) -> Array:
    """y_t = y_{t-1}, and zeros before the first real step."""
    return r if keep is None else np.where(np.logical_or.accumulate(keep, axis=0), r, 0)


def _previous_backward(d_y: Array, keep: Array | None) -> Array:
    # The carried r_t of a masked step is the r of the last real step, so d_y may enter at step t:
    # the masked step passes it back. Before the first real step nothing was emitted.
    return _previous(d_y, keep)


MASKED_OUTPUT: dict[str, MaskedOutputRule] = {
    "previous": MaskedOutputRule(_previous, _previous_backward),
    "zero": MaskedOutputRule(_zero, _zero),
    "state": MaskedOutputRule(_state, _state),
}
