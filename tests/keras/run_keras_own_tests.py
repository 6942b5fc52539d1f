"""Point the recurrent tests that ship inside Keras at this project's classes.

A pytest plugin (`pytest -p run_keras_own_tests`): imported before any test module is collected.
"""

from keras.src import layers
from keras.src.layers.rnn import bidirectional

from lstm_oracle.keras_impl import LSTM, LSTMCell

layers.LSTM = LSTM
layers.LSTMCell = LSTMCell
bidirectional.LSTM = LSTM
