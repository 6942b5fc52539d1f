"""A user's own training script, run unchanged up to the training that is to be diagnosed.

Keras is not imported here, so that the script can still choose its backend: `fit` is replaced in
the moment in which the script imports Keras. The diagnosis runs inside that call, where everything
that the script has opened is still open; then the script is stopped.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import inspect
import itertools
import os
import runpy
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from lstm_oracle.cli.batches import Batches, Unfit
from lstm_oracle.cli.errors import CommandError
from lstm_oracle.cli.loops import calls_of

_WRITING = ("save", "save_weights", "export", "save_model")
# Arguments of `fit` that `diagnose` takes as they are.
_SAME = ("y", "validation_data", "validation_split", "epochs", "class_weight", "sample_weight")


class _Stop(BaseException):
    """Ends the script; not an Exception, so that its `except Exception` lets it through."""


def run_until_fit(
    path: Path,
    arguments: Sequence[str],
    call: int,
    diagnose: Callable[[Any, dict[str, Any]], Any],
) -> Any:
    """Run a script, and give what `diagnose(model, arguments)` gives for its fit number `call`.

    Parameters
    ----------
    path, arguments
        The script and its command line; argv, the module path and the working directory are as if
        it had been run directly.
    call
        1 is the first call of `fit`; earlier ones train as they would.
    diagnose
        Called in place of that `fit`, with what `lstm_oracle.diagnosis.diagnose` takes.

    Raises
    ------
    CommandError
        Where the script cannot be read, fails, or ends before that call.
    """
    interception = _Interception(call, diagnose)
    ended = ""
    with _as_if_run(path, arguments), interception:
        try:
            runpy.run_path(str(path), run_name="__main__")
        except _Stop:
            pass
        except SystemExit as stop:
            ended = f" (it called sys.exit({'' if stop.code is None else repr(stop.code)}))"
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            interception.of_batches()  # what was fed before may say why
            interception.reraise()
            if not interception.done:
                raise CommandError(_failed(path, error)) from error
    interception.of_batches()
    interception.reraise()
    if not interception.done:
        raise CommandError(_without_fit(path, interception, ended))
    return interception.result


def _failed(path: Path, error: BaseException) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    where = f" in line {lines[-1]}" if lines else ""
    text = " ".join(str(error).split())[:300]
    return (
        f"--script: {path} raised {type(error).__name__}{where} before it called fit: {text}. "
        f"Expected a script that runs: python {path}."
    )


def _without_fit(path: Path, interception: _Interception, ended: str) -> str:
    if not interception.seen_keras:
        return (
            f"--script: {path} ended{ended} without importing Keras, expected one that calls "
            "model.fit of Keras 3. Give it the arguments with which it trains, after `--`."
        )
    if interception.calls:
        return (
            f"--script: {path} called fit {interception.calls} times and ended{ended}, expected "
            f"--fit {interception.wanted} to be among them. Give a smaller --fit."
        )
    return (
        f"--script: {path} ended{ended} without calling model.fit, expected one call. Give it the "
        "arguments with which it trains, after `--`; for a training loop of its own, call "
        "lstm_oracle.diagnosis.diagnose(model, x, y) in it."
    )


@contextmanager
def _as_if_run(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    argv, module_path = list(sys.argv), list(sys.path)
    sys.argv[:] = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    try:
        yield
    finally:
        sys.argv[:] = argv
        sys.path[:] = module_path


class _Interception:
    """Stands in the place of `keras.Model.fit` while the script runs."""

    def __init__(self, call: int, diagnose: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.wanted, self.diagnose = call, diagnose
        self.calls = 0
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.seen_keras = False
        self._before: list[tuple[Any, str, Any]] = []  # what was replaced, where, and by itself
        self._batches: Batches | None = None
        self._finder = _WhenImported("keras", self._replace)

    def __enter__(self) -> None:
        if "keras" in sys.modules:
            self._replace(sys.modules["keras"])
        else:
            sys.meta_path.insert(0, self._finder)

    def __exit__(self, *_: Any) -> None:
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        self._put_back()

    def reraise(self) -> None:
        """Let out what went wrong in the diagnosis, whatever the script made of it."""
        if self.error is not None:
            raise self.error

    def _replace(self, module: ModuleType) -> None:
        self.seen_keras = True
        original = module.Model.fit

        def fit(model: Any, *positional: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls < self.wanted:
                return original(model, *positional, **named)
            bound = inspect.signature(original).bind(model, *positional, **named)
            bound.apply_defaults()
            given, times = dict(bound.arguments), calls_of(sys._getframe(1))
            self._instead(model, lambda: arguments_of_diagnose(given, times))
            raise _Stop

        self._put(module.Model, "fit", fit)
        self._replace_batches(module)

    def _replace_batches(self, module: ModuleType) -> None:
        original = module.Model.train_on_batch

        def train_on_batch(model: Any, *positional: Any, **named: Any) -> Any:
            if self.wanted > 1:  # a fit is meant; what comes before it trains
                return original(model, *positional, **named)
            answer, last = self._one_batch(model, sys._getframe(1), positional, named)
            if last:
                self.of_batches()
                raise _Stop
            return answer

        self._put(module.Model, "train_on_batch", train_on_batch)
        for room in (module.Model, module.saving, module.models):
            for name in _WRITING:
                if hasattr(room, name):
                    self._put(room, name, self._not_written(getattr(room, name)))

    def _one_batch(
        self, model: Any, frame: FrameType, positional: Any, named: Any
    ) -> tuple[Any, bool]:
        """What a call gives, and whether it is the last: another model's turn ends it, too."""
        if self._batches is None:
            self._batches = Batches(model, frame)
        if model is not self._batches.model:
            return None, True
        try:
            return self._batches.take(*positional, **named)
        except Unfit:
            return None, True

    def _not_written(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Writes a model, but not while batches are gathered: it has learnt nothing from them."""

        @functools.wraps(original)
        def written(*positional: Any, **named: Any) -> Any:
            return original(*positional, **named) if self._batches is None else None

        return written

    def _put(self, room: Any, name: str, replacement: Any) -> None:
        self._before.append((room, name, vars(room).get(name)))
        setattr(room, name, replacement)

    def of_batches(self) -> None:
        """Diagnose what was fed batch by batch, if anything was."""
        if self._batches is not None:
            self._instead(self._batches.model, self._batches.arguments)

    def _instead(self, model: Any, arguments: Callable[[], dict[str, Any]]) -> None:
        if self.done:  # the script has swallowed the stop and goes on
            return
        self.done = True
        self._put_back()
        try:
            self.result = self.diagnose(model, arguments())
        except BaseException as error:
            self.error = error

    def _put_back(self) -> None:
        # What is inherited is found again once that in its way is taken out.
        for room, name, before in self._before:
            if before is None:
                delattr(room, name)
            else:
                setattr(room, name, before)
        self._before.clear()


class _WhenImported(importlib.abc.MetaPathFinder):
    """Calls a function with a module as soon as somebody has imported it."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self.then(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


# --- what fit was given ---------------------------------------------------------------------------


def arguments_of_diagnose(given: dict[str, Any], times: int = 1) -> dict[str, Any]:
    """Arguments of `diagnose` that say what so many calls of `fit` with these would do."""
    x, batch_size = _batches(given["x"], given["batch_size"])
    if inspect.isgenerator(x) and given["steps_per_epoch"]:
        x = itertools.islice(x, max(1, int(given["steps_per_epoch"])) * given["epochs"])
    epochs = times * max(1, given["epochs"] - given["initial_epoch"])
    if times > 1:
        print(f"fit is called {times} times in a loop: {epochs} epochs", file=sys.stderr)
    steps = given["steps_per_epoch"]
    shuffle = bool(given["shuffle"])
    return {
        "x": x,
        **{name: given[name] for name in _SAME},
        "epochs": epochs,
        "batch_size": batch_size,
        "shuffle": shuffle,
        "callbacks": given["callbacks"] or (),
        "steps_per_epoch": None if steps is None else max(1, int(steps)),
    }


def _batches(x: Any, batch_size: int | None) -> tuple[Any, int]:
    """x with all that it yields, and the size of its batches."""
    if batch_size is not None or hasattr(x, "shape") or isinstance(x, (list, tuple, dict)):
        return x, batch_size or 32  # Keras' own default
    try:
        if inspect.isgenerator(x):
            first = next(x)
            return _again(first, x), _rows(first)
        return x, _rows(x[0] if hasattr(x, "__getitem__") else next(iter(x)))
    except (StopIteration, TypeError, IndexError, AttributeError):
        return x, 32  # `diagnose` says what is wrong with it


def _again(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator once more from its beginning."""
    yield first
    yield from rest


def _rows(batch: Any) -> int:
    part = batch
    while isinstance(part, (tuple, list, dict)):
        part = next(iter(part.values())) if isinstance(part, dict) else part[0]
    return int(part.shape[0])


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What the script prints is not the report: it goes to stderr."""
    from contextlib import redirect_stdout

    sys.stdout.flush()
    copy = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stderr.flush()
        os.dup2(copy, 1)
        os.close(copy)
