"""flax.linen.RNN and flax.nnx.RNN give the fully run state for a sequence of length zero.

The last carry is taken at index seq_lengths - 1, which for length 0 is -1: the carry after all
steps of padding.
Expected: the initial carry.
"""
# library: flax

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

x = jnp.ones((2, 3, 2))
lengths = jnp.array([3, 0])
carry = (jnp.full((2, 4), 0.25), jnp.full((2, 4), 0.5))


def shows(name, run):
    """Whether the carry of length zero is the one after all steps, and not the initial one."""
    kept, full = run(seq_lengths=lengths)[0][0][1], run()[0][0][1]
    print(f"{name}: c of length 0 {np.round(kept, 3)}, initial 0.25, after all {np.round(full, 3)}")
    return np.allclose(kept, full) and not np.allclose(kept, 0.25)


rnn = linen.RNN(linen.LSTMCell(4), return_carry=True)
variables = rnn.init(jax.random.key(0), x)
in_linen = shows("linen", partial(rnn.apply, variables, x, initial_carry=carry))
module = nnx.RNN(nnx.LSTMCell(2, 4, rngs=nnx.Rngs(0)), return_carry=True)
in_nnx = shows("nnx", partial(module, x, initial_carry=carry))
raise SystemExit(not (in_linen and in_nnx))
