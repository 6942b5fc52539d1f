"""ONNX's node tests of LSTM pass with every order of the gates.

W and R are constants and B is zero in all of them, so the four blocks are equal. Here W, R and B
are read in each of the 24 orders by the reference evaluator and its outputs compared with those of
the tests.
Expected: 23 orders fail in at least one test.
"""
# library: onnx

import itertools
import warnings

import numpy as np
from onnx.reference import ReferenceEvaluator
from onnx.reference.ops.op_lstm import LSTM as Plain

warnings.simplefilter("ignore")
from onnx.backend.test.case.node import collect_testcases  # noqa: E402

cases = [case for case in collect_testcases("LSTM") if case.name.startswith("test_lstm")]


def agrees(case, order):
    class LSTM(Plain):
        def _run(self, X, W, R, B=None, *others, **attributes):
            def read(a):
                blocks = np.split(a, 4, axis=1)
                return np.concatenate([blocks[source] for source in order], axis=1)

            if B is not None:
                B = np.concatenate([read(half) for half in np.split(B, 2, axis=1)], axis=1)
            return super()._run(X, read(W), read(R), B, *others, **attributes)

    session = ReferenceEvaluator(case.model, new_ops=[LSTM])
    names = [value.name for value in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        got = session.run(None, dict(zip(names, inputs, strict=True)))
        for one, expected in zip(got, outputs, strict=True):
            if not np.allclose(one, expected, rtol=1e-3, atol=1e-7):
                return False
    return True


orders = list(itertools.permutations(range(4)))
passed = sum(all(agrees(case, order) for case in cases) for order in orders)
print(f"{passed} of {len(orders)} orders of the gates pass all {len(cases)} node tests")
raise SystemExit(passed <= 1)
