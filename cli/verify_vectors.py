"""`lstm-oracle verify --vectors`: results that were computed elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_oracle.cli.errors import CommandError

if TYPE_CHECKING:
    from lstm_oracle.conformance.report import ImplementationReport

OPTIONS = ("vectors", "outputs", "dtype")
_OTHERS = ("model", "data", "samples", "seed", "backend", "implementation", "quick", "list")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this way to verify."""
    parser.add_argument("--vectors", metavar="DIR", help="test vectors of `lstm-oracle vectors`")
    parser.add_argument(
        "--outputs", metavar="DIR", help="what was computed of them: <id>.safetensors files"
    )
    parser.add_argument(
        "--dtype",
        choices=("float64", "float32", "float16", "bfloat16"),
        help="what OUTPUTS were computed in (default: what they are written in)",
    )


def asked_for(arguments: argparse.Namespace) -> bool:
    """Whether any of these options was given."""
    return any(getattr(arguments, name) is not None for name in OPTIONS)


def report(arguments: argparse.Namespace) -> ImplementationReport:
    """The verdict on every case."""
    import sys

    from lstm_oracle.cli.progress import Progress
    from lstm_oracle.conformance.vectors.judge import judge

    _check_combination(arguments)
    progress = Progress(sys.stderr, arguments.progress)
    try:
        found = judge(
            Path(arguments.vectors),
            Path(arguments.outputs),
            dtype=arguments.dtype,
            progress=lambda done, total: progress("outputs", done, total),
        )
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    finally:
        progress.finish()
    if found.count("unsupported") == len(found.cases):
        raise CommandError(
            f"{arguments.outputs}: got results of no case that can be judged in this dtype, "
            "expected at least one. See README.md of the vectors."
        )
    return found


def _check_combination(arguments: argparse.Namespace) -> None:
    for name, other in (("vectors", "outputs"), ("outputs", "vectors")):
        if getattr(arguments, name) is None:
            raise CommandError(f"--{name}: got none, expected a folder beside --{other}. Name it.")
    for name in _OTHERS:
        if getattr(arguments, name) not in (None, False):
            label = "MODEL" if name == "model" else f"--{name}"
            raise CommandError(
                f"{label}: got --vectors as well, expected one of the two. Leave out {label}."
            )
