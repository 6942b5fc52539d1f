"""keras.layers.LSTM(unroll=True, go_backwards=True) with a mask crashes on PyTorch.

Expected: the output of the same layer with unroll=False.
"""
# library: keras; backends: torch

import keras
import numpy as np

x = np.ones((1, 4, 2), "float32")
mask = np.array([[True, True, True, False]])
layer = keras.layers.LSTM(3, go_backwards=True, unroll=True)
try:
    layer(x, mask=keras.ops.convert_to_tensor(mask))
except Exception as error:
    print(f"raised {type(error).__name__}: {str(error).splitlines()[0][:150]}")
    raise SystemExit(0) from None
raise SystemExit(1)
