"""`lstm-oracle diagnose`: why does this model not train? From files, or from a user's script."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lstm_oracle.cli.arguments import add_report_options, whole_number
from lstm_oracle.cli.deliver import deliver, report_path
from lstm_oracle.cli.errors import EXIT_AGREE, EXIT_DISAGREE, CommandError

if TYPE_CHECKING:
    from lstm_oracle.diagnosis.findings import Diagnosis

DESCRIPTION = """\
Why does this Keras LSTM not train? Finds the cause by short, controlled
trainings on clones, tries the remedy, and says when nothing is wrong. Your
model and data are not changed.

With MODEL: a compiled .keras file and its training data.
With --script: your own training script, unchanged, is run until it calls fit,
or until its loop over train_on_batch has shown its batches;
what it was about to do is diagnosed instead, and the script is stopped. It
runs with your rights: do this with scripts that you would run yourself.
"""
EPILOG = """\
data:
  An .npz file with x and y (or x_0, x_1, ..., or arrays named as the model's
  inputs) and, optionally, sample_weight: np.savez('data.npz', x=x, y=y)

examples:
  lstm-oracle diagnose model.keras --data data.npz --epochs 20
  lstm-oracle diagnose model.keras --data d.npz --x x_train --y y_train
  lstm-oracle diagnose --script train.py
  lstm-oracle diagnose --script train.py --format html --output report.html \\
      -- --learning-rate 0.1

exit status: 0 healthy, 1 findings or undecided, 2 could not run.
`lstm-oracle explain ID` tells more of a finding.
"""

_FORMATS = ("text", "json", "junit", "html")
_BUDGETS = ("quick", "standard", "thorough")
_ONLY_WITH_MODEL = ("data", "x", "y", "validation_split", "epochs", "batch_size")
_FILE_WIDTH = 100
_EVERY_ROW = 2**62


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "words", nargs="*", metavar="MODEL", help="a .keras file; with --script: its arguments"
    )
    parser.add_argument("--data", metavar="FILE", help="an .npz file with x and y")
    parser.add_argument("--x", metavar="NAME", help="the array that is x (default x)")
    parser.add_argument("--y", metavar="NAME", help="the array that is y (default y)")
    parser.add_argument(
        "--validation-split",
        type=_fraction,
        metavar="F",
        help="as in fit: hold out the last part (default: every fifth sequence, at random)",
    )
    parser.add_argument(
        "--epochs", type=whole_number(1, 10**9), metavar="N", help="as in fit (default 10)"
    )
    parser.add_argument(
        "--batch-size", type=whole_number(1, 10**9), metavar="N", help="as in fit (default 32)"
    )
    parser.add_argument("--script", metavar="FILE", help="a Python script that trains the model")
    parser.add_argument(
        "--fit",
        type=whole_number(1, 10**6),
        metavar="N",
        help="diagnose the script's Nth call of fit (default 1); earlier ones train",
    )
    parser.add_argument(
        "--budget",
        type=_budget,
        default="standard",
        metavar="TIME",
        help="quick (20 s), standard (2 min), thorough (15 min), or seconds (default standard)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of everything drawn at random (default 0)",
    )
    parser.add_argument("--backend", metavar="NAME", help="tensorflow, jax or torch")
    add_report_options(parser, _FORMATS)


def run(arguments: argparse.Namespace) -> int:
    """Diagnose, write the report, and give the exit status."""
    _check_combination(arguments)
    output = report_path(arguments.output)
    diagnosis = _of_script(arguments) if arguments.script is not None else _of_files(arguments)
    deliver(_drawn(diagnosis, arguments), output)
    return EXIT_AGREE if diagnosis.healthy else EXIT_DISAGREE


def _check_combination(arguments: argparse.Namespace) -> None:
    if arguments.script is not None:
        given = [name for name in _ONLY_WITH_MODEL if getattr(arguments, name) is not None]
        if given:
            option = "--" + given[0].replace("_", "-")
            raise CommandError(
                f"{option}: got --script as well, expected a MODEL beside it: the script's own fit "
                f"says it. Leave out {option}."
            )
        return
    if arguments.fit is not None:
        raise CommandError("--fit: got no --script, expected one. Name a script, or leave it out.")
    if len(arguments.words) != 1:
        raise CommandError(
            f"got {len(arguments.words)} models, expected one MODEL with --data FILE, or --script "
            "FILE. See `lstm-oracle diagnose --help`."
        )
    if arguments.data is None:
        raise CommandError(
            f"got MODEL {arguments.words[0]!r} without data, expected --data FILE. "
            "Save what you train on: np.savez('data.npz', x=x, y=y)."
        )


# --- from files -----------------------------------------------------------------------------------


def _of_files(arguments: argparse.Namespace) -> Diagnosis:
    from lstm_oracle.cli.backend import choose_backend, use_backend
    from lstm_oracle.cli.data_file import check_data_file, read_data
    from lstm_oracle.cli.model_file import check_model_file, load_model
    from lstm_oracle.cli.output import quiet

    path, data_path = Path(arguments.words[0]), Path(arguments.data)
    check_model_file(path)
    check_data_file(data_path)
    backend, _ = choose_backend(arguments.backend, os.environ)
    use_backend(backend)
    with quiet(show=_debug(arguments)) as stderr:
        from lstm_oracle.conformance.model import input_names

        model = load_model(path)
        names = {part: getattr(arguments, part) for part in ("x", "y")}
        data = read_data(data_path, _EVERY_ROW, input_names(model), names)
        if data.y is None:
            raise CommandError(
                f"{data_path}: got no targets, expected an array 'y'. Save x and y together: "
                "np.savez('data.npz', x=x, y=y), or name yours with --y."
            )
        given = {
            "x": data.x,
            "y": data.y,
            "sample_weight": data.sample_weight,
            "validation_split": arguments.validation_split or 0.0,
            "epochs": arguments.epochs or 10,
            "batch_size": arguments.batch_size or 32,
        }
        return _diagnosed(model, given, arguments, stderr, str(data_path))


# --- from a script --------------------------------------------------------------------------------


def _of_script(arguments: argparse.Namespace) -> Diagnosis:
    from lstm_oracle.cli.output import quiet
    from lstm_oracle.cli.script import run_until_fit, stdout_to_stderr

    path = Path(arguments.script)
    _check_script(path)
    if arguments.backend is not None:
        from lstm_oracle.cli.backend import choose_backend, use_backend

        use_backend(choose_backend(arguments.backend, os.environ)[0])

    def diagnose(model: Any, given: dict[str, Any]) -> Diagnosis:
        _check_backend(arguments.backend, path)
        with quiet(show=_debug(arguments)) as stderr:
            return _diagnosed(model, given, arguments, stderr, str(path))

    with stdout_to_stderr():
        return run_until_fit(path, _script_arguments(arguments), arguments.fit or 1, diagnose)


def _script_arguments(arguments: argparse.Namespace) -> list[str]:
    words = arguments.words
    return words[1:] if words[:1] == ["--"] else words


def _check_script(path: Path) -> None:
    if path.is_dir():
        raise CommandError(f"--script: got the folder {str(path)!r}, expected a Python script.")
    if not path.is_file():
        raise CommandError(
            f"--script: got {str(path)!r}, which does not exist, expected a Python script. "
            "Check the path."
        )
    if path.suffix != ".py":
        raise CommandError(
            f"--script: got {str(path)!r}, expected a Python script, ending in .py. "
            "Export a notebook as a script first: jupyter nbconvert --to script."
        )


def _check_backend(wanted: str | None, path: Path) -> None:
    import keras

    if wanted is not None and keras.backend.backend() != wanted:
        raise CommandError(
            f"--backend: got {wanted!r}, but {path} chooses {keras.backend.backend()!r} itself, "
            "expected the same. Leave out --backend."
        )


# --- the diagnosis --------------------------------------------------------------------------------


def _diagnosed(
    model: Any,
    given: dict[str, Any],
    arguments: argparse.Namespace,
    stderr: TextIO,
    source: str,
) -> Diagnosis:
    from lstm_oracle.diagnosis import diagnose

    progress = _Progress(stderr, arguments.progress)
    try:
        return diagnose(
            model, **given, budget=arguments.budget, seed=arguments.seed, progress=progress
        )
    except ValueError as error:
        raise CommandError(f"{source}: {' '.join(str(error).split())}") from error
    finally:
        progress.finish()


class _Progress:
    """A line per experiment; on a terminal each takes the place of the one before."""

    def __init__(self, stream: TextIO, wanted: bool | None) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._shown = self._terminal if wanted is None else wanted

    def __call__(self, message: str) -> None:
        if self._shown and self._terminal:
            self._overwrite(message)
        elif self._shown:
            print(message, file=self._stream, flush=True)

    def finish(self) -> None:
        if self._shown and self._terminal:
            self._overwrite("")
            self._stream.write("\r")
            self._stream.flush()

    def _overwrite(self, message: str) -> None:
        import shutil

        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + message[:width].ljust(width))
        self._stream.flush()


def _drawn(diagnosis: Diagnosis, arguments: argparse.Namespace) -> str:
    if arguments.format == "text":
        from lstm_oracle.diagnosis.report import text

        if arguments.output is not None:
            return text(diagnosis, width=_FILE_WIDTH)
        return text(diagnosis, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    drawn = getattr(diagnosis, f"to_{arguments.format}")()
    return drawn if drawn.endswith("\n") else drawn + "\n"


# --- values of options ----------------------------------------------------------------------------


def _fraction(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a fraction from 0 to below 1")
    return value


def _budget(text: str) -> str | float:
    if text in _BUDGETS:
        return text
    value = _number(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected {', '.join(_BUDGETS)}, or seconds above 0"
        )
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _debug(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "debug", False))
