"""Every variant, mask, direction and combination gives the oracle's numbers, in float64."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_oracle.reference.spec import (
    ACTIVATIONS,
    Bidirectional,
    Chunks,
    Reverse,
    Spec,
    Stack,
)

# The bound that the project holds its implementations to, per block by its norm.
FLOAT64_BOUND = 1e-13


def layer(input_size=3, hidden_size=4, **variant):
    return Spec(input_size=input_size, hidden_size=hidden_size, **variant)


PLAIN = layer()
EVERYTHING = layer(
    peepholes="ifo", projection_size=2, cell_clip=0.7, activation_clip=1.2, masked_output="state"
)

VARIANTS = {
    "plain": PLAIN,
    "without bias": layer(use_bias=False),
    "peepholes": layer(peepholes="ifo"),
    "one peephole": layer(peepholes="i", projection_size=4),
    "coupled": layer(coupled=True),
    "coupled with peepholes": layer(coupled=True, peepholes="fo"),
    "coupled, hard": layer(coupled=True, f_activation="hard_sigmoid_sixth"),
    "projection": layer(projection_size=2),
    "cell clip": layer(cell_clip=0.5),
    "activation clip": layer(activation_clip=0.8),
    "everything": EVERYTHING,
    "layer normalization": layer(layer_norm=True),
    "layer normalization of everything": dataclasses.replace(EVERYTHING, layer_norm=True),
    "layer normalization, coupled, large epsilon": layer(
        layer_norm=True, coupled=True, use_bias=False, layer_norm_epsilon=0.1
    ),
    "zoneout in expectation": layer(zoneout_h=0.1, zoneout_c=0.6, projection_size=2),
}

MASKED = {
    ("right", "previous"): layer(peepholes="fo"),
    ("left", "previous"): layer(peepholes="fo"),
    ("holes", "previous"): layer(peepholes="fo"),
    ("holes", "zero"): layer(masked_output="zero"),
    ("left", "state"): EVERYTHING,
    ("row", "previous"): layer(peepholes="fo"),
    ("empty", "state"): EVERYTHING,
    ("full", "zero"): layer(masked_output="zero"),
    ("holes", "normalized"): layer(layer_norm=True, zoneout_h=0.3, zoneout_c=0.3),
}

UPPER = layer(4, 4, peepholes="o")
COMBINED = {
    "reversed": (Reverse(PLAIN), "holes"),
    "reversed, in order of processing": (Reverse(PLAIN, "processing"), "right"),
    "bidirectional, concat": (Bidirectional(PLAIN, layer(coupled=True)), "right"),
    "bidirectional, sum": (Bidirectional(PLAIN, PLAIN, "sum"), "holes"),
    "bidirectional, mul": (Bidirectional(PLAIN, PLAIN, "mul"), None),
    "bidirectional, ave": (Bidirectional(PLAIN, PLAIN, "ave"), "left"),
    "bidirectional, both": (Bidirectional(PLAIN, layer(coupled=True), None), "right"),
    "stacked": (Stack((PLAIN, UPPER)), "holes"),
    "stacked bidirectional": (
        Stack((Bidirectional(PLAIN, PLAIN, "ave"), Bidirectional(UPPER, UPPER, "sum"))),
        "right",
    ),
    "chunks": (Chunks(PLAIN, 2), None),
    "truncated chunks": (Chunks(EVERYTHING, 2, truncate=True), "holes"),
    "truncated chunks of a stack": (Chunks(Stack((PLAIN, UPPER)), 3, truncate=True), None),
    "chunks of truncated chunks": (Chunks(Chunks(PLAIN, 2, truncate=True), 3), None),
    "reversed truncated chunks": (Reverse(Chunks(PLAIN, 2, truncate=True)), None),
}


def check(room, problem, answer=None, **options):
    answer = answer or room.answer
    errors = room.errors(answer(problem, **options), room.oracle_answer(problem))
    assert {block: e for block, e in errors.items() if e > FLOAT64_BOUND} == {}


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_variant_agrees(room, spec):
    check(room, room.random_problem(spec, seed=1))


@pytest.mark.parametrize("shift", range(len(ACTIVATIONS)))
def test_every_activation_agrees_in_every_place(room, shift):
    names = [ACTIVATIONS[(shift + 3 * place) % len(ACTIVATIONS)] for place in range(5)]
    spec = layer(
        **{f"{place}_activation": name for place, name in zip("ifgoc", names, strict=True)}
    )
    check(room, room.random_problem(spec, seed=2))


@pytest.mark.parametrize("case", MASKED.items(), ids=lambda case: " ".join(case[0]))
def test_a_mask_agrees(room, case):
    (mask, _), spec = case
    check(room, room.random_problem(spec, seed=3, mask=mask))


@pytest.mark.parametrize("case", COMBINED.values(), ids=COMBINED.keys())
def test_a_combination_agrees(room, case):
    spec, mask = case
    check(room, room.random_problem(spec, seed=4, mask=mask))


@pytest.mark.parametrize("pattern", ["sequence", "step", "gate", "step and gate"])
def test_dropout_agrees(room, pattern):
    spec = Bidirectional(layer(coupled=True), PLAIN)
    check(room, room.random_problem(spec, seed=5, mask="holes", dropout=pattern))


@pytest.mark.parametrize("pattern", ["sequence", "step and gate"])
def test_zoneout_masks_agree(room, pattern):
    zoned = layer(zoneout_h=0.5, zoneout_c=0.5, projection_size=2, peepholes="o")
    spec = Chunks(Stack((zoned, layer(2, 4, zoneout_c=0.5))), 2, truncate=True)
    check(room, room.random_problem(spec, seed=11, mask="holes", dropout=pattern))


def test_dropout_agrees_in_chunks_of_a_stack(room):
    spec = Chunks(Stack((PLAIN, UPPER)), 2, truncate=True)
    check(room, room.random_problem(spec, seed=6, dropout="step"))


@pytest.mark.hypothesis  # which the inner function does not say: for `make properties`
def test_any_architecture_agrees(room, architectures):
    @room.few_examples
    @given(
        spec=architectures,
        mask=st.sampled_from([None, *room.MASKS]),
        dropout=st.sampled_from([None, "sequence", "step", "gate"]),
        seed=st.integers(0, 2**32 - 1),
    )
    def check_one(spec, mask, dropout, seed):
        check(room, room.random_problem(spec, seed, T=3, mask=mask, dropout=dropout))

    check_one()


COMPILED = {
    "plain": (PLAIN, None, None),
    "everything": (EVERYTHING, "holes", "step and gate"),
    "coupled": (layer(coupled=True, peepholes="fo"), "right", "sequence"),
    "masked": (layer(peepholes="fo"), "holes", None),
    "stacked bidirectional": (
        Stack((Bidirectional(layer(3, 2), layer(3, 3)), Reverse(layer(5, 4)))),
        "right",
        "step",
    ),
    "truncated chunks": (Chunks(EVERYTHING, 2, truncate=True), "holes", "gate"),
}


@pytest.mark.parametrize("case", COMPILED.values(), ids=COMPILED.keys())
def test_the_compiled_function_agrees(room, case):
    spec, mask, dropout = case
    problem = room.random_problem(spec, seed=10, T=6, mask=mask, dropout=dropout)
    check(room, problem, room.compiled_answer)


def test_saturated_gates_agree(room):
    """Weights four times as large: 1 - sigma and 1 - tanh^2 would lose the digits."""
    problem = room.random_problem(layer(peepholes="ifo"), seed=7, B=3, T=60, weight_scale=4.0)
    check(room, problem, room.compiled_answer)


def test_sizes_of_one_agree(room):
    check(room, room.random_problem(layer(1, 1), seed=8, B=1, T=1), room.compiled_answer)


def test_unrolling_changes_nothing(room):
    problem = room.random_problem(PLAIN, seed=9, T=3)
    check(room, problem, room.compiled_answer, unroll=2)
