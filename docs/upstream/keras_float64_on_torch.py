"""keras.ops.matmul of float64 on PyTorch has float32's digits.

An LSTM of dtype float64 is therefore off by 1e-7, and a float64 gradient check of it fails.
Expected: the product that torch.matmul gives for the same tensors.
"""
# library: keras; backends: torch; issues: keras-team/keras#23223, keras-team/keras#23704

import numpy as np
from keras import ops

a = np.random.default_rng(0).normal(size=(4, 4))
tensor = ops.convert_to_tensor(a, "float64")
error = np.abs(ops.convert_to_numpy(ops.matmul(tensor, tensor)) - a @ a).max()
print(f"largest error of a float64 product: {error:.1e}")
raise SystemExit(bool(error < 1e-12))
