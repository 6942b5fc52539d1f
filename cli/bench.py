"""`lstm-oracle bench`: the speed of every LSTM at hand, each held against the oracle first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstm_oracle.cli.arguments import add_report_options, whole_number
from lstm_oracle.cli.deliver import deliver, drawn, report_path, report_width
from lstm_oracle.cli.errors import EXIT_AGREE, EXIT_DISAGREE, CommandError

if TYPE_CHECKING:
    from lstm_oracle.benchmarks.speed.bench import Plan
    from lstm_oracle.benchmarks.speed.workload import Workload

DESCRIPTION = """\
How long every LSTM at hand takes: the oracle, our implementations in Keras and
JAX, and those of others that are installed. Each runs in a process of its own,
on the same processors with the same number of threads; it is held against the
oracle before it is timed, and shown as WRONG in place of a time where it fails.
Contenders take turns; medians and quartiles are of rounds; rounds that others
disturbed are repeated. Compilation stands in a column of its own.

Beside each time stands its multiple of the floor: the least time that this
machine's measured rates of products, of memory and of dependent steps allow.
"""
EPILOG = """\
shapes:
  --quick              two small ones (the default)
  --shapes issue       the seven by which this project judges itself
  --grid               one size varied at a time: 25 to 1000 steps, batches of 1
                       to 512, widths of 32 to 1024; depth, directions, masks
  --shape T,B,I,H      one of your own; also T,B,I,H,layers=2,directions=2,masked

examples:
  lstm-oracle bench
  lstm-oracle bench --shape 100,32,64,128 --contender torch.nn.LSTM \\
      --contender 'jax_impl auto'
  lstm-oracle bench --shapes issue --keep speed.json
  lstm-oracle bench --from speed.json --format html --output speed.html
  lstm-oracle bench --compare old.json new.json
  lstm-oracle bench --check

exit status: 0 all that ran are right (with --compare: nothing became slower),
1 one is wrong, crashed or hung (something became slower), 2 could not run.
"""

_FORMATS = ("table", "json", "html")
_MEASURING = ("quick", "shapes", "grid", "shape", "contender", "device", "dtype", "mode",
              "threads", "rounds", "seconds", "limit", "keep", "list", "check")  # fmt: skip
_SIZES = ("quick", "shapes", "grid", "shape", "check")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    sizes = parser.add_argument_group("what to measure")
    sizes.add_argument("--quick", action="store_true", default=None, help="two small shapes")
    sizes.add_argument("--shapes", choices=("issue",), help="a named set of shapes")
    sizes.add_argument("--grid", action="store_true", default=None, help="scaling curves")
    sizes.add_argument(
        "--shape", action="append", metavar="T,B,I,H", help="this one; may be given several times"
    )
    sizes.add_argument(
        "--check",
        action="store_true",
        default=None,
        help="no timing: whether gradient flow, gates and the effects of initialization agree "
        "between our implementations at the sizes of --shapes issue",
    )
    sizes.add_argument(
        "--contender",
        action="append",
        metavar="NAME",
        help="only this one (see --list), or module:callable; may be given several times",
    )
    sizes.add_argument("--list", action="store_true", default=None, help="list them and exit")
    sizes.add_argument("--device", choices=("cpu", "gpu", "all"), help="default: all that are here")
    sizes.add_argument(
        "--dtype", action="append", choices=("float32", "bfloat16"), help="default float32"
    )
    sizes.add_argument(
        "--mode",
        choices=("forward", "training"),
        help="training: forward and backward; default both",
    )
    how = parser.add_argument_group("how")
    how.add_argument("--threads", type=whole_number(1, 4096), metavar="N", help="of everyone")
    how.add_argument("--rounds", type=whole_number(1, 1000), metavar="N", help="default 5")
    how.add_argument(
        "--seconds", type=_positive, metavar="S", help="a contender's time per round (default 0.2)"
    )
    how.add_argument(
        "--limit", type=_positive, metavar="S", help="no answer is waited for longer (default 120)"
    )
    how.add_argument(
        "--keep",
        metavar="FILE",
        help="write the result there, as JSON, after every case; a run that was interrupted goes "
        "on from there",
    )
    other = parser.add_argument_group("results that are there")
    other.add_argument("--from", dest="source", metavar="FILE", help="show this result")
    other.add_argument(
        "--compare", nargs=2, metavar=("OLD", "NEW"), help="what became slower beyond noise"
    )
    add_report_options(parser, _FORMATS)


def run(arguments: argparse.Namespace) -> int:
    """Measure, or read what was measured; write the report, and give the exit status."""
    _check_combination(arguments)
    output = report_path(arguments.output)
    try:
        text, status = _job(arguments)(arguments)
    except ValueError as error:
        raise CommandError(str(error)) from error
    deliver(text, output)
    return status


def _job(arguments: argparse.Namespace) -> Any:
    if arguments.compare is not None:
        return _compare
    if arguments.list:
        return _list
    return _check if arguments.check else _bench


def _check_combination(arguments: argparse.Namespace) -> None:
    """Refuse options that contradict one another."""
    given = [name for name in _MEASURING if getattr(arguments, name) is not None]
    for reading in ("source", "compare"):
        if getattr(arguments, reading) is not None and given:
            option = {"source": "--from"}.get(reading, f"--{reading}")
            raise CommandError(
                f"--{given[0]}: got it beside {option}, which measures nothing; expected one of "
                f"them. Leave out --{given[0]}."
            )
    if arguments.source is not None and arguments.compare is not None:
        raise CommandError("--from: got it beside --compare, expected one of them. Leave out one.")
    sizes = [name for name in _SIZES if getattr(arguments, name) is not None]
    if len(sizes) > 1:
        raise CommandError(
            f"--{sizes[1]}: got it beside --{sizes[0]}, expected one of them. Leave out one."
        )
    if arguments.format != "table" and (arguments.list or arguments.check or arguments.compare):
        raise CommandError(
            f"--format: got {arguments.format}, expected table: there is no other format of this "
            "report. Leave out --format."
        )


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a positive number of seconds")
    return value


# --- measuring ------------------------------------------------------------------------------------


def _bench(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.benchmarks.speed import kept

    if arguments.source is not None:
        result = kept.read(Path(arguments.source))
    else:
        result = _measured(arguments)
    status = EXIT_AGREE if _all_right(result) else EXIT_DISAGREE
    return _text(arguments, result), status


def _all_right(result: dict[str, Any]) -> bool:
    return all(
        row["status"] in ("ok", "unsupported") for case in result["cases"] for row in case["rows"]
    )


def _measured(arguments: argparse.Namespace) -> dict[str, Any]:
    from lstm_oracle.benchmarks.speed import kept, machine
    from lstm_oracle.benchmarks.speed.bench import measure

    plan, keep, old = _plan(arguments), None, None
    if arguments.keep is not None:
        path = Path(arguments.keep)
        report_path(arguments.keep)
        old = kept.resumable(path, machine.commit(), plan.threads)

        def keep(result: dict[str, Any]) -> None:
            kept.write(path, result)

    result = measure(plan, old=old, keep=keep, progress=_progress(arguments))
    if not any(row["median_ms"] is not None for case in result["cases"] for row in case["rows"]):
        reasons = {c["unavailable"] for c in result["contenders"] if c["unavailable"]}
        if not result["cases"] or all(not case["rows"] for case in result["cases"]):
            raise CommandError(
                f"got no contender that can be run ({'; '.join(sorted(reasons))}), expected at "
                "least one. See `lstm-oracle bench --list`."
            )
    if keep is not None:
        keep(result)
    return result


def _plan(arguments: argparse.Namespace) -> Plan:
    from lstm_oracle.benchmarks.speed import machine
    from lstm_oracle.benchmarks.speed.bench import Plan
    from lstm_oracle.benchmarks.speed.contenders import CONTENDERS, contender
    from lstm_oracle.benchmarks.speed.rounds import Effort
    from lstm_oracle.benchmarks.speed.workload import MODES

    here = machine.processors()
    threads = arguments.threads or len(here)
    if threads > len(here):
        raise CommandError(
            f"--threads: got {threads}, expected at most {len(here)}, the processors that this "
            "process may use. Give a smaller number."
        )
    rounds = arguments.rounds or (3 if _is_quick(arguments) else 5)
    seconds = arguments.seconds or (0.1 if _is_quick(arguments) else 0.2)
    names = arguments.contender or list(CONTENDERS)
    return Plan(
        workloads=_workloads(arguments),
        contenders=tuple(contender(name) for name in dict.fromkeys(names)),
        devices=_devices(arguments.device),
        modes=(arguments.mode,) if arguments.mode else MODES,
        threads=threads,
        effort=Effort(rounds, seconds, 2 * rounds),
        limit_seconds=arguments.limit or 120.0,
    )


def _is_quick(arguments: argparse.Namespace) -> bool:
    return not (arguments.shapes or arguments.grid or arguments.shape)


def _workloads(arguments: argparse.Namespace) -> tuple[Workload, ...]:
    from dataclasses import replace

    from lstm_oracle.benchmarks.speed.workload import ISSUE, QUICK, Workload, grid

    if arguments.shape:
        chosen = tuple(Workload.parse(text) for text in arguments.shape)
    elif arguments.shapes or arguments.check:
        chosen = ISSUE
    else:
        chosen = grid() if arguments.grid else QUICK
    dtypes = dict.fromkeys(arguments.dtype or ["float32"])
    return tuple(replace(workload, dtype=dtype) for workload in chosen for dtype in dtypes)


def _devices(wanted: str | None) -> Any:
    from lstm_oracle.benchmarks.speed import machine

    here = machine.devices()
    if wanted == "gpu" and "gpu" not in here:
        raise CommandError(
            "--device: got gpu, but nvidia-smi finds none here, expected a machine with one. "
            "Run it there: nothing of a GPU is measured on this machine."
        )
    return tuple(here) if wanted in (None, "all") else (wanted,)


def _progress(arguments: argparse.Namespace) -> Any:
    wanted = sys.stderr.isatty() if arguments.progress is None else arguments.progress
    if not wanted:
        return None
    return lambda line: print(line, file=sys.stderr, flush=True)


# --- reports --------------------------------------------------------------------------------------


def _text(arguments: argparse.Namespace, result: dict[str, Any]) -> str:
    if arguments.format == "json":
        from lstm_oracle.benchmarks.speed import kept

        return kept.text(result)
    if arguments.format == "html":
        from lstm_oracle.benchmarks.speed.page import page

        return page(result)
    from lstm_oracle.cli.report_speed import result_document

    width = report_width(arguments.output)
    return drawn(result_document(result, width=width), arguments.output)


def _compare(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.benchmarks.speed import kept
    from lstm_oracle.benchmarks.speed.compare import compare
    from lstm_oracle.cli.report_speed import comparison_document

    old, new = (kept.read(Path(name)) for name in arguments.compare)
    found = compare(old, new)
    status = EXIT_DISAGREE if found.regressed else EXIT_AGREE
    return drawn(comparison_document(found), arguments.output), status


def _list(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.benchmarks.speed.contenders import CONTENDERS
    from lstm_oracle.cli.report_speed import contenders_document

    return drawn(contenders_document(list(CONTENDERS.values())), arguments.output), EXIT_AGREE


def _check(arguments: argparse.Namespace) -> tuple[str, int]:
    from lstm_oracle.benchmarks.speed.properties import check
    from lstm_oracle.cli.report_speed import properties_document

    found = check(_plan(arguments), progress=_progress(arguments))
    status = EXIT_AGREE if all(row.agrees for row in found) else EXIT_DISAGREE
    return drawn(properties_document(found), arguments.output), status
