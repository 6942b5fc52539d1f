"""keras.layers.LSTM(dtype="float16") cannot be built on JAX and PyTorch.

The orthogonal initializer calls a QR decomposition in float16, which neither backend has.
Expected: weights, drawn in float32 and cast, as on TensorFlow.
"""
# library: keras; backends: jax, torch

import keras

try:
    keras.layers.LSTM(3, dtype="float16").build((None, None, 2))
except Exception as error:
    print(f"raised {type(error).__name__}: {str(error).splitlines()[0][:150]}")
    raise SystemExit(0) from None
raise SystemExit(1)
