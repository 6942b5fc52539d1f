"""The studies: tasks are what they say, trainings resume, claims are judged by intervals."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from lstm_oracle.benchmarks.study import (  # noqa: E402
    analysis,
    initialization,
    inside,
    layers,
    meanfield,
    scaling,
    tasks,
    training,
)
from lstm_oracle.benchmarks.study.report import Number, interval  # noqa: E402
from lstm_oracle.benchmarks.study.settings import SETTINGS, Setting, draw, specs  # noqa: E402
from lstm_oracle.reference import Stack, backward, forward, gradcheck  # noqa: E402

KEY = jax.random.key(0)


# --- tasks ----------------------------------------------------------------------------------------


def test_adding_asks_for_the_sum_of_the_two_marked_numbers():
    batch = tasks.adding(16).draw(KEY, 50)
    x, target = np.asarray(batch.x), np.asarray(batch.target)
    assert (x[:, :8, 1].sum(axis=1) == 1).all()
    assert (x[:, 8:, 1].sum(axis=1) == 1).all()
    for row, wanted in zip(x, target, strict=True):
        assert sum(v for v, mark in row if mark) == pytest.approx(float(wanted[0]), abs=1e-6)


def test_copy_memory_asks_for_the_first_symbols_at_the_end():
    batch = tasks.copy_memory(12).draw(KEY, 20)
    codes, target = np.asarray(batch.x).argmax(-1), np.asarray(batch.target)
    shown = codes[:, : tasks.RECALLED]
    assert (shown < tasks.SYMBOLS).all()
    np.testing.assert_array_equal(target[:, -tasks.RECALLED :], shown)
    np.testing.assert_array_equal(np.asarray(batch.counted).sum(axis=1), tasks.RECALLED)
    assert (codes[:, -tasks.RECALLED :] == tasks.SYMBOLS).all()


@pytest.mark.parametrize("name", tasks.TASKS)
def test_the_best_constant_answer_has_no_skill(name):
    make, lengths = tasks.TASKS[name]
    task = make(lengths[0])
    batch = task.draw(KEY, 4000) if name in ("adding", "copy memory") else task.held_out
    if task.classes:
        labels = np.asarray(batch.target)
        labels = labels if batch.counted is None else labels[np.asarray(batch.counted)]
        share = np.bincount(labels.ravel(), minlength=task.output_size) / labels.size
        answer = np.log(np.maximum(share, 1e-9))
    else:
        answer = np.asarray(batch.target).mean(axis=0)
    shape = (*np.shape(batch.x)[: 1 if batch.counted is None else 2], task.output_size)
    loss = float(training.loss(np.broadcast_to(answer, shape), batch, task.classes))
    assert task.skill(loss) == pytest.approx(0, abs=0.03)


def test_real_sequences_are_shortened_and_scaled():
    task = tasks.vowels(15)
    x, lengths = np.asarray(task.held_out.x), np.asarray(task.held_out.lengths)
    assert x.shape[1:] == (15, 12)
    real = np.arange(15) < lengths[:, None]
    assert not x[~real].any()
    assert abs(x[real].mean()) < 0.2
    assert x[real].std() == pytest.approx(1, abs=0.2)


# --- settings -------------------------------------------------------------------------------------


def test_settings_of_a_seed_differ_in_nothing_but_the_start():
    stack = specs(2, 8, 2)
    first, second = (draw(Setting("glorot", b), stack, 3, 20, 5) for b in ("0", "1"))
    np.testing.assert_array_equal(first["head"]["W"], second["head"]["W"])
    np.testing.assert_array_equal(first["layers"][1]["U_g"], second["layers"][1]["U_g"])
    assert first["layers"][0]["b_f"].tolist() == [0.0] * 8
    assert second["layers"][0]["b_f"].tolist() == [1.0] * 8
    other = draw(Setting("glorot", "0"), stack, 3, 20, 6)
    assert (other["head"]["W"] != first["head"]["W"]).any()


def test_orthogonal_is_so_by_gate_or_as_a_block():
    stack = specs(2, 8, 1)
    for name, expected in (("orthogonal", True), ("orthogonal fused", False)):
        U = draw(Setting(name, "1"), stack, 1, 20, 0)["layers"][0]["U_f"]
        assert np.allclose(U.T @ U, np.eye(8), atol=1e-5) == expected


def test_chrono_remembers_from_one_step_to_the_longest():
    b = draw(Setting("glorot", "chrono"), specs(2, 500, 1), 1, 40, 0)["layers"][0]
    np.testing.assert_array_equal(b["b_i"], -b["b_f"])
    assert 0 <= b["b_f"].min() < 0.2
    assert math.log(35) < b["b_f"].max() <= math.log(39)


# --- trainings ------------------------------------------------------------------------------------

RECIPE = training.Recipe(steps=4, evaluations=2, batch_size=4)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A study of one shape and one seed, run for the first time."""
    folder, lines = tmp_path_factory.mktemp("study"), []
    found = initialization.run(RECIPE, 1, folder, ("digits",), lines.append, limit=1)
    return folder, lines, found


def test_a_study_that_was_interrupted_goes_on_where_it_stopped(kept):
    folder, lines, found = kept
    assert lines[0].endswith("(run)")
    again: list[str] = []
    second = initialization.run(RECIPE, 1, folder, ("digits",), again.append, limit=1)
    assert again[0].endswith("(kept)")
    for shape, arrays in found.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(second[shape][name], array)
    assert not list(folder.glob("*.part"))


def test_results_of_another_recipe_are_not_taken(kept):
    folder, _, _ = kept
    [file] = folder.glob("*.npz")
    assert initialization.read_kept(file, "another recipe") is None
    assert initialization.read_kept(folder / "missing.npz", "") is None


def test_every_setting_and_seed_of_a_shape_stands_in_one_result(kept):
    [(shape, found)] = kept[2].items()
    assert found["skill"].shape == (len(SETTINGS), 1, 3)
    assert found["d_c"].shape == (len(SETTINGS), 1, 1, shape.length)
    assert np.isfinite(found["skill"]).all()
    zeros = found["second_moment_z" if "second_moment_z" in found else "second_moment_g"]
    by_name = {setting.name: zeros[n, 0, 0, -1] for n, setting in enumerate(SETTINGS)}
    assert by_name["zeros, bias 0"] == 0 < by_name["too small, bias 0"] < by_name["glorot, bias 0"]


def test_what_is_measured_at_the_start_is_the_oracle_s(kept):
    [(shape, found)] = kept[2].items()
    task = tasks.digits(shape.length)
    stack = specs(task.input_size, initialization.HIDDEN_SIZE, 1)
    n = SETTINGS.index(Setting("glorot", "1"))
    params = draw(SETTINGS[n], stack, task.output_size, task.length, 0)
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0)
    batch = task.draw(key, RECIPE.batch_size)
    held = task.__class__(**{**vars(task), "held_out": batch})
    [layer] = layers._with_gradients(params, held, stack, RECIPE.batch_size)
    flow = inside.Flow(layer)
    np.testing.assert_allclose(found["d_c"][n, 0, 0], flow.d_c, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found["d_c_cell"][n, 0, 0], flow.cell, rtol=1e-4, atol=1e-9)


def test_training_learns():
    task = tasks.digits(8)
    stack = specs(task.input_size, 16, 1)
    params = draw(Setting("orthogonal", "1"), stack, task.output_size, task.length, 0)
    recipe = training.Recipe(steps=150, evaluations=1)
    _, losses = jax.jit(lambda p: training.fit(p, 0, task, stack, recipe))(params)
    assert float(task.skill(losses[-1])) > 0.5


@pytest.mark.slow
def test_devices_and_processes_change_nothing_but_rounding():
    ways = scaling.compare(seeds=1, steps=10)["ways"]
    assert [way["trainings"] for way in ways] == [len(SETTINGS)] * 3
    assert max(way["skill_before_training_off_by"] for way in ways) < 1e-5
    assert max(way["skill_median_off_by"] for way in ways) < 1e-4


def test_the_kept_comparison_of_devices_and_processes_agrees_to_rounding():
    kept = json.loads(scaling.RESULT.read_text(encoding="utf-8"))
    assert [way["way"] for way in kept["ways"]] == list(scaling.WAYS)
    assert max(way["skill_off_by"] for way in kept["ways"]) < 1e-5


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adding", "copy memory", "Japanese Vowels"])
def test_the_gradient_that_reaches_a_layer_is_that_of_the_loss(name):
    make, lengths = tasks.TASKS[name]
    task = make(lengths[0])
    stack = specs(task.input_size, 4, 2)
    params = draw(Setting("glorot", "1"), stack, task.output_size, task.length, 0)
    found = layers._with_gradients(params, task, stack, 5)
    double = [{k: a.astype(float) for k, a in p.items()} for p in params["layers"]]
    x, target, lengths_, counted = (None if a is None else np.asarray(a)[:5] for a in task.held_out)
    mask = np.arange(x.shape[1]) < lengths_[:, None]

    def loss(p):
        (y, state), _ = forward(Stack(stack), tuple(p), x.astype(float), None, mask)
        read = state[-1].h if counted is None else y
        answer = read @ params["head"]["W"].astype(float) + params["head"]["b"]
        if not task.classes:
            return ((answer - target) ** 2).mean()
        logs = np.log(np.exp(answer).sum(axis=-1))
        each = logs - np.take_along_axis(answer, target[..., None], axis=-1)[..., 0]
        return each.mean() if counted is None else each[counted].mean()

    rng = np.random.default_rng(0)
    for n, layer in enumerate(found):
        _, tape = forward(layer.spec, layer.params, layer.x, layer.state, layer.mask)
        d = backward(tape, layer.d_y, layer.d_state).params
        direction = [{k: np.zeros_like(a) for k, a in p.items()} for p in double]
        direction[n] = {k: rng.standard_normal(a.shape) for k, a in double[n].items()}
        slope = gradcheck.directional(loss, tuple(double), tuple(direction))
        assert sum((d[k] * direction[n][k]).sum() for k in d) == pytest.approx(slope, rel=1e-9)


# --- reports --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds():
    """Two layers of two seeds, at the start."""
    choice = layers.Choice("adding", 10, Setting("glorot", "1"), 2, 6, 0, 8)
    return [layers.of_task(choice, seed) for seed in range(2)]


@pytest.mark.parametrize("look", [inside.gates, inside.gradient_flow])
def test_every_number_carries_its_seeds_and_spread(seeds, look):
    report = look(seeds, {"task": "adding <i>"})
    for row in report.tables[0].rows:
        number = row[-1]
        assert len(number.seeds) == 2
        if math.isfinite(number.mean):
            assert number.low <= number.mean <= number.high
    data = json.loads(report.to_json())
    assert len(data["tables"][0]["rows"][0][-1]["seeds"]) == 2
    assert "layer 2" in report.to_text()


@pytest.mark.parametrize("look", [inside.gates, inside.gradient_flow])
def test_a_page_stands_alone_and_is_small(seeds, look):
    html = look(seeds, {"task": "adding <i>"}).to_html()
    assert len(html.encode()) < 2_000_000
    assert "<script" not in html
    assert "http://" not in html.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in html
    assert "<i>" not in html
    assert html.count("<svg") == html.count("The numbers of this figure") > 0


def test_the_interval_of_a_mean_is_narrower_with_more_seeds():
    rng = np.random.default_rng(0)
    few, many = (np.subtract(*interval(rng.standard_normal(n))[::-1]) for n in (5, 500))
    assert 0 < many < few
    assert all(math.isnan(end) for end in interval(np.array([1.0, math.nan])))
    assert str(Number.of([1.0, math.nan])) == "no mean: 1 of 2 finite"


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [(0.3, "held"), (-0.3, "the contrary held"), (0.0, "undecided")],
)
def test_a_claim_is_judged_by_its_interval(difference, verdict):
    rng = np.random.default_rng(0)
    better = [s.bias == "1" and s.initializer in analysis.SENSIBLE for s in SETTINGS]
    found = {}
    for length in (8, 16):
        noise = rng.normal(0, 0.02, (len(SETTINGS), 11))
        noise[better] += difference - noise[better].mean() * (difference == 0)
        noise -= noise.mean(axis=1, keepdims=True) * (difference == 0)
        found[SimpleNamespace(task="adding", length=length, depth=1).length] = {
            "skill": np.repeat(noise[..., None], 3, axis=-1)
        }
    judged = analysis.judged(analysis.CLAIMS[0], found)
    assert judged["verdict"] == verdict
    assert len(judged["difference"]["seeds"]) == 11


def test_a_claim_that_has_no_shape_is_not_judged():
    claim = analysis.CLAIMS[0]._replace(where=lambda shape: False)
    assert analysis.judged(claim, {1: {}})["verdict"] == "not tested"


def test_shapes_against_a_claim_are_said():
    above = Number(0.2, 0.1, 0.3, (0.2,))
    assert analysis.verdict(above, 5, 2) == "held overall, not in 2 shapes"
    below = Number(-0.2, -0.3, -0.1, (-0.2,))
    assert analysis.verdict(below, 1, 4) == "contrary overall, held in 1 shapes"
    assert analysis.verdict(Number(0, -1, 1, (0,)), 1, 1) == "mixed: 1 shapes for, 1 against"


def test_the_kept_study_is_whole_and_its_report_is_drawn():
    data = analysis.kept()
    assert data["trainings"] == sum(shape["trainings"] for shape in data["shapes"]) >= 5000
    assert data["seeds"] >= 10
    report = analysis.report(data)
    assert {claim["claim"] for claim in data["claims"]} == {c.name for c in analysis.CLAIMS}
    assert len(report.to_html().encode()) < 2_000_000
    assert "chrono" in report.to_text()


# --- mean field -----------------------------------------------------------------------------------


def test_the_predicted_variance_is_that_of_fresh_weights():
    """Weights drawn anew at every step, where the theory has no error but chance."""
    rng = np.random.default_rng(0)
    I, H, T, W, U = 200, 400, 5, 0.01, 1 / 400  # many inputs: all sequences are alike in size
    x = rng.standard_normal((40, T, I))
    h, c = np.zeros((40, H)), np.zeros((40, H))
    q_x = np.square(x).mean(axis=(0, 2))
    expected = meanfield.second_moments(W, U, (I, H), q_x, (0.0, 1.0))
    for t in range(T):
        z = {
            k: x[:, t] @ rng.normal(0, W**0.5, (I, H)) + h @ rng.normal(0, U**0.5, (H, H))
            for k in "ifgo"
        }
        sigmoid = {k: 1 / (1 + np.exp(-z[k] - (k == "f"))) for k in "ifo"}
        c = sigmoid["f"] * c + sigmoid["i"] * np.tanh(z["g"])
        h = sigmoid["o"] * np.tanh(c)
        assert np.square(z["g"]).mean() == pytest.approx(expected["z"][t], rel=0.08)
        assert np.square(c).mean() == pytest.approx(expected["c"][t], rel=0.08)
        assert np.square(h).mean() == pytest.approx(expected["h"][t], rel=0.08)


def test_a_constant_input_makes_every_candidate_alike():
    """The same weights and x at every step: the cell adds up, and the prediction knows it."""
    rng = np.random.default_rng(0)
    I, H, T = 6, 20_000, 8
    x = rng.standard_normal((1, 1, I)).repeat(T, axis=1)
    rho = meanfield.correlation(x, np.array([T]))
    np.testing.assert_allclose(rho, 1)
    q_x = np.square(x).mean(axis=(0, 2))
    expected = meanfield.second_moments(0.05, 0.0, (I, H), q_x, (0.0, 1.0), rho)["c"][-1]
    g = np.tanh(x[0, 0] @ rng.normal(0, 0.05**0.5, (I, H)))
    i, f = (1 / (1 + np.exp(-x[0, 0] @ rng.normal(0, 0.05**0.5, (I, H)) - b)) for b in (0, 1))
    c = np.zeros(H)
    for _ in range(T):
        c = f * c + i * g
    apart = meanfield.second_moments(0.05, 0.0, (I, H), q_x, (0.0, 1.0))["c"][-1]
    assert np.square(c).mean() == pytest.approx(expected, rel=0.15)
    assert apart < 0.4 * expected
