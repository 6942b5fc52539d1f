"""A function as a `Subject`: called with a case's numbers, and its answer read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.functions import weights
from lstm_oracle.conformance.functions.answers import read_gradients, read_outputs
from lstm_oracle.conformance.functions.calling import (
    Call,
    abilities_of,
    read_signature,
    takes_cotangents,
)
from lstm_oracle.conformance.functions.frameworks import framework, framework_of, to_numpy
from lstm_oracle.conformance.functions.subject import Abilities, BadSignature, BrokenContract
from lstm_oracle.reference.layouts import Layout
from lstm_oracle.reference.spec import Architecture, State, state_shapes
from lstm_oracle.reference.tree import flatten, map_leaves

Array = np.ndarray
Gradients = str | Callable[..., Any]

_GRADIENTS = ("auto", "none", "returned")


class FunctionSubject:
    """A callable, its calling convention, and the framework whose arrays it takes."""

    def __init__(
        self,
        function: Callable[..., Any],
        architecture: Architecture,
        layout: str | Layout = "fused",
        *,
        time_major: bool = False,
        gradients: Gradients = "auto",
        dtype: str = "float64",
        framework_name: str | None = None,
        arguments: Sequence[str] | None = None,
        returns: Sequence[str] | None = None,
        free_sizes: bool = False,
    ) -> None:
        """Read the signature; nothing is called yet."""
        self.free_sizes = free_sizes
        self.architecture, self.dtype = architecture, dtype
        self._layout, self._time_major = layout, time_major
        self._row, self._returns = weights.row_of(layout), returns
        names = weights.array_names(self._row, architecture)
        self._call = read_signature(function, names, arguments)
        self.name = self._call.name
        self._framework = framework(framework_name or framework_of(function), dtype)
        self._backward = self._find_backward(gradients, names)
        self._mode = self._find_mode(gradients)
        self._abilities: Abilities | None = None

    # --- what it can ------------------------------------------------------------------------------

    def abilities(self) -> Abilities:
        """From the signature, and from one call that shows what is returned."""
        if self._abilities is None:
            outputs = frozenset(self._forward(self._scout()))
            self._abilities = abilities_of(
                self._call,
                outputs,
                gradients=self._mode != "none",
                strided=self._framework.name == "numpy",
                manner=self._manner(),
            )
        return self._abilities

    def _scout(self) -> Case:
        recipe = matrix.Recipe("first call", self.architecture, B=2, T=2)
        case = matrix.draw(recipe, self.dtype)
        return case if self._takes_state() else _stateless(case)

    def _takes_state(self) -> bool:
        return bool({"h0", "c0", "state"} & self._call.asks)

    def _manner(self) -> str:
        where = {
            "auto": f"gradients by {self._framework.name}",
            "returned": "gradients as the function returns them",
            "callable": f"gradients by {getattr(self._backward, 'name', '')}",
            "none": "values only: no gradients were given",
        }[self._mode]
        return f"called with {self._framework.name} arrays of {self.dtype}; {where}"

    def _find_backward(self, gradients: Gradients, names: tuple[str, ...]) -> Call | None:
        return read_signature(gradients, names) if callable(gradients) else None

    def _find_mode(self, gradients: Gradients) -> str:
        if callable(gradients):
            return "callable"
        if gradients not in _GRADIENTS:
            raise ValueError(
                f"gradients is {gradients!r}, expected one of {', '.join(_GRADIENTS)}, or the "
                "function that computes them. See `lstm_oracle.conformance.check`."
            )
        if gradients == "returned" and not takes_cotangents(self._call):
            raise BadSignature(
                f"{self.name}: gradients='returned' for a function that takes no cotangents, "
                "expected parameters d_y, d_h, d_c. Add them, or pass the backward function as "
                "gradients=."
            )
        if gradients != "auto":
            return gradients
        if takes_cotangents(self._call):
            return "returned"
        return "auto" if self._framework.differentiates else "none"

    # --- running ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Nothing to end."""

    def run(self, case: Case, *, gradients: bool = True) -> Result:
        """The function's answer to a case."""
        if case.options.get("pieces"):
            return self._in_pieces(case, int(case.options["pieces"]))
        mode = self._mode if gradients and not case.options.get("forward") else "none"
        return getattr(self, f"_run_{mode}")(case)

    def _run_none(self, case: Case) -> Result:
        return self._result(case, self._forward(case), {})

    def _run_auto(self, case: Case) -> Result:
        """Through the framework's own differentiation."""
        with self._framework.scope():
            given = self._differentiable(case)
            cotangents = map_leaves(self._framework.put, self._cotangents(case))
            outputs, found = self._framework.vjp(
                lambda leaves: self._called(case, leaves)[0], given, cotangents
            )
            return self._result(case, _numbers(outputs), _numbers(found))

    def _run_returned(self, case: Case) -> Result:
        with self._framework.scope():
            given = self._differentiable(case)
            outputs, found = self._called(case, given)
            return self._result(case, _numbers(outputs), _numbers(self._named(found)))

    def _run_callable(self, case: Case) -> Result:
        with self._framework.scope():
            given = self._differentiable(case)
            value = self._call(self._values(case, given))
            outputs, tape = self._split(value)
            values = {**self._values(case, given), "tape": tape}
            backward: Any = self._backward
            found = self._named(backward(values))
            read = self._read(outputs)[0]
            return self._result(case, _numbers(read), _numbers(found))

    def _forward(self, case: Case) -> dict[str, Any]:
        with self._framework.scope():
            return _numbers(self._called(case, self._differentiable(case))[0])

    def _called(self, case: Case, given: Any) -> tuple[dict[str, Any], Any]:
        """Outputs by name, and what else was returned."""
        values = self._values(case, given)
        before = {path: np.array(a) for path, a in flatten(given).items() if _is_numpy(a)}
        value = self._call(values)
        for path, array in flatten(given).items():
            if path in before and not np.array_equal(before[path], array, equal_nan=True):
                raise BrokenContract(f"it writes into its argument {path.split('.')[-1]}")
        if self._mode == "callable":
            value = self._split(value)[0]
        return self._read(value)

    def _split(self, value: Any) -> tuple[Any, Any]:
        """What the function returned, and the tape that its backward function asks for."""
        if self._backward is None or "tape" not in self._backward.asks:
            return value, None
        if not isinstance(value, tuple) or len(value) < 2:
            raise BadSignature(
                f"{self.name} returned a {type(value).__name__}, expected a tuple that ends in the "
                f"tape that {self._backward.name} asks for. Return (y, h, c, tape)."
            )
        rest = value[:-1]
        return (rest[0] if len(rest) == 1 else rest), value[-1]

    def _read(self, value: Any) -> tuple[dict[str, Any], Any]:
        shapes = weights.single(self.architecture) is not None
        outputs, rest = read_outputs(self.name, value, single=shapes, returns=self._returns)
        if "state" in outputs:
            outputs["state"] = _nested(state_shapes(self.architecture, 1), outputs["state"])
        if self._time_major and "y" in outputs:
            outputs["y"] = map_leaves(_swap, outputs["y"])
        return outputs, rest

    def _in_pieces(self, case: Case, pieces: int) -> Result:
        """Piece after piece, the state carried over by the function's own hands."""
        state, ys = case.state, []
        for columns in np.array_split(np.arange(case.x.shape[1]), pieces):
            part = _steps(case, columns, state)
            result = self._run_none(part)
            state = map_leaves(lambda a: a.astype(np.float64), result.state)
            ys.append(result.y)
        y = map_leaves(lambda *parts: np.concatenate(parts, axis=1), *ys)
        return Result(y, state)

    # --- values in --------------------------------------------------------------------------------

    def _differentiable(self, case: Case) -> dict[str, Any]:
        """The tree of everything that gradients are taken of."""
        tree = {
            "x": _swap(case.x) if self._time_major else case.x,
            "weights": weights.stored(self._row, case.architecture, case.params),
        }
        if case.state is not None and self._takes_state():
            tree["state"] = case.state
        given = map_leaves(self._framework.put, tree)
        if case.options.get("strided"):
            given["x"] = np.repeat(given["x"], 2, axis=-1)[..., ::2]
        return given

    def _values(self, case: Case, given: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that a function can ask for, by name."""
        values: dict[str, Any] = {"x": given["x"], "weights": given["weights"], "tape": None}
        values |= self._masks(case)
        values["state"] = given.get("state")
        values["dropout"] = map_leaves(self._framework.put, case.dropout)
        values["spec"] = case.architecture
        values |= self._asked_cotangents(case)
        if weights.single(self.architecture) is None:
            return values
        h0, c0 = given.get("state") or State(None, None)
        values |= {"h0": h0, "c0": c0} | given["weights"]
        asks = self._call.asks
        values["rest"] = {k: a for k, a in given["weights"].items() if k not in asks}
        return values

    def _masks(self, case: Case) -> dict[str, Any]:
        real = np.ones(case.x.shape[:2], bool) if case.mask is None else case.mask
        mask = real.T if self._time_major else real
        given = {
            "mask": self._framework.plain(np.ascontiguousarray(mask)),
            "lengths": self._framework.plain(real.sum(axis=1)),
        }
        if case.mask is not None:
            return given
        required = self._call.asks - self._call.optional
        return {name: value if name in required else None for name, value in given.items()}

    def _asked_cotangents(self, case: Case) -> dict[str, Any]:
        d_y = map_leaves(_swap, case.d_y) if self._time_major else case.d_y
        d_state = case.d_state
        both = map_leaves(self._framework.put, {"d_y": d_y, "d_state": d_state})
        if weights.single(self.architecture) is None:
            return both
        d_h, d_c = both["d_state"]
        return both | {"d_h": d_h, "d_c": d_c}

    def _cotangents(self, case: Case) -> dict[str, Any]:
        """Of those outputs that the function gives."""
        found = {"y": case.d_y}
        if weights.single(self.architecture) is None:
            found["state"] = case.d_state
        else:
            found |= {"h": case.d_state.h, "c": case.d_state.c}
        return {name: found[name] for name in sorted(self.abilities().outputs)}

    # --- answers out ------------------------------------------------------------------------------

    def _named(self, found: Any) -> dict[str, Any]:
        names = weights.array_names(self._row, self.architecture)
        return read_gradients(self.name, found, names)

    def _result(self, case: Case, outputs: dict[str, Any], found: dict[str, Any]) -> Result:
        state = outputs.get("state", State(outputs.get("h"), outputs.get("c")))
        if not found:
            return Result(outputs.get("y"), state)
        d_x, shaped = found.get("x"), found.get("state")
        return Result(
            outputs.get("y"),
            state,
            weights.gradients(self._row, case.architecture, found.get("weights", {})),
            _swap(d_x) if self._time_major and d_x is not None else d_x,
            None if not shaped else _nested(state_shapes(self.architecture, 1), shaped),
        )


def _numbers(tree: Any) -> Any:
    return map_leaves(to_numpy, tree)


def _swap(array: Any) -> Any:
    """Batch first to time first, and back, in any framework."""
    if hasattr(array, "swapaxes"):
        return array.swapaxes(0, 1)
    import tensorflow as tf

    return tf.transpose(array, (1, 0, 2))


def _nested(shapes: Any, value: Any) -> Any:
    """A state in our own nesting, whatever kinds of tuples it came in."""
    if all(isinstance(n, int) for n in shapes):
        return value
    parts = [_nested(shape, part) for shape, part in zip(shapes, value, strict=True)]
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def _is_numpy(array: Any) -> bool:
    return isinstance(array, np.ndarray)


def _stateless(case: Case) -> Case:
    return dataclasses.replace(case, state=None)


def _steps(case: Case, columns: Array, state: Any) -> Case:
    """Some consecutive steps of a case, from another state."""
    d_y = map_leaves(lambda a: a[:, columns], case.d_y)
    mask = None if case.mask is None else case.mask[:, columns]
    options = {"forward": True}
    x = case.x[:, columns]
    return dataclasses.replace(case, x=x, state=state, mask=mask, d_y=d_y, options=options)
