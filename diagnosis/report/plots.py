"""Curves, scatters, bars and histograms: marks between two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import series, wording
from lstm_oracle.diagnosis.report.axes import Axis, span
from lstm_oracle.diagnosis.report.pieces import (
    BELOW,
    WIDTH,
    Block,
    Content,
    Frame,
    dashes,
    draw_axes,
    fit,
    make_frame,
    marker,
    px,
    svg_text,
    text_width,
    with_axes,
)
from lstm_oracle.diagnosis.report.series import Bins, Line


def draw_points(figure: Figure, points: int) -> Content:
    """Lines with bands, and points with error bars."""
    read = series.lines(figure)
    kept = read[: series.MOST_SERIES]
    placed = [_drawable(item, figure) for item in kept]
    thinned = [series.thin(item, points) for item in placed]
    frame = make_frame(
        span(_every(thinned, "x"), log=figure.log_x),
        span(
            np.concatenate([_every(thinned, key) for key in ("y", "low", "high")]), log=figure.log_y
        ),
        figure,
    )
    marks = [_bands(frame, n, item) for n, item in enumerate(thinned)]
    marks += [_mark(frame, n, item) for n, item in enumerate(thinned)]
    notes = left_out(len(read), len(kept), "series")
    notes += _unplaced(kept, placed, figure)
    notes += _thinned(placed, thinned)
    return Content(
        with_axes(frame, marks, draw_axes(frame, figure, _named_places(frame, thinned))),
        [item.name for item in kept],
        notes,
        " ".join(map(_in_words, kept)),
        ["line" if item.join else "point" for item in kept],
    )


def _drawable(item: Line, figure: Figure) -> Line:
    """The series with NaN wherever a number has no place on its axis."""

    def placed(values: np.ndarray, log: bool) -> np.ndarray:
        good = np.isfinite(values) & ((values > 0) | (not log))
        return np.where(good, values, np.nan)

    low = None if item.low is None else _onto(item.low, item.y, figure.log_y)
    high = None if item.high is None else placed(item.high, figure.log_y)
    x, y = placed(item.x, figure.log_x), placed(item.y, figure.log_y)
    return Line(item.name, x, y, low, high, item.labels, item.join)


def _onto(low: np.ndarray, y: np.ndarray, log: bool) -> np.ndarray:
    """The lower bound; on a logarithmic axis one that reaches 0 ends a decade under the curve."""
    bound = np.where(np.isfinite(low), low, np.nan)
    return np.where(bound > 0, bound, np.where(y > 0, y / 10, np.nan)) if log else bound


def _every(items: Sequence[Line], key: str) -> np.ndarray:
    arrays = [getattr(item, key) for item in items if getattr(item, key) is not None]
    return np.concatenate([np.zeros(0), *arrays])


def _named_places(frame: Frame, items: Sequence[Line]) -> list[tuple[float, str]] | None:
    """The names of x where it has names, as many as fit."""
    labels = next((item.labels for item in items if item.labels is not None), None)
    if labels is None:
        return None
    stride = max(1, math.ceil(len(labels) * 80 / (frame.x.stop - frame.x.start)))
    return [(float(n), wording.shorten(labels[n], 12)) for n in range(0, len(labels), stride)]


def _runs(good: np.ndarray) -> list[np.ndarray]:
    """Indices of each unbroken run of True."""
    index = np.flatnonzero(good)
    if not len(index):
        return []
    return np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)


def _bands(frame: Frame, n: int, item: Line) -> str:
    if item.low is None or item.high is None or not item.join:
        return ""
    parts = []
    for run in _runs(np.isfinite(item.x) & np.isfinite(item.low) & np.isfinite(item.high)):
        there = [frame.at(item.x[k], item.high[k]) for k in run]
        back = [frame.at(item.x[k], item.low[k]) for k in run[::-1]]
        parts.append(f'<path class="b" d="{_path([*there, *back])}z"/>')
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'


def _mark(frame: Frame, n: int, item: Line) -> str:
    good = np.isfinite(item.x) & np.isfinite(item.y)
    parts = []
    if item.join:
        for run in _runs(good):
            path = _path([frame.at(item.x[k], item.y[k]) for k in run])
            parts.append(f'<path class="l"{dashes(n)} d="{path}{"h0" if len(run) == 1 else ""}"/>')
    else:
        for k in np.flatnonzero(good):
            parts.append(_error_bar(frame, item, int(k)))
            parts.append(marker(n, *frame.at(item.x[k], item.y[k]), size=2.5))
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'


def _error_bar(frame: Frame, item: Line, k: int) -> str:
    if item.low is None or item.high is None or not np.isfinite(item.low[k] + item.high[k]):
        return ""
    (x, low), (_, high) = frame.at(item.x[k], item.low[k]), frame.at(item.x[k], item.high[k])
    return f'<path class="l" style="stroke-width:1" d="M{px(x)} {px(low)}V{px(high)}"/>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px(x)} {px(y)}" for x, y in places)


def left_out(count: int, kept: int, what: str) -> list[str]:
    """A remark, where not all could be drawn."""
    return [f"{kept} of {count:,} {what} drawn: the first ones."] if kept < count else []


def _unplaced(kept: Sequence[Line], placed: Sequence[Line], figure: Figure) -> list[str]:
    """How many values could not be drawn, and where the first of them stood."""
    notes = []
    for before, after in zip(kept, placed, strict=True):
        missing = np.flatnonzero(~(np.isfinite(after.x) & np.isfinite(after.y)))
        if len(missing):
            log = "not positive or " if figure.log_x or figure.log_y else ""
            where = wording.show(float(before.x[missing[0]]))
            name = f"{wording.shorten(wording.line(before.name, 200), 30)}: " if before.name else ""
            notes.append(
                f"{name}{len(missing):,} of {len(before.y):,} values {log}not finite, the first at "
                f"{wording.line(figure.x_label, 30) or 'x'} = {where}."
            )
    return notes


def _thinned(full: Sequence[Line], thin: Sequence[Line]) -> list[str]:
    longest = max((len(item.y) for item in full), default=0)
    drawn = max((len(item.y) for item in thin), default=0)
    if longest == drawn:
        return []
    return [f"{drawn:,} of {longest:,} points per series drawn, extremes kept."]


def _in_words(item: Line) -> str:
    """A series for who cannot see it: where it begins and ends, and its range."""
    y = item.y[np.isfinite(item.y)]
    name = wording.line(item.name, 60)
    if not len(y):
        return f"{name}: no finite value."
    low, high = wording.show(float(y.min())), wording.show(float(y.max()))
    ends = f"from {wording.show(float(y[0]))} to {wording.show(float(y[-1]))}"
    return f"{name}: {ends}, between {low} and {high}."


# --- bars and histogram ---------------------------------------------------------------------------


def draw_bars(figure: Figure, points: int) -> Content:
    """Sideways with names, upright with numbers."""
    read = series.lines(figure)
    if all(item.labels is None for item in read):
        return _columns(figure, [_as_bins(item) for item in read], "bars")
    kept = read[: series.MOST_SERIES]
    count = max((len(item.y) for item in kept), default=0)
    shown = min(count, series.MOST_BARS)
    labels = next(item.labels for item in kept if item.labels is not None)
    notes = left_out(len(read), len(kept), "series") + left_out(count, shown, "bars")
    return Content(
        _sideways(figure, kept, labels[:shown]),
        [item.name for item in kept],
        notes,
        " ".join(map(_in_words, kept)),
        ["area"] * len(kept),
    )


def _sideways(figure: Figure, kept: Sequence[Line], labels: Sequence[str]) -> Block:
    """Groups of level bars, the name to their left, the number at their end."""
    thick = 16.0 if len(kept) == 1 else 11.0
    group = thick * len(kept) + 10
    names = [wording.shorten(label, 34) for label in labels]
    values = np.concatenate([_every(kept, key) for key in ("y", "low", "high")])
    low, high = span(values, log=figure.log_y, zero=True)
    left = 10 + max((text_width(name) for name in names), default=40)
    room = 14 + max(
        (text_width(_value(item, k)) for item in kept for k in range(len(item.y))), default=0
    )
    axis = Axis(low, high, start=left, stop=WIDTH - room, log=figure.log_y)
    bottom = 4 + group * len(names)
    parts = _rulers(axis, bottom, figure)
    for k, name in enumerate(names):
        top = 4 + group * k + 5
        parts.append(svg_text(left - 7, top + thick * len(kept) / 2 + 4, name, "k e"))
        for n, item in enumerate(kept):
            if k < len(item.y):
                parts.append(_bar(axis, n, item, k, top + thick * n, thick - 1.5))
    return Block("".join(parts), bottom + BELOW)


def _rulers(axis: Axis, bottom: float, figure: Figure) -> list[str]:
    parts = []
    for value, label in axis.ticks(6):
        x = axis.place(value)
        kind = "a" if value == 0 and not figure.log_y else "g"
        parts.append(f'<path class="{kind}" d="M{px(x)} 4V{px(bottom)}"/>')
        parts.append(svg_text(x, bottom + 18, label, "m"))
    name = fit(wording.line(figure.y_label, 200), axis.stop - axis.start)
    parts.append(
        svg_text(
            (axis.start + axis.stop) / 2,
            bottom + 37,
            name + (" (log scale)" if figure.log_y else ""),
            "m",
        )
    )
    parts.append(
        svg_text(
            axis.start - 7, bottom + 37, fit(wording.line(figure.x_label, 200), axis.start), "e"
        )
    )
    return parts


def _value(item: Line, k: int) -> str:
    return wording.show(float(item.y[k]))


def _bar(axis: Axis, n: int, item: Line, k: int, top: float, thick: float) -> str:
    """One bar from zero, its interval as a whisker, its number behind both."""
    value = float(item.y[k])
    base = axis.place(axis.low if axis.log else 0.0)
    middle = top + thick / 2
    if not math.isfinite(value) or (axis.log and value <= 0):
        return svg_text(base + 5, middle + 4, wording.show(value), "v")
    end = axis.place(value)
    reach = [base, end]
    whisker = ""
    if item.low is not None and item.high is not None and np.isfinite(item.low[k] + item.high[k]):
        low = axis.place(max(float(item.low[k]), axis.low))
        high = axis.place(max(float(item.high[k]), axis.low))
        reach += [low, high]
        whisker = (
            f'<path class="w" d="M{px(low)} {px(middle)}H{px(high)}M{px(low)} {px(middle - 3)}v6'
            f'M{px(high)} {px(middle - 3)}v6"/>'
        )
    rectangle = (
        f'<rect class="f c{n % 8}" x="{px(min(base, end))}" y="{px(top)}" '
        f'width="{px(max(abs(end - base), 0.5))}" height="{px(thick)}"/>'
    )
    return rectangle + whisker + svg_text(max(reach) + 6, middle + 4, _value(item, k), "v")


def _as_bins(item: Line) -> Bins:
    """Upright bars around their x, half way to the neighbours."""
    order = np.argsort(item.x, kind="stable")
    x, y = item.x[order], item.y[order]
    good = np.isfinite(x) & np.append(True, np.diff(x) > 0)[: len(x)]
    x, y = x[good], y[good]
    if not len(x):
        return Bins(item.name, np.array([0.0, 1.0]), np.array([np.nan]))
    if len(x) == 1:
        return Bins(item.name, np.array([x[0] - 0.5, x[0] + 0.5]), y)
    middles = (x[1:] + x[:-1]) / 2
    edges = np.concatenate([[2 * x[0] - middles[0]], middles, [2 * x[-1] - middles[-1]]])
    return Bins(item.name, edges, y)


def draw_histogram(figure: Figure, points: int) -> Content:
    """Counts between edges."""
    return _columns(figure, series.bins(figure), "bins")


def _columns(figure: Figure, read: Sequence[Bins], what: str) -> Content:
    """Upright bars side by side; several series lie over one another, outlined."""
    kept = [_few(item, 200) for item in read[: series.MOST_SERIES]]
    edges = np.concatenate([np.zeros(0), *(item.edges for item in kept)])
    counts = np.concatenate([np.zeros(0), *(item.counts for item in kept)])
    frame = make_frame(
        span(edges, log=figure.log_x, air=0.0),
        span(counts, log=figure.log_y, zero=True),
        figure,
    )
    notes = left_out(len(read), len(kept), "series")
    if any(len(a.counts) < len(b.counts) for a, b in zip(kept, read, strict=False)):
        notes.append(f"Neighbouring {what} are drawn together: sums.")
    marks = [_steps(frame, n, item) for n, item in enumerate(kept)]
    return Content(
        with_axes(frame, marks, draw_axes(frame, figure)),
        [item.name for item in kept],
        notes,
        " ".join(
            f"{wording.line(item.name, 60)}: {len(item.counts)} {what}, the highest "
            f"{wording.show(float(np.nanmax(item.counts, initial=0)))}."
            for item in kept
        ),
        ["area"] * len(kept),
    )


def _few(item: Bins, limit: int) -> Bins:
    if len(item.counts) <= limit:
        return item
    first = np.linspace(0, len(item.counts), limit + 1).astype(int)
    counts = np.add.reduceat(np.nan_to_num(item.counts), first[:-1])
    return Bins(item.name, item.edges[first], counts)


def _steps(frame: Frame, n: int, item: Bins) -> str:
    base = frame.y.place(frame.y.low if frame.y.log else max(frame.y.low, min(0.0, frame.y.high)))
    parts = []
    for left, right, count in zip(item.edges[:-1], item.edges[1:], item.counts, strict=True):
        if not np.isfinite(count) or (frame.y.log and count <= 0) or (frame.x.log and left <= 0):
            continue
        x, y = frame.at(float(left), float(count))
        wide = max(frame.x.place(float(right)) - x - 1, 0.6)
        parts.append(
            f'<rect class="h" x="{px(x)}" y="{px(min(y, base))}" width="{px(wide)}" '
            f'height="{px(abs(base - y))}"/><path class="l" d="M{px(x)} {px(y)}h{px(wide)}"/>'
        )
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'
