"""The case matrix: every regime that lets bugs through, as seeded, deterministic cases.

A `Recipe` names a layer and a regime; `build` draws its numbers. Recipes that share architecture,
shape and kind of inputs cost a compiler once, so values, masks and cotangents vary most.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np

from lstm_oracle import reference
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
    output_shapes,
    param_shapes,
    state_shapes,
)

Array = np.ndarray
Level = Literal["quick", "full"]

DTYPES = ("float64", "float32", "bfloat16")
_ALL = DTYPES
_WIDE = ("float64", "float32")
_DOUBLE = ("float64",)
_SINGLE = ("float32",)

# No pre-activation comes closer to a kink of its activation than this: far more than rounding in
# the dtype moves it, so that no implementation legitimately lands on the other side.
_KINK_MARGIN = {"float64": 1e-3, "float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}
KINKS: dict[str, tuple[float, ...]] = {
    "hard_sigmoid_sixth": (-3.0, 3.0),
    "hard_sigmoid_fifth": (-2.5, 2.5),
    "hard_tanh": (-1.0, 1.0),
    "relu": (0.0,),
    "leaky_relu": (0.0,),
    "elu": (0.0,),
    "selu": (0.0,),
}


@dataclass(frozen=True)
class Recipe:
    """A layer and a regime, before any number is drawn."""

    name: str
    architecture: Architecture
    B: int = 2
    T: int = 5
    mask: str | None = None  # a name of MASKS
    poison: bool = False  # NaN in x where masked
    state: bool = True  # a non-zero initial state, else none
    cotangents: str = "yhc"  # those that are not zero
    cotangent_scale: float = 1.0
    weights: float = 1.0  # factor on every parameter
    dropout: str = ""  # letters: x, h (on which), z (zoneout), t (per step), k (per gate)
    dtypes: Sequence[str] = _DOUBLE
    quick: Sequence[str] = ()  # dtypes in which the quick level has it
    options: Mapping[str, Any] = field(default_factory=dict)


# --- masks ----------------------------------------------------------------------------------------


def _right(B: int, T: int, rng: np.random.Generator) -> Array:
    """Padding after the sequence; the first row is whole, every row has a step."""
    lengths = np.linspace(T, 1, B).astype(int) if B > 1 else np.array([max(1, T - 2)])
    return np.arange(T) < lengths[:, None]


def _left(B: int, T: int, rng: np.random.Generator) -> Array:
    return _right(B, T, rng)[:, ::-1].copy()  # PyTorch takes no negative strides


def _holes(B: int, T: int, rng: np.random.Generator) -> Array:
    """Any step missing: at the start of row 0, in the middle of row 1, at the end of the last."""
    mask = rng.random((B, T)) < 0.7
    mask[:, T // 2] = True
    mask[0, 0] = mask[-1, -1] = False
    mask[1 % B, T // 2 : T // 2 + 2] = False
    mask[1 % B, 0] = True
    return mask


def _full(B: int, T: int, rng: np.random.Generator) -> Array:
    return np.ones((B, T), bool)


def _empty_row(B: int, T: int, rng: np.random.Generator) -> Array:
    """Lengths down to zero."""
    return np.arange(T) < np.linspace(T, 0, B).astype(int)[:, None]


def _nothing(B: int, T: int, rng: np.random.Generator) -> Array:
    return np.zeros((B, T), bool)


MASKS = {
    "right": _right,
    "left": _left,
    "holes": _holes,
    "full": _full,
    "length zero": _empty_row,
    "nothing real": _nothing,
}


# --- the recipes ----------------------------------------------------------------------------------


def _spec(**changes: Any) -> Spec:
    return Spec(**{"input_size": 3, "hidden_size": 4} | changes)


def _both(merge: Any, **changes: Any) -> Bidirectional:
    return Bidirectional(_spec(**changes), _spec(**changes), merge)


def _plain() -> Iterator[Recipe]:
    spec = _spec()
    yield Recipe("plain", spec, dtypes=_ALL, quick=_ALL)
    yield Recipe("plain, weights x4", spec, weights=4, dtypes=_ALL, quick=_WIDE)
    for letters, words in (("y", "y"), ("h", "h_T"), ("c", "c_T")):
        name = f"plain, cotangent on {words} alone"
        yield Recipe(name, spec, cotangents=letters, dtypes=_WIDE, quick=_DOUBLE)
    yield Recipe("plain, cotangents x1e-8", spec, cotangent_scale=1e-8, dtypes=_WIDE)
    yield Recipe("plain, cotangents x1e8", spec, cotangent_scale=1e8, dtypes=_WIDE, quick=_WIDE)
    yield Recipe("plain, B 1, T 1", spec, B=1, T=1)
    yield Recipe("plain, T 60", spec, T=60, dtypes=_WIDE)
    yield Recipe("plain, T 60, weights x2", spec, T=60, weights=2, dtypes=_WIDE)
    yield Recipe("plain, no initial state", spec, state=False)
    yield Recipe("hidden size 1, T 2", _spec(hidden_size=1), T=2, quick=_DOUBLE)
    wide = _spec(input_size=17, hidden_size=32)
    yield Recipe("wide, B 8, T 20", wide, B=8, T=20, dtypes=("float32", "bfloat16"))
    yield Recipe("no bias", _spec(use_bias=False))


def _masks() -> Iterator[Recipe]:
    spec, B = _spec(), 3
    yield Recipe("mask right", spec, B, mask="right", dtypes=_WIDE)
    poisoned = "mask right, NaN in the padding"
    yield Recipe(poisoned, spec, B, mask="right", poison=True, dtypes=_WIDE, quick=_WIDE)
    yield Recipe("mask left", spec, B, mask="left", dtypes=_WIDE, quick=_WIDE)
    yield Recipe("mask with holes", spec, B, mask="holes", dtypes=_ALL, quick=_WIDE)
    yield Recipe("mask with holes, NaN in them", spec, B, mask="holes", poison=True, dtypes=_WIDE)
    yield Recipe("mask full", spec, B, mask="full", dtypes=_WIDE)
    yield Recipe("mask with a length zero", spec, B, mask="length zero", dtypes=_WIDE)
    yield Recipe("mask with nothing real", spec, B, mask="nothing real", poison=True)
    yield Recipe("mask with holes, T 60", spec, B, 60, mask="holes")
    zero = _spec(masked_output="zero")
    yield Recipe("zeros at masked steps, mask right", zero, B, mask="right", dtypes=_WIDE)
    yield Recipe("zeros at masked steps, mask with holes", zero, B, mask="holes", dtypes=_WIDE)
    name = "zeros at masked steps, mask with a length zero"
    yield Recipe(name, zero, B, mask="length zero", dtypes=_WIDE)
    state = _spec(masked_output="state")
    yield Recipe("state at masked steps, mask with holes", state, B, mask="holes")


def _variants() -> Iterator[Recipe]:
    peepholes = _spec(peepholes="ifo")
    yield Recipe("peepholes ifo", peepholes, dtypes=_ALL, quick=_DOUBLE)
    yield Recipe("coupled", _spec(coupled=True), dtypes=_WIDE)
    coupled = _spec(coupled=True, peepholes="fo")
    name = "coupled, peepholes fo, mask with holes"
    yield Recipe(name, coupled, 3, mask="holes", quick=_DOUBLE)
    yield Recipe("projection 2", _spec(projection_size=2), dtypes=_WIDE)
    projected = _spec(projection_size=2, peepholes="i", masked_output="zero")
    yield Recipe("projection 2, peephole i, mask with holes", projected, 3, mask="holes")
    clips = _spec(cell_clip=0.5, activation_clip=1.0, peepholes="ifo")
    yield Recipe("cell and activation clip, peepholes ifo", clips)


def _layer_norm() -> Iterator[Recipe]:
    spec = _spec(layer_norm=True)
    yield Recipe("layer normalization", spec, dtypes=_ALL, quick=_DOUBLE)
    yield Recipe("layer normalization, T 60", spec, T=60, dtypes=_WIDE)
    mixed = _spec(
        layer_norm=True, layer_norm_epsilon=0.1, coupled=True, peepholes="fo", projection_size=2,
        use_bias=False,
    )  # fmt: skip
    name = "layer normalization, coupled, peepholes fo, projection 2, no bias, mask with holes"
    yield Recipe(name, mixed, 3, mask="holes", poison=True)
    yield Recipe("layer normalization, dropout on x and h, per gate", spec, dropout="xhk")
    both = _spec(layer_norm=True, zoneout_h=0.25, zoneout_c=0.5, masked_output="zero")
    name = "layer normalization, zoneout, bidirectional, mask right"
    yield Recipe(name, Bidirectional(both, both), 3, mask="right", dtypes=_WIDE)


def _zoneout() -> Iterator[Recipe]:
    spec = _spec(zoneout_h=0.25, zoneout_c=0.5)
    yield Recipe("zoneout, in expectation", spec, dtypes=_ALL, quick=_DOUBLE)
    yield Recipe("zoneout, masks per step", spec, dropout="zt", dtypes=_WIDE)
    name = "zoneout, masks per step, mask with holes"
    yield Recipe(name, spec, 3, mask="holes", dropout="zt")
    variants = _spec(zoneout_c=0.5, projection_size=2, peepholes="ifo")
    name = "zoneout of c alone, projection 2, peepholes ifo, dropout on x and h"
    yield Recipe(name, variants, dropout="xhz")
    yield Recipe("zoneout, chunks of 2, gradient truncated", Chunks(spec, 2, truncate=True))


def _activations() -> Iterator[Recipe]:
    sixth = dict.fromkeys(("i_activation", "f_activation", "o_activation"), "hard_sigmoid_sixth")
    yield Recipe("hard sigmoid of slope 1/6", _spec(**sixth), weights=3, dtypes=_WIDE)
    relu = _spec(g_activation="relu", c_activation="relu")
    yield Recipe("relu", relu, dtypes=_WIDE)
    yield Recipe(
        "softsign, hard sigmoid of slope 1/5, selu, hard tanh, silu, peephole f",
        _spec(
            i_activation="softsign", f_activation="hard_sigmoid_fifth", g_activation="selu",
            o_activation="hard_tanh", c_activation="silu", peepholes="f",
        ),
        weights=2,
        dtypes=_WIDE,
    )  # fmt: skip
    yield Recipe(
        "softplus, leaky relu, elu, peephole o, no bias",
        _spec(
            i_activation="softplus", g_activation="leaky_relu", c_activation="elu",
            peepholes="o", use_bias=False,
        ),
    )  # fmt: skip
    linear = _spec(g_activation="linear", c_activation="linear", projection_size=2)
    yield Recipe("linear, projection 2", linear)


def _dropout() -> Iterator[Recipe]:
    spec = _spec()
    yield Recipe("dropout on x", spec, dropout="x", dtypes=_WIDE)
    yield Recipe("dropout on x and h, per gate", spec, dropout="xhk", dtypes=_WIDE)
    yield Recipe("dropout on x and h, per step", spec, dropout="xht")
    projected = _spec(projection_size=2, coupled=True)
    yield Recipe(
        "dropout on x and h, per step and gate, coupled, projection 2", projected, dropout="xhtk"
    )


def _combinations() -> Iterator[Recipe]:
    spec, zero = _spec(), _spec(masked_output="zero")
    yield Recipe("reverse, mask right", Reverse(spec), 3, mask="right", dtypes=_WIDE)
    yield Recipe("reverse, mask with holes", Reverse(spec), 3, mask="holes", dtypes=_WIDE)
    processing = Reverse(spec, "processing")
    name = "reverse, in processing order, mask right"
    yield Recipe(name, processing, 3, mask="right", dtypes=_WIDE)
    yield Recipe("bidirectional concat", _both("concat"), dtypes=_ALL, quick=_SINGLE)
    merged = Bidirectional(zero, zero)
    yield Recipe("bidirectional concat, mask right", merged, 3, mask="right", dtypes=_WIDE)
    yield Recipe("bidirectional concat, mask with holes", merged, 3, mask="holes", dtypes=_WIDE)
    yield Recipe("bidirectional mul", _both("mul"))
    yield Recipe("bidirectional ave", _both("ave"))
    yield Recipe("bidirectional, not merged", _both(None))
    stack = Stack((spec, _spec(input_size=4, hidden_size=2)))
    yield Recipe("stack of two", stack)
    narrow = _spec(input_size=8, hidden_size=2, masked_output="zero")
    tower = Stack((merged, Bidirectional(narrow, narrow, "sum")))
    name = "stack of bidirectional, mask right"
    yield Recipe(name, tower, 3, mask="right", dtypes=_WIDE, quick=_DOUBLE)
    # Frameworks that take several layers at once take these.
    alike = Stack((spec, _spec(input_size=4)))
    yield Recipe("stack of two alike", alike, dtypes=_WIDE)
    above = _spec(input_size=8, masked_output="zero")
    tower = Stack((merged, Bidirectional(above, above)))
    name = "stack of bidirectional alike, mask right"
    yield Recipe(name, tower, 3, mask="right", dtypes=_WIDE)
    truncated = Chunks(spec, 2, truncate=True)
    yield Recipe("chunks of 2, gradient truncated", truncated)
    yield Recipe("chunks of 2, mask with holes", Chunks(spec, 2), 3, mask="holes")


def _options() -> Iterator[Recipe]:
    """Other ways to compute the same, where frameworks have gone wrong."""
    spec, zero = _spec(), _spec(masked_output="zero")
    unrolled: dict[str, Any] = {"T": 3, "options": {"unroll": True}, "dtypes": _SINGLE}
    yield Recipe("unrolled", spec, **unrolled)
    name = "unrolled, zeros at masked steps, mask with holes"
    yield Recipe(name, zero, 3, mask="holes", **unrolled)
    name = "unrolled, reverse, mask right"
    yield Recipe(name, Reverse(spec, "processing"), 3, mask="right", **unrolled)
    name = "unrolled, bidirectional, mask right"
    yield Recipe(name, Bidirectional(zero, zero), 3, mask="right", **unrolled)
    one: dict[str, Any] = {"options": {"implementation": 1}, "dtypes": _SINGLE}
    yield Recipe("implementation 1", spec, **one)
    yield Recipe("implementation 1, dropout on x, per gate", spec, dropout="xk", **one)


def recipes() -> tuple[Recipe, ...]:
    """Every recipe, in the order of the matrix."""
    groups = (
        _plain, _masks, _variants, _activations, _dropout, _combinations, _options, _layer_norm,
        _zoneout,
    )  # fmt: skip
    return tuple(recipe for group in groups for recipe in group())


# --- cases ----------------------------------------------------------------------------------------


@cache
def _case(index: int, dtype: str) -> Case:
    return build(recipes()[index], dtype)


def cases(level: Level = "full", dtypes: Sequence[str] = DTYPES) -> list[Case]:
    """The cases of a level in the given dtypes, always the same objects.

    Raises
    ------
    ValueError
        For an unknown level.

    Examples
    --------
    >>> [case.name for case in cases("quick", dtypes=("bfloat16",))]
    ['plain, bfloat16']
    """
    if level not in ("quick", "full"):
        raise ValueError(f"level is {level!r}, expected 'quick' or 'full'. Choose one of them.")
    return [
        _case(index, dtype)
        for dtype in dtypes
        for index, recipe in enumerate(recipes())
        if dtype in (recipe.quick if level == "quick" else recipe.dtypes)
    ]


def build(recipe: Recipe, dtype: str) -> Case:
    """The case of a recipe: numbers drawn from a seed that its name and dtype give.

    Drawn again where a pre-activation would lie at a kink, or a clip would do nothing.
    """
    name = f"{recipe.name}, {dtype}"
    for attempt in range(1000):
        case = _draw(
            recipe, name, dtype, np.random.default_rng([zlib.crc32(name.encode()), attempt])
        )
        if is_fair(case):
            return case
    raise RuntimeError(f"case {name!r}: no draw keeps clear of every kink. Make it smaller.")


def draw(recipe: Recipe, dtype: str) -> Case:
    """A case of a recipe wherever its numbers lie, near a kink or not: to be run, not compared."""
    name = f"{recipe.name}, {dtype}"
    return _draw(recipe, name, dtype, np.random.default_rng([zlib.crc32(name.encode()), 0]))


def _draw(recipe: Recipe, name: str, dtype: str, rng: np.random.Generator) -> Case:
    architecture, B, T = recipe.architecture, recipe.B, recipe.T

    def numbers(scale: float, shapes: Any) -> Any:
        return draw_tree(lambda shape: to_format(rng.normal(0, scale, shape), dtype), shapes)

    x = numbers(1.0, (B, T, architecture.input_size))
    mask = None if recipe.mask is None else MASKS[recipe.mask](B, T, rng)
    if recipe.poison and mask is not None:
        x = np.where(mask[..., None], x, np.nan)
    params = draw_tree(
        lambda shape: to_format(_weights(rng, shape) * recipe.weights, dtype),
        param_shapes(architecture),
    )
    states = state_shapes(architecture, B)
    size = recipe.cotangent_scale
    chosen = recipe.cotangents
    d_state = numbers(size, states)
    return Case(
        name=name,
        architecture=architecture,
        params=params,
        x=x,
        state=numbers(0.5, states) if recipe.state else None,
        mask=None if mask is None else np.ascontiguousarray(mask),
        dropout=draw_dropout(architecture, recipe, rng) if recipe.dropout else None,
        d_y=numbers(size if "y" in chosen else 0.0, output_shapes(architecture, B, T)),
        d_state=select_cotangents(d_state, chosen),
        dtype=dtype,
        options=recipe.options,
    )


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Of the size at which gates are neither linear nor saturated."""
    return rng.normal(0, 1 / np.sqrt(shape[0]) if len(shape) == 2 else 0.5, shape)


def draw_tree(draw: Any, shapes: Any) -> Any:
    """Arrays in the nesting of shapes."""
    if isinstance(shapes, dict):
        return {name: draw_tree(draw, shape) for name, shape in shapes.items()}
    if all(isinstance(n, int) for n in shapes):
        return draw(shapes)
    parts = [draw_tree(draw, part) for part in shapes]
    return type(shapes)(*parts) if hasattr(shapes, "_fields") else tuple(parts)


def select_cotangents(d_state: Any, chosen: str) -> Any:
    """The cotangents of the final state, those not chosen set to zero."""
    if isinstance(d_state, State):
        return State(*(a * (k in chosen) for k, a in zip("hc", d_state, strict=True)))
    parts = [select_cotangents(part, chosen) for part in d_state]
    return type(d_state)(*parts) if hasattr(d_state, "_fields") else tuple(parts)


def draw_dropout(spec: Any, recipe: Recipe, rng: np.random.Generator) -> Dropout:
    """Multipliers 0 or 2: a rate of one half; zoneout masks 0 or 1. Only for a single layer."""
    per_step, per_gate = "t" in recipe.dropout, "k" in recipe.dropout

    def draw(size: int) -> Array:
        shape: tuple[int, ...] = (recipe.B, recipe.T if per_step else 1, len(spec.gates), size)
        if not per_gate:
            shape = (shape[0], shape[1], size) if per_step else (shape[0], size)
        return 2.0 * rng.integers(0, 2, shape)

    def mask(size: int) -> Array:
        return rng.integers(0, 2, (recipe.B, recipe.T if per_step else 1, size)).astype(float)

    zoned = (spec.recurrent_size, spec.hidden_size)
    return Dropout(
        draw(spec.input_size) if "x" in recipe.dropout else None,
        draw(spec.recurrent_size) if "h" in recipe.dropout else None,
        *(mask(size) if "z" in recipe.dropout else None for size in zoned),
    )


# --- kinks ----------------------------------------------------------------------------------------


def is_fair(case: Case) -> bool:
    """Whether no pre-activation lies at a kink, and every clip clips some and not all."""
    if not isinstance(case.architecture, Spec):
        return True  # combinations have smooth layers
    points = list(_kink_arguments(case))
    clear = all(
        np.abs(z - kink).min() > _KINK_MARGIN[case.dtype]
        for z, kinks, _ in points
        for kink in kinks
    )
    return clear and all(
        0.05 < np.mean(np.abs(z) > max(kinks)) < 0.95 for z, kinks, active in points if active
    )


def _kink_arguments(case: Case) -> Iterator[tuple[Array, tuple[float, ...], bool]]:
    """(values, their kinks, whether both sides have to occur) of every function with kinks."""
    spec = case.architecture
    if not isinstance(spec, Spec):
        return
    _, tape = reference.forward(
        spec, case.params, case.x, case.state, case.mask, dropout=case.dropout
    )
    trace = tape.trace()
    for k, z in trace.z.items():
        if spec.activation_clip is not None:
            yield z, (-spec.activation_clip, spec.activation_clip), True
        kinks = KINKS.get(getattr(spec, f"{k}_activation"), ())
        if kinks:
            yield z, kinks, "hard_sigmoid" in getattr(spec, f"{k}_activation")
    if spec.c_activation in KINKS:
        yield trace.c, KINKS[spec.c_activation], False
    if spec.cell_clip is not None:
        yield _unclipped(case, trace), (-spec.cell_clip, spec.cell_clip), True


def _unclipped(case: Case, trace: Any) -> Array:
    """f * c_{t-1} + i * g of every step."""
    c_0 = np.zeros_like(trace.c[:, 0]) if case.state is None else case.state.c
    c_prev = np.concatenate([c_0[:, None], trace.c[:, :-1]], axis=1)
    return np.asarray(trace.f * c_prev + trace.i * trace.g)
