"""`lstm-oracle vectors`: test vectors for implementations in any language."""

from __future__ import annotations

import argparse
from pathlib import Path

from lstm_oracle.cli.errors import EXIT_AGREE, CommandError

DESCRIPTION = """\
Writes test vectors into DIR: small cases of every option of an LSTM, with
their correctly rounded outputs and gradients, as safetensors and JSON that C,
Rust or Julia read without Python. README.md in DIR says what is in them.
Takes about a minute.
"""
EPILOG = """\
examples:
  lstm-oracle vectors vectors
  lstm-oracle vectors vectors --group plain --group peepholes
  lstm-oracle verify --vectors vectors --outputs computed

exit status: 0 written, 2 could not run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("folder", metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--group",
        action="append",
        metavar="NAME",
        help="write only this group of cases; may be given several times (default all)",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace DIR if it holds test vectors already"
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress on stderr (default: where stderr is a terminal)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the vectors, and say how many."""
    import sys

    from lstm_oracle.cli.output import write_stdout
    from lstm_oracle.cli.progress import Progress
    from lstm_oracle.conformance.vectors.files import write_vectors

    folder = Path(arguments.folder)
    progress = Progress(sys.stderr, arguments.progress)
    try:
        count = write_vectors(
            folder,
            groups=_groups(arguments.group),
            force=arguments.force,
            progress=lambda done, total: progress("vectors", done, total),
        )
    except OSError as error:
        raise CommandError(_reason(folder, error)) from error
    finally:
        progress.finish()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    write_stdout(f"{folder}: {count} cases, {size / 1e6:.1f} MB. See {folder / 'README.md'}.\n")
    return EXIT_AGREE


def _groups(names: list[str] | None) -> tuple[str, ...]:
    from lstm_oracle.conformance.vectors.cases import GROUPS

    for name in names or ():
        if name not in GROUPS:
            raise CommandError(f"--group: got {name!r}, expected one of {', '.join(GROUPS)}.")
    return tuple(name for name in GROUPS if names is None or name in names)


def _reason(folder: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError) and error.errno is None:
        return str(error)
    return f"{folder}: cannot be written: {error.strerror or error}. Name another folder."
