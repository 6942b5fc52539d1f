"""jax.experimental.rnn.lstm_ref gives the fully run state for a sequence of length zero.

As in Flax, the last carry is taken at index seq_lengths - 1 = -1.
Expected: h_0 and c_0.
"""
# library: jax

import jax.numpy as jnp
import numpy as np
from jax.experimental import rnn

x, h_0, c_0 = jnp.ones((2, 3, 2)), jnp.full((1, 2, 4), 0.5), jnp.full((1, 2, 4), 0.25)
weights = jnp.full((rnn.get_num_params_in_lstm(2, 4, 1, False),), 0.1)
unpacked = rnn.unpack_lstm_weights(weights, 2, 4, 1, False)


def final_c(lengths):
    lengths = jnp.array(lengths, jnp.int32)
    _, _, c = rnn.lstm_ref(x, h_0, c_0, *unpacked, lengths, 2, 4, 1, 0.0, False)
    return np.asarray(c[0, 1])


print(f"length 0: c {final_c([3, 0])}, initial 0.25, after all steps {final_c([3, 3])}")
raise SystemExit(not np.array_equal(final_c([3, 0]), final_c([3, 3])))
