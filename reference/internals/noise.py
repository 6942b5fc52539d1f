r"""How noisy a gradient is, and how far an update moves a weight.

Definitions
-----------
g_b the gradient of sequence b by all parameters, B sequences, means over b::

    tr(S) = sum over entries of the sample variance (B - 1) of g_b
    |G|^2 = |mean g_b|^2 - tr(S) / B                          (without bias)
    noise scale = tr(S) / |G|^2                               (sequences)

    update-to-weight ratio of a parameter = |after - before| / |before|

A batch much smaller than the noise scale is mostly noise; one much larger is mostly wasted. The
estimate of |G|^2 may be negative where noise is all that there is, and so is then the scale.

References
----------
McCandlish et al. 2018, "An empirical model of large-batch training", section 2.2 and appendix A.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle.reference.sequence import backward, forward
from lstm_oracle.reference.spec import Spec, State

Array = np.ndarray


def per_sequence_gradients(
    spec: Spec, params: dict[str, Array], x: Array, state: State, mask: Any, d_y: Any, d_state: Any
) -> dict[str, Array]:
    """Gradient of every parameter by every sequence alone: {name: (B, ...)}.

    Arguments as for `forward` and `backward`, with nothing left out.
    """
    alone = []
    for b in range(len(x)):
        x_b, mask_b, d_y_b, h, c, d_h, d_c = (
            a[b : b + 1] for a in (x, mask, d_y, *state, *d_state)
        )
        _, tape = forward(spec, params, x_b, State(h, c), mask_b)
        alone.append(backward(tape, d_y_b, State(d_h, d_c)).params)
    return {name: np.stack([d[name] for d in alone]) for name in spec.param_shapes}


def noise_scale(gradients: dict[str, Array]) -> float:
    """tr(S) / |G|^2 in sequences, from what `per_sequence_gradients` gives.

    NaN for one sequence, and where there is no gradient.

    Examples
    --------
    >>> round(noise_scale({"w": np.array([[2.0], [4.0]])}), 3)
    0.25
    """
    g = np.concatenate([a.reshape(len(a), -1) for a in gradients.values()], axis=1)
    B = len(g)
    if B < 2 or not g.any():
        return float("nan")
    variance = g.var(axis=0, ddof=1).sum()
    return float(variance / (np.square(g.mean(axis=0)).sum() - variance / B))


def update_to_weight(before: dict[str, Array], after: dict[str, Array]) -> dict[str, float]:
    """|after - before| / |before| of every parameter; NaN where the parameter was zero.

    Examples
    --------
    >>> update_to_weight({"b_f": np.array([3.0, 4.0])}, {"b_f": np.array([3.0, 4.5])})
    {'b_f': 0.1}
    """
    return {
        name: float(np.linalg.norm(after[name] - w) / np.linalg.norm(w))
        if np.any(w)
        else float("nan")
        for name, w in before.items()
    }
