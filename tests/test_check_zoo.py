"""Every bug of the zoo, as a stranger's function, is seen by `check` and called by its name."""

from __future__ import annotations

import pytest
from zoo_functions import LAYERS, first_wrong, named, verdict_on

from lstm_oracle.conformance import textbook
from lstm_oracle.conformance.zoo import BUGS, bug, gate_orders

# One or two of each kind; all of them are the slow test's.
SAMPLE = (
    "h-for-previous-h",
    "final-c-cotangent-ignored",
    "truncated-after-20-steps",
    "bias-dropped",
    "gate-order-U-fgoi",
    "mask-inverted",
    "nan-leaks",
    "output-peephole-sees-previous-cell",
    "projection-gradient-last-step-only",
    "dropout-of-the-first-step",
    "reverse-over-the-batch",
    "halves-exchanged",
    "gradients-clipped",
)


@pytest.mark.parametrize("identifier", SAMPLE)
def test_a_bug_is_seen_and_named(identifier):
    one = bug(identifier)
    verdict = first_wrong(one)
    assert verdict is not None
    assert named(one, verdict), verdict.explanation


@pytest.mark.parametrize("layer", LAYERS[:4], ids=str)
def test_the_unchanged_textbook_agrees(layer):
    verdict = verdict_on(textbook.run, layer)
    assert verdict.agrees, str(verdict)


@pytest.mark.slow
def test_every_bug_is_seen_and_nearly_every_one_named():
    bugs = (*BUGS, *gate_orders())
    verdicts = {one.id: (one, first_wrong(one)) for one in bugs}
    assert [name for name, (_, verdict) in verdicts.items() if verdict is None] == []
    misnamed = [name for name, (one, verdict) in verdicts.items() if not named(one, verdict)]
    assert len(misnamed) <= 0.05 * len(bugs), misnamed


@pytest.mark.slow
def test_the_unchanged_textbook_agrees_as_every_layer():
    verdicts = [verdict_on(textbook.run, layer) for layer in LAYERS]
    assert [str(verdict) for verdict in verdicts if not verdict.agrees] == []
