"""keras.layers.LSTM.get_config leaves `implementation` out.

Expected: LSTM.from_config(LSTM(3, implementation=1).get_config()).implementation == 1.
"""
# library: keras; backends: jax

import keras

again = keras.layers.LSTM.from_config(keras.layers.LSTM(3, implementation=1).get_config())
print(f"implementation=1 comes back as {again.cell.implementation}")
raise SystemExit(again.cell.implementation == 1)
