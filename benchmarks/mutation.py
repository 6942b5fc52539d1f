"""Mutation run: is every line of the oracle and of the checks held by a test?

A mutant is a module with one small change (`mutants.py`); the tests that know the module run until
the first one fails (`mutation_engine.py`). A mutant that no test kills survives.

    python benchmarks/mutation.py                    every module, taken up where it was left
    python benchmarks/mutation.py reference.cell     one module
    python benchmarks/mutation.py --seconds 500      stop after a while
    python benchmarks/mutation.py --report           only what is kept

Results are kept in benchmarks/results/mutation, a file per module; why a mutant survives, in
benchmarks/results/mutation/explained.json. Exit status 0: the score is 98 % or better, and nothing
of the forward and backward passes survives without an explanation.

Mutants are run in the order of their keys, which are hashes: whatever has been run of a module is a
sample of all, and of a module in SAMPLED no more than a sample is run.

What is not mutated stands in LEFT_OUT, with the reason.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process is forked for each mutant

from lstm_oracle.benchmarks.mutants import Mutant, mutants
from lstm_oracle.benchmarks.mutation_engine import (
    ROOT,
    Engine,
    Task,
    exact_answers,
    live_functions,
)

RESULTS = ROOT / "benchmarks" / "results" / "mutation"
EXPLAINED = RESULTS / "explained.json"
GOAL = 0.98

# The tests that are run for a module: those that hold it, few and quick. The oracle's own answers
# for every seventh test vector are compared besides, wherever they pass through the module.
_VARIANTS = [
    "tests/test_reference_activations.py",
    "tests/test_reference_dropout.py",
    "tests/test_reference_layer_norm_and_zoneout.py",
    "tests/test_reference_masked_output.py",
    "tests/test_reference_trace.py",
]
_INPUTS = [
    "tests/test_reference_bad_input.py",
    "tests/test_reference_inputs.py",
    "tests/test_reference_spec.py",
]
_INTERNALS = ["tests/test_internals_definitions.py"]
_JUDGED = ["tests/test_conformance_judgement.py", "tests/test_conformance_compare.py"]
_MATRIX = [
    f"tests/test_conformance_matrix.py::test_{name}"
    for name in (
        "a_recipe_asks_for_what_its_name_says_and_for_nothing_else",
        "a_layer_is_what_the_name_of_its_recipe_says",
        "the_quick_level_has_one_case_of_each_kind",
        "masks_are_what_they_are_called",
        "a_hole_in_the_middle_is_of_two_steps_or_more",
        "numbers_have_the_sizes_that_gates_work_at",
        "only_the_cotangents_that_are_named_are_not_zero",
        "state_mask_and_padding_are_there_where_they_are_asked_for",
        "dropout_is_drawn_for_what_its_letters_say",
        "zoneout_masks_are_drawn_per_step_or_not",
        "a_case_is_fair_where_its_numbers_keep_clear_of_every_kink",
        "a_cell_that_is_clipped_is_judged_before_it_is",
        "a_margin_is_of_the_dtype",
        "no_gate_of_a_case_lies_at_a_kink_and_clips_clip_some_and_not_all",
        "the_matrix_is_the_same_every_time",
        "every_quick_case_is_a_full_case",
        "an_unknown_level_is_refused",
    )
]
_WORKER = ["tests/test_worker_parts.py"]
_OWN_PROCESS = [
    f"tests/test_conformance_worker.py::test_{name}"
    for name in (
        "an_exception_is_an_error_with_its_message",
        "what_a_framework_prints_does_no_harm",
        "what_cannot_be_started_is_unavailable",
    )
]
_FOLDERS = ["tests/test_vector_folders.py"]
_CHECK = ["tests/test_check_parts.py"]
_REGIMES = [
    f"tests/test_regimes.py::test_{name}"
    for name in (
        "whatever_can_take_everything_is_asked_everything_once",
        "the_quick_level_and_a_list_of_names_are_parts_of_it",
        "what_a_function_cannot_is_not_asked",
        "what_takes_no_state_is_not_asked_twice_the_same",
        "layers_put_together_have_no_dropout_and_backward_ones_no_pieces",
        "other_sizes_and_zoneout_are_asked_where_there_are_any",
        "float16_has_smaller_scales",
        "hard_sigmoids_have_weights_that_reach_their_ends",
        "long_cases_are_as_long_as_can_be_afforded_and_keep_clear_of_kinks",
        "what_was_not_looked_at_is_said",
        "a_case_is_built_once_and_one_that_cannot_be_is_said_why",
        "values_above_ten_thousand_are_no_case_and_gradients_may_be_larger",
    )
]
TESTS: dict[str, list[str]] = {
    "reference.cell": _VARIANTS,
    "reference.gate_product": _VARIANTS,
    "reference.masked_output": _VARIANTS,
    "reference.scan": _VARIANTS,
    "reference.carry": _VARIANTS,
    "reference.normalize": _VARIANTS,
    "reference.combinators": [*_VARIANTS, "tests/test_properties_chunks.py"],
    "reference.passes": _VARIANTS,
    "reference.activations": _VARIANTS,
    "reference.tree": ["tests/test_reference_tree.py"],
    "reference.sequence": [*_VARIANTS, *_INPUTS],
    "reference.tangent": ["tests/test_reference_tangent.py"],
    "reference.hessian": ["tests/test_reference_hessian.py"],
    "reference.double_double": ["tests/test_reference_double_double.py"],
    "reference.internals.flow": _INTERNALS,
    "reference.internals.gates": _INTERNALS,
    "reference.internals.jacobian": _INTERNALS,
    "reference.internals.measure": _INTERNALS,
    "reference.internals.noise": _INTERNALS,
    "reference.internals.units": _INTERNALS,
    "reference.spec": _INPUTS,
    "reference._inputs": [*_INPUTS, "tests/test_reference_layouts.py"],
    "reference.layouts": ["tests/test_reference_layouts.py", "tests/test_properties_layouts.py"],
    "reference.gradcheck": ["tests/test_reference_gradcheck.py"],
    "reference.initializers": [
        "tests/test_reference_initializers.py",
        "tests/test_reference_layer_norm_and_zoneout.py",
    ],
    "conformance.compare": _JUDGED,
    "conformance.yardstick": _JUDGED,
    "conformance.rounding": _JUDGED,
    "conformance.tolerances": [
        *_JUDGED,
        "tests/test_zoo_parts.py::test_a_wrong_answer_is_that_of_the_nearest_bug",
    ],
    "conformance.case": ["tests/test_conformance_report.py"],
    "conformance.report": ["tests/test_conformance_report.py"],
    "conformance.sampled_yardstick": ["tests/test_sampled_yardstick.py"],
    "conformance.textbook": ["tests/test_conformance_textbook.py"],
    "conformance.vectors.digits": ["tests/test_vectors_parts.py"],
    "conformance.vectors.names": ["tests/test_vectors_parts.py"],
    "conformance.vectors.safetensors": ["tests/test_vectors_parts.py"],
    "conformance.vectors.cases": [f"{_FOLDERS[0]}::test_vectors_are_those_that_were_published"],
    "conformance.vectors.files": _FOLDERS,
    "conformance.vectors.judge": _FOLDERS,
    "conformance.matrix": _MATRIX,
    "conformance.model_inputs": ["tests/test_model_inputs.py"],
    "conformance.zoo": [
        "tests/test_zoo_parts.py",
        "tests/test_zoo.py::test_the_zoo_is_large_and_every_bug_is_described",
        "tests/test_zoo.py::test_at_least_45_bugs_name_a_public_thread_in_which_they_were_met",
        "tests/test_zoo.py::test_every_patch_fits_the_textbook_exactly_once",
    ],
    "conformance.worker": _WORKER,
    "conformance.runner": [*_WORKER, *_OWN_PROCESS],
    "conformance.functions.answers": _CHECK,
    "conformance.functions.calling": _CHECK,
    "conformance.functions.explaining": _CHECK,
    "conformance.functions.identity": _CHECK,
    "conformance.functions.messages": _CHECK,
    "conformance.functions.objects": _CHECK,
    "conformance.functions.regimes": _REGIMES,
    "conformance.functions.subject": _CHECK,
    "conformance.functions.subjects": _CHECK,
    "conformance.functions.verdict": _CHECK,
    "conformance.functions.weights": _CHECK,
}
PASSES = tuple(f"reference.{name}" for name in (
    "cell", "gate_product", "masked_output", "scan", "carry", "normalize", "combinators", "passes",
    "activations",
))  # fmt: skip
# What stands in TESTS and has not been run at all: every other module there has kept results.
NOT_YET: tuple[str, ...] = ()
_FRAMEWORKS = (
    "it drives PyTorch, JAX, TensorFlow or Keras, whose threads do not survive the fork that a "
    "mutant runs in; its tests run the frameworks themselves"
)
_ELSEWHERE = "it starts a process that would not hold the mutant; its tests end such processes"
_CALLS = (
    "it calls a function for whole sets of cases, each with its yardstick: seconds for every "
    "mutant, hours in all; its tests give it right and wrong functions, and the zoo's bugs"
)
LEFT_OUT = {
    "reference.internals.scans": "nothing in it can be mutated",
    "conformance.adapters": "they call third-party libraries that `make test` does without; "
    "`make conformance` holds each of them against the oracle",
    "conformance.zoo_sources": "a table of public issues",
    "conformance.known_defects": "a table of versions and public issues",
    "conformance.model": _FRAMEWORKS,
    "conformance.functions.frameworks": _FRAMEWORKS,
    "conformance.functions.keras_layer": _FRAMEWORKS,
    "conformance.functions.torch_module": _FRAMEWORKS,
    "conformance.functions.isolated": _ELSEWHERE,
    "conformance.functions.isolated_child": _ELSEWHERE,
    "conformance.functions.check": _CALLS,
    "conformance.functions.function_subject": _CALLS,
    "conformance.functions.identify": _CALLS,
    "conformance.functions.resemblance": _CALLS,
}
# At most so many mutants of a module, those with the smallest keys: a key is a hash.
SAMPLED: dict[str, int] = {
    "conformance.matrix": 120,
    "conformance.rounding": 120,
    "conformance.textbook": 120,
    "conformance.vectors.cases": 120,
    "conformance.zoo": 120,
}


def of(module: str) -> dict[str, Mutant]:
    """The mutants of a module that are to be run, by key."""
    return dict(list(every(module).items())[: SAMPLED.get(module)])


def every(module: str) -> dict[str, Mutant]:
    """All mutants of a module in the order of their keys, so that the first ones are a sample."""
    found = mutants(source_of(module).read_text("utf-8"))
    return dict(sorted((mutant.key(module), mutant) for mutant in found))


def source_of(module: str) -> Path:
    """The file of a module."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def kept(module: str) -> dict[str, Any]:
    """The results of a module: `killed` and `timeout` are keys, `survived` rows by key."""
    file = RESULTS / f"{module}.json"
    if not file.exists():
        return {"mutants": 0, "killed": [], "timeout": [], "survived": {}}
    result: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return result


def main() -> int:
    """Run what has not been run, and report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--again", action="store_true", help="survivors without a reason too")
    parser.add_argument("--report", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    stop = time.monotonic() + arguments.seconds
    if not arguments.report and not _run(arguments.modules, stop, arguments.again):
        return 3
    return report(arguments.modules)


# --- running --------------------------------------------------------------------------------------


def _run(modules: list[str], stop: float, again: bool) -> bool:
    """Run the mutants without a result; True where the time was enough."""
    RESULTS.mkdir(exist_ok=True)
    todo = {module: _to_do(module, again) for module in modules}
    for module in modules:
        if not todo[module]:
            _write(module, kept(module))  # without those that there are no longer
    tasks = [Task(module, source_of(module), TESTS[module]) for module in modules if todo[module]]
    if not tasks:
        return True

    def run(engine: Engine) -> None:
        for task in tasks:
            _run_module(engine, task, todo[task.module], stop)

    Engine(exact_answers(), tasks, run).start()
    return time.monotonic() < stop


def _to_do(module: str, again: bool) -> dict[str, Mutant]:
    """Those without a result; with `again` those too that survived without a reason."""
    old, told = kept(module), explained()
    done = {*old["killed"], *old["timeout"], *old["survived"]}
    if again:
        done -= set(old["survived"]) - set(told)
    return {key: mutant for key, mutant in of(module).items() if key not in done}


def _run_module(engine: Engine, task: Task, todo: dict[str, Mutant], stop: float) -> None:
    source = task.path.read_text("utf-8")
    old, live = compile(source, str(task.path), "exec"), live_functions(task.path)
    lines, results = source.splitlines(), kept(task.module)
    engine.check_control(task, old)
    written = 0.0
    for key, mutant in todo.items():
        if time.monotonic() > stop:
            break
        result, _ = engine.result(task, mutant, old, live)
        results["survived"].pop(key, None)
        if result == "survived":
            text = lines[mutant.line - 1].strip() if mutant.line else ""
            row = {"line": mutant.line, "text": text, "what": mutant.what}
            results["survived"][key] = row
            print(f"{task.module}:{mutant.line}: {mutant.what}: {text}", flush=True)
        else:
            results[result].append(key)
        if time.monotonic() > written + 5:
            _write(task.module, results)
            written = time.monotonic()
    _write(task.module, results)


def _write(module: str, results: dict[str, Any]) -> None:
    """Keep the results of the mutants that there are."""
    wanted = set(every(module))
    numpy_version = importlib.metadata.version("numpy")
    content = {
        "environment": {"python": platform.python_version(), "numpy": numpy_version},
        "mutants": len(wanted),  # run or not
        "killed": sorted(wanted.intersection(results["killed"])),
        "timeout": sorted(wanted.intersection(results["timeout"])),
        "survived": {key: row for key, row in results["survived"].items() if key in wanted},
    }
    text = json.dumps(content, indent=1, sort_keys=True)
    (RESULTS / f"{module}.json").write_text(text + "\n", "utf-8")


# --- what is reported -----------------------------------------------------------------------------


class Score(NamedTuple):
    """What became of the mutants that were run."""

    killed: int
    survived: int
    equivalent: int

    @property
    def run(self) -> int:
        """All but the equivalent ones, which no test can kill."""
        return self.killed + self.survived

    @property
    def value(self) -> float:
        """The share that is killed."""
        return self.killed / max(1, self.run)

    def __str__(self) -> str:
        """The counts and the share."""
        return (
            f"{self.killed} of {self.run} mutants killed ({self.value:.2%}), {self.equivalent} "
            "more are equivalent"
        )

    def interval(self) -> tuple[float, float]:
        """Wilson's, for 95 %: where the share of all mutants lies, if these are a sample."""
        n, p, z = max(1, self.run), self.value, 1.96
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return middle - half, min(1.0, middle + half)


def explained() -> dict[str, str]:
    """Why a mutant survives, by key."""
    reasons: dict[str, str] = json.loads(EXPLAINED.read_text("utf-8"))
    return reasons


def score(modules: Iterable[str]) -> Score:
    """The kept results of some modules together."""
    told = explained()
    every = [kept(module) for module in modules]
    survivors = [key for results in every for key in results["survived"]]
    equivalent = sum(key in told for key in survivors)
    killed = sum(len(results["killed"]) + len(results["timeout"]) for results in every)
    return Score(killed, len(survivors) - equivalent, equivalent)


def unexplained(module: str) -> list[str]:
    """The survivors without a reason, a line each."""
    told = explained()
    return [
        f"{module}:{row['line']} {row['what']}: {row['text']} ({key})"
        for key, row in kept(module)["survived"].items()
        if key not in told
    ]


def is_whole(module: str) -> bool:
    """Whether every mutant of the module was run."""
    one = score([module])
    return one.run + one.equivalent >= kept(module)["mutants"]


def report(modules: list[str]) -> int:
    """Print the score and what survives; 1 where that is too much."""
    for module in modules:
        one, there = score([module]), kept(module)["mutants"]
        if not one.run:
            print(f"{module:40} not run yet")
            continue
        sample = "" if is_whole(module) else f", a sample of {there}"
        counts = f"{one.killed:5} of {one.run:5} killed, {one.equivalent:3} equivalent"
        print(f"{module:40} {counts}{sample}")
    modules = [module for module in modules if score([module]).run]
    whole = [module for module in modules if is_whole(module)]
    total, sampled = score(modules), score(set(modules) - set(whole))
    low, high = sampled.interval()
    print(f"{len(whole)} modules run whole: {score(whole)}")
    if sampled.run:
        print(f"samples of {len(modules) - len(whole)} modules: {sampled}, so that of all their "
              f"mutants {low:.1%} to {high:.1%} are killed (95 %)")  # fmt: skip
    print(f"together: {total}")
    left = [line for module in modules for line in unexplained(module)]
    print("\n".join(left))
    in_passes = score(module for module in modules if module in PASSES)
    return int(total.value < GOAL or in_passes.survived > 0)


if __name__ == "__main__":
    raise SystemExit(main())
