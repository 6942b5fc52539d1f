"""The yardstick of a large case, from a few of its sequences, is that of all of them."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.sampled_yardstick import (
    longer_sampled_yardsticks,
    sampled_yardstick,
)
from lstm_oracle.conformance.yardstick import brief_yardstick, truth, yardstick
from lstm_oracle.reference.spec import Spec, state_shapes
from lstm_oracle.reference.tree import map_leaves

sampled_module = importlib.import_module("lstm_oracle.conformance.sampled_yardstick")


def make_case(dtype, B=24, T=12, cotangents=1.0):
    spec = Spec(input_size=5, hidden_size=6)
    rng = np.random.default_rng(7)

    def draw(*shape):
        return to_format(rng.normal(size=shape), dtype)

    return Case(
        "captured",
        spec,
        {name: draw(*shape) / 2 for name, shape in spec.param_shapes.items()},
        draw(B, T, 5),
        type(state_shapes(spec, B))(draw(B, 6), draw(B, 6)),
        rng.random((B, T)) < 0.8,
        None,
        to_format(draw(B, T, 6) * np.reshape(cotangents, (-1, 1, 1)), dtype),
        type(state_shapes(spec, B))(np.zeros((B, 6)), np.zeros((B, 6))),
        dtype,
    )


def products(case, sequences):
    weights = sum(leaf.size for leaf in case.params.values())
    return 3.0 * weights * case.x.shape[1] * sequences * 1.01


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_few_sequences_tell_the_error_of_all(dtype):
    case = make_case(dtype)
    whole = yardstick(case)
    part, sequences = sampled_yardstick(case, products=products(case, 4))
    assert sequences == 4
    assert part.keys() == whole.keys()
    for name, deviation in part.items():
        # d_state of the end is zero, and so is its error.
        for got, measured in zip(deviation, whole[name], strict=True):
            assert measured / 3 <= got <= 4 * measured, name


def test_the_sequences_that_matter_are_taken():
    """All but three sequences hardly reach the loss: those three make the gradient's error."""
    size = np.full(24, 1e-6)
    size[[3, 11, 20]] = 1.0
    case = make_case("float32", cotangents=size)
    whole, part = yardstick(case), sampled_yardstick(case, products=products(case, 3)).yardstick
    assert whole["d_U_f"].norm / 2 <= part["d_U_f"].norm <= 6 * whole["d_U_f"].norm


def test_gradients_that_cancel_have_a_larger_yardstick():
    case = make_case("float32", B=2)
    pairs = {
        name: map_leaves(lambda a: np.concatenate([a[:1], a[:1]]), getattr(case, name))
        for name in ("x", "state", "mask", "d_state")
    }
    d_y = np.concatenate([case.d_y[:1], -case.d_y[:1] * (1 + 2.0**-10)])
    cancelling = type(case)(**{**vars(case), **pairs, "d_y": to_format(d_y, "float32")})
    few = sampled_yardstick(cancelling, products=products(case, 1)).yardstick
    plain = sampled_yardstick(case, products=products(case, 1)).yardstick
    assert few["d_U_f"].norm > 100 * plain["d_U_f"].norm
    assert few["y"].norm < 10 * plain["y"].norm


def test_a_small_case_is_measured_as_a_whole():
    case = make_case("float32", B=3)
    measured, sequences = sampled_yardstick(case)
    assert sequences == 3
    for name, whole in yardstick(case).items():
        assert measured[name] == pytest.approx(whole, rel=1e-6), name


def test_only_what_is_viewed_is_measured():
    case = make_case("float32", B=3)

    def last(blocks):
        return {"y": blocks["y"][:, -1:]}

    measured, _ = sampled_yardstick(case, view=last)
    assert set(measured) == {"y"}
    assert measured["y"].norm != yardstick(case)["y"].norm


@pytest.mark.parametrize("sequences", [4, 24])
def test_longer_yardsticks_only_grow_and_lie_near_those_of_the_whole_case(sequences):
    case = make_case("float32")
    first = yardstick(case)
    known = first
    for longer in longer_sampled_yardsticks(case, first, products=products(case, sequences)):
        for name, deviation in longer.items():
            for got, before, measured in zip(deviation, known[name], first[name], strict=True):
                assert before <= got <= 6 * measured, name
        known = longer
    assert known != first


def test_a_brief_yardstick_is_never_larger():
    case = make_case("float64", B=3)
    brief, usual = brief_yardstick(case), yardstick(case)
    assert brief.keys() == usual.keys()
    for name, deviation in brief.items():
        for short, whole in zip(deviation, usual[name], strict=True):
            assert whole / 8 <= short <= whole, name
    assert brief != usual


def test_a_block_that_is_zero_is_measured_against_its_kind():
    """As `deviation` does: an error everywhere as large as the largest value is 1."""

    def view(blocks):
        return {"y": blocks["y"] - truth(case).y, "state.h": 0 * blocks["state.h"] + 8}

    case = make_case("float32", B=3)
    errors = sampled_module._Errors(case, case, view)
    errors.add(truth(case))
    assert errors.relative(4.0)["y"] == (0.0, 0.0)
    errors.add(dataclasses.replace(truth(case), y=truth(case).y + 8))
    norm, entry = errors.relative(4.0)["y"]
    assert (norm, entry) == (pytest.approx(2.0), pytest.approx(1.0))


def test_of_a_sequence_that_takes_too_long_fewer_runs_are_made(monkeypatch):
    case, seeds = make_case("float32", B=3), []

    def run(part, witness, seed):
        seeds.append((len(part.x), *seed))
        return witness(part)

    monkeypatch.setattr(sampled_module, "run_rounded", run)
    for share, samples in ((0.6, 2), (0.1, 1), (1.0, 4), (1.9, 4)):
        seeds.clear()
        sampled_yardstick(case, products=products(case, share), seed=7)
        assert seeds == [(1, 7, sample, n) for sample in range(samples) for n in (0, 1)]


def test_longer_yardsticks_have_as_many_products_as_the_first(monkeypatch):
    case, asked = make_case("float32", B=3), []

    def sampled(of, *, view, products, samples, seed):
        asked.append((of is case, products, samples, seed))
        return sampled_module.Sampled({}, 1)

    monkeypatch.setattr(sampled_module, "sampled_yardstick", sampled)
    assert list(longer_sampled_yardsticks(case, {}, products=800.0)) == [{}, {}]
    assert asked == [(True, 200.0, 16, 1), (True, 32.0, 100, 1)]
