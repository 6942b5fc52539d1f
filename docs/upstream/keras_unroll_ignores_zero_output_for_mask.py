"""keras.layers.LSTM(unroll=True) on JAX ignores zero_output_for_mask.

Bidirectional sets zero_output_for_mask on its layers, so a masked, unrolled Bidirectional(LSTM)
emits and back-propagates other numbers than the same layer with unroll=False.
Expected: zeros at masked steps, as with unroll=False.
"""
# library: keras; backends: jax

import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(1, 4, 2)).astype("float32")
mask = np.array([[True, True, False, False]])
outputs = []
for unroll in (False, True):
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(3, return_sequences=True, zero_output_for_mask=True, unroll=unroll)
    outputs.append(keras.ops.convert_to_numpy(layer(x, mask=mask)))
    print(f"unroll={unroll}: largest output at masked steps {np.abs(outputs[-1][:, 2:]).max():.3f}")
raise SystemExit(not np.abs(outputs[1][:, 2:]).max() > 0)
