"""A figure draws its numbers where they belong, and says what it does not draw."""

from __future__ import annotations

import base64
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import axes, figures, image, series
from tests import diagnosis_samples as samples

KINDS = ("curves", "bars", "heatmap", "histogram", "confusion", "scatter")
FIGURES = [*samples.every_kind(), *samples.hostile().findings[0].figures]
EMPTY = [Figure(kind, "", "", "", {}) for kind in KINDS]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def paths(svg: str, kind: str) -> list[list[tuple[float, float]]]:
    """Points of every path of a class."""
    found = re.findall(rf'<path class="{kind}"[^>]* d="M([^"hvHVz]*)', svg)
    return [[tuple(map(float, p.split())) for p in path.split("L")] for path in found]


def curve(y, **rest) -> Figure:
    return Figure("curves", "t", "step", "loss", {"a": {"y": y}}, **rest)


@pytest.mark.parametrize("figure", [*FIGURES, *EMPTY], ids=lambda f: f.kind)
@pytest.mark.parametrize("standalone", [False, True])
def test_every_figure_is_well_formed_and_stays_on_its_canvas(figure, standalone):
    root = parse(figures.draw(figure, standalone=standalone))
    _, _, width, height = map(float, root.get("viewBox").split())
    assert root.get("role") == "img"
    assert root.get("aria-label").startswith(figure.kind)
    for element in root.iter():
        for name, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
            if name in element.attrib:
                assert -1 <= float(element.get(name)) <= limit + 1, element.attrib
    numbers = re.findall(r"[MLHV ](-?[\d.]+)", " ".join(e.get("d", "") for e in root.iter()))
    assert all(-30 <= float(number) <= width + 30 for number in numbers)
    assert "nan" not in "".join(e.get("d", "") for e in root.iter())


def test_curve_is_drawn_to_scale():
    (path,) = paths(figures.draw(curve([0.0, 1.0, 4.0])), "l")
    (x0, y0), (x1, y1), (x2, y2) = path
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert (y0 - y2) / (y0 - y1) == pytest.approx(4, abs=0.02)


def test_logarithmic_curve_is_drawn_to_scale():
    (path,) = paths(figures.draw(curve([1e-6, 1e-3, 1.0], log_y=True)), "l")
    assert path[0][1] - path[1][1] == pytest.approx(path[1][1] - path[2][1], abs=0.11)


def test_values_that_cannot_be_drawn_leave_a_gap_and_are_counted():
    svg = figures.draw(curve([1.0, 2.0, float("nan"), 3.0, None, float("inf"), 2.0]))
    assert list(map(len, paths(svg, "l"))) == [2, 1, 1]
    assert "3 of 7 values not finite, the first at step = 2." in svg


def test_values_with_no_place_on_a_logarithmic_axis_are_counted():
    svg = figures.draw(curve([1.0, 0.0, -1.0, 10.0], log_y=True))
    assert "2 of 4 values not positive or not finite, the first at step = 1." in svg


def test_thinning_keeps_every_extreme_and_says_so():
    y = np.sin(np.arange(100_000) / 5000)
    y[77_777], y[12_345] = 9.0, -9.0
    figure = curve(y)
    (line,) = series.lines(figure)
    thin = series.thin(line, 400)
    assert len(thin.y) <= 400
    assert {9.0, -9.0, y[0], y[-1]} <= set(thin.y)
    assert np.array_equal(thin.y, y[thin.x.astype(int)])
    assert "of 100,000 points per series drawn, extremes kept." in figures.draw(figure)
    assert len(figures.draw(figure)) < 12_000


def test_bars_are_as_long_as_their_numbers():
    figure = Figure("bars", "t", "cause", "gain", {"a": 1.0, "b": 3.0, "c": -1.0})
    root = parse(figures.draw(figure))
    bars = [e for e in root.iter() if "f" in e.get("class", "").split()]
    widths = [float(e.get("width")) for e in bars]
    assert widths[1] / widths[0] == pytest.approx(3, abs=0.02)
    assert widths[2] == pytest.approx(widths[0], abs=0.11)
    assert float(bars[2].get("x")) + widths[2] == pytest.approx(float(bars[0].get("x")), abs=0.11)


def test_histogram_counts_what_numpy_counts():
    values = np.random.default_rng(0).normal(size=500)
    (item,) = series.bins(Figure("histogram", "t", "x", "count", {"a": values}))
    assert item.counts.sum() == 500
    assert np.array_equal(item.counts, np.histogram(values, item.edges)[0])


def decoded(uri: str) -> np.ndarray:
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = {}, 8
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name = data[place + 4 : place + 8]
        chunks[name] = data[place + 8 : place + 8 + size]
        (check,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert check == zlib.crc32(name + chunks[name])
        place += 12 + size
    columns, rows = struct.unpack(">II", chunks[b"IHDR"][:8])
    raw = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not raw[:, 0].any()
    assert len(chunks[b"PLTE"]) == 3 * 256
    assert chunks[b"tRNS"] == bytes([255] * 255 + [0])
    return raw[:, 1:]


def test_heat_map_holds_its_values_and_leaves_blank_what_is_not_finite():
    values = np.array([[0.0, 0.5, 1.0], [np.nan, 0.25, np.inf]])
    svg = figures.draw(Figure("heatmap", "t", "step", "unit", {"f": values}))
    (picture,) = [e for e in parse(svg).iter("image") if float(e.get("height")) > 20]
    assert decoded(picture.get("href")).tolist() == [[0, 127, 254], [255, 64, 255]]
    assert "2 values are not finite: left blank." in svg


def test_zero_is_the_middle_of_a_scale_with_both_signs():
    colours, low, high = image.colours_for(-0.5, 2.0)
    assert (low, high) == (-2.0, 2.0)
    assert image.ramp(colours)[127].tolist() == [0xE6, 0xE6, 0xE6]


def test_large_heat_map_is_drawn_as_block_means_and_says_so():
    values = np.arange(400.0 * 1000).reshape(400, 1000)
    (grid,) = series.grids(Figure("heatmap", "t", "x", "y", {"f": values}))
    small = series.blocks(grid, 80, 200)
    expected = values.reshape(80, 5, 200, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(small.values, expected, rtol=1e-13)
    assert small.columns[:2] == ("0 to 4", "5 to 9")
    svg = figures.draw(Figure("heatmap", "t", "x", "y", {"f": values}))
    assert "Means over blocks of the 400 x 1000 values" in svg
    assert len(svg) < 60_000


def test_confusion_cells_show_their_counts_and_are_coloured_by_row():
    figure = Figure(
        "confusion", "t", "predicted", "true", {"values": [[8, 2], [0, 90]], "labels": ["a", "b"]}
    )
    root = parse(figures.draw(figure))
    cells = [e for e in root.iter("rect") if e.get("fill")]
    shades = image.ramp(image.SEQUENTIAL, 101)
    expected = [
        "#{:02x}{:02x}{:02x}".format(*map(int, shades[share])) for share in (80, 20, 0, 100)
    ]
    assert [cell.get("fill") for cell in cells] == expected
    assert {"8", "2", "0", "90"} <= {e.text for e in root.iter("text")}


def test_confusion_of_many_classes_keeps_every_count():
    counts = np.random.default_rng(0).integers(0, 9, (300, 300))
    figure = Figure("confusion", "t", "predicted", "true", {"values": counts})
    (grid,) = series.grids(figure)
    assert series.blocks(grid, 80, 200, total=True).values.sum() == counts.sum()
    assert "Sums over blocks of neighbouring classes." in figures.draw(figure)


@pytest.mark.parametrize("figure", samples.every_kind(), ids=lambda f: f.title)
def test_table_holds_the_numbers_of_the_figure(figure):
    tables = series.tabulate(figure)
    assert tables
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.titles)}


def test_table_of_a_long_series_says_what_it_leaves_out():
    (table,) = series.tabulate(curve(np.arange(1000.0)), rows=50)
    assert len(table.rows) == 50
    assert table.rows[0] == ("0", "0")
    assert table.rows[-1] == ("999", "999")
    assert table.note == "50 of 1,000 rows, evenly spaced."


def test_table_of_a_short_series_is_complete():
    figure = samples.training_curves(epochs=12)
    (table,) = series.tabulate(figure)
    assert table.titles == ("epoch", "as it is", "inputs standardized")
    assert len(table.rows) == 12
    assert table.rows[0][1].startswith(f"{figure.series['as it is']['y'][0]:.4g} [")


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (Figure("pie", "t", "x", "y", {}), "kind is 'pie', expected one of curves"),
        (Figure("curves", "t", "x", "y", {"a": {"x": [1, 2], "y": [1]}}), "2 x and 1 y"),
        (Figure("curves", "t", "x", "y", {"a": {"x": [1]}}), "has x, expected 'y'"),
        (Figure("curves", "t", "x", "y", {"a": ["one"]}), "no array of numbers"),
        (Figure("heatmap", "t", "x", "y", {"a": [1.0, 2.0]}), r"values of shape \(2,\)"),
        (Figure("histogram", "t", "x", "y", {"a": {"edges": [0, 1], "counts": [1, 2]}}), "2 edges"),
    ],
)
def test_figure_with_the_wrong_data_is_refused(figure, message):
    with pytest.raises(ValueError, match=message):
        figures.draw(figure)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.2, 7.9), (0.0101, 0.0102), (-1e9, 2e9), (5e-8, 6e-7), (999, 1001)]
)
def test_ticks_are_round_rising_inside_and_told_apart(low, high):
    ticks = axes.linear_ticks(low, high, 5)
    values = [value for value, _ in ticks]
    assert 3 <= len(ticks) <= 11
    assert values == sorted(set(values))
    assert low - 1e-9 * abs(low) <= values[0]
    assert values[-1] <= high * (1 + 1e-9)
    assert len({label for _, label in ticks}) == len(ticks)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [figures.LIGHT, figures.DARK], ids=["light", "dark"])
def test_colours_can_be_seen_on_their_page(theme):
    assert contrast(theme["ink"], theme["page"]) >= 7
    assert contrast(theme["muted"], theme["page"]) >= 4.5
    for n in range(8):
        assert contrast(theme[f"s{n}"], theme["page"]) >= 3


def test_series_are_told_apart_without_colour():
    names = [f"run {n}" for n in range(8)]
    figure = Figure("curves", "t", "x", "y", {name: [n, n + 1] for n, name in enumerate(names)})
    dashes = re.findall(
        r'<path class="l"( stroke-dasharray="[^"]*")? d="M[^"]*h26"', figures.draw(figure)
    )
    assert len(set(dashes)) == 8


def test_standalone_drawing_brings_its_style_and_the_other_does_not():
    alone, inside = (figures.draw(samples.remedies(), standalone=s) for s in (True, False))
    assert "prefers-color-scheme" in alone
    assert "<style" not in inside
    assert parse(alone).tag == "{http://www.w3.org/2000/svg}svg"


ODD = [0, 1, -1, 1e-300, 1e300, np.nan, np.inf, -np.inf, None, 0.5, 3, 1e-9, 12345.6, 2**70, True]


def odd_series(rng, kind):
    """Data of a kind with numbers of any size, missing ones, and any length down to none."""
    count, columns = rng.integers(0, 30), rng.integers(0, 20)

    def numbers(n):
        plain = rng.standard_normal(n) * 10.0 ** rng.integers(-12, 12)
        return [plain.tolist(), [ODD[k] for k in rng.integers(0, len(ODD), n)]][rng.integers(2)]

    if kind in ("heatmap", "confusion"):
        values = [np.nan if v is None else v for v in numbers(count * columns)]
        return {"values": np.array(values, float).reshape(count, columns)}
    if kind == "histogram":
        return numbers(count)
    places = [None, numbers(count), [f"n{k}" for k in range(count)]][rng.integers(3)]
    bounds = {"low": numbers(count), "high": numbers(count)} if rng.integers(2) else {}
    return {"y": numbers(count), "x": places, **bounds}


@pytest.mark.parametrize("kind", KINDS)
def test_no_numbers_break_a_figure(kind):
    rng = np.random.default_rng(0)
    for _ in range(100):
        data = {f"s{n}": odd_series(rng, kind) for n in range(rng.integers(0, 4))}
        figure = Figure(kind, "t", "x", "y", data, bool(rng.integers(2)), bool(rng.integers(2)))
        parse(figures.draw(figure, points=20))
        assert all(len(row) == len(t.titles) for t in series.tabulate(figure, 10) for row in t.rows)
