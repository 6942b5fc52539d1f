"""A folder of test vectors, written and read.

Every case is a safetensors file of its own: what is given (float32, exact) and what has to come out
(float64, correctly rounded). `cases.json` lists them; `tolerances.safetensors` says how far off a
result in float64 or float32 may be.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.vectors import names, safetensors
from lstm_oracle.conformance.vectors.cases import GROUPS, Vector, vectors
from lstm_oracle.conformance.vectors.digits import run_exactly
from lstm_oracle.conformance.yardstick import Deviation, Yardstick, yardstick

Array = np.ndarray
Progress = Callable[[int, int], None]  # (cases written, cases in all)

FORMAT = "lstm-oracle vectors 1"
INDEX = "cases.json"
TOLERANCES = "tolerances.safetensors"
# Those that a tolerance is written for; that of the narrow ones is measured when it is needed.
DTYPES = ("float64", "float32")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kept:
    """A test vector as it was read: the question, the answer, and what a result may be off by."""

    id: str
    group: str
    case: Case
    answer: Result
    tolerances: dict[str, Array]  # {array of the answer: (dtype, (norm, entry))}

    def yardstick(self, dtype: str) -> Yardstick:
        """The yardstick behind the tolerances; measured now where none is kept."""
        if dtype not in DTYPES:
            return yardstick(replace(self.case, dtype=dtype))
        row, k = DTYPES.index(dtype), tolerances.format_of(dtype).k
        return {
            block: Deviation(*(float(n) / k for n in allowed[row]))
            for name, allowed in self.tolerances.items()
            for block in names.blocks_of(name, self.case.architecture)
        }


def write_vectors(
    folder: Path,
    *,
    groups: tuple[str, ...] = tuple(GROUPS),
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> int:
    """Write the test vectors of some groups, by default of all; gives how many there are.

    The folder appears when it is complete; until then nothing of it is there.

    Raises
    ------
    FileExistsError
        Where the folder exists and is not empty, without `force`; with it, the folder is replaced
        if nothing but test vectors is in it.
    """
    check_replaceable(folder, force=force)
    chosen = list(vectors(groups))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as parent:
        new = Path(parent) / "new"
        _write(new, chosen, progress)
        new.chmod(0o755)
        if folder.exists():
            folder.rename(Path(parent) / "old")
        new.rename(folder)
    return len(chosen)


def check_replaceable(folder: Path, *, force: bool) -> None:
    """Refuse a folder that holds anything, or, with `force`, anything but test vectors."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder}: got a file, expected a folder to make. Name another.")
    present = {path.name for path in folder.iterdir()}
    if present and not force:
        raise FileExistsError(
            f"{folder}: got a folder with {len(present)} files, expected none or an empty one. "
            "Name another, or replace it with --force."
        )
    if present and INDEX not in present:
        raise FileExistsError(
            f"{folder}: got a folder without {INDEX}, expected one of test vectors to replace. "
            "Nothing else is ever removed: name another, or empty it."
        )


def _write(folder: Path, chosen: list[Vector], progress: Progress) -> None:
    (folder / "cases").mkdir(parents=True)
    entries: list[dict[str, Any]] = []
    allowed: dict[str, Array] = {}
    for done, vector in enumerate(chosen):
        progress(done, len(chosen))
        result = run_exactly(vector.case)
        asked, answered = names.question(vector.case), names.answer(result)
        entry = _entry(vector, asked, answered)
        metadata = {"format": FORMAT, "id": vector.id}
        arrays = {name: _narrow(a) for name, a in asked.items()} | answered
        data = safetensors.write(arrays, metadata)
        (folder / entry["file"]).write_bytes(data)
        entries.append(entry)
        allowed |= {f"{vector.id}/{name}": a for name, a in _tolerances(vector, answered).items()}
    progress(len(chosen), len(chosen))
    (folder / TOLERANCES).write_bytes(safetensors.write(allowed, {"format": FORMAT}))
    (folder / INDEX).write_text(_index_text(entries))
    for name in ("README.md", "cases.schema.json"):
        shutil.copyfile(_HERE / name, folder / name)


def _index_text(entries: list[dict[str, Any]]) -> str:
    """JSON with a case per line."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    return f'{{"format": {json.dumps(FORMAT)}, "cases": [\n{lines}\n]}}\n'


def _narrow(a: Array) -> Array:
    """What is given is exact in float32."""
    return a if a.dtype == np.uint8 else a.astype(np.float32)


def _entry(vector: Vector, asked: dict[str, Array], answered: dict[str, Array]) -> dict[str, Any]:
    B, T, I = vector.case.x.shape
    return {
        "id": vector.id,
        "group": vector.group,
        "file": f"cases/{vector.id}.safetensors",
        "architecture": names.describe(vector.case.architecture),
        "sizes": {"B": B, "T": T, "I": I},
        "given": {name: list(a.shape) for name, a in asked.items()},
        "expected": {name: list(a.shape) for name, a in answered.items()},
    }


def _tolerances(vector: Vector, answered: dict[str, Array]) -> dict[str, Array]:
    """{array: (dtype, (norm, entry))}: of the blocks in an array, the largest."""
    by_dtype = [_allowed(replace(vector.case, dtype=dtype)) for dtype in DTYPES]
    return {
        name: np.array(
            [
                np.max([allowed[b] for b in names.blocks_of(name, vector.case.architecture)], 0)
                for allowed in by_dtype
            ]
        )
        for name in answered
    }


def _allowed(case: Case) -> Yardstick:
    """What `compare` allows: see `tolerances`."""
    allowed = tolerances.format_of(case.dtype)
    floor = allowed.floor * allowed.roundoff
    return {
        block: Deviation(*(allowed.k * max(error, floor) for error in measured))
        for block, measured in yardstick(case).items()
    }


# --- reading --------------------------------------------------------------------------------------


def read_vectors(folder: Path) -> Iterator[Kept]:
    """The test vectors of a folder, one after the other.

    Raises
    ------
    ValueError
        With the file and what is wrong with it.
    """
    if not (folder / INDEX).is_file():
        raise ValueError(
            f"{folder}: got no {INDEX}, expected a folder of test vectors. "
            "Write one with `lstm-oracle vectors`."
        )
    entries = _index(folder / INDEX)
    allowed, _, _ = read_file(folder / TOLERANCES)
    for entry in entries:
        path = folder / entry["file"]
        arrays, _, _ = read_file(path)
        mine = {
            name.partition("/")[2]: a
            for name, a in allowed.items()
            if name.startswith(f"{entry['id']}/")
        }
        try:
            yield _kept(entry, arrays, mine)
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{path}: {error}. Write the vectors anew.") from error


def read_file(path: Path) -> tuple[dict[str, Array], dict[str, str], dict[str, str]]:
    """Arrays, dtypes and metadata of a safetensors file; errors name it."""
    try:
        return safetensors.read(path.read_bytes())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path}: cannot be read: {error}.") from error


def _index(path: Path) -> list[dict[str, Any]]:
    try:
        index = json.loads(path.read_text("utf-8"))
        if index["format"] != FORMAT:
            raise ValueError(f"its format is {index['format']!r}, expected {FORMAT!r}")
        return [entry for entry in index["cases"] if _inside(entry["file"]) and entry["id"]]
    except (ValueError, KeyError, TypeError, OSError, AttributeError) as error:
        raise ValueError(f"{path}: cannot be read: {error}. Write the vectors anew.") from error


def _inside(file: str) -> bool:
    """Whether a file name stays in the folder."""
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise ValueError(f"{file!r} is outside of the folder")
    return True


def _kept(entry: dict[str, Any], arrays: dict[str, Array], allowed: dict[str, Array]) -> Kept:
    architecture = names.read_architecture(entry["architecture"])
    given = {name: arrays[name] for name in entry["given"]}
    expected = {name: arrays[name] for name in entry["expected"]}
    case = names.read_case(entry["id"], architecture, given)
    return Kept(entry["id"], entry["group"], case, names.read_result(case, expected), allowed)
