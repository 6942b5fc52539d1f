"""Does this implementation agree with the oracle?

`verify_implementations` runs every installed implementation over the matrix of `cases`; `compare`
holds one result against the oracle, with tolerances that `yardstick` measures. `check` judges any
function that computes an LSTM, and `identify` finds out a black box's conventions. Nothing here
imports a framework unless it is given something of that framework's own.
"""

from lstm_oracle.conformance.case import Case, Result, run_oracle
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.functions.check import check
from lstm_oracle.conformance.functions.identify import identify
from lstm_oracle.conformance.functions.identity import Identity
from lstm_oracle.conformance.functions.verdict import BlockVerdict, Verdict
from lstm_oracle.conformance.matrix import cases
from lstm_oracle.conformance.report import BlockError, CaseReport, ImplementationReport, Status
from lstm_oracle.conformance.runner import verify_implementations
from lstm_oracle.conformance.yardstick import truth, yardstick

__all__ = [
    "BlockError",
    "BlockVerdict",
    "Case",
    "CaseReport",
    "Identity",
    "ImplementationReport",
    "Result",
    "Status",
    "Verdict",
    "cases",
    "check",
    "compare",
    "identify",
    "run_oracle",
    "truth",
    "verify_implementations",
    "yardstick",
]
