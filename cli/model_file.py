"""A user's `.keras` file, loaded as carefully as Keras can.

Keras' safe mode has been got around again and again (CVE-2025-1550, CVE-2025-9906 and others), so
the file is looked at before Keras sees it: no HDF5 whole models, no pickles, no archive that is
mostly air. `safe_mode` is never switched off.
"""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from lstm_oracle.cli.errors import CommandError

KERAS_AT_LEAST = (3, 15, 1)  # the first without the loading holes known when this was written
_MAX_CONFIG_BYTES = 64 << 20
_MAX_BYTES = 32 << 30
_MAX_RATIO = 200  # weights hardly shrink, and deflate cannot shrink anything more than 1032 times
_RATIO_MATTERS_FROM = 64 << 20
_HOW_TO_SAVE = "Save the model with model.save('model.keras')"
_CHECK_LIVE = (
    "Check the live model instead: lstm_oracle.conformance.model.verify_model(model, x, y)"
)


def check_model_file(path: Path) -> None:
    """Refuse what is no `.keras` archive, before anything of it is interpreted.

    Raises
    ------
    CommandError
        With what the file is, and how to get one that can be read.
    """
    _check_kind(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise CommandError(
            f"{path}: got a damaged archive ({_line(error)}), expected a whole .keras file. "
            f"It may be truncated: copy it again. {_HOW_TO_SAVE}."
        ) from error


def load_model(path: Path) -> Any:
    """The model in a `.keras` file, compiled if it was saved so; the backend is chosen already.

    Raises
    ------
    CommandError
        Where Keras is too old or cannot load the model.
    """
    import keras

    import lstm_oracle.keras_impl  # noqa: F401  its classes register themselves for loading

    _check_version(keras.__version__)
    try:
        model = keras.saving.load_model(str(path), compile=True, safe_mode=True)
    except Exception as error:  # whatever Keras raises, the user needs one line
        raise CommandError(_explain(path, error)) from error
    if not isinstance(model, keras.Model):
        raise CommandError(
            f"{path}: got a {type(model).__name__}, expected a keras.Model. {_HOW_TO_SAVE}."
        )
    return model


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise CommandError(
            f"{path}: got a folder, expected a .keras file (TensorFlow's SavedModel format has no "
            f"layers to look into). {_HOW_TO_SAVE}."
        )
    if not path.is_file():
        raise CommandError(
            f"{path}: got a path that does not exist, expected a .keras file. Check the path."
        )
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise CommandError(
            f"{path}: got a file that cannot be read ({error.strerror}), expected a readable "
            ".keras file. Check its permissions."
        ) from error
    if path.suffix in (".h5", ".hdf5") or start == b"\x89HDF\r\n\x1a\n":
        raise CommandError(
            f"{path}: got an HDF5 file, expected a .keras file. HDF5 whole models are not loaded: "
            "they can run code when they are read. Load it where you trust it and save it again: "
            "keras.saving.load_model('model.h5').save('model.keras')."
        )
    if not start.startswith(b"PK"):
        what = "a pickle, which is never loaded" if start[:1] == b"\x80" else "no archive"
        raise CommandError(f"{path}: got {what}, expected a .keras file. {_HOW_TO_SAVE}.")
    if path.suffix != ".keras":
        raise CommandError(
            f"{path}: got an archive called {path.suffix or 'nothing'!r}, expected the ending "
            f".keras. {_HOW_TO_SAVE}, or rename the file if it is one."
        )


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    members = {member.filename: member for member in archive.infolist()}
    if "config.json" not in members or "model.weights.h5" not in members:
        raise CommandError(
            f"{path}: got an archive of {_names(members)}, expected a Keras model with config.json "
            f"and model.weights.h5. {_HOW_TO_SAVE}."
        )
    if len(members) != len(archive.infolist()):
        raise CommandError(
            f"{path}: got two members of one name, expected one of each. {_HOW_TO_SAVE}."
        )
    total = sum(member.file_size for member in members.values())
    packed = sum(member.compress_size for member in members.values())
    too_dense = total > _RATIO_MATTERS_FROM and total > _MAX_RATIO * packed
    if total > _MAX_BYTES or members["config.json"].file_size > _MAX_CONFIG_BYTES or too_dense:
        raise CommandError(
            f"{path}: got an archive that unpacks from {packed} to {total} bytes, expected at most "
            f"{_MAX_BYTES >> 30} GiB, {_MAX_CONFIG_BYTES >> 20} MiB of configuration, and "
            f"{_MAX_RATIO} times its size. {_HOW_TO_SAVE}."
        )
    try:
        config = json.loads(archive.read("config.json"))
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"{path}: got a config.json that is no JSON ({_line(error)}), expected a Keras model. "
            f"{_HOW_TO_SAVE}."
        ) from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise CommandError(
            f"{path}: got a config.json without a class_name, expected a Keras model. "
            f"{_HOW_TO_SAVE}."
        )


def _check_version(version: str) -> None:
    parts = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in version.split(".")[:3])
    if parts < KERAS_AT_LEAST:
        wanted = ".".join(map(str, KERAS_AT_LEAST))
        raise CommandError(
            f"got Keras {version}, expected at least {wanted}: older ones can be made to run code "
            f"by the file that they load. Run: pip install 'keras>={wanted}'."
        )


def _explain(path: Path, error: Exception) -> str:
    """Keras tells the cause last, after pages of configuration."""
    first = _first_cause(error)
    text = " ".join(str(first).split())
    if "lambda" in text.lower():
        return (
            f"{path}: got a model with a Lambda layer, expected one without: it holds Python code, "
            f"which is not run from a file. {_CHECK_LIVE}."
        )
    missing = re.search(r"Could not locate (?:class|function) '([^']{1,80})", text)
    if missing:
        return (
            f"{path}: got a model of {missing[1]!r}, which is neither Keras' nor of this project, "
            f"expected one of layers that Keras knows. {_CHECK_LIVE}."
        )
    return (
        f"{path}: got a file that Keras cannot load ({type(first).__name__}: {text[:240]}), "
        f"expected a whole .keras model. {_HOW_TO_SAVE}."
    )


def _first_cause(error: BaseException) -> BaseException:
    cause = error.__cause__ or error.__context__
    return error if cause is None else _first_cause(cause)


def _names(members: dict[str, Any]) -> str:
    listed = [repr(name[:40]) for name in list(members)[:5]]
    return ", ".join(listed) + (" and more" if len(members) > 5 else "") or "nothing"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
