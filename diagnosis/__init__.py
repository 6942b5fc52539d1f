"""Why does this Keras LSTM not train? Measured evidence, and a remedy that was tried."""
