"""The fixture `lstm_oracle` for anybody's pytest: a test of an LSTM in three lines.

pytest loads this module at every start, so it imports nothing of its own: neither NumPy nor any
part of `lstm_oracle` before a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lstm_oracle.conformance import Identity, Verdict


class Oracle:
    """What the fixture gives."""

    def check(self, fn: Any, *arguments: Any, **options: Any) -> Verdict:
        """Fail the test unless fn computes the LSTM that it should.

        The arguments are those of `lstm_oracle.conformance.check`.
        """
        __tracebackhide__ = True  # the report is the message; our own lines are of no interest
        from lstm_oracle.conformance import check

        verdict = check(fn, *arguments, **options)
        if not verdict.agrees:
            pytest.fail(str(verdict), pytrace=False)
        return verdict

    def identify(self, fn: Any, *arguments: Any, **options: Any) -> Identity:
        """The conventions of a black box: `lstm_oracle.conformance.identify`."""
        from lstm_oracle.conformance import identify

        return identify(fn, *arguments, **options)


@pytest.fixture(scope="session")
def lstm_oracle() -> Oracle:
    """Holds any callable that computes an LSTM against the oracle: `lstm_oracle.check(fn)`."""
    return Oracle()
