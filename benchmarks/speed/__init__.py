"""Speed of every LSTM at hand, each held against the oracle before it is timed."""
