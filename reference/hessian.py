r"""Hessian-vector products of <d_y, y> + <d_state, state_T>, by the complex step.

Equations
---------
::

    H v = d/de gradient(a + e v) = Im gradient(a + i h v) / h + O(h^2)        h = 1e-100: exact

The gradient is the hand-derived `backward`, run on complex numbers: as every function in it is
analytic, between the kinks, the imaginary part is the derivative of every line of it, to rounding.

References
----------
Pearlmutter 1994, "Fast Exact Multiplication by the Hessian"; Squire & Trapp 1998 (complex step).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstm_oracle.reference import _inputs
from lstm_oracle.reference.gradcheck import COMPLEX_STEP
from lstm_oracle.reference.passes import Gradients
from lstm_oracle.reference.sequence import backward, forward
from lstm_oracle.reference.spec import Architecture
from lstm_oracle.reference.tangent import Point
from lstm_oracle.reference.tree import map_leaves

Array = np.ndarray


def hessian_vector_product(
    architecture: Architecture,
    params: Any,
    x: Array,
    state: Any = None,
    mask: Array | None = None,
    *,
    d_y: Any = None,
    d_state: Any = None,
    v_params: Any = None,
    v_x: Array | None = None,
    v_state: Any = None,
    dropout: Any = None,
) -> Gradients:
    """H v, nested like the gradients: how they change along the direction (v_params, v_x, v_state).

    Parameters
    ----------
    architecture, params, x, state, mask, dropout
        As for `forward`; real numbers.
    d_y, d_state
        Cotangents, as for `backward`.
    v_params, v_x, v_state
        The direction, nested like params, x and state. None is zero.

    Raises
    ------
    TypeError, ValueError
        As `forward` and `backward`; and for complex arrays, whose imaginary part is needed here.

    Examples
    --------
    >>> import numpy as np
    >>> from lstm_oracle.reference import Spec, initializers
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = initializers.init(spec, np.random.default_rng(0))
    >>> x = np.ones((2, 5, 3))
    >>> hessian_vector_product(spec, params, x, d_y=np.ones((2, 5, 4)), v_x=x).params["U_f"].shape
    (4, 4)
    """
    checked = _inputs.checked(architecture, params, x, state, mask, dropout)
    at = Point(*checked[:3])
    if at.x.dtype.kind == "c":
        raise TypeError(
            f"{_inputs.name_of(architecture)}: arrays are {at.x.dtype}, expected real numbers: the "
            "derivative is taken in the imaginary part. Pass real arrays."
        )
    along = Point(*_inputs.checked_direction(architecture, at, (v_params, v_x, v_state)))
    # Single precision has no number as small as the step.
    at, along = map_leaves(lambda a: a.astype(np.result_type(a, np.float64)), (at, along))
    moved = map_leaves(lambda a, v: a + 1j * COMPLEX_STEP * v, at, along)
    _, tape = forward(architecture, moved.params, moved.x, moved.state, mask, dropout=dropout)
    gradients = backward(tape, d_y, d_state)
    return map_leaves(lambda a: a.imag / COMPLEX_STEP, gradients)
