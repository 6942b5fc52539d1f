"""Every bug of the zoo, as a stranger's function, is seen by `check` and called by its name."""

from __future__ import annotations

import pytest

from lstm_oracle.benchmarks.zoo_functions import LAYERS, first_wrong, named, verdict_on
from lstm_oracle.conformance import textbook
from lstm_oracle.conformance.zoo import BUGS, bug, gate_orders

# Some of each kind, and the number of the layer in which it shows; all are the slow test's.
SAMPLE = (
    ("h-for-previous-h", 0),
    ("final-c-cotangent-ignored", 0),
    ("truncated-after-20-steps", 0),
    ("bias-dropped", 0),
    ("gate-order-U-fgoi", 0),
    ("mask-inverted", 0),
    ("nan-leaks", 0),
    ("dropout-of-the-first-step", 0),
    ("gradients-clipped", 0),
    ("output-peephole-sees-previous-cell", 3),
    ("reverse-over-the-batch", 10),
    ("halves-exchanged", 12),
)


@pytest.mark.parametrize(("identifier", "layer"), SAMPLE)
def test_a_bug_is_seen_and_named(identifier, layer):
    one = bug(identifier)
    verdict = verdict_on(one.run, LAYERS[layer])
    assert not verdict.agrees
    assert named(one, verdict), verdict.explanation


@pytest.mark.parametrize("layer", LAYERS[:2], ids=str)
def test_the_unchanged_textbook_agrees(layer):
    verdict = verdict_on(textbook.run, layer)
    assert verdict.agrees, str(verdict)


@pytest.mark.slow
def test_every_bug_is_seen_and_named():
    bugs = (*BUGS, *gate_orders())
    verdicts = {one.id: (one, first_wrong(one)) for one in bugs}
    assert [name for name, (_, verdict) in verdicts.items() if verdict is None] == []
    misnamed = [name for name, (one, verdict) in verdicts.items() if not named(one, verdict)]
    assert misnamed == []


@pytest.mark.slow
def test_the_unchanged_textbook_agrees_as_every_layer():
    verdicts = [verdict_on(textbook.run, layer) for layer in LAYERS]
    assert [str(verdict) for verdict in verdicts if not verdict.agrees] == []
