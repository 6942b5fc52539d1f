"""What a scan emits at masked steps: a named choice, because every framework makes another.

A masked step leaves the carried r as it was. So every rule comes down to where that r is emitted;
zeros are emitted elsewhere, and the gradient of what is not emitted is zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lstm_oracle.reference.passes import Mask

Rule = Callable[[Mask | None], np.ndarray | None]  # to (T, B, 1), True where r is emitted


def _everywhere(mask: Mask | None) -> None:
    """y_t = r_t: before the first real step the initial state."""
    return None


def _at_real_steps(mask: Mask | None) -> np.ndarray | None:
    """y_t = r_t at real steps, else 0."""
    return None if mask is None else mask.real.T[:, :, None]


def _from_the_first_real_step(mask: Mask | None) -> np.ndarray | None:
    """y_t = y_{t-1} at masked steps, which is r_t once there was a real step, and 0 before."""
    if mask is None:
        return None
    since = np.logical_or.accumulate(mask.real, axis=1) | mask.started[:, None]
    return since.T[:, :, None]


MASKED_OUTPUT: dict[str, Rule] = {
    "previous": _from_the_first_real_step,
    "zero": _at_real_steps,
    "state": _everywhere,
}
