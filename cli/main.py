"""The entry point: the parser, the verbs, and every way the command can end.

Nothing heavy is imported here, nor at the top of a verb's module: `--help` and every mistyped
option answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from lstm_oracle.cli.errors import EXIT_COULD_NOT_RUN, EXIT_INTERRUPTED, CommandError
from lstm_oracle.cli.text import printable


class Verb(NamedTuple):
    """A word after `lstm-oracle`, and the module in this room that does it."""

    name: str
    module: str
    summary: str


VERBS = (
    Verb("verify", "verify", "hold implementations, or your own Keras model, to the oracle"),
    Verb("check", "check", "hold a function of your own to the oracle"),
    Verb("diagnose", "diagnose", "find out why a Keras LSTM does not train"),
    Verb("vectors", "vectors", "write test vectors for implementations in any language"),
    Verb("explain", "explain", "what a finding of diagnose means, and what to do"),
    Verb("study", "study", "gates, gradient flow and initialization of LSTMs, in pictures"),
    Verb("bench", "bench", "how fast every LSTM at hand is, each checked before it is timed"),
)

_EXAMPLES = """\
examples:
  lstm-oracle verify                               every installed implementation
  lstm-oracle verify --quick                       the cases that matter most
  lstm-oracle verify model.keras --data x.npz      the LSTM layers of your own model
  lstm-oracle verify --format junit --output verify.xml
  lstm-oracle check my_kernel:lstm                 a function of your own
  lstm-oracle diagnose model.keras --data x.npz    why it does not train
  lstm-oracle diagnose --script train.py           the same, of your own script
  lstm-oracle explain LSTM010                      a finding's page
  lstm-oracle vectors vectors                      test vectors for any language
  lstm-oracle study gradient-flow                  the inside of an LSTM, in pictures
  lstm-oracle bench --quick                        the speed of what is installed

exit status: 0 all agree or healthy, 1 something disagrees or is found, 2 could
not run.
`lstm-oracle VERB --help` explains a verb.
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors go the way of all others."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}. See `{self.prog} --help`.")


class _Version(argparse.Action):
    """`--version`; the metadata are read only when asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"lstm-oracle {version('lstm-oracle')}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and give its exit status; arguments default to those of the process.

    Examples
    --------
    >>> main(["--version"])  # doctest: +ELLIPSIS
    lstm-oracle ...
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        arguments = _parser().parse_args(words)
        return arguments.run(arguments)
    except SystemExit as stop:  # argparse, after --help and --version
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _say("lstm-oracle: interrupted", EXIT_INTERRUPTED)
    except CommandError as error:
        _show_traceback(debug)
        return _say(f"lstm-oracle: error: {error}", EXIT_COULD_NOT_RUN)
    except Exception as error:
        _show_traceback(debug)
        return _say(f"lstm-oracle: error: {_unexpected(error)}", EXIT_COULD_NOT_RUN)


def _parser() -> argparse.ArgumentParser:
    common = _Parser(add_help=False)
    common.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,
        help="show the traceback of an error and all that the frameworks print",
    )
    parser = _Parser(
        prog="lstm-oracle",
        description="Proof for LSTMs: a NumPy oracle, and every implementation held against it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for verb in VERBS:
        module = importlib.import_module(f"lstm_oracle.cli.{verb.module}")
        sub = verbs.add_parser(
            verb.name,
            help=verb.summary,
            description=module.DESCRIPTION,
            epilog=module.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
            allow_abbrev=False,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def _unexpected(error: Exception) -> str:
    """What nobody foresaw, in one line."""
    text = " ".join(str(error).split())
    return (
        f"unexpected {type(error).__name__}: {text[:500]}. This is a defect of lstm-oracle or of "
        "the framework; `--debug` shows where it happened."
    )


def _show_traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def _say(message: str, status: int) -> int:
    """One message on stderr, whatever characters it can hold."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    message = printable(" ".join(message.splitlines()))
    print(message.encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)
    return status
