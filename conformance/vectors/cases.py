"""The cases of the test vectors: every option of a layer, small, with generic numbers.

Weights are distinct multiples of 1/256 below 1, all other numbers multiples of 1/128 below 2 (both
times a power of two): exactly representable in float32, float16 and bfloat16 alike, so that one
case can be asked of an implementation in any of them. They come from integers alone, so that every
machine draws the same.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.matrix import (
    MASKS,
    Recipe,
    draw_dropout,
    draw_tree,
    is_fair,
    select_cotangents,
)
from lstm_oracle.reference.spec import (
    ACTIVATIONS,
    Architecture,
    Bidirectional,
    Chunks,
    Dropout,
    MergeMode,
    Reverse,
    Spec,
    Stack,
    output_shapes,
    param_shapes,
    state_shapes,
)

Array = np.ndarray

_MASKS = ("right", "left", "holes", "full", "length zero")
_MASKED_OUTPUTS = ("previous", "zero", "state")
_MERGES: tuple[MergeMode, ...] = ("concat", "sum", "mul", "ave", None)
_ORDERS: tuple[Literal["original", "processing"], ...] = ("original", "processing")
_MIXTURES = 130
# A case that is fair in bfloat16 is fair in the others: they keep closer to the exact values.
_COARSEST = "bfloat16"


@dataclass(frozen=True)
class Vector:
    """A case with a short name, which is also its file's."""

    id: str
    group: str
    case: Case


def _spec(**changes: Any) -> Spec:
    return Spec(**{"input_size": 2, "hidden_size": 3} | changes)


def _recipe(architecture: Architecture, **changes: Any) -> Recipe:
    return Recipe("", architecture, **{"B": 2, "T": 3} | changes)


# --- the groups -----------------------------------------------------------------------------------


def _plain() -> Iterator[Recipe]:
    spec = _spec()
    for (B, T), weights in itertools.product(((1, 1), (2, 1), (1, 2), (2, 5), (3, 4)), (1, 4)):
        yield _recipe(spec, B=B, T=T, weights=weights)
    for I, H in ((1, 3), (3, 3), (2, 4), (4, 3), (5, 4)):
        yield _recipe(_spec(input_size=I, hidden_size=H))
    for letters in ("y", "h", "c", "yh", "yc", "hc"):
        yield _recipe(spec, cotangents=letters)
    for scale in (2.0**-20, 2.0**20):
        yield _recipe(spec, cotangent_scale=scale)
    yield _recipe(spec, state=False, T=4)
    yield _recipe(_spec(use_bias=False))
    yield _recipe(spec, T=20, B=1)


def _masks() -> Iterator[Recipe]:
    for mask, emitted, poison in itertools.product(_MASKS, _MASKED_OUTPUTS, (False, True)):
        layer = _spec(masked_output=emitted)
        yield _recipe(layer, B=3, T=4, mask=mask, poison=poison)


def _no_state() -> Iterator[Recipe]:
    for option in ({"peepholes": "ifo"}, {"projection_size": 2}, {"coupled": True}):
        yield _recipe(_spec(**option), state=False, T=4)
    yield _recipe(Reverse(_spec()), state=False, mask="right")
    yield _recipe(Bidirectional(_spec(), _spec()), state=False)
    yield _recipe(Stack((_spec(), _spec(input_size=3))), state=False)


def _peepholes() -> Iterator[Recipe]:
    for letters, R in itertools.product(("i", "f", "o", "if", "io", "fo", "ifo"), (None, 2)):
        yield _recipe(_spec(peepholes=letters, projection_size=R))
    for letters, R in itertools.product(("", "f", "o", "fo"), (None, 2)):
        yield _recipe(_spec(peepholes=letters, coupled=True, projection_size=R))


def _projection() -> Iterator[Recipe]:
    for R, use_bias in itertools.product((1, 2, 3, 4), (True, False)):
        yield _recipe(_spec(projection_size=R, use_bias=use_bias))


def _activation(field: str, name: str, coupled: bool) -> dict[str, str]:
    """One activation changed, and another where i and g would have the same.

    i * g would then be the same with the gates exchanged, and that order not wrong.
    """
    other = {
        ("i_activation", "tanh"): {"g_activation": "softsign"},
        ("g_activation", "sigmoid"): {"i_activation": "softsign"},
    }
    return {field: name} | ({} if coupled else other.get((field, name), {}))


def _activations() -> Iterator[Recipe]:
    for coupled in (False, True):
        for k, name in itertools.product("fgoc" if coupled else "ifgoc", ACTIVATIONS):
            field = f"{k}_activation"
            if getattr(_spec(), field) != name:
                layer = _spec(coupled=coupled, **_activation(field, name, coupled))
                yield _recipe(layer, weights=2)


def _clips() -> Iterator[Recipe]:
    for cell, inputs, letters in itertools.product(
        (None, 0.25, 0.5, 0.75), (None, 0.5, 1.0, 2.0), ("", "ifo")
    ):
        if cell or inputs:
            layer = _spec(cell_clip=cell, activation_clip=inputs, peepholes=letters)
            yield _recipe(layer, B=1, weights=2)
    yield from _clips_of_variants()


def _clips_of_variants() -> Iterator[Recipe]:
    variants = ({"coupled": True}, {"projection_size": 2}, {"use_bias": False})
    for variant in variants:
        layer = _spec(cell_clip=0.5, activation_clip=1.0, **variant)
        yield _recipe(layer, B=1, weights=2)


def _dropout() -> Iterator[Recipe]:
    layers = (_spec(), _spec(coupled=True), _spec(projection_size=2, peepholes="ifo"))
    for layer, what, how in itertools.product(layers, ("x", "h", "xh"), ("", "t", "k", "tk")):
        yield _recipe(layer, dropout=what + how)


def _reverse() -> Iterator[Recipe]:
    for order, mask, emitted in itertools.product(_ORDERS, (None, *_MASKS), _MASKED_OUTPUTS):
        if mask is not None or emitted == "previous":
            layer = _spec(masked_output=emitted)
            yield _recipe(Reverse(layer, order), B=3, T=4, mask=mask)


def _bidirectional() -> Iterator[Recipe]:
    for merge, mask in itertools.product(_MERGES, (None, *_MASKS)):
        zero = _spec(masked_output="zero")
        yield _recipe(Bidirectional(zero, zero, merge), mask=mask)
    others = (_spec(peepholes="ifo"), _spec(projection_size=2), _spec(coupled=True))
    for merge, layer in itertools.product(_MERGES, others):
        yield _recipe(Bidirectional(layer, layer, merge))


def _stack() -> Iterator[Recipe]:
    above = _spec(input_size=3)
    for mask in (None, *_MASKS):
        yield _recipe(Stack((_spec(), above)), mask=mask)
    yield _recipe(Stack((_spec(), above, above)))
    yield _recipe(Stack((_spec(projection_size=2), _spec(peepholes="ifo"), above)))
    yield _recipe(Stack((_spec(), Reverse(above))), mask="right")
    for merge, mask in itertools.product(_MERGES[:4], (None, "right", "holes")):
        below = _spec(masked_output="zero")
        wide = _spec(input_size=6 if merge == "concat" else 3, masked_output="zero")
        layers = Bidirectional(below, below, merge), Bidirectional(wide, wide, merge)
        yield _recipe(Stack(layers), mask=mask)


def _chunks() -> Iterator[Recipe]:
    for length, truncate, mask in itertools.product(
        (1, 2, 3), (False, True), (None, "right", "left", "holes")
    ):
        yield _recipe(Chunks(_spec(), length, truncate), T=5, mask=mask)
    layers = Stack((_spec(), _spec(input_size=3)))
    yield _recipe(Chunks(layers, 2, truncate=True), T=5)


def _mixtures() -> Iterator[Recipe]:
    """Options that meet nowhere else, drawn together."""
    rng = np.random.default_rng(zlib.crc32(b"mixtures"))

    def one_of(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    for _ in range(_MIXTURES):
        coupled = one_of(False, False, True)
        gates = "fgoc" if coupled else "ifgoc"
        layer = _spec(
            input_size=one_of(1, 2, 3),
            hidden_size=one_of(3, 3, 4),
            projection_size=one_of(None, None, 2, 3),
            use_bias=one_of(True, True, False),
            peepholes=one_of(*("", "f", "o", "fo") if coupled else ("", "i", "if", "o", "ifo")),
            coupled=coupled,
            masked_output=one_of(*_MASKED_OUTPUTS),
            **_activation(f"{one_of(*gates)}_activation", one_of(*ACTIVATIONS), coupled),
        )
        yield _recipe(
            layer,
            B=one_of(1, 2, 3),
            T=one_of(2, 3),
            mask=one_of(None, *_MASKS[:4]),
            weights=2,
            dropout=one_of("", "", "x", "h", "xhk", "xht"),
        )


def _layer_norm() -> Iterator[Recipe]:
    """Layers with layer normalization, alone and with each other option."""
    options: tuple[dict[str, Any], ...] = (
        {}, {"use_bias": False}, {"peepholes": "ifo"}, {"coupled": True}, {"projection_size": 2},
        {"cell_clip": 0.5}, {"c_activation": "softsign"}, {"layer_norm_epsilon": 0.25},
    )  # fmt: skip
    for option in options:
        yield _recipe(_spec(layer_norm=True, **option), B=1 if "cell_clip" in option else 2)
    normal = _spec(layer_norm=True)
    yield _recipe(normal, mask="holes", B=3)
    yield _recipe(normal, dropout="xhk")
    yield _recipe(Reverse(normal), mask="right")
    yield _recipe(Bidirectional(normal, normal))


def _zoneout() -> Iterator[Recipe]:
    """Of both states and of each, with masks of a training and, without, as at inference."""
    variants: tuple[dict[str, Any], ...] = (
        {}, {"projection_size": 2}, {"coupled": True, "peepholes": "fo"}, {"layer_norm": True},
    )  # fmt: skip
    for variant, (h, c), drawn in itertools.product(
        variants, ((0.25, 0.5), (0.5, 0.0), (0.0, 0.25)), ("", "z", "zt")
    ):
        yield _recipe(_spec(zoneout_h=h, zoneout_c=c, **variant), dropout=drawn)
    yield _recipe(_spec(zoneout_h=0.25, zoneout_c=0.5), B=3, mask="holes", dropout="zt")


GROUPS: dict[str, Callable[[], Iterator[Recipe]]] = {
    "plain": _plain,
    "masks": _masks,
    "no-state": _no_state,
    "peepholes": _peepholes,
    "projection": _projection,
    "activations": _activations,
    "clips": _clips,
    "dropout": _dropout,
    "reverse": _reverse,
    "bidirectional": _bidirectional,
    "stack": _stack,
    "chunks": _chunks,
    "layer-norm": _layer_norm,
    "zoneout": _zoneout,
    "mixtures": _mixtures,
}


# --- their numbers --------------------------------------------------------------------------------


def vectors(groups: tuple[str, ...] = tuple(GROUPS)) -> Iterator[Vector]:
    """The cases of some groups, by default of all.

    Examples
    --------
    >>> [vector.id for vector in vectors(("projection",))][:2]
    ['projection-001', 'projection-002']
    """
    for group in groups:
        for n, recipe in enumerate(GROUPS[group](), 1):
            identifier = f"{group}-{n:03}"
            yield Vector(identifier, group, build(identifier, recipe))


def build(identifier: str, recipe: Recipe) -> Case:
    """The case of a recipe: drawn again while a pre-activation lies at a kink of its activation."""
    for attempt in range(3000):
        rng = np.random.default_rng([zlib.crc32(identifier.encode()), attempt])
        case = _draw(identifier, recipe, rng)
        if is_fair(replace(case, dtype=_COARSEST)):
            return case
    raise RuntimeError(f"{identifier}: no draw keeps clear of every kink. Make the case smaller.")


def _draw(identifier: str, recipe: Recipe, rng: np.random.Generator) -> Case:
    architecture, B, T = recipe.architecture, recipe.B, recipe.T
    distinct = iter(rng.permutation([n for n in range(-255, 256) if n]))

    def weights(shape: tuple[int, ...]) -> Array:
        numbers = [next(distinct) for _ in range(int(np.prod(shape)))]
        return np.array(numbers, np.float64).reshape(shape) / 256 * recipe.weights

    def numbers(scale: float, shapes: Any) -> Any:
        return draw_tree(lambda s: scale * rng.integers(-255, 256, s) / 128, shapes)

    x = numbers(1.0, (B, T, architecture.input_size))
    mask = None if recipe.mask is None else np.ascontiguousarray(MASKS[recipe.mask](B, T, rng))
    if recipe.poison and mask is not None:
        x = np.where(mask[..., None], x, np.nan)
    states = state_shapes(architecture, B)
    size, chosen = recipe.cotangent_scale, recipe.cotangents
    return Case(
        name=identifier,
        architecture=architecture,
        params=draw_tree(weights, param_shapes(architecture)),
        x=x,
        state=numbers(0.5, states) if recipe.state else None,
        mask=mask,
        dropout=_draw_masks(architecture, recipe, rng) if recipe.dropout else None,
        d_y=numbers(size if "y" in chosen else 0.0, output_shapes(architecture, B, T)),
        d_state=select_cotangents(numbers(size, states), chosen),
    )


def _draw_masks(architecture: Any, recipe: Recipe, rng: np.random.Generator) -> Dropout:
    """Dropout, and zoneout of the states that have a rate."""
    masks = draw_dropout(architecture, recipe, rng)
    if not isinstance(architecture, Spec):
        return masks
    return masks._replace(
        zoneout_h=masks.zoneout_h if architecture.zoneout_h else None,
        zoneout_c=masks.zoneout_c if architecture.zoneout_c else None,
    )
