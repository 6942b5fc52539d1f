"""Heat maps and confusion matrices: numbers by row and column, as colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import image, series, wording
from lstm_oracle.diagnosis.report.pieces import (
    WIDTH,
    Block,
    Content,
    fit,
    px,
    stack,
    svg_text,
    text_width,
)
from lstm_oracle.diagnosis.report.plots import left_out
from lstm_oracle.diagnosis.report.series import Grid

_CELLS = (80, 200)  # rows and columns of a heat map at most
_ROW_NAMES = 12  # that fit below one another


def draw_heatmap(figure: Figure, points: int) -> Content:
    """Panels of coloured cells, two side by side where there are several."""
    panels = series.grids(figure)
    kept = panels[: series.MOST_SERIES]
    across = 1 if len(kept) == 1 else 2
    small = [series.blocks(panel, *_CELLS) for panel in kept]
    notes = left_out(len(panels), len(kept), "panels")
    if any(a is not b for a, b in zip(small, kept, strict=True)):
        full = " x ".join(map(str, kept[0].values.shape))
        notes.append(f"Means over blocks of the {full} values (rows x columns).")
    missing = sum(int(np.sum(~np.isfinite(panel.values))) for panel in kept)
    if missing:
        notes.append(f"{missing:,} values are not finite: left blank.")
    wide = (WIDTH - 24 * (across - 1)) / across
    drawn = [_panel(figure, *pair, wide) for pair in zip(kept, small, strict=True)]
    rows = [drawn[n : n + across] for n in range(0, len(drawn), across)]
    body = stack(_beside(row, wide + 24) for row in rows)
    return Content(body, (), notes, " ".join(map(_grid_in_words, kept)))


def _beside(blocks: Sequence[Block], step: float) -> Block:
    svg = "".join(
        f'<g transform="translate({px(step * n)} 0)">{block.svg}</g>'
        for n, block in enumerate(blocks)
    )
    return Block(svg, max(block.height for block in blocks))


def _grid_in_words(panel: Grid) -> str:
    values = panel.values[np.isfinite(panel.values)]
    rows, columns = panel.values.shape
    name = wording.line(panel.name, 60)
    if not len(values):
        return f"{name}: {rows} rows by {columns} columns, no finite value."
    low, high = wording.show(float(values.min())), wording.show(float(values.max()))
    return f"{name}: {rows} rows by {columns} columns, from {low} to {high}."


def _panel(figure: Figure, panel: Grid, small: Grid, wide: float) -> Block:
    """One grid as an image, with the names of the full grid and its scale of colours."""
    values = small.values[np.isfinite(small.values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    colours, low, high = image.colours_for(low, high)
    left = 12 + max((text_width(name) for name in _shown(panel.rows, _ROW_NAMES)), default=10)
    left = min(left, wide / 3)
    top, height = 46.0, 190.0 if wide < 400 else 230.0
    area = wide - left - 8
    parts = [svg_text(0, 14, fit(wording.line(panel.name, 200), wide - 190), "t")]
    parts.append(_scale(colours, low, high, wide - 8))
    parts.append(svg_text(0, 38, fit(wording.line(figure.y_label, 200), wide - 190)))
    if small.values.size:
        uri = image.data_uri(image.levels_of(small.values, low, high), colours)
        parts.append(
            f'<image x="{px(left)}" y="{px(top)}" width="{px(area)}" height="{px(height)}" '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" href="{uri}"/>'
        )
    parts.append(
        f'<rect class="g" x="{px(left)}" y="{px(top)}" width="{px(area)}" height="{px(height)}"/>'
    )
    for share, name in _spread(panel.rows, _ROW_NAMES):
        parts.append(svg_text(left - 6, top + share * height + 4, fit(name, left - 6), "e"))
    for share, name in _spread(panel.columns, 6):
        parts.append(
            svg_text(left + share * area, top + height + 16, wording.shorten(name, 14), "m")
        )
    label = fit(wording.line(figure.x_label, 200), area)
    parts.append(svg_text(left + area / 2, top + height + 34, label, "m"))
    return Block("".join(parts), top + height + 46)


def _shown(names: Sequence[str], count: int) -> list[str]:
    return [name for _, name in _spread(names, count)]


def _spread(names: Sequence[str], count: int) -> list[tuple[float, str]]:
    """At most `count` of the names, evenly, with the middle of their cells as a share."""
    rough = max(1, math.ceil(len(names) / count))
    power = 10 ** int(math.log10(rough))
    stride = next(nice * power for nice in (1, 2, 5, 10) if nice * power >= rough)
    return [((n + 0.5) / len(names), names[n]) for n in range(0, len(names), stride)]


def _scale(colours: tuple[str, ...], low: float, high: float, right: float) -> str:
    """The scale of colours as a strip between its two ends."""
    strip = image.data_uri(np.arange(0, 255, 2, dtype=np.uint8)[None, :], colours)
    ends = [f"{end:.2g}" for end in (low, high)]
    x = right - text_width(ends[1]) - 5 - 70
    return (
        svg_text(x - 6, 14, ends[0], "e")
        + f'<image x="{px(x)}" y="5" width="70" height="10" preserveAspectRatio="none" '
        f'href="{strip}"/>' + svg_text(right, 14, ends[1], "e")
    )


def draw_confusion(figure: Figure, points: int) -> Content:
    """Counts in cells coloured by their share of the row; without numbers above twelve classes."""
    panels = series.grids(figure)
    kept = panels[:4]
    if any(max(panel.values.shape, default=0) > 12 for panel in kept):
        return _large_confusion(figure, kept)
    across = 1 if len(kept) == 1 else 2
    wide = (WIDTH - 24 * (across - 1)) / across
    rows = [kept[n : n + across] for n in range(0, len(kept), across)]
    body = stack(_beside([_cells(figure, p, wide) for p in row], wide + 24) for row in rows)
    notes = [*left_out(len(panels), len(kept), "panels"), "Colour: share of the row."]
    return Content(body, (), notes, " ".join(map(_grid_in_words, kept)))


def _large_confusion(figure: Figure, kept: Sequence[Grid]) -> Content:
    small = [series.blocks(panel, *_CELLS, total=True) for panel in kept]
    blocks = [_panel(figure, *pair, WIDTH) for pair in zip(kept, small, strict=True)]
    summed = any(a is not b for a, b in zip(small, kept, strict=True))
    notes = ["Sums over blocks of neighbouring classes."] if summed else []
    return Content(stack(blocks), (), notes, " ".join(map(_grid_in_words, kept)))


def _cells(figure: Figure, panel: Grid, wide: float) -> Block:
    rows, columns = panel.values.shape
    left = min(10 + max((text_width(name) for name in panel.rows), default=10), wide / 3)
    size = min((wide - left - 6) / max(columns, 1), 64.0)
    high, top = min(size, 40.0), 60.0
    totals = np.nansum(panel.values, axis=1, keepdims=True)
    shares = np.divide(panel.values, totals, out=np.zeros_like(panel.values), where=totals > 0)
    shades = image.ramp(image.SEQUENTIAL, 101)
    parts = [svg_text(0, 14, fit(wording.line(panel.name, 200), wide), "t")]
    parts.append(svg_text(0, 34, fit(wording.line(figure.y_label, 200), wide / 2)))
    parts.append(svg_text(left, 52, fit(wording.line(figure.x_label, 200), wide - left)))
    for r in range(rows):
        y = top + high * r
        parts.append(svg_text(left - 6, y + high / 2 + 4, fit(panel.rows[r], left - 6), "e k"))
        for c in range(columns):
            share = float(np.nan_to_num(shares[r, c]))
            shade = shades[round(100 * min(max(share, 0.0), 1.0))]
            parts.append(_cell(left + size * c, y, size, high, shade, panel.values[r, c]))
    for c, name in enumerate(panel.columns):
        x = left + size * (c + 0.5)
        parts.append(svg_text(x, top + high * rows + 17, fit(name, size), "m k"))
    return Block("".join(parts), top + high * rows + 30)


def _cell(x: float, y: float, wide: float, high: float, shade: np.ndarray, value: float) -> str:
    red, green, blue = map(int, shade)
    light = (
        0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    )
    ink = "#000" if light > 0.18 else "#fff"
    label = fit(wording.show(float(value)), wide)
    return (
        f'<rect x="{px(x)}" y="{px(y)}" width="{px(wide - 1)}" height="{px(high - 1)}" '
        f'fill="#{red:02x}{green:02x}{blue:02x}"/>'
        f'<text class="m" x="{px(x + wide / 2)}" y="{px(y + high / 2 + 4)}" style="fill:{ink}">'
        f"{escape(label)}</text>"
    )
