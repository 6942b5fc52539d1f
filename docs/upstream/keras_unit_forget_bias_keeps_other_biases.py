"""unit_forget_bias does not force bias_initializer="zeros", as keras.layers.LSTM documents it.

"Setting it to True will also force bias_initializer='zeros'."
Expected: zeros in the biases of the other gates, or another sentence.
"""
# library: keras; backends: jax

import keras
import numpy as np

layer = keras.layers.LSTM(2, bias_initializer="random_normal", unit_forget_bias=True)
layer.build((None, None, 2))
bias = keras.ops.convert_to_numpy(layer.cell.bias)
said = 'force `bias_initializer="zeros"`' in " ".join((keras.layers.LSTM.__doc__ or "").split())
print(f"documented: {said}; biases {np.round(bias, 3)}")
raise SystemExit(not (bias[:2].any() and bias[4:].any()))
