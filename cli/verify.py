"""`lstm-oracle verify`: implementations, or a user's own model, held against the oracle."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_oracle.cli import verify_vectors
from lstm_oracle.cli.arguments import add_report_options, whole_number
from lstm_oracle.cli.deliver import deliver, drawn, report_path, report_width
from lstm_oracle.cli.errors import (
    EXIT_AGREE,
    EXIT_COULD_NOT_RUN,
    EXIT_DISAGREE,
    CommandError,
)

if TYPE_CHECKING:
    from lstm_oracle.cli.document import Document, Style
    from lstm_oracle.conformance.report import ImplementationReport, ModelReport

DESCRIPTION = """\
Without MODEL: every installed implementation computes every case of a matrix:
outputs, final states, and the gradient of every weight, of the input and of
the initial state. Each is held against the NumPy oracle.

With MODEL: every LSTM layer of your own Keras model is held against the
oracle, on the input that really reaches it and with the gradient that really
reaches its output from the model's own loss.

With --vectors: results that any program has computed of test vectors are held
against their correctly rounded answers.
"""
EPILOG = """\
data:
  An .npz file with x (or x_0, x_1, ..., or arrays named as the model's inputs)
  and, optionally, y and sample_weight, numbered likewise:
  np.savez('data.npz', x=x, y=y)
  Without y, or for a model that is not compiled, gradients start from random
  numbers at the outputs.

examples:
  lstm-oracle verify --list
  lstm-oracle verify --implementation lstm_oracle.jax_impl
  lstm-oracle verify model.keras --data data.npz --samples 32
  lstm-oracle verify model.keras --data data.npz --format json --output r.json
  lstm-oracle verify --vectors vectors --outputs computed

exit status: 0 all agree, 1 something disagrees, 2 could not run.
"""

_FORMATS = ("table", "json", "junit")
_ONLY_WITH_MODEL = ("data", "samples", "seed")
_ONLY_WITHOUT_MODEL = ("implementation", "quick", "list")
_SAMPLES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a .keras file")
    parser.add_argument("--data", metavar="FILE", help="an .npz file with x and, optionally, y")
    parser.add_argument(
        "--samples",
        type=whole_number(1, 1_000_000),
        metavar="N",
        help=f"check the first N rows of the data (default {_SAMPLES})",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        metavar="N",
        help="of everything drawn at random (default 0)",
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        help="tensorflow, jax or torch: what Keras runs MODEL on; without MODEL, verify only the "
        "implementations on it",
    )
    parser.add_argument(
        "--implementation",
        action="append",
        metavar="NAME",
        help="verify only this one (see --list); may be given several times",
    )
    parser.add_argument("--quick", action="store_true", help="only the cases that matter most")
    parser.add_argument("--list", action="store_true", help="list the implementations and exit")
    verify_vectors.add_arguments(parser)
    add_report_options(parser, _FORMATS)


def run(arguments: argparse.Namespace) -> int:
    """Verify, write the report, and give the exit status."""
    output = report_path(arguments.output)
    if verify_vectors.asked_for(arguments):
        text, status = _verify_vectors(arguments)
    else:
        text, status = _verify(arguments)
    deliver(text, output)
    return status


def _verify(arguments: argparse.Namespace) -> tuple[str, int]:
    _check_combination(arguments)
    if arguments.list:
        return drawn(_list(), arguments.output), EXIT_AGREE
    if arguments.model is None:
        return _verify_implementations(arguments)
    return _verify_model(arguments)


def _verify_vectors(arguments: argparse.Namespace) -> tuple[str, int]:
    reports = [verify_vectors.report(arguments)]
    status = _implementations_status(reports, asked_for=True)
    return _implementations_text(arguments, reports, status), status


def _check_combination(arguments: argparse.Namespace) -> None:
    forbidden = _ONLY_WITH_MODEL if arguments.model is None else _ONLY_WITHOUT_MODEL
    for name in forbidden:
        if getattr(arguments, name) not in (None, False):
            got, fix = (
                ("no MODEL", "Name a .keras file")
                if arguments.model is None
                else (f"MODEL {arguments.model!r}", f"Leave out MODEL, or --{name}")
            )
            expected = "a MODEL beside it" if arguments.model is None else "no MODEL beside it"
            raise CommandError(f"--{name}: got {got}, expected {expected}. {fix}.")
    if arguments.list and arguments.format != "table":
        raise CommandError(
            f"--list: got --format {arguments.format}, expected a table. Leave out --format."
        )
    if arguments.backend and arguments.implementation:
        raise CommandError(
            f"--backend: got --implementation {arguments.implementation[0]!r} as well, expected "
            "one of the two. An implementation's name holds its backend."
        )
    if arguments.model is not None and arguments.data is None:
        raise CommandError(
            f"got MODEL {arguments.model!r} without data, expected --data FILE. "
            "Save some of what you train on: np.savez('data.npz', x=x, y=y)."
        )


# --- implementations ------------------------------------------------------------------------------


def _chosen(arguments: argparse.Namespace) -> list[str] | None:
    """Names of the implementations asked for; None: all of them."""
    from lstm_oracle.cli.backend import BACKENDS
    from lstm_oracle.conformance.adapters import REGISTRY, implementation

    if arguments.backend is not None:
        if arguments.backend not in BACKENDS:
            raise CommandError(
                f"--backend: got {arguments.backend!r}, expected one of {', '.join(BACKENDS)}. "
                "Without MODEL it chooses the implementations on that backend of Keras."
            )
        return [row.name for row in REGISTRY.values() if row.backend == arguments.backend]
    for name in arguments.implementation or ():
        try:
            implementation(name)
        except ValueError as error:
            raise CommandError(f"--implementation: {error}") from error
    return arguments.implementation


def _list() -> Document:
    """Every implementation, and whether it can be run here."""
    from lstm_oracle.cli.document import Column, Paragraph, Table
    from lstm_oracle.conformance.adapters import REGISTRY

    rows = [(row.name, row.missing() or "installed") for row in REGISTRY.values()]
    styles: list[Style] = ["" if state == "installed" else "dim" for _, state in rows]
    return [
        Table((Column("implementation"), Column("state")), rows, styles),
        Paragraph("An adapter of your own is named as 'module:callable'.", "dim"),
    ]


def _verify_implementations(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.cli.output import quiet
    from lstm_oracle.cli.progress import Progress

    names = _chosen(arguments)
    from lstm_oracle.conformance.runner import verify_implementations

    with quiet(show=_debug(arguments)) as stderr:
        progress = Progress(stderr, arguments.progress)
        reports = verify_implementations(
            names, level="quick" if arguments.quick else "full", progress=progress
        )
        progress.finish()
    status = _implementations_status(reports, asked_for=bool(arguments.implementation))
    return _implementations_text(arguments, reports, status), status


def _implementations_status(reports: list[ImplementationReport], *, asked_for: bool) -> int:
    """What is not installed is no failure, unless it was asked for by name."""
    ran = [report for report in reports if not report.unavailable]
    if not ran or (asked_for and len(ran) < len(reports)):
        return EXIT_COULD_NOT_RUN
    return EXIT_AGREE if all(report.agrees for report in ran) else EXIT_DISAGREE


def _implementations_text(
    arguments: argparse.Namespace, reports: list[ImplementationReport], status: int
) -> str:
    if arguments.format == "json":
        from lstm_oracle.cli.report_json import implementations_json

        return implementations_json(reports, status)
    if arguments.format == "junit":
        from lstm_oracle.cli.report_junit import implementations_junit

        return implementations_junit(reports)
    from lstm_oracle.cli.report_table import implementations_document

    width = report_width(arguments.output)
    return drawn(implementations_document(reports, width=width), arguments.output)


# --- a user's model -------------------------------------------------------------------------------


def _verify_model(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.cli.backend import choose_backend, use_backend
    from lstm_oracle.cli.data_file import check_data_file, read_data
    from lstm_oracle.cli.model_file import check_model_file, load_model
    from lstm_oracle.cli.output import quiet

    # What can be refused without importing a framework is refused at once.
    path, data_path = Path(arguments.model), Path(arguments.data)
    check_model_file(path)
    check_data_file(data_path)
    backend, note = choose_backend(arguments.backend, os.environ)
    use_backend(backend)
    with quiet(show=_debug(arguments)):
        from lstm_oracle.conformance.model import input_names, verify_model

        model = load_model(path)
        samples = arguments.samples or _SAMPLES
        data = read_data(data_path, samples, input_names(model))
        try:
            report = verify_model(
                model, data.x, data.y, data.sample_weight, samples=samples, seed=arguments.seed or 0
            )
        except (TypeError, ValueError) as error:
            raise CommandError(f"{data_path}: {error}") from error
    if not report.checked and not report.count("error"):
        raise CommandError(_nothing_checked(path, report))
    notes = []
    if data.ignored:
        notes.append(f"not used of {data_path}: {', '.join(map(repr, data.ignored))}.")
    report = _with_notes(report, (*notes, *([note] if note else [])))
    status = EXIT_AGREE if report.agrees else EXIT_DISAGREE
    return _model_text(arguments, report, status), status


def _nothing_checked(path: Path, report: ModelReport) -> str:
    reasons = [f"{layer.case.name}: {layer.case.message}" for layer in report.layers[:3]]
    return (
        f"{path}: got no LSTM layer that can be checked ({'; '.join(reasons) or 'none at all'}), "
        "expected at least one. See `lstm-oracle verify --help` for what is checked."
    )


def _with_notes(report: ModelReport, notes: Sequence[str]) -> ModelReport:
    import dataclasses

    return dataclasses.replace(report, notes=(*report.notes, *notes))


def _model_text(arguments: argparse.Namespace, report: ModelReport, status: int) -> str:
    if arguments.format == "json":
        from lstm_oracle.cli.report_json import model_json

        return model_json(report, status)
    if arguments.format == "junit":
        from lstm_oracle.cli.report_junit import model_junit

        return model_junit(report)
    from lstm_oracle.cli.report_table import model_document

    return drawn(model_document(report, width=report_width(arguments.output)), arguments.output)


def _debug(arguments: argparse.Namespace) -> bool:
    return bool(getattr(arguments, "debug", False))
