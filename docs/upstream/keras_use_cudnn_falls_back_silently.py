"""keras.layers.LSTM(use_cudnn=True) on PyTorch without a GPU falls back and says nothing.

TensorFlow and JAX raise there.
Expected: an error on every backend, as use_cudnn=True asks for cuDNN and "auto" for a fallback.
"""
# library: keras; backends: torch

import keras
import numpy as np
import torch

y = keras.layers.LSTM(3, use_cudnn=True)(np.ones((1, 4, 2), "float32"))
print(f"CUDA available: {torch.cuda.is_available()}; output of shape {tuple(y.shape)}")
raise SystemExit(torch.cuda.is_available())
