"""What is installed is what lies in the tree, under one name, and light to import."""

from __future__ import annotations

import ast
import os
import re
import tomllib

import pytest

HEAVY = ("tensorflow", "keras", "jax", "torch", "rich", "scipy")


@pytest.fixture(scope="module")
def pyproject(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def packages_in_tree(repository):
    """Canonical names of all folders with an `__init__.py`, tests and examples apart."""
    rooms = [path.parent for path in repository.glob("*/__init__.py")]
    folders = [init.parent for room in rooms for init in room.rglob("__init__.py")]
    return {
        ".".join(("lstm_oracle", *folder.relative_to(repository).parts)): folder
        for folder in folders
        if folder.relative_to(repository).parts[0] not in ("tests", "examples")
    }


def test_packages_listed_for_installation_are_the_packages_in_the_tree(repository, pyproject):
    listed = pyproject["tool"]["setuptools"]["packages"]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(packages_in_tree(repository))


def test_every_listed_package_is_mapped_to_its_folder(repository, pyproject):
    mapping = pyproject["tool"]["setuptools"]["package-dir"]
    tree = packages_in_tree(repository)
    assert mapping == {
        name: folder.relative_to(repository).as_posix() for name, folder in tree.items()
    }


def test_rooms_known_to_mypy_ruff_and_import_linter_are_the_packages(repository, pyproject):
    rooms = {name for name in packages_in_tree(repository) if name.count(".") == 1}
    tool = pyproject["tool"]
    assert set(tool["mypy"]["packages"]) == rooms
    assert set(tool["importlinter"]["root_packages"]) == rooms
    banned = tool["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert {f"lstm_oracle.{name}" for name in banned} == rooms


def test_every_package_says_what_it_is_for(repository):
    unsaid = [
        name
        for name, folder in packages_in_tree(repository).items()
        if len((ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").split())
        < 3
    ]
    assert unsaid == []


def test_no_module_hangs_in_a_folder_without_init(repository):
    packages = set(packages_in_tree(repository).values())
    rooms = {folder for folder in packages if folder.parent == repository}
    # The fault bench is scripts for this repository alone: never installed.
    packages.add(repository / "benchmarks" / "faults")
    stray = [path for room in rooms for path in room.rglob("*.py") if path.parent not in packages]
    assert stray == []


def test_link_for_type_checkers_leads_to_the_repository(repository):
    link = repository / ".typecheck" / "lstm_oracle"
    assert link.is_symlink()
    assert os.readlink(link) == ".."
    assert (link / "reference" / "spec.py").samefile(repository / "reference" / "spec.py")


def test_the_sources_of_the_native_kernel_are_installed(repository, pyproject):
    folder = repository / "jax_impl" / "native"
    patterns = pyproject["tool"]["setuptools"]["package-data"]["lstm_oracle.jax_impl.native"]
    carried = {path for pattern in patterns for path in folder.glob(pattern)}
    assert folder / "kernel.cc" in carried
    assert carried == {path for path in folder.iterdir() if path.is_file()} - {*folder.glob("*.py")}


def test_constraints_are_name_and_version_only(repository):
    lines = (repository / "constraints.txt").read_text(encoding="ascii").splitlines()
    pin = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.]*")
    assert [line for line in lines if not pin.fullmatch(line)] == []
    names = [re.sub(r"[._-]+", "-", line.split("==")[0].lower()) for line in lines]
    assert names == sorted(set(names))


def test_constraints_pin_every_package_that_the_project_names(repository, pyproject):
    project = pyproject["project"]
    named = project["dependencies"] + [
        requirement
        for requirements in project["optional-dependencies"].values()
        for requirement in requirements
    ]
    names = {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() for requirement in named}
    pinned = {
        re.sub(r"[._-]+", "-", line.split("==")[0].lower())
        for line in (repository / "constraints.txt").read_text().splitlines()
    }
    assert names - {"lstm-oracle"} <= pinned


@pytest.mark.parametrize(
    "module", ["lstm_oracle.reference", "lstm_oracle.conformance", "lstm_oracle.cli.main"]
)
def test_importing_a_room_loads_no_framework(module, run_python):
    done = run_python(
        "import importlib, sys; importlib.import_module(sys.argv[1]);"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))",
        module,
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[]"
