"""Every seeded bug is caught, and what is no bug is not."""

import re
from collections import Counter

import pytest

from lstm_oracle.conformance.zoo import BUGS, Bug, bug, check_patches, hunt
from lstm_oracle.conformance.zoo_sources import SOURCES


def test_the_zoo_is_large_and_every_bug_is_described():
    assert len(BUGS) >= 100
    assert max(Counter(one.id for one in BUGS).values()) == 1
    assert max(Counter(one.sentence for one in BUGS).values()) == 1
    assert all(one.sentence.endswith(".") for one in BUGS)


def test_at_least_45_bugs_name_a_public_thread_in_which_they_were_met():
    assert set(SOURCES) <= {one.id for one in BUGS}
    assert sum(bool(one.sources) for one in BUGS) >= 45
    for one in BUGS:
        for source in one.sources:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+#[1-9]\d*", source.thread)
            assert len(source.quote) >= 20


def test_every_patch_fits_the_textbook_exactly_once():
    assert list(check_patches()) == []


def test_every_bug_is_caught():
    assert [hunted.bug.id for hunted in hunt() if not hunted.case] == []


def test_the_unchanged_textbook_is_not_caught():
    assert [hunted.case for hunted in hunt([Bug("none", "Nothing is changed.")])] == [""]


def test_bugs_of_bptt_are_caught_in_float32_as_well():
    small = {"silently-float32", "one-step-forgets-the-state", "one-sequence-squeezed"}
    common = [one for one in BUGS if one.id not in small | ONLY_IN_FLOAT64]
    assert [hunted.bug.id for hunted in hunt(common, ("float32",)) if not hunted.case] == []


# Those of variants that the matrix has in float64 alone.
ONLY_IN_FLOAT64 = {
    "masked-output-not-the-state",
    "cell-clipped-for-output-only",
    "cell-clip-straight-through",
    "cell-not-clipped",
    "activation-clip-straight-through",
    "clip-before-peephole",
    "leaky-slope",
    "dropout-of-the-first-step",
    "average-gradient-not-halved",
    "product-gradient-of-itself",
    "chunks-not-truncated",
    "chunks-start-anew",
    "one-unit-broadcast",
}


def test_a_bug_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="expected one of"):
        bug("no-such-bug")
