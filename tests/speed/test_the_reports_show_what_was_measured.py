"""The table and the page: WRONG in place of a time, nothing loaded, nothing that could run."""

import copy
import importlib.util
import re

import pytest

from lstm_oracle.benchmarks.speed import curves, summary
from lstm_oracle.benchmarks.speed.page import page
from lstm_oracle.benchmarks.speed.workload import ISSUE, Workload
from lstm_oracle.cli.document import render_plain
from lstm_oracle.cli.report_speed import result_document
from tests.speed.samples import own


def test_the_table_has_a_word_in_place_of_a_time(result):
    text = render_plain(result_document(result), width=120)
    lines = [line for line in text.splitlines() if line.startswith(own("wrong_output"))]
    tables = [line for line in lines if ": WRONG:" not in line]
    assert len(tables) == len(result["cases"])
    assert all(re.fullmatch(r"\S+ +WRONG", line) for line in tables)
    assert text.count("NO ANSWER") >= 2
    assert text.count("CRASHED") >= 2
    assert f"{own('cannot_start')} (cpu): ImportError" in text


def test_a_time_is_a_multiple_of_the_floor(result):
    case = result["cases"][0]
    row = next(r for r in case["rows"] if r["contender"] == "NumPy oracle")
    text = render_plain(result_document(result), width=120)
    line = next(line for line in text.splitlines() if line.startswith("NumPy oracle"))
    assert f"{row['median_ms'] / case['floor']['ms']:.3g}x" in line


def test_the_page_loads_and_runs_nothing(result):
    text = page(result)
    assert "<script" not in text
    assert not re.search(r"(src|href)=(?!\"data:)", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme:dark" in text


def test_the_page_says_wrong_and_why(result):
    text = page(result)
    assert "<td class=bad>WRONG</td>" in text
    assert "raised FloatingPointError: it had a bad day" in text
    assert "libnothing.so" in text


def test_names_of_strangers_are_escaped(result):
    hostile = copy.deepcopy(result)
    for case in hostile["cases"]:
        for row in case["rows"]:
            row["contender"] = "<script>alert(1)</script>"
    hostile["devices"]["cpu"] = '"><script>'
    assert "<script" not in page(hostile)


def swept(result):
    """The first two cases at four numbers of steps, growing linearly, on two devices."""
    new = copy.deepcopy(result)
    cases = []
    for device, start, slope in (("cpu", 0.0, 1.0), ("gpu", 30.0, 0.5)):
        for T in (25, 50, 100, 200):
            for case in result["cases"][:2]:
                case = copy.deepcopy(case)
                case["device"], case["workload"]["T"] = device, T
                for row in case["rows"]:
                    if row["median_ms"] is not None:
                        row["median_ms"] = start + slope * T
                        row["quartiles_ms"] = [row["median_ms"]] * 2
                        row["memory_mb"] = float(T)
                cases.append(case)
    new["devices"] = {"cpu": "a processor", "gpu": "a card"}
    new["rates"]["gpu"] = new["rates"]["cpu"]
    new["cases"] = cases
    return new


def test_curves_are_drawn_along_what_was_swept(result):
    figures = curves.scaling(swept(result))
    titles = [figure.title for figure in figures]
    assert sum(title.startswith("Time against steps T") for title in titles) == 4
    assert sum(title.startswith("Memory of a call against steps T") for title in titles) == 4
    time = next(f for f in figures if f.title.startswith("Time"))
    assert time.series["NumPy oracle"]["x"] == [25, 50, 100, 200]
    assert time.series["NumPy oracle"]["y"] == [25.0, 50.0, 100.0, 200.0]
    assert "floor" in time.series
    assert page(swept(result)).count("<svg") >= len(figures)


def test_cpu_and_gpu_stand_side_by_side(result):
    figures = curves.side_by_side(swept(result))
    assert len(figures) == 2
    for figure in figures:
        assert list(figure.series) == ["fastest on the cpu", "fastest on the gpu"]
        assert figure.series["fastest on the gpu"]["y"] == [42.5, 55.0, 80.0, 130.0]
    assert curves.side_by_side(result) == []


def test_the_page_has_everyone_as_a_multiple_of_the_best(result):
    text = page(swept(result))
    assert text.count("Times the best") == 4
    assert ">4, 2, 2, 4" not in text
    assert ">100, 2, 2, 4</th>" in text


def test_the_crossover_is_the_smallest_size_at_which_the_gpu_is_faster(result):
    found = summary.crossovers(swept(result))
    assert {(c.axis, c.size) for c in found} == {("T", 100)}


def test_the_roof_bends_where_bandwidth_and_products_meet(result):
    figure = curves.roofline(result, "cpu", "float32")
    rates = result["rates"]["cpu"]
    peak = rates["gemm_flops"]["float32"]["rate"]
    ridge = peak / rates["bandwidth_bytes"]
    roof = dict(zip(figure.series["roof"]["x"], figure.series["roof"]["y"], strict=True))
    assert roof[ridge] == pytest.approx(peak / 1e9)
    assert min(roof.values()) < max(roof.values()) == roof[ridge]


def issue_result(times):
    """A result at the seven shapes with these times of everyone, in training."""
    rows = [
        {"contender": name, "median_ms": ms, "rounds_ms": [ms, ms], "quartiles_ms": [ms, ms]}
        for name, ms in times.items()
    ]
    peers = ("torch.nn.LSTM", "Flax", "keras.layers.LSTM jax")
    return {
        "contenders": [{"name": n, "side": "peer" if n in peers else "ours"} for n in times],
        "cases": [
            {"workload": w.as_json(), "mode": "training", "device": "cpu", "rows": rows,
             "floor": {"products_ms": 2.0, "ms": 2.0}}
            for w in ISSUE
        ],
    }  # fmt: skip


def test_goals_are_ratios_to_the_best_rival():
    times = {"jax_impl fused": 10.0, "jax_impl auto": 5.0, "jax_impl scan": 40.0,
             "torch.nn.LSTM": 7.0, "Flax": 20.0, "keras.layers.LSTM jax": 30.0}  # fmt: skip
    fused, auto = summary.goals(issue_result(times))
    assert fused.mean == pytest.approx(20 / 10)
    assert auto.mean == pytest.approx(7 / 5)
    assert fused.reached
    assert auto.reached
    assert summary.over_products(issue_result(times), "jax_impl auto") == pytest.approx(2.5)


def test_a_goal_that_is_missed_at_one_shape_is_missed():
    result = issue_result({"jax_impl fused": 10.0, "Flax": 20.0})
    slow = copy.deepcopy(result["cases"][0]["rows"])
    slow[0] |= {"median_ms": 21.0, "rounds_ms": [21.0, 21.0]}
    result["cases"][0]["rows"] = slow
    (goal,) = summary.goals(result)
    assert goal.least == pytest.approx(20 / 21)
    assert not goal.reached


def test_the_readme_has_every_shape_the_best_peer_and_the_promises(repository, monkeypatch):
    path = repository / "docs" / "update_readme.py"
    spec = importlib.util.spec_from_file_location("update_readme", path)
    update_readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(update_readme)
    times = {"jax_impl fused": 10.0, "jax_impl auto": 5.0, "torch.nn.LSTM": 7.0, "Flax": 20.0}
    kept = issue_result(times) | {"devices": {"cpu": "a processor"}, "threads": 2, "commit": "c0"}
    monkeypatch.setattr(update_readme, "result", lambda name: kept)
    text = update_readme.speed()
    assert "| 100, 128, 512, 512 | 10 | - | 5 | 7 torch.nn.LSTM | 1.40x | 2.5 |" in text
    assert text.count("7 torch.nn.LSTM") == len(ISSUE)
    assert "against the best of all peers: **1.40x**" in text
    assert "- auto at (100, 128, 512, 512), forward and backward: **2.50x** the floor" in text


def test_workloads_of_a_grid_cover_what_is_promised():
    from lstm_oracle.benchmarks.speed.workload import grid

    every = grid()
    for axis, low, high in (("T", 25, 1000), ("B", 1, 512), ("H", 32, 1024)):
        values = {getattr(w, axis) for w in every}
        assert (min(values), max(values)) == (low, high)
    assert {w.layers for w in every} >= {1, 2, 4}
    assert {w.directions for w in every} == {1, 2}
    assert {w.masked for w in every} == {False, True}
    assert len(every) == len(set(every))
    assert all(isinstance(w, Workload) for w in every)
