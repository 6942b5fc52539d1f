r"""The gates' values: how they are distributed, how often saturated, how long they remember.

Definitions
-----------
::

    saturated share of gate k, unit j   mean over real steps of [k < 0.05] + [k > 0.95]
    time constant of unit j             tau_j = -1 / mean over real steps of log f_tj

A sigmoid's slope at 0.05 and 0.95 is a fifth of its largest (0.0475 of 0.25): a gate beyond
learns five times slower than one at rest.

References
----------
Karpathy, Johnson & Fei-Fei 2016, "Visualizing and understanding recurrent networks", section 4.2
(gates left- and right-saturated; there below 0.1 and above 0.9). Tallec & Ollivier 2018, "Can
recurrent neural networks warp time?", section 2 (time constants).
"""

from __future__ import annotations

import numpy as np

from lstm_oracle.reference.activations import TABLE
from lstm_oracle.reference.passes import Trace
from lstm_oracle.reference.spec import Spec

Array = np.ndarray

CLOSED, OPEN = 0.05, 0.95
QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
UNBOUNDED = frozenset({"linear", "relu", "leaky_relu", "elu", "selu", "softplus", "silu"})


def quantiles(values: Array, real: Array) -> Array:
    """Values of a gate (B, T, H) at the shares QUANTILES of all real steps and units: (7,)."""
    return np.quantile(values[real], QUANTILES)


def saturated_units(spec: Spec, trace: Trace, real: Array) -> dict[str, Array]:
    """Share of real steps, (H,) by unit, at which a gate is saturated.

    `closed_i`, `open_i` and so on for i, f, o: below CLOSED, above OPEN. `saturated_g` and
    `saturated_c` (the squashed cell): beyond OPEN in size.
    """
    found = {}
    for k in "ifo":
        values = getattr(trace, k)[real]
        found[f"closed_{k}"] = (values < CLOSED).mean(axis=0)
        found[f"open_{k}"] = (values > OPEN).mean(axis=0)
    squashed = TABLE[spec.c_activation].value(trace.c[real])
    found["saturated_g"] = (np.abs(trace.g[real]) > OPEN).mean(axis=0)
    found["saturated_c"] = (np.abs(squashed) > OPEN).mean(axis=0)
    return found


def saturated(spec: Spec, trace: Trace, real: Array) -> dict[str, float]:
    """Share of real steps and units at which i, f, o and the squashed c are saturated.

    `i`, `f`, `o`: below CLOSED or above OPEN; `c`: beyond OPEN in size. `i_closed` and the like
    count the lower end alone. NaN where the activation has no upper end.
    """
    by_unit = saturated_units(spec, trace, real)
    found = {}
    for k in "ifo":
        closed = float(by_unit[f"closed_{k}"].mean())
        bounded = getattr(spec, f"{k}_activation") not in UNBOUNDED
        found[k] = closed + float(by_unit[f"open_{k}"].mean()) if bounded else float("nan")
        found[f"{k}_closed"] = closed
    bounded = spec.c_activation not in UNBOUNDED
    found["c"] = float(by_unit["saturated_c"].mean()) if bounded else float("nan")
    return found


def time_constants(f: Array, real: Array) -> Array:
    """(H,) steps after which a unit has forgotten all but 1/e, from its mean log f (B, T, H).

    At most 1e12: a forget gate that is always 1 never forgets.
    """
    rate = -(np.log(np.clip(f, np.finfo(float).tiny, None)) * real[..., None]).sum((0, 1))
    return 1 / np.maximum(rate / max(1, real.sum()), 1e-12)
