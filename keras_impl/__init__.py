"""LSTM for Keras 3 on TensorFlow, JAX and PyTorch, and a probe into any model's recurrent layers.

Importing this imports Keras, with the backend that `KERAS_BACKEND` names.
"""

from lstm_oracle.keras_impl.cell import LSTMCell
from lstm_oracle.keras_impl.initializers import PerGate
from lstm_oracle.keras_impl.lstm import LSTM
from lstm_oracle.keras_impl.probe import Capture, Unsupported, capture

__all__ = ["LSTM", "Capture", "LSTMCell", "PerGate", "Unsupported", "capture"]
