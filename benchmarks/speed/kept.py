"""Results in files: written whole after every case, and read with care."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from lstm_oracle.benchmarks.speed.bench import FORMAT, VERSION
from lstm_oracle.benchmarks.speed.machine import same_code

_FIELDS = ("machine", "devices", "threads", "contenders", "cases", "rates", "commit")


def read(path: Path) -> dict[str, Any]:
    """A result of `measure`.

    Raises
    ------
    ValueError
        Where the file is not there, or holds something else: with what was got and expected.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"{str(path)!r} could not be read: {error.strerror or error}; expected a result of "
            "`lstm-oracle bench --format json`. Name another file."
        ) from error
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON ({error}). {_EXPECTED}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        got = found.get("format") if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"{str(path)!r} has format {got!r}, expected {FORMAT!r}. {_EXPECTED}")
    missing = [name for name in _FIELDS if name not in found]
    if found.get("version") != VERSION or missing:
        raise ValueError(
            f"{str(path)!r} has version {found.get('version')!r}"
            f"{f' and no {missing[0]}' if missing else ''}, expected version {VERSION}. {_EXPECTED}"
        )
    return found


_EXPECTED = "Make it with `lstm-oracle bench --format json --output FILE`."


def write(path: Path, result: dict[str, Any]) -> None:
    """All of it or nothing: an interrupted run leaves the case before."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text(result))
        os.chmod(name, 0o644)
        os.replace(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def text(result: dict[str, Any]) -> str:
    """As JSON, one row of a case per line: it is kept under version control."""
    head = {name: value for name, value in result.items() if name not in ("cases", "contenders")}
    lines = json.dumps(head, indent=1, allow_nan=False)[:-2]
    contenders = _lines(result["contenders"], 2)
    cases = ",\n".join(_case(case) for case in result["cases"])
    return f'{lines},\n "contenders": [\n{contenders}\n ],\n "cases": [\n{cases}\n ]\n}}\n'


def _case(case: dict[str, Any]) -> str:
    head = {name: value for name, value in case.items() if name != "rows"}
    return (
        f'  {json.dumps(head, allow_nan=False)[:-1]}, "rows": [\n{_lines(case["rows"], 3)}\n  ]}}'
    )


def _lines(rows: list[Any], indent: int) -> str:
    return ",\n".join(" " * indent + json.dumps(row, allow_nan=False) for row in rows)


def resumable(path: Path, commit: str, threads: int) -> dict[str, Any] | None:
    """What an interrupted run left, None where there is nothing to go on with.

    Raises
    ------
    ValueError
        Where it was made from other code, or with other threads: figures must not be mixed.
    """
    if not path.exists():
        return None
    found = read(path)
    if found["finished"]:
        return None
    same = {"commit": same_code(found["commit"], commit), "threads": found["threads"] == threads}
    for name, here in (("commit", commit), ("threads", threads)):
        if not same[name]:
            raise ValueError(
                f"{str(path)!r} is unfinished and has {name} {found[name]}, here it is {here}; "
                "expected the same. Delete it, or name another file."
            )
    return found
