"""Options that verbs share; a value says what it got and what it expected."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """An argparse type: a whole number in a range, both ends included."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise argparse.ArgumentTypeError(
                f"got {text!r}, expected a whole number from {minimum} to {maximum}"
            )
        return value

    return number


def add_report_options(parser: argparse.ArgumentParser, formats: tuple[str, ...]) -> None:
    """--format, --output and --progress; the first of the formats is the default."""
    default = formats[0]
    parser.add_argument(
        "--format", choices=formats, default=default, help=f"of the report (default {default})"
    )
    parser.add_argument("--output", metavar="FILE", help="write the report there, not to stdout")
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show progress on stderr (default: where stderr is a terminal)",
    )
