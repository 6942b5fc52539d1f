"""Whatever was handed over, as a `Subject`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lstm_oracle.conformance.functions.function_subject import FunctionSubject
from lstm_oracle.conformance.functions.subject import Subject
from lstm_oracle.conformance.tolerances import format_of
from lstm_oracle.reference.layouts import Layout
from lstm_oracle.reference.spec import Architecture, Spec

PLAIN = Spec(input_size=3, hidden_size=4)


def subject_of(
    fn: Any,
    spec: Architecture | None,
    *,
    layout: str | Layout | None,
    time_major: bool,
    gradients: str | Callable[..., Any],
    dtype: str | None,
    framework: str | None,
    arguments: Sequence[str] | None,
    returns: Sequence[str] | None,
    isolate: bool,
    time_limit: float,
    memory_limit: int,
) -> Subject:
    """The subject of `check`'s own arguments.

    Raises
    ------
    TypeError, ValueError
        With what was got, what was expected, and the fix.
    """
    if dtype is not None:
        format_of(dtype)
    options = {
        "layout": layout, "time_major": time_major, "gradients": gradients, "dtype": dtype,
        "framework": framework, "arguments": arguments, "returns": returns,
    }  # fmt: skip
    if isolate:
        from lstm_oracle.conformance.functions.isolated import IsolatedSubject

        return IsolatedSubject(fn, spec, options, time_limit, memory_limit)
    return plain_subject(fn, spec, options)


def plain_subject(fn: Any, spec: Architecture | None, options: dict[str, Any]) -> Subject:
    """The subject in this process."""
    if isinstance(fn, str):
        fn = load(fn)
    if _is_subject(fn):
        subject: Subject = fn
        return subject
    known = _ready_made(fn, spec, options)
    if known is not None:
        return known
    _check_function(fn)
    return FunctionSubject(
        fn,
        PLAIN if spec is None else spec,
        options["layout"] or "fused",
        time_major=options["time_major"],
        gradients=options["gradients"],
        dtype=options["dtype"] or "float64",
        framework_name=options["framework"],
        arguments=options["arguments"],
        returns=options["returns"],
        free_sizes=spec is None,
    )


def load(name: str) -> Any:
    """What "module:callable" or "file.py:callable" names.

    Raises
    ------
    ValueError
        Where the name is not of that form, or there is nothing of that name.

    Examples
    --------
    >>> load("math:tanh")(0.0)
    0.0
    """
    place, _, path = name.rpartition(":")
    if not place or not path:
        raise ValueError(
            f"fn is {name!r}, expected 'module:callable' or 'file.py:callable'. Name both."
        )
    found = _module(place)
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(
                f"fn is {name!r}, but {place!r} has no {path!r}, expected something in it. "
                "Check the spelling."
            )
        found = getattr(found, part)
    return found


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    if not path.is_file():
        raise ValueError(f"fn names the file {place!r}, expected one that exists. Check the path.")
    name = f"_lstm_oracle_file_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise ValueError(f"fn names the file {place!r}, expected Python source. Check the path.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    # What lies beside the file can be imported by it, as in a script.
    sys.path.insert(0, str(path.parent))
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def _is_subject(fn: Any) -> bool:
    return all(hasattr(fn, name) for name in ("abilities", "run", "architecture", "dtype"))


def _ready_made(fn: Any, spec: Architecture | None, options: dict[str, Any]) -> Subject | None:
    """Adapters and layers of frameworks; none of these is imported unless fn is made of it."""
    if hasattr(fn, "run") and hasattr(fn, "unsupported"):
        from lstm_oracle.conformance.functions.objects import AdapterSubject

        return AdapterSubject(fn, PLAIN if spec is None else spec, options)
    roots = {base.__module__.partition(".")[0] for base in type(fn).__mro__}
    if "torch" in roots and hasattr(fn, "proj_size"):
        from lstm_oracle.conformance.functions.torch_module import TorchModuleSubject

        return TorchModuleSubject(fn, options)
    if "keras" in roots and hasattr(fn, "get_config"):
        from lstm_oracle.conformance.functions.keras_layer import KerasLayerSubject

        return KerasLayerSubject(fn, options)
    return None


def _check_function(fn: Any) -> None:
    if not callable(fn):
        raise TypeError(
            f"fn is of type {type(fn).__name__}, expected a callable, a torch.nn.LSTM, a Keras "
            "LSTM, an adapter, or 'module:callable'. Wrap what you have in a function."
        )
