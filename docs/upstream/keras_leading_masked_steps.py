"""keras.layers.LSTM emits the initial state at leading masked steps on JAX, zeros elsewhere.

A left-padded batch with a given initial state gives other outputs on JAX than on TensorFlow and
PyTorch, and than on JAX with unroll=True.
Expected: one answer on all backends. This script shows that of its own backend.
"""
# library: keras; backends: jax

import keras
import numpy as np

x = np.ones((1, 3, 2), "float32")
mask = np.array([[False, True, True]])
state = [np.full((1, 2), 0.5, "float32"), np.full((1, 2), 0.25, "float32")]
first = []
for unroll in (False, True):
    layer = keras.layers.LSTM(2, return_sequences=True, unroll=unroll)
    y = layer(x, mask=mask, initial_state=[keras.ops.convert_to_tensor(a) for a in state])
    first.append(keras.ops.convert_to_numpy(y)[0, 0])
    print(f"unroll={unroll}: output at the masked first step {first[-1]}, initial h [0.5 0.5]")
raise SystemExit(np.array_equal(*first))
