"""An LSTM in JAX: pure functions of pytrees, jitted, differentiable in both modes, vmappable.

`init` draws the parameters of an architecture, `lstm` runs it, `dropout_masks` draws what its
`dropout` argument takes; `choose` tells which implementation `lstm` takes, and why. An
architecture is a `Spec`, or a combination of them, from `lstm_oracle.reference.spec`; nothing else
is shared with the oracle.
"""

from lstm_oracle.jax_impl.functional import lstm
from lstm_oracle.jax_impl.implementations import choose
from lstm_oracle.jax_impl.interface import Output
from lstm_oracle.jax_impl.parameters import dropout_masks, init

__all__ = ["Output", "choose", "dropout_masks", "init", "lstm"]
