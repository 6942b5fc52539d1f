"""NaN in the padding makes every weight gradient of flax.linen.RNN NaN, in spite of seq_lengths.

"Elements whose index in the time dimension is greater than the corresponding length will be
considered padding and will be ignored." The loss here reads the final carry alone and is finite.
Expected: finite gradients, those that zeros in the padding give.
"""
# library: flax

import jax
import jax.numpy as jnp
from flax import linen

x = jnp.ones((1, 3, 2)).at[:, 2].set(jnp.nan)
rnn = linen.RNN(linen.LSTMCell(4), return_carry=True)
variables = rnn.init(jax.random.key(0), jnp.ones((1, 3, 2)))


def loss(variables):
    (_, h), _ = rnn.apply(variables, x, seq_lengths=jnp.array([2]))
    return h.sum()


value, gradient = jax.value_and_grad(loss)(variables)
leaves = jax.tree.leaves(gradient)
bad = sum(bool(jnp.isnan(leaf).any()) for leaf in leaves)
print(f"loss {value:.4f}, NaN in {bad} of {len(leaves)} weight gradients")
raise SystemExit(not (bool(jnp.isfinite(value)) and bad == len(leaves)))
