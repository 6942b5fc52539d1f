r"""What goes on inside an LSTM: gates, memory, gradients through time; the definitions.

Every quantity is of one scan, as `scans` finds them in a tape: one layer in one direction, in its
own order of processing. Arrays are batch, time, feature; masked steps count nowhere. `measure`
gives all of them by name; `lstm_oracle.jax_impl.internals` and `lstm_oracle.keras_impl.internals`
give the same names by their own autodiff.

Quantities
----------
`gates`: quantiles of the gates' values, saturated shares, memory time constants. `flow`: dL/dh_t
and dL/dc_t, the path along the cell apart from the paths through gates, sizes by lag. `jacobian`:
d(h_t, c_t)/d(h_s, c_s), singular values, Lyapunov exponents, how far back an input matters.
`units`: effective rank, dead and duplicate units. `noise`: gradient noise scale, update-to-weight
ratio.

Examples
--------
>>> import numpy as np
>>> from lstm_oracle.reference import Spec, initializers, internals
>>> spec = Spec(input_size=3, hidden_size=4)
>>> rng = np.random.default_rng(0)
>>> params, x = initializers.init(spec, rng), rng.standard_normal((2, 5, 3))
>>> found = internals.measure(spec, params, x, d_y=np.ones((2, 5, 4)))
>>> found["singular_values"].shape, found["time_constant"].shape
((2, 5, 8), (4,))
"""

from lstm_oracle.reference.internals.flow import (
    EPSILON,
    Lags,
    Paths,
    by_lag,
    paths,
)
from lstm_oracle.reference.internals.gates import (
    CLOSED,
    OPEN,
    QUANTILES,
    UNBOUNDED,
    quantiles,
    saturated,
    saturated_units,
    time_constants,
)
from lstm_oracle.reference.internals.jacobian import (
    MATTERS,
    lyapunov_exponents,
    memory_length,
    sensitivity,
    singular_values,
    step_jacobians,
    temporal_jacobian,
)
from lstm_oracle.reference.internals.measure import measure
from lstm_oracle.reference.internals.noise import (
    noise_scale,
    per_sequence_gradients,
    update_to_weight,
)
from lstm_oracle.reference.internals.scans import scans
from lstm_oracle.reference.internals.units import (
    DEAD,
    DUPLICATE,
    dead,
    duplicate,
    effective_rank,
)

__all__ = [
    "CLOSED",
    "DEAD",
    "DUPLICATE",
    "EPSILON",
    "MATTERS",
    "OPEN",
    "QUANTILES",
    "UNBOUNDED",
    "Lags",
    "Paths",
    "by_lag",
    "dead",
    "duplicate",
    "effective_rank",
    "lyapunov_exponents",
    "measure",
    "memory_length",
    "noise_scale",
    "paths",
    "per_sequence_gradients",
    "quantiles",
    "saturated",
    "saturated_units",
    "scans",
    "sensitivity",
    "singular_values",
    "step_jacobians",
    "temporal_jacobian",
    "time_constants",
    "update_to_weight",
]
