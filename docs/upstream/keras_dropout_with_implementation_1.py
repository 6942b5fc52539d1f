"""keras.layers.LSTM(dropout=0.5, implementation=1) crashes in training on every backend.

With implementation=1 the dropout mask is one tensor per gate, a list, and the cell multiplies the
input by that list.
Expected: a training step, as with implementation=2.
"""
# library: keras; backends: tensorflow, jax, torch

import keras
import numpy as np

layer = keras.layers.LSTM(3, dropout=0.5, implementation=1)
try:
    layer(np.ones((2, 4, 2), "float32"), training=True)
except Exception as error:
    print(f"raised {type(error).__name__}: {str(error).splitlines()[0][:150]}")
    raise SystemExit(0) from None
raise SystemExit(1)
