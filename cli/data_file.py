"""The user's arrays, read from an `.npz` file that nobody has to trust.

Nothing is unpickled, no name in the archive is ever used as a path, and only the rows that are
asked for are decompressed, so that what an archive declares costs nothing until it is read.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from lstm_oracle.cli.errors import CommandError

MAX_BYTES = 1 << 30  # of the rows read, all arrays together
_MAX_MEMBERS = 1000
_NUMBERED = re.compile(r"(x|y|sample_weight)(?:_(\d+))?\Z")
_HOW_TO_SAVE = "Write it with np.savez('data.npz', x=x, y=y)"


@dataclass(frozen=True)
class Data:
    """The first rows of the file's arrays; several inputs or targets are a list, or by name."""

    x: Any
    y: Any
    sample_weight: Any
    rows_in_file: int
    ignored: tuple[str, ...]  # names of arrays that belong to nothing


@dataclass(frozen=True)
class _Header:
    """What an array of the archive declares of itself."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    member: zipfile.ZipInfo


def read_data(
    path: Path,
    samples: int,
    input_names: tuple[str, ...] = (),
    names: Mapping[str, str | None] | None = None,
) -> Data:
    """The first `samples` rows of every array that the model takes.

    Parameters
    ----------
    path
        An `.npz` file with `x` (or `x_0`, `x_1`, …, or the model's own `input_names`) and,
        optionally, `y` and `sample_weight`, numbered likewise.
    samples
        At most this many rows are read.
    names
        Which array is to be taken as `x`, and which as `y`, where they are called otherwise.

    Raises
    ------
    CommandError
        Where it is no such file, or holds objects, too much, or arrays of different lengths.
    """
    check_data_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            headers = _renamed(path, _headers(path, archive), names or {})
            chosen = _choose(path, headers, input_names)
            used = [headers[name] for names in chosen.values() for name in names]
            rows = _common_length(path, used)
            _check_budget(path, used, min(rows, samples))
            read = {h.name: _read(path, archive, h, min(rows, samples)) for h in used}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CommandError(
            f"{path}: got a damaged file ({_line(error)}), expected a whole .npz archive. "
            f"It may be truncated: copy it again, or: {_HOW_TO_SAVE}."
        ) from error
    return Data(
        x=_arranged(chosen["x"], read, input_names),
        y=_arranged(chosen["y"], read, ()),
        sample_weight=_arranged(chosen["sample_weight"], read, ()),
        rows_in_file=rows,
        ignored=tuple(name for name in headers if name not in read),
    )


def check_data_file(path: Path) -> None:
    """Refuse what is no archive, before any framework is imported.

    Raises
    ------
    CommandError
        With what the file is.
    """
    if path.is_dir():
        raise CommandError(
            f"--data: got the folder {str(path)!r}, expected an .npz file. {_HOW_TO_SAVE}."
        )
    if not path.is_file():
        raise CommandError(
            f"--data: got {str(path)!r}, which does not exist, expected an .npz file. "
            "Check the path."
        )
    try:
        with path.open("rb") as file:
            start = file.read(6)
    except OSError as error:
        raise CommandError(
            f"--data: got {str(path)!r}, which cannot be read ({error.strerror}), expected a "
            "readable .npz file. Check its permissions."
        ) from error
    if not start.startswith(b"PK"):
        raise CommandError(
            f"{path}: got {_kind(start)}, expected an .npz archive of NumPy arrays. {_HOW_TO_SAVE}."
        )


def _kind(start: bytes) -> str:
    if not start:
        return "an empty file"
    if start.startswith(b"\x93NUMPY"):
        return "a single array (.npy)"
    if start[:1] == b"\x80":
        return "a pickle, which is never loaded"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return "a file that is no archive"


# --- what the archive declares --------------------------------------------------------------------


def _headers(path: Path, archive: zipfile.ZipFile) -> dict[str, _Header]:
    members = archive.infolist()
    if len(members) > _MAX_MEMBERS:
        raise CommandError(
            f"{path}: got {len(members)} members, expected at most {_MAX_MEMBERS} arrays. "
            f"{_HOW_TO_SAVE}."
        )
    headers: dict[str, _Header] = {}
    for member in members:
        header = _header(path, archive, member)
        if header.name in headers:
            raise CommandError(
                f"{path}: got two arrays named {header.name!r}, expected one of each name. "
                f"{_HOW_TO_SAVE}."
            )
        headers[header.name] = header
    return headers


def _header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    name = member.filename
    if not re.fullmatch(r"[^/\\:\x00-\x1f]+\.npy", name) or name.startswith(".."):
        raise CommandError(
            f"{path}: got a member named {name[:100]!r}, expected NumPy arrays only, such as "
            f"'x.npy'. {_HOW_TO_SAVE}."
        )
    name = name.removesuffix(".npy")
    if member.flag_bits & 1:
        raise CommandError(
            f"{path}: array {name!r} is encrypted, expected a plain one. {_HOW_TO_SAVE}."
        )
    with archive.open(member) as stream:
        shape, fortran, dtype = _parse_header(path, name, stream)
        start = stream.tell()
    if dtype.hasobject:
        raise CommandError(
            f"{path}: array {name!r} has dtype object, expected numbers. Objects are pickles, "
            "which are never loaded: pad the sequences to one length and save a float array."
        )
    if dtype.kind not in "fiub":
        raise CommandError(
            f"{path}: array {name!r} has dtype {dtype}, expected real numbers. "
            "Convert it, for example with x.astype('float32')."
        )
    if 0 in shape or not shape:
        raise CommandError(
            f"{path}: array {name!r} has shape {shape}, expected (rows, …) with at least one of "
            "each. Save at least one row."
        )
    if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != member.file_size - start:
        raise CommandError(
            f"{path}: array {name!r} declares shape {_short(shape)} of {dtype}, but holds "
            f"{member.file_size - start} bytes, expected the two to agree. {_HOW_TO_SAVE}."
        )
    return _Header(name, shape, dtype, fortran, member)


def _parse_header(
    path: Path, name: str, stream: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        return np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # a header is read by Python's own tokenizer and parser
        raise CommandError(
            f"{path}: member {name!r} is no NumPy array ({_line(error)}), expected one. "
            f"{_HOW_TO_SAVE}."
        ) from error


# --- which arrays are what ------------------------------------------------------------------------


def _renamed(
    path: Path, headers: dict[str, _Header], names: Mapping[str, str | None]
) -> dict[str, _Header]:
    """The headers with the arrays that were asked for called `x` and `y`, and no others so."""
    for part, name in names.items():
        if name is None:
            continue
        if name not in headers:
            raise CommandError(
                f"--{part}: got {name!r}, expected one of the arrays of {path}: {_names(headers)}."
            )
        others = {
            key: header
            for key, header in headers.items()
            if key == name or not re.fullmatch(rf"{part}(_\d+)?", key)
        }
        headers = {**others, part: replace(headers[name], name=part)}
    return headers


def _choose(
    path: Path, headers: dict[str, _Header], input_names: tuple[str, ...]
) -> dict[str, list[str]]:
    """The names of the arrays for x, y and sample_weight, in order."""
    chosen = {part: _numbered(path, headers, part) for part in ("x", "y", "sample_weight")}
    by_name = [name for name in input_names if name in headers]
    if not chosen["x"] and len(by_name) == len(input_names):
        chosen["x"] = by_name
    if not chosen["x"]:
        wanted = "'x' (or 'x_0', 'x_1', …)" + (
            f", or the model's own inputs {', '.join(map(repr, input_names))}"
            if input_names
            else ""
        )
        raise CommandError(
            f"{path}: got arrays {_names(headers)}, expected {wanted}. {_HOW_TO_SAVE}."
        )
    return chosen


def _numbered(path: Path, headers: dict[str, _Header], part: str) -> list[str]:
    """`part` alone, or `part_0`, `part_1`, … without a gap."""
    found = {m[2]: m[0] for m in map(_NUMBERED.match, headers) if m and m[1] == part}
    if None in found and len(found) > 1:
        raise CommandError(
            f"{path}: got {part!r} beside {found[max(set(found) - {None})]!r}, expected either "
            f"one array {part!r} or numbered ones. Rename them."
        )
    if None in found:
        return [part]
    names = [f"{part}_{n}" for n in range(len(found))]
    if set(names) != set(found.values()):
        raise CommandError(
            f"{path}: got {_names(found.values())}, expected {_names(names)}. "
            "Number the arrays from 0 without a gap."
        )
    return names


def _arranged(names: list[str], read: dict[str, np.ndarray], input_names: tuple[str, ...]) -> Any:
    if not names:
        return None
    if set(names) <= set(input_names):
        return {name: read[name] for name in names}
    if len(names) == 1:
        return read[names[0]]
    return [read[name] for name in names]


def _common_length(path: Path, headers: list[_Header]) -> int:
    lengths = {header.name: header.shape[0] for header in headers}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise CommandError(
            f"{path}: got arrays of different numbers of rows: {listed}; expected the same number "
            "in each. Row n of every array is sample n."
        )
    return headers[0].shape[0]


# --- reading --------------------------------------------------------------------------------------


def _check_budget(path: Path, headers: list[_Header], rows: int) -> None:
    """A Fortran-ordered array has its rows spread over the whole file."""
    wanted = {
        h.name: math.prod(h.shape if h.fortran else (rows, *h.shape[1:])) * h.dtype.itemsize
        for h in headers
    }
    if sum(wanted.values()) > MAX_BYTES:
        largest = max(wanted, key=lambda name: wanted[name])
        shape = next(h.shape for h in headers if h.name == largest)
        raise CommandError(
            f"{path}: {rows} rows need {sum(wanted.values()) / 2**30:.1f} GiB (array {largest!r} "
            f"declares shape {_short(shape)}), expected at most {MAX_BYTES / 2**30:.0f} GiB. "
            "Take fewer rows with --samples, or save fewer steps."
        )


def _read(path: Path, archive: zipfile.ZipFile, header: _Header, rows: int) -> np.ndarray:
    """The first rows of one array."""
    shape = header.shape if header.fortran else (rows, *header.shape[1:])
    with archive.open(header.member) as stream:
        _parse_header(path, header.name, stream)
        wanted = math.prod(shape) * header.dtype.itemsize
        content = stream.read(wanted)
    if len(content) != wanted:
        raise CommandError(
            f"{path}: array {header.name!r} ends after {len(content)} of {wanted} bytes, expected "
            f"all of them. The file is damaged: copy it again, or: {_HOW_TO_SAVE}."
        )
    flat = np.frombuffer(content, header.dtype)
    array = flat.reshape(shape[::-1]).T if header.fortran else flat.reshape(shape)
    native = array[:rows].astype(header.dtype.newbyteorder("="))
    return np.ascontiguousarray(native)


def _names(names: Any) -> str:
    listed = [repr(str(name)[:40]) for name in names]
    return ", ".join(listed[:10]) + (" and more" if len(listed) > 10 else "") or "none"


def _short(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 80 else text[:77] + "..."


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
