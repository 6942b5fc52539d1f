"""Keras' own tests of LSTM pass with every order of the gates' weights.

`lstm_test.py` initializes kernel and recurrent kernel with constants, so all four blocks are equal.
Here W and U are read in each of the 24 orders and the tests of the class are run, all but
`test_basics`, which compares no numbers with expected ones.
Expected: 23 orders fail.
"""
# library: keras; backends: torch

import io
import itertools
import unittest

from keras import ops
from keras.src.layers.rnn import lstm, lstm_test

plain = lstm.LSTMCell._compute_carry_and_output_fused


def reordered(order):
    def compute(self, z, c_tm1):
        biases = ops.split(self.bias, 4) if self.use_bias else [0.0] * 4
        products = [a - b for a, b in zip(z, biases, strict=True)]
        z = [products[source] + b for source, b in zip(order, biases, strict=True)]
        return plain(self, z, c_tm1)

    return compute


passed = []
for order in itertools.permutations(range(4)):
    lstm.LSTMCell._compute_carry_and_output_fused = reordered(order)
    names = unittest.defaultTestLoader.getTestCaseNames(lstm_test.LSTMTest)
    tests = unittest.TestSuite(lstm_test.LSTMTest(n) for n in names if n != "test_basics")
    result = unittest.TextTestRunner(stream=io.StringIO()).run(tests)
    passed.append(result.wasSuccessful())
print(f"{sum(passed)} of {len(passed)} orders of the gates pass {tests.countTestCases()} tests")
raise SystemExit(sum(passed) <= 1)
