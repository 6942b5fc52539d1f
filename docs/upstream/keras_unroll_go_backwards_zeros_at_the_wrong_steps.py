"""keras.layers.LSTM(unroll=True, go_backwards=True) on TensorFlow zeros the wrong steps.

zero_output_for_mask is applied with the mask in the original order of time, while the outputs are
in the reversed order.
Expected: the same output as with unroll=False.
"""
# library: keras; backends: tensorflow

import keras
import numpy as np

x = np.random.default_rng(0).normal(size=(1, 4, 2)).astype("float32")
mask = np.array([[True, True, True, False]])
outputs = []
for unroll in (False, True):
    keras.utils.set_random_seed(0)
    layer = keras.layers.LSTM(
        3, return_sequences=True, go_backwards=True, zero_output_for_mask=True, unroll=unroll
    )
    outputs.append(keras.ops.convert_to_numpy(layer(x, mask=mask)))
    zeros = [t for t in range(4) if not outputs[-1][0, t].any()]
    print(f"unroll={unroll}: zeros at emitted steps {zeros}")
raise SystemExit(bool(np.abs(outputs[0] - outputs[1]).max() < 1e-5))
