"""keras.ops.tanh of float64 on JAX has float32's digits.

An LSTM of dtype float64 is therefore off by 1e-7, and a float64 gradient check of it fails.
Expected: ops.tanh(x) equal to numpy.tanh(x) to 1e-15 where JAX_ENABLE_X64 is set.
"""
# library: keras; backends: jax; issues: keras-team/keras#23223, keras-team/keras#23704

import numpy as np
from keras import ops

x = np.linspace(-3, 3, 1001)
error = np.abs(np.asarray(ops.tanh(ops.convert_to_tensor(x, "float64"))) - np.tanh(x)).max()
print(f"largest error of float64 tanh: {error:.1e}")
raise SystemExit(bool(error < 1e-12))
