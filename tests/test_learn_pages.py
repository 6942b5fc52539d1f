"""Pages and notebooks come from running their sources: built here, every one."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest

pytest.importorskip("jax")
NAMES = ("bptt", "walk", "vanishing", "initialization", "verification", "findings")


@pytest.fixture(scope="module")
def build(repository):
    spec = importlib.util.spec_from_file_location("docs_build", repository / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_build"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["docs_build"]


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_built_from_its_source(build, tmp_path, name):
    build.build(name, tmp_path)
    html = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
    assert len(html.encode()) < 2_000_000
    assert "<script" not in html
    assert "https://" not in html
    assert html.count("<svg") == html.count("The numbers of this figure")
    assert all(f'href="{other}.html"' in html for other in NAMES if other != name)
    notebook = json.loads((tmp_path / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) > 3
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in code)
    assert all(
        set(c)
        == {"id", "cell_type", "metadata", "source"}
        | ({"execution_count", "outputs"} if c["cell_type"] == "code" else set())
        for c in notebook["cells"]
    )


def test_all_sources_are_pages(build):
    assert sorted(path.stem for path in build.SOURCES.glob("*.py")) == sorted(NAMES)
    assert sorted(build.ORDER) == sorted(NAMES)


def test_a_cell_that_fails_ends_the_build(build):
    cells = build.cells("# %%\nx = 1\n# %%\nraise ValueError('broken')\n")
    with pytest.raises(ValueError, match="broken"):
        build.execute(cells, "page")


def test_what_a_cell_prints_and_gives_is_shown(build):
    cells = build.cells("# %% [markdown]\n# # Title\n#\n# Text.\n# %%\nprint('a < b')\n1 + 1\n")
    build.execute(cells, "page")
    assert [cell.kind for cell in cells] == ["markdown", "code"]
    assert cells[1].printed == "a < b\n"
    assert cells[1].shown == [2]
    assert "a &lt; b" in build.html_of(cells[1])
