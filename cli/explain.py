"""`lstm-oracle explain`: the page of a finding, or the list of all."""

from __future__ import annotations

import argparse

from lstm_oracle.cli.errors import EXIT_AGREE, CommandError

DESCRIPTION = """\
What a finding means, how it is measured, where its limit comes from, what to
do about it, how to silence it, and what it cannot tell. Without FINDING: the
list of all.
"""
EPILOG = """\
examples:
  lstm-oracle explain
  lstm-oracle explain LSTM010
  lstm-oracle explain inputs-unscaled

exit status: 0, or 2 where there is no such finding.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "finding", nargs="?", metavar="FINDING", help="an id such as LSTM010, or a name"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the page, or the list."""
    from lstm_oracle.cli.output import write_stdout

    write_stdout(_list() if arguments.finding is None else _page(arguments.finding))
    return EXIT_AGREE


def _page(finding: str) -> str:
    from lstm_oracle.diagnosis.catalog import entry

    try:
        return entry(finding).page
    except ValueError as error:
        raise CommandError(f"{error} `lstm-oracle explain` lists them all.") from error


def _list() -> str:
    from lstm_oracle.diagnosis.catalog import ENTRIES

    wide = max(len(entry.name) for entry in ENTRIES.values())
    return "".join(f"{id}  {entry.name:{wide}}  {entry.title}\n" for id, entry in ENTRIES.items())
