"""Measured figures in the README are those of the kept results; nothing there is typed by hand."""

from __future__ import annotations

import importlib.util

import pytest


@pytest.fixture(scope="module")
def update_readme(repository):
    path = repository / "docs" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KNOWN = (
    "check-speed", "demo", "false-alarms", "fault-bench", "mutation", "oracle-speed", "speed",
    "speed-grid", "study", "verify", "vowels", "zoo",
)  # fmt: skip


@pytest.mark.parametrize("block", KNOWN)
def test_every_block_says_what_its_result_says(repository, update_readme, block):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    try:
        expected = update_readme.updated(readme, block)
    except FileNotFoundError as error:
        pytest.skip(f"not measured yet: {error.filename}")
    assert readme == expected


def test_no_other_block_is_known(update_readme):
    assert set(update_readme.BLOCKS) == set(KNOWN)


@pytest.mark.parametrize("old", ["", "an old figure\nof two lines\n"])
def test_a_block_is_filled_whether_it_was_empty_or_not(update_readme, monkeypatch, old):
    monkeypatch.setitem(update_readme.BLOCKS, "speed", lambda: "1.7 times")
    text = f"a\n<!-- speed -->\n{old}<!-- /speed -->\nb\n"
    filled = "a\n<!-- speed -->\n1.7 times\n<!-- /speed -->\nb\n"
    assert update_readme.updated(text, "speed") == filled
    assert update_readme.updated(filled, "speed") == filled


def test_a_block_that_the_readme_lacks_is_refused(update_readme):
    with pytest.raises(ValueError, match="no block 'verify', expected"):
        update_readme.updated("text", "verify")
