"""NaN in masked padding makes every weight gradient of keras.layers.LSTM NaN, on every backend.

The forward pass and the loss are finite: masked steps are computed and then discarded by `where`,
whose gradient is 0 * NaN.
Expected: finite gradients, those that zeros in the padding give.
"""
# library: keras; backends: tensorflow, jax, torch

import keras
import numpy as np

x = np.ones((1, 3, 2), "float32")
x[:, 2] = np.nan
mask = np.array([[True, True, False]])
layer = keras.layers.LSTM(2)
layer.build(x.shape)


def loss(kernel):
    if keras.backend.backend() == "jax":
        values = [kernel, *(v.value for v in layer.trainable_variables[1:])]
        others = [v.value for v in layer.non_trainable_variables]
        outputs, _ = layer.stateless_call(values, others, x, mask=mask)
        return outputs.sum()
    return keras.ops.sum(layer(x, mask=keras.ops.convert_to_tensor(mask)))


kernel = layer.trainable_variables[0]
if keras.backend.backend() == "jax":
    import jax

    value, gradient = jax.value_and_grad(loss)(kernel.value)
elif keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = loss(kernel)
    gradient = tape.gradient(value, kernel.value)
else:
    import torch

    value = loss(kernel)
    (gradient,) = torch.autograd.grad(value, kernel.value)
gradient = keras.ops.convert_to_numpy(gradient)
print(
    f"loss {float(value):.4f}, {np.isnan(gradient).sum()} of {gradient.size} entries of dW are NaN"
)
raise SystemExit(not (np.isfinite(float(value)) and bool(np.isnan(gradient).all())))
