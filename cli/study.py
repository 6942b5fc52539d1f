"""`lstm-oracle study`: gates, gradient flow, initialization; built-in tasks or a user's model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lstm_oracle.cli.arguments import whole_number
from lstm_oracle.cli.errors import EXIT_AGREE, CommandError

DESCRIPTION = """\
What goes on inside an LSTM, by the oracle: how its gates stand, how its
gradient travels back through time, what its initialization does. Of a network
on a built-in task, over several seeds, or of your own model and data, over
several draws of sequences.
"""
EPILOG = """\
studies:
  gates           distributions, saturation, memory time constants, units
  gradient-flow   cell path against gate paths, Jacobian, Lyapunov exponent,
                  memory length, gradient noise scale
  initialization  all initializers and forget biases on four tasks: what was
                  measured (`make study` measures anew)

examples:
  lstm-oracle study gates
  lstm-oracle study gradient-flow --task 'copy memory' --steps 300 --seeds 10
  lstm-oracle study gradient-flow --model m.keras --data d.npz
  lstm-oracle study gates --format html --output gates.html

exit status: 0, or 2 could not run.
"""
_STUDIES = ("gates", "gradient-flow", "initialization")
_FORMATS = ("text", "json", "html")
_ALL_ROWS = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("study", choices=_STUDIES, metavar="STUDY", help=", ".join(_STUDIES))
    parser.add_argument("--model", metavar="FILE", help="a .keras file; with --data")
    parser.add_argument("--data", metavar="FILE", help="an .npz file with x and, better, y")
    parser.add_argument("--backend", metavar="NAME", help="tensorflow, jax or torch")
    parser.add_argument("--task", default="adding", metavar="NAME", help="a built-in task")
    parser.add_argument(
        "--length", type=whole_number(4, 10_000), metavar="T", help="steps of a sequence"
    )
    parser.add_argument(
        "--initializer", default="orthogonal", metavar="NAME", help="(default orthogonal)"
    )
    parser.add_argument("--bias", default="1", metavar="B", help="forget bias: 0, 1 or chrono")
    parser.add_argument("--depth", type=whole_number(1, 8), default=1, metavar="N")
    parser.add_argument(
        "--hidden-size", type=whole_number(1, 256), default=16, metavar="H", help="(default 16)"
    )
    parser.add_argument(
        "--steps", type=whole_number(0, 10**5), default=0, metavar="N",
        help="training steps before looking (default 0: at the start)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=whole_number(1, 1000), default=5, metavar="N")
    parser.add_argument(
        "--sequences", type=whole_number(2, 1024), default=64, metavar="N", help="looked at"
    )
    parser.add_argument("--format", choices=_FORMATS, default="text", help="(default text)")
    parser.add_argument("--output", metavar="FILE", help="write the report there, not to stdout")


def run(arguments: argparse.Namespace) -> int:
    """Look, and write the report."""
    from lstm_oracle.cli.output import check_writable, write_file, write_stdout

    output = None if arguments.output is None else Path(arguments.output)
    if output is not None:
        check_writable(output)
    if (arguments.model is None) != (arguments.data is None):
        raise CommandError(
            "got one of --model and --data, expected both or neither. "
            "Save what the model reads: np.savez('data.npz', x=x, y=y)."
        )
    report = _report(arguments)
    text = {"text": report.to_text, "json": report.to_json, "html": report.to_html}
    drawn = text[arguments.format]()
    if output is None:
        write_stdout(drawn)
    else:
        write_file(output, drawn)
    return EXIT_AGREE


def _report(arguments: argparse.Namespace) -> Any:
    if arguments.study == "initialization":
        return _initialization(arguments)
    from lstm_oracle.benchmarks.study import inside

    looked = inside.gates if arguments.study == "gates" else inside.gradient_flow
    if arguments.model is None:
        return looked(*_built_in(arguments))
    return looked(*_of_model(arguments))


def _initialization(arguments: argparse.Namespace) -> Any:
    from lstm_oracle.benchmarks.study import analysis

    if arguments.model is not None:
        raise CommandError(
            "initialization: got --model, expected a built-in task: a trained model no longer has "
            "its start. Leave out --model and --data."
        )
    try:
        return analysis.report(analysis.kept())
    except FileNotFoundError as error:
        raise CommandError(
            f"initialization: {error.filename} is not there, expected the study's kept results. "
            "Measure them in a checkout: make study."
        ) from error


def _built_in(arguments: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    from lstm_oracle.cli.backend import is_installed

    if not is_installed("jax"):
        raise CommandError(
            "got a built-in task, but JAX is not installed, expected jax >= 0.6. "
            "Run: pip install 'lstm-oracle[jax]', or pass --model and --data."
        )
    from lstm_oracle.benchmarks.study.layers import Choice, of_task
    from lstm_oracle.benchmarks.study.settings import BIASES, INITIALIZERS, Setting
    from lstm_oracle.benchmarks.study.tasks import TASKS

    _one_of("--task", arguments.task, TASKS)
    _one_of("--initializer", arguments.initializer, INITIALIZERS)
    _one_of("--bias", arguments.bias, BIASES)
    lengths = TASKS[arguments.task][1]
    length = arguments.length or lengths[1]
    if arguments.task in ("Japanese Vowels", "digits") and length not in lengths:
        raise CommandError(
            f"--length: got {length}, expected one of {lengths} for {arguments.task!r}. "
            "Real data have the lengths they have."
        )
    choice = Choice(
        arguments.task, length, Setting(arguments.initializer, arguments.bias), arguments.depth,
        arguments.hidden_size, arguments.steps, arguments.sequences,
    )  # fmt: skip
    facts = {
        "task": choice.task, "initializer": choice.setting.initializer,
        "forget bias": choice.setting.bias, "hidden size": choice.hidden_size,
        "training steps": choice.steps,
    }  # fmt: skip
    try:
        return [of_task(choice, seed) for seed in range(arguments.seeds)], facts
    except FileNotFoundError as error:
        raise CommandError(
            f"--task: got {choice.task!r}, whose data {error.filename} is not there, expected a "
            "checkout of the repository. Take adding or copy memory."
        ) from error


def _one_of(option: str, value: str, known: Any) -> None:
    if value not in known:
        raise CommandError(
            f"{option}: got {value!r}, expected one of {', '.join(known)}. Choose one of them."
        )


def _of_model(arguments: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    import os

    from lstm_oracle.cli.backend import choose_backend, use_backend
    from lstm_oracle.cli.data_file import check_data_file, read_data
    from lstm_oracle.cli.model_file import check_model_file, load_model
    from lstm_oracle.cli.output import quiet

    path, data_path = Path(arguments.model), Path(arguments.data)
    check_model_file(path)
    check_data_file(data_path)
    backend, _ = choose_backend(arguments.backend, os.environ)
    use_backend(backend)
    with quiet(show=bool(getattr(arguments, "debug", False))):
        from lstm_oracle.benchmarks.study.layers import of_model
        from lstm_oracle.conformance.model import input_names

        model = load_model(path)
        data = read_data(data_path, _ALL_ROWS, input_names(model))
        y = data.y if model.compiled else None
        draws = [
            _looked(of_model, model, data, y, seed, arguments.sequences)
            for seed in range(arguments.seeds)
        ]
    loss = "of the model's loss" if y is not None else "of random cotangents: no y, or no loss"
    facts = {"model": path.name, "data": data_path.name, "backend": backend, "gradient": loss}
    return draws, facts


def _looked(of_model: Any, model: Any, data: Any, y: Any, seed: int, sequences: int) -> Any:
    try:
        return of_model(model, data.x, y, data.sample_weight, seed, sequences)
    except ValueError as error:
        raise CommandError(f"{error}") from error
