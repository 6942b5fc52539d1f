"""How a function is called: by the names of its own parameters.

`lstm(x, h0, c0, W, U, b)` gets the input, the initial state and the weights in the layout that was
named; `lstm(x, h0, c0, **weights)` gets all weights by name; `lstm(weights, x, mask)` gets them as
a dict. What cannot be read from a signature (a C function, a builtin, other names) is said with
`arguments=("x", "h0", "c0", "W", "U", "b")`, which are then passed in that order.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lstm_oracle.conformance.functions.subject import Abilities, BadSignature

# What a function can ask for, and the names under which it is recognised. Names of a layout's
# arrays come before these.
NAMES: dict[str, tuple[str, ...]] = {
    "x": ("x", "X", "xs", "input", "inputs", "sequence"),
    "h0": ("h0", "h_0", "hx", "h", "h_init", "initial_h"),
    "c0": ("c0", "c_0", "cx", "c", "c_init", "initial_c"),
    "state": ("state", "states", "initial_state"),
    "mask": ("mask",),
    "lengths": ("lengths", "seq_lengths", "sequence_lengths", "sequence_lens"),
    "dropout": ("dropout",),
    "weights": ("weights", "params", "parameters"),
    "spec": ("spec",),
    "d_y": ("d_y", "dy", "dout", "grad_y"),
    "d_h": ("d_h", "dh", "d_h_T", "dh_T", "grad_h"),
    "d_c": ("d_c", "dc", "d_c_T", "dc_T", "grad_c"),
    "d_state": ("d_state",),
    "tape": ("tape", "cache"),
}
_COTANGENTS = ("d_y", "d_h", "d_c", "d_state")
_KNOWN = {alias: name for name, aliases in NAMES.items() for alias in aliases}


@dataclass(frozen=True)
class Call:
    """Which values go where when a function is called."""

    function: Callable[..., Any]
    name: str
    positional: tuple[str, ...]  # names of values, in order
    keywords: Mapping[str, str]  # parameter: name of a value
    optional: frozenset[str]  # values that have a default
    rest: bool = False  # takes all further weights by name

    @property
    def asks(self) -> frozenset[str]:
        """The names of all values that it gets."""
        return frozenset((*self.positional, *self.keywords.values()))

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Call the function with these values, those that are None left to their defaults."""
        # An optional positional value cannot be left out from the middle.
        given = [values[name] for name in self.positional]
        named = {
            parameter: values[name]
            for parameter, name in self.keywords.items()
            if not (values[name] is None and name in self.optional)
        }
        rest = values["rest"] if self.rest else {}
        return self.function(*given, **named, **rest)


def read_signature(
    function: Callable[..., Any], arrays: Sequence[str], arguments: Sequence[str] | None = None
) -> Call:
    """How to call a function whose weights are the arrays of these names.

    Raises
    ------
    TypeError
        Where a parameter's name means nothing, or the function takes no input or not all weights:
        with what was got, what was expected, and the fix.

    Examples
    --------
    >>> def lstm(inputs, h0, c0, W, U, b): ...
    >>> read_signature(lstm, ("W", "U", "b")).keywords["inputs"]
    'x'
    """
    name = getattr(function, "__name__", type(function).__name__)
    if arguments is not None:
        found = _listed(function, name, arrays, arguments)
    else:
        found = _inspected(function, name, arrays)
    _check_complete(found, arrays)
    return found


def identifier(array: str) -> str:
    """The name of an array as that of a parameter: `ii/kernel` is `ii_kernel`."""
    return re.sub(r"\W", "_", array)


def abilities_of(
    call: Call, outputs: frozenset[str], *, gradients: bool, strided: bool, manner: str
) -> Abilities:
    """What cases have to know of a function that is called so."""
    asks = call.asks
    state = {"h0", "c0", "state"} & asks
    masks = "any" if "mask" in asks else "lengths" if "lengths" in asks else "none"
    return Abilities(
        state=bool(state),
        state_optional=bool(state) and state <= call.optional,
        masks=masks,
        dropout="dropout" in asks,
        outputs=outputs,
        gradients=gradients,
        strided=strided,
        pieces=bool(state) and ({"h", "c"} <= outputs or "state" in outputs),
        manner=manner,
    )


def takes_cotangents(call: Call) -> bool:
    """Whether a function asks for dL/dy and the like: it gives gradients itself."""
    return bool(call.asks & set(_COTANGENTS))


# --- from a list, or from the signature -----------------------------------------------------------


def _listed(
    function: Callable[..., Any], name: str, arrays: Sequence[str], arguments: Sequence[str]
) -> Call:
    known = _vocabulary(arrays)
    unknown = [word for word in arguments if word not in known]
    if unknown:
        raise BadSignature(
            f"{name}: arguments has {unknown[0]!r}, expected names out of "
            f"{', '.join((*arrays, *NAMES))}. Name what goes where, in order."
        )
    return Call(function, name, tuple(known[word] for word in arguments), {}, frozenset())


def _inspected(function: Callable[..., Any], name: str, arrays: Sequence[str]) -> Call:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise BadSignature(
            f"{name}: got a callable without a signature that can be read, expected one, or "
            "arguments. Pass for example arguments=('x', 'h0', 'c0', 'W', 'U', 'b')."
        ) from error
    known = _vocabulary(arrays)
    positional, keywords, optional, rest = [], {}, set(), False
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            rest = rest or parameter.kind == parameter.VAR_KEYWORD
            continue
        has_default = parameter.default is not parameter.empty
        value = known.get(parameter.name)
        if value is None:
            _check_default(name, parameter.name, has_default, arrays)
            continue
        if has_default:
            optional.add(value)
        if parameter.kind == parameter.POSITIONAL_ONLY:
            positional.append(value)
        else:
            keywords[parameter.name] = value
    taken = set(positional) | set(keywords.values())
    return Call(
        function,
        name,
        tuple(positional),
        keywords,
        frozenset(optional),
        rest and "weights" not in taken and not set(arrays) <= taken,
    )


def _vocabulary(arrays: Sequence[str]) -> dict[str, str]:
    """Every word for a value; a layout's arrays come before what is also called so."""
    return _KNOWN | {identifier(array): array for array in arrays} | {a: a for a in arrays}


def _check_default(name: str, parameter: str, has_default: bool, arrays: Sequence[str]) -> None:
    if not has_default:
        weights = ", ".join(map(identifier, arrays))
        raise BadSignature(
            f"{name}: parameter {parameter!r} means nothing to lstm-oracle, expected names out of "
            f"x, h0, c0, mask, lengths, {weights} (weights of the layout), weights (all of them in "
            "a dict), d_y, d_h, d_c (cotangents). Rename it, give it a default, or say what goes "
            "where with arguments=('x', 'h0', …), or choose another layout=."
        )


def _check_complete(call: Call, arrays: Sequence[str]) -> None:
    asks = call.asks
    if "x" not in asks and "tape" not in asks:
        raise BadSignature(
            f"{call.name}: got no parameter for the input, expected x. Call it x, or say what "
            "goes where with arguments=('x', …)."
        )
    missing = [array for array in arrays if array not in asks]
    if missing and not call.rest and "weights" not in asks and "tape" not in asks:
        raise BadSignature(
            f"{call.name}: takes no {', '.join(map(identifier, missing))}, expected all weights "
            f"of the layout ({', '.join(map(identifier, arrays))}), or **weights. Add them, choose "
            "another layout=, or a spec= without them (use_bias=False)."
        )
