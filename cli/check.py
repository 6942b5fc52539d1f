"""`lstm-oracle check`: a function of one's own, held against the oracle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lstm_oracle.cli.errors import EXIT_AGREE, EXIT_DISAGREE, CommandError

if TYPE_CHECKING:
    from lstm_oracle.reference.spec import Spec

DESCRIPTION = """\
Hold a function that computes an LSTM against the oracle: its values, its gradients
where there are any, with masks, without a state, with one step and with sixty.
It runs in a process of its own, so that a crash is a result.
"""

EPILOG = """\
examples:
  lstm-oracle check my_kernel:lstm
  lstm-oracle check kernels/lstm.py:lstm --layout torch --time-major --dtype float32
  lstm-oracle check my_kernel:lstm --inputs 32 --hidden 64 --peepholes ifo --format json

The function gets what its parameters are called: x, h0, c0, mask or lengths, and the
weights under the names of the layout. It returns y, or y, h_T and c_T.
exit status: 0 agrees, 1 disagrees, 2 could not run.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    from lstm_oracle.cli.arguments import add_report_options, whole_number

    parser.add_argument("function", metavar="MODULE:CALLABLE", help="or FILE.py:CALLABLE")
    parser.add_argument("--layout", default=None, help="of the weights (default fused)")
    parser.add_argument("--time-major", action="store_true", help="x and y are time first")
    parser.add_argument("--dtype", choices=("float64", "float32", "float16", "bfloat16"))
    parser.add_argument("--framework", choices=("numpy", "torch", "jax", "tensorflow", "keras"))
    parser.add_argument("--inputs", type=whole_number(1, 4096), metavar="I", help="input size")
    parser.add_argument("--hidden", type=whole_number(1, 4096), metavar="H", help="hidden size")
    parser.add_argument("--peepholes", default="", metavar="LETTERS", help="out of ifo")
    parser.add_argument("--masked-output", choices=("previous", "zero", "state"))
    parser.add_argument("--quick", action="store_true", help="the cases that matter most")
    parser.add_argument(
        "--time-limit", type=whole_number(1, 86400), default=60, metavar="S",
        help="seconds without an answer (default 60)",
    )  # fmt: skip
    parser.add_argument(
        "--memory-limit", type=whole_number(64, 1 << 20), default=4096, metavar="MIB",
        help="of the function's process (default 4096)",
    )  # fmt: skip
    add_report_options(parser, ("text", "json"))


def run(arguments: argparse.Namespace) -> int:
    """Check the function; 0 where it agrees, 1 where it does not."""
    from lstm_oracle.cli.output import check_writable, write_file, write_stdout
    from lstm_oracle.conformance import check

    if arguments.output:
        check_writable(Path(arguments.output))
    try:
        verdict = check(
            arguments.function,
            _spec(arguments),
            layout=arguments.layout,
            time_major=arguments.time_major,
            dtype=arguments.dtype,
            framework=arguments.framework,
            cases="quick" if arguments.quick else "full",
            isolate=True,
            time_limit=arguments.time_limit,
            memory_limit=arguments.memory_limit << 20,
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    if not any(case.status in ("agree", "disagree") for case in verdict.cases):
        reason = " ".join(verdict.explanation.split()).rstrip(".")
        raise CommandError(f"{arguments.function}: {reason}. Nothing was compared.")
    text = verdict.to_json(indent=2) if arguments.format == "json" else str(verdict)
    if arguments.output:
        write_file(Path(arguments.output), text + "\n")
    else:
        write_stdout(text + "\n")
    return EXIT_AGREE if verdict.agrees else EXIT_DISAGREE


def _spec(arguments: argparse.Namespace) -> Spec | None:
    """The layer that was described; None where nothing was said."""
    from lstm_oracle.reference.spec import Spec

    said = (arguments.inputs, arguments.hidden, arguments.peepholes, arguments.masked_output)
    if not any(said):
        return None
    return Spec(
        input_size=arguments.inputs or 3,
        hidden_size=arguments.hidden or 4,
        peepholes=arguments.peepholes,
        masked_output=arguments.masked_output or "previous",
    )
