"""The cases of a check: every regime that lets bugs through, at the sizes of the layer.

The regimes are those of `matrix`, for one architecture; what a function cannot take is left out,
and `left_out` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.adapters.support import specs
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.functions.subject import Abilities
from lstm_oracle.conformance.matrix import Recipe
from lstm_oracle.conformance.yardstick import truth
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Reverse,
    Spec,
    Stack,
    param_shapes,
    reads_backwards,
)

# Multiplications of the matrix products of one case: more, and its yardstick would take a second.
_AFFORDABLE = 2e7
_LONGEST = 60
_SHORT = 5  # steps that all cases have
_NO_LONG_CASE = (
    "long sequences: not asked, as a layer of this size would take too long, or lets no draw keep "
    "clear of the kinks of its activations"
)
# Pre-activations of a case whose activations have kinks: with more, every draw hits one.
_CLEAR_OF_KINKS = 600
_EXPLODED = 1e4
_LEVELS = ("quick", "full")


class Regimes(NamedTuple):
    """The cases of a check, and in words those that should be among them and cannot be made."""

    cases: tuple[Case, ...]
    dropped: tuple[str, ...]


def regimes(
    architecture: Architecture,
    abilities: Abilities,
    dtype: str,
    level: str | Sequence[str] = "full",
    *,
    other_sizes: bool = False,
) -> Regimes:
    """The cases of a level, or those of the given names, that this function can be asked.

    Raises
    ------
    ValueError
        For a level or a name that there is not.

    Examples
    --------
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> found = regimes(spec, Abilities(), "float64", ["one sequence, one step"])
    >>> [case.name for case in found.cases], found.dropped
    (['one sequence, one step, float64'], ())
    """
    _check_level(level)
    recipes = [
        _fitted(recipe, abilities)
        for recipe in _recipes(architecture, dtype, other_sizes)
        if _possible(recipe, abilities)
    ]
    recipes = _distinct(recipes)
    if not isinstance(level, str):
        recipes = _named(recipes, level)
    elif level == "quick":
        recipes = [recipe for recipe in recipes if recipe.quick]
    built = [(recipe.name, _built(recipe, dtype)) for recipe in recipes]
    dropped = [f"{name}: not asked, as {why}" for name, why in built if isinstance(why, str)]
    if level == "full" and _longest(architecture) <= _SHORT:
        dropped.append(_NO_LONG_CASE)
    return Regimes(tuple(case for _, case in built if isinstance(case, Case)), tuple(dropped))


def left_out(abilities: Abilities) -> tuple[str, ...]:
    """What could not be looked at, in words."""
    missing = {
        "gradients": not abilities.gradients,
        "an initial state": not abilities.state,
        "the final h": "h" not in abilities.outputs and "state" not in abilities.outputs,
        "the final c": "c" not in abilities.outputs and "state" not in abilities.outputs,
        "masks": abilities.masks == "none",
        "masks other than lengths": abilities.masks == "lengths",
    }
    return tuple(what for what, absent in missing.items() if absent)


def _recipes(architecture: Architecture, dtype: str, other_sizes: bool) -> Iterator[Recipe]:
    yield Recipe("plain", architecture, quick=("y",))
    yield Recipe("one sequence, one step", architecture, B=1, T=1, quick=("y",))
    yield Recipe("three sequences, two steps", architecture, B=3, T=2, quick=("y",))
    # Rows that get mixed, a batch that is averaged over, tiles of 16 rows with one left over.
    yield Recipe("17 sequences, one step", architecture, B=17, T=1)
    for letters, words in (("y", "y"), ("h", "h_T"), ("c", "c_T")):
        name = f"cotangent on {words} alone"
        yield Recipe(name, architecture, cotangents=letters, quick=("y",))
    scales = (1e-3, 1e3) if dtype == "float16" else (1e-8, 1e8)
    for scale in scales:
        yield Recipe(f"cotangents x{scale:.0e}", architecture, cotangent_scale=scale)
    yield Recipe("saturated: weights x4", architecture, weights=4, quick=("y",))
    yield Recipe("no initial state", architecture, state=False)
    long = _longest(architecture)
    if long > _SHORT:
        yield Recipe(f"{long} steps", architecture, T=long, quick=("y",))
        yield Recipe(f"{long} steps, weights x2", architecture, T=long, weights=2)
    yield Recipe("x with gaps in memory", architecture, options={"strided": True})
    if not reads_backwards(architecture):
        # Of as many steps as the first call, so that a compiler has seen them.
        name = "two pieces, the state carried over"
        yield Recipe(name, architecture, T=4, options={"pieces": 2})
    yield from _masked(architecture)
    if isinstance(architecture, Spec):
        yield from _of_one_layer(architecture, other_sizes)


def _of_one_layer(spec: Spec, other_sizes: bool) -> Iterator[Recipe]:
    for letters in ("x", "xht", "xhk"):
        words = "x" if letters == "x" else "x and h"
        how = {"t": ", per step", "k": ", per gate"}.get(letters[-1], "")
        yield Recipe(f"dropout on {words}{how}", spec, dropout=letters)
    if spec.zoneout:
        yield Recipe("zoneout masks", spec, dropout="z")
        yield Recipe("zoneout masks, per step", spec, dropout="zt")
    if other_sizes:
        yield Recipe("one hidden unit", replace(spec, hidden_size=1), T=2)
        yield Recipe("9 inputs, 16 units", replace(spec, input_size=9, hidden_size=16), B=4, T=7)


def _masked(architecture: Architecture) -> Iterator[Recipe]:
    for kind in ("right", "left", "holes", "full"):
        yield Recipe(f"mask {kind}", architecture, B=3, mask=kind, quick=("y",))
    yield Recipe("mask with a length of zero", architecture, B=3, mask="length zero")
    for kind in ("right", "holes"):
        name = f"NaN where masked, mask {kind}"
        yield Recipe(name, architecture, B=3, mask=kind, poison=True)


# --- what a function cannot be asked --------------------------------------------------------------


def _possible(recipe: Recipe, abilities: Abilities) -> bool:
    """Whether the function takes what makes this regime what it is."""
    if recipe.mask is not None and not _takes_mask(recipe.mask, abilities):
        return False
    if recipe.dropout and not abilities.dropout:
        return False
    if not all(getattr(abilities, way) for way in recipe.options):
        return False
    if recipe.cotangents != "yhc" and not _gives(abilities, recipe.cotangents):
        return False
    if not recipe.state:
        return not abilities.state or abilities.state_optional
    about_gradients = recipe.cotangents != "yhc" or recipe.cotangent_scale != 1
    return abilities.gradients or not about_gradients


def _takes_mask(mask: str, abilities: Abilities) -> bool:
    if abilities.masks == "lengths":
        return mask in ("right", "full", "length zero")
    return abilities.masks == "any"


def _gives(abilities: Abilities, letter: str) -> bool:
    both = "state" in abilities.outputs and letter in "hc"
    return letter in abilities.outputs or both


def _fitted(recipe: Recipe, abilities: Abilities) -> Recipe:
    """The recipe without cotangents of what is not returned, or a state that is not taken."""
    letters = "".join(k for k in recipe.cotangents if _gives(abilities, k))
    state = recipe.state and abilities.state
    weights = max(recipe.weights, _least_weights(recipe.architecture))
    return replace(recipe, cotangents=letters, state=state, weights=weights)


def _least_weights(architecture: Architecture) -> float:
    """Hard sigmoids are looked at on all their pieces, which small weights do not reach."""
    hard = any(
        "hard_sigmoid" in getattr(spec, f"{k}_activation")
        for spec in specs(architecture)
        for k in spec.gates
    )
    return 3.0 if hard else 1.0


def _distinct(recipes: list[Recipe]) -> list[Recipe]:
    """Without those that differ from an earlier one by their name alone."""
    seen: dict[Any, Recipe] = {}
    for recipe in recipes:
        same = replace(recipe, name="", quick=(), options={})
        seen.setdefault((repr(same), repr(recipe.options)), recipe)
    return list(seen.values())


def _named(recipes: list[Recipe], names: Sequence[str]) -> list[Recipe]:
    known = {recipe.name: recipe for recipe in recipes}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"cases has {unknown[0]!r}, expected names out of {', '.join(map(repr, known))}. "
            "Choose from the list, or pass cases='full'."
        )
    return [known[name] for name in names]


def _check_level(level: str | Sequence[str]) -> None:
    if isinstance(level, str) and level not in _LEVELS:
        raise ValueError(
            f"cases is {level!r}, expected 'quick', 'full' or a list of names. Choose one of them."
        )


# --- sizes ----------------------------------------------------------------------------------------


def _longest(architecture: Architecture) -> int:
    """Steps of the long cases: 60, or what the size of the layer allows."""
    weights = sum(math.prod(shape) for shape in _shapes(param_shapes(architecture)))
    steps = min(_LONGEST, int(_AFFORDABLE / (3.0 * weights * 2)))
    if _has_kinks(architecture):
        widest = max(spec.hidden_size for spec in specs(architecture))
        steps = min(steps, _CLEAR_OF_KINKS // (8 * widest))
    return steps


def _shapes(shapes: Any) -> Iterator[tuple[int, ...]]:
    """Of every parameter, whatever the nesting."""
    if isinstance(shapes, dict):
        yield from shapes.values()
    else:
        for part in shapes:
            yield from _shapes(part)


def _has_kinks(architecture: Architecture) -> bool:
    if isinstance(architecture, (Reverse, Bidirectional, Stack)):
        return False  # `matrix` looks at kinks of single layers
    return any(
        spec.activation_clip is not None
        or spec.cell_clip is not None
        or any(getattr(spec, f"{k}_activation") in matrix.KINKS for k in "ifgoc")
        for spec in specs(architecture)
    )


_cases: dict[tuple[str, str], Case | str] = {}
_MOST_CASES = 256  # remembered: what is measured on a case is measured once


def _built(recipe: Recipe, dtype: str) -> Case | str:
    """The case of a recipe, always the same object; or why there is none.

    There is none where no draw keeps clear of the kinks of the activations: at this size, honest
    rounding could always end up on the other side of one. There is none either where gates
    without a bound let the cell explode, of which no digit means anything.
    """
    key = (repr(recipe), dtype)
    if key not in _cases:
        if len(_cases) >= _MOST_CASES:
            _cases.clear()
        try:
            with np.errstate(all="ignore"):
                case = matrix.build(recipe, dtype)
        except RuntimeError:
            _cases[key] = "every draw comes too close to a kink of an activation"
        else:
            _cases[key] = case if _moderate(case) else f"values above {_EXPLODED:.0e} occur"
    return _cases[key]


def _moderate(case: Case) -> bool:
    with np.errstate(all="ignore"):
        values = [truth(case).blocks()[name] for name in truth(case).blocks() if name[0] != "d"]
    return all(bool((np.abs(value) < _EXPLODED).all()) for value in values)
