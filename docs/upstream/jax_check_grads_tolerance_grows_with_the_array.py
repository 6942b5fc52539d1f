"""jax.test_util.check_grads accepts a gradient that is wrong by 1 in every entry.

For reverse mode two numbers are compared, <d_out, J v> and <J^T d_out, v>, and the tolerance of the
comparison is multiplied by the size of the arrays: the larger the input, the less is seen.
Expected: an error at every size.
"""
# library: jax

import jax
import jax.numpy as jnp
from jax.test_util import check_grads


@jax.custom_vjp
def wrong(x):
    return jnp.mean(jnp.sin(x))


wrong.defvjp(lambda x: (wrong(x), x), lambda x, d: (d * (jnp.cos(x) / x.size + 1 / x.size),))

passed = {}
for size in (10, 1000, 100_000):
    x = jax.random.normal(jax.random.key(0), (size,))
    try:
        check_grads(wrong, (x,), order=1, modes=["rev"])
        passed[size] = True
    except AssertionError:
        passed[size] = False
print(f"a doubled mean-gradient passes at sizes {[n for n, ok in passed.items() if ok]}")
raise SystemExit(not any(passed.values()))
