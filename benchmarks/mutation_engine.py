"""Runs mutants: each in a process forked from one that has imported everything and found the tests.

pytest starts once. Where a mutant changes the body of a function, the fork gives the function that
stands in memory its new code, and runs the tests that call it, those that kill most per second
first. Where it changes what a module does when it is imported, or where no test has killed it that
way, the fork forgets the package, imports the changed module in its place, and starts pytest anew.
A test that fails, an import that fails or a time limit kills; no file is written.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.util
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
import types
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lstm_oracle.benchmarks.mutants import Mutant

ROOT = Path(__file__).resolve().parents[1]
PROBE = "every seventh test vector"
# Seconds of processor time; the wall clock stands still too where a machine is shared.
SECONDS_AT_LEAST, TIMES_BASELINE, WALL_SECONDS = 8, 8, 900
MEMORY_BYTES = 4 << 30  # beyond what the parent has
OPTIONS = ["-q", "-s", "--no-header", "--tb=native", "-p", "no:cacheprovider"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what was imported before

Place = tuple[str, str, int]  # file, qualified name and first line of a function


class Task(NamedTuple):
    """A module, its source and the tests that hold it: files, or single tests of them."""

    module: str
    path: Path
    tests: list[str]

    def has(self, name: str) -> bool:
        """Whether a test, by its full name, is one of them; with whatever parameters."""
        return name.split("::")[0] in self.tests or name.partition("[")[0] in self.tests


class Cost(NamedTuple):
    """Of one test without any mutant: its seconds, and the functions that it calls."""

    seconds: float
    called: frozenset[Place]


# --- the oracle's own answers, without pytest -----------------------------------------------------

_ANSWERS = """
import pickle, sys
from lstm_oracle.conformance.vectors.cases import vectors
from lstm_oracle.conformance.vectors.digits import run_exactly
chosen = [vector.case for vector in list(vectors())[::7]]
sys.stdout.buffer.write(pickle.dumps([(case, run_exactly(case).blocks()) for case in chosen]))
"""


def exact_answers() -> bytes:
    """Every seventh test vector and its exact answer, from a process that no mutant is in."""
    command = [sys.executable, "-c", _ANSWERS]
    return subprocess.run(command, check=True, capture_output=True).stdout


def answers_right(answers: bytes) -> bool:
    """What test_vectors_hold_the_oracle asserts, without pytest: most mutants fall here."""
    from lstm_oracle.conformance.case import run_oracle

    for case, true in pickle.loads(answers):
        got = run_oracle(case).blocks()
        if list(got) != list(true):
            return False
        for name, block in true.items():
            if not abs(got[name] - block).max() <= 5e-14 * abs(block).max():
                return False
    return True


# --- putting a mutant in place --------------------------------------------------------------------


def _functions(code: types.CodeType) -> Iterator[types.CodeType]:
    """Those that importing the code makes; what stands inside them belongs to them."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_flags & 1:  # CO_OPTIMIZED: a function; a class's body has it not
                yield constant
            else:
                yield from _functions(constant)


def _skeleton(code: types.CodeType) -> Any:
    """What importing does, without the bodies of functions."""
    constants = [
        (_skeleton(c) if not c.co_flags & 1 else c.co_name) if isinstance(c, types.CodeType) else
        (type(c), repr(c))
        for c in code.co_consts
    ]  # fmt: skip
    return code.co_code, constants, code.co_names


def _place(code: types.CodeType) -> Place:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def changed_functions(old: types.CodeType, new: types.CodeType) -> dict[Place, types.CodeType]:
    """New code of the functions that differ; none where importing differs, or two share a line."""
    if _skeleton(old) != _skeleton(new):
        return {}
    ours, theirs = list(_functions(old)), list(_functions(new))
    if len(ours) != len(theirs) or len({_place(code) for code in ours}) < len(ours):
        return {}
    return {_place(a): b for a, b in zip(ours, theirs, strict=True) if a != b}


def live_functions(path: Path) -> dict[Place, list[types.FunctionType]]:
    """The functions of a file that stand in memory, behind whatever decorators."""
    found: dict[Place, list[types.FunctionType]] = defaultdict(list)
    for thing in gc.get_objects():
        # Not isinstance: it asks the object for its class, and some warn when they are asked.
        if type(thing) is types.FunctionType and thing.__code__.co_filename == str(path):
            found[_place(thing.__code__)].append(thing)
    return found


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the changed module in place of the file's."""

    def __init__(self, name: str, path: Path, code: types.CodeType) -> None:
        self.name, self.path, self.code = name, path, code

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: Any) -> Any:
        return None

    def exec_module(self, module: Any) -> None:
        exec(self.code, module.__dict__)


def noting(called: set[types.CodeType]) -> Any:
    """A trace function that only notes which functions are called."""

    def note(frame: Any, event: str, argument: Any, add: Any = called.add) -> None:
        add(frame.f_code)

    return note


def _forget_the_package() -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in ("lstm_oracle", "tests"):
            del sys.modules[name]


# --- one process per mutant -----------------------------------------------------------------------


def in_a_fork(work: Callable[[], str | None]) -> tuple[str, str]:
    """ "killed" and by what, "survived" or "timeout"; the work gives what has killed, or None."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            _limit_memory()
            allow(0)
            _quiet()
            killer = work()
            status = int(killer is not None)
            os.write(writing, (killer or "").encode())
        finally:
            os._exit(status)
    os.close(writing)
    status = _wait(pid)
    with os.fdopen(reading, "rb") as pipe:
        killer = pipe.read().decode()
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL):
        return "timeout", ""
    return ("survived" if status == 0 else "killed"), killer


def _quiet() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def allow(seconds: float) -> None:
    """Processor time until this process is ended, for a test that takes so long otherwise."""
    end = time.process_time() + SECONDS_AT_LEAST + TIMES_BASELINE * seconds
    resource.setrlimit(resource.RLIMIT_CPU, (int(end) + 1, resource.RLIM_INFINITY))


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _wait(pid: int) -> int:
    deadline = time.monotonic() + WALL_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


# --- tests ----------------------------------------------------------------------------------------


class _Anew:
    """Orders and limits the tests of a pytest started anew."""

    def __init__(self, order: dict[str, int], costs: dict[str, Cost]) -> None:
        self.order, self.costs = order, costs

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: self.order.get(item.nodeid, 0))

    def pytest_runtest_setup(self, item: Any) -> None:
        cost = self.costs.get(item.nodeid)
        allow(1 if cost is None else cost.seconds)


class Engine:
    """A pytest plugin that runs mutants where pytest would run tests."""

    def __init__(self, answers: bytes, tasks: list[Task], run: Callable[[Engine], None]) -> None:
        """Tasks: all that will be asked for; `run` is called once the tests have been found."""
        self.answers, self.tasks, self.run = answers, tasks, run
        self.items: dict[str, Any] = {}
        self.costs: dict[str, Cost] = {}
        self.at_import: set[types.CodeType] = set()
        self.failed = False
        self.kills: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Start pytest; comes back when `run` has."""
        tests = sorted({test for task in self.tasks for test in task.tests})
        status = pytest.main([*OPTIONS, *tests], plugins=[self])
        if self.error is not None:
            raise self.error
        if status != 0:
            raise SystemExit(f"pytest ended with {status} before any mutant was run.")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Do not shrink what Hypothesis finds: that it fails is enough."""
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutation", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
        )
        settings.load_profile("mutation")
        sys.settrace(noting(self.at_import))

    def pytest_runtestloop(self, session: Any) -> bool:
        """In place of the tests."""
        sys.settrace(None)
        if session.testsfailed:
            return False
        try:
            self.items = {item.nodeid: item for item in session.items}
            self._measure()
            self._print_costs()
            gc.freeze()
            self.run(self)
        except BaseException as error:
            self.error = error
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Notes that a test failed."""
        self.failed |= report.failed

    def _measure(self) -> None:
        """Seconds and calls of every test, in a process whose caches are lost with it."""
        files = {str(task.path) for task in self.tasks}
        names = [PROBE, *self.items]
        neighbours = dict(zip(names, [*names[1:], names[-2]], strict=True))

        def work() -> None:
            for name in names:
                called: set[types.CodeType] = set()
                start = time.process_time()
                sys.settrace(noting(called))
                killed = self._fails(name, neighbours[name])
                sys.settrace(None)
                seconds = time.process_time() - start
                ours = frozenset(_place(code) for code in called if code.co_filename in files)
                pickle.dump((name, killed, Cost(seconds, ours)), pipe)

        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _quiet()
            with os.fdopen(writing, "wb") as pipe:
                work()
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answers:
            for _ in names:
                name, killed, self.costs[name] = pickle.load(answers)
                if killed:
                    raise SystemExit(f"{name} fails without any mutant.")
        os.waitpid(pid, 0)

    def _print_costs(self) -> None:
        seconds: dict[str, float] = defaultdict(float)
        for name, cost in self.costs.items():
            seconds[name.split("::")[0]] += cost.seconds
        for name, total in sorted(seconds.items(), key=lambda item: -item[1]):
            print(f"{total:7.2f} s {name}", flush=True)

    def _fails(self, name: str, following: str) -> bool:
        if name == PROBE:
            return not answers_right(self.answers)
        item, nextitem = self.items[name], self.items.get(following)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
        return self.failed

    def _first_failing(self, names: list[str]) -> str | None:
        # pytest tears down what the next test does not need: never None, which ends the session.
        tests = [name for name in names if name != PROBE]
        last = next((name for name in self.items if [name] != tests[-1:]), PROBE)
        neighbours = dict(zip(tests, [*tests[1:], last], strict=False))
        for name in names:
            allow(self.costs[name].seconds)
            try:
                if self._fails(name, neighbours.get(name, PROBE)):
                    return name
            except Exception:
                return name
        return None

    def _by_worth(self, names: list[str]) -> list[str]:
        """Those that have killed most for their time first."""

        def worth(name: str) -> float:
            rate = (self.kills[name] + 1) / (self.runs[name] + 2)
            return -rate / (self.costs[name].seconds + 0.002)

        return sorted(names, key=worth)

    def tests_of(self, task: Task) -> list[str]:
        """Names of the tests of a module, the probe included where it calls the module."""
        names = [name for name in self.items if task.has(name)]
        probed = any(place[0] == str(task.path) for place in self.costs[PROBE].called)
        return [PROBE, *names] if probed else names

    def check_control(self, task: Task, code: types.CodeType) -> None:
        """Without any change the tests have to pass in both ways, or every mutant would be killed.

        Raises
        ------
        SystemExit
            Where they do not.
        """
        names = self.tests_of(task)
        ways = {"in place": self._in_place(names, {}, {}), "anew": self._anew(task, code, names)}
        for way, (result, killer) in ways.items():
            if result != "survived":
                raise SystemExit(f"{task.module}: unchanged, {way}: {result} by {killer or '?'}.")

    def result(
        self, task: Task, mutant: Mutant, old: types.CodeType, live: dict[Place, list[Any]]
    ) -> tuple[str, str]:
        """ "killed", "survived" or "timeout", and the test that killed."""
        new = compile(mutant.tree, str(task.path), "exec")
        changed = changed_functions(old, new)
        names = self.tests_of(task)
        if changed and all(place in live for place in changed):
            calling = [name for name in names if self.costs[name].called & set(changed)]
            got = self._in_place(self._by_worth(calling), changed, live)
            if got[0] != "survived" or not self._called_at_import(changed):
                return got
        return self._anew(task, new, self._by_worth(names))

    def _called_at_import(self, places: dict[Place, types.CodeType]) -> bool:
        return any(_place(code) in places for code in self.at_import)

    def _in_place(
        self, names: list[str], changed: dict[Place, types.CodeType], live: dict[Place, list[Any]]
    ) -> tuple[str, str]:
        if not names:
            return "survived", ""

        def work() -> str | None:
            for place, code in changed.items():
                for function in live[place]:
                    function.__code__ = code
            return self._first_failing(names)

        got = in_a_fork(work)
        self._count(got, names)
        return got

    def _anew(self, task: Task, new: types.CodeType, names: list[str]) -> tuple[str, str]:
        order = {name: n for n, name in enumerate(names)}

        def work() -> str | None:
            _forget_the_package()
            sys.meta_path.insert(0, _Finder(f"lstm_oracle.{task.module}", task.path, new))
            if PROBE in order and not answers_right(self.answers):
                return PROBE
            os.chdir(ROOT)
            status = pytest.main([*OPTIONS, "-x", *task.tests], plugins=[_Anew(order, self.costs)])
            return None if status == 0 else "pytest started anew"

        return in_a_fork(work)

    def _count(self, got: tuple[str, str], names: list[str]) -> None:
        result, killer = got
        self.kills[killer] += result == "killed"
        for name in names:
            self.runs[name] += 1
            if name == killer:
                break
