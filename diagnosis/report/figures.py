"""Figures as SVG written by hand: no library, no script, no network, light and dark.

`draw` turns a `Figure` into SVG text; `STYLE` is the CSS it needs, once per page, or inside the
drawing with `standalone=True` (a file of its own, a README). Series are told apart by colour,
dashes and markers together, so colour-blind readers and grey printers lose nothing.

What `Figure.series` holds, by kind
-----------------------------------
curves, scatter
    `{name: {"x": [...], "y": [...], "low": [...], "high": [...]}}`; `low` and `high` (a band, or
    error bars) may be missing, and so may `x` (0, 1, 2 ...). A bare list stands for `{"y": list}`.
    `"line": True` in a series of a scatter joins its points: an identity line.
bars
    The same, with names in `x` (drawn sideways) or numbers (drawn upright), or `{name: number}`.
histogram
    `{name: {"edges": [...], "counts": [...]}}`, or raw numbers, `{name: [...]}`.
heatmap
    `{name: {"values": rows, "x": column names, "y": row names}}`, one panel per name; rows run
    along y, columns along x. `{"values": rows}` alone is one panel.
confusion
    As a heat map, `"labels"` for both sides: true classes down, predicted ones across, counts.

NaN and None leave gaps, what has no place on a logarithmic axis is left out, and more points than
can be drawn are thinned with their extremes kept: the figure says each of these below itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import image, series, wording
from lstm_oracle.diagnosis.report.axes import Axis, span
from lstm_oracle.diagnosis.report.series import Bins, Grid, Line

WIDTH = 720
POINTS = 400
_PLOT = 230  # height of a plot's area
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2", "6 2 2 2 2 2")
# Okabe & Ito 2008, darkened for white paper and lightened for a dark page until each has a
# contrast of 3:1 with the page (WCAG 2.2, 1.4.11); a test holds them to it.
LIGHT = {
    "page": "#ffffff", "ink": "#1b1f24", "muted": "#57606a", "grid": "#e3e7eb",
    "s0": "#0072b2", "s1": "#c44e00", "s2": "#008060", "s3": "#a8548a",
    "s4": "#946800", "s5": "#2b86bd", "s6": "#6e6e6e", "s7": "#1b1f24",
}  # fmt: skip
DARK = {
    "page": "#15191f", "ink": "#e6e9ed", "muted": "#a0a9b4", "grid": "#2c333c",
    "s0": "#5db4ea", "s1": "#f58a4b", "s2": "#35c79b", "s3": "#e29cc8",
    "s4": "#e8c33c", "s5": "#8fd0f5", "s6": "#a8a8a8", "s7": "#f2f4f6",
}  # fmt: skip


def _variables(theme: dict[str, str]) -> str:
    return ";".join(f"--{name}:{colour}" for name, colour in theme.items())


STYLE = (
    f".fig{{{_variables(LIGHT)};display:block;width:100%;height:auto;"
    "font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}"
    f"@media(prefers-color-scheme:dark){{.fig{{{_variables(DARK)}}}}}"
    ".fig text{fill:var(--muted)}.fig .t{fill:var(--ink);font-size:14px;font-weight:600}"
    ".fig .k{fill:var(--ink)}.fig .n{font-size:11px}.fig .e{text-anchor:end}"
    ".fig .m{text-anchor:middle}.fig .v{fill:var(--ink);font-variant-numeric:tabular-nums}"
    ".fig .g{stroke:var(--grid);fill:none}.fig .a{stroke:var(--muted);fill:none}"
    ".fig .l{stroke:var(--c);fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".fig .b{fill:var(--c);opacity:.18;stroke:none}.fig .f{fill:var(--c)}"
    ".fig .h{fill:var(--c);opacity:.45}.fig .p{fill:var(--c);opacity:.7}"
    ".fig .w{stroke:var(--ink);stroke-width:1.5;fill:none}"
    + "".join(f".fig .c{n}{{--c:var(--s{n})}}" for n in range(8))
)


@dataclass(frozen=True)
class _Block:
    """A piece of SVG that begins at its own top left, and how high it is."""

    svg: str
    height: float


@dataclass(frozen=True)
class _Content:
    """What a kind of figure draws: names for the legend, the drawing, remarks, and a summary."""

    body: _Block
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    summary: str = ""
    keys: Sequence[str] = ()  # what the legend shows beside each name: line, point or area


def draw(figure: Figure, *, points: int = POINTS, standalone: bool = False) -> str:
    """The figure as SVG.

    Parameters
    ----------
    figure : Figure
        See the module's text for what `series` holds.
    points : int
        Points drawn per series; more are thinned with their extremes kept, and the figure says so.
    standalone : bool
        Whether the drawing brings its own style: for a file. In a page, put `STYLE` there once.

    Returns
    -------
    str
        An `<svg>` element, accessible by its label, that fills the width it is given.

    Raises
    ------
    ValueError
        Where the kind is unknown, or the series do not hold what the kind needs.

    Examples
    --------
    >>> from lstm_oracle.diagnosis.findings import Figure
    >>> series = {"before": [0.7, 0.7], "after": [0.7, 0.1]}
    >>> draw(Figure("curves", "Loss", "epoch", "loss", series))[:52]
    '<svg class="fig" viewBox="0 0 720 351" role="img" ar'
    """
    if figure.kind not in _KINDS:
        raise ValueError(
            f"figure {wording.line(figure.title, 60)!r}: kind is {figure.kind!r}, expected one of "
            f"{', '.join(_KINDS)}. Name one of them."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # overflow is what such a figure shows
        content = _KINDS[figure.kind](figure, points)
    drawing = _stack(
        [
            _title(figure.title),
            _legend(content),
            content.body,
            _notes(content.notes),
        ]
    )
    label = f"{figure.kind}: {wording.line(figure.title, 200)}. {content.summary}"
    extra = f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}"' if standalone else ""
    style = f"<style>{STYLE}.fig{{background:var(--page)}}</style>" if standalone else ""
    return (
        f'<svg class="fig" viewBox="0 0 {WIDTH} {drawing.height:.0f}" role="img" '
        f'aria-label="{escape(label)}"{extra}>{style}{drawing.svg}</svg>'
    )


# --- pieces that every kind shares ----------------------------------------------------------------


def _stack(blocks: Iterable[_Block]) -> _Block:
    parts, top = [], 0.0
    for block in blocks:
        if block.svg:
            parts.append(f'<g transform="translate(0 {_n(top)})">{block.svg}</g>')
        top += block.height
    return _Block("".join(parts), top)


def _text(x: float, y: float, string: str, classes: str = "") -> str:
    attribute = f' class="{classes}"' if classes else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{attribute}>{escape(string)}</text>'


def _n(value: float) -> str:
    """A pixel with at most one decimal, as short as it goes."""
    return f"{value:.1f}".removesuffix(".0")


def _width(string: str, size: float = 12) -> float:
    """About how wide the text will be drawn; real fonts are a little narrower."""
    return 0.56 * size * wording.columns(string)


def _fit(string: str, pixels: float, size: float = 12) -> str:
    return wording.shorten(string, max(4, int(pixels / (0.56 * size))))


def _wrapped(string: str, pixels: float, size: float, limit: int) -> list[str]:
    """At most `limit` lines of text that fit the width."""
    rows: list[str] = [""]
    for word in string.split():
        joined = f"{rows[-1]} {word}".strip()
        if _width(joined, size) <= pixels:
            rows[-1] = joined
        else:
            rows.append(_fit(word, pixels, size))
    rows = [row for row in rows if row]
    return [*rows[: limit - 1], f"{rows[limit - 1]} …"] if len(rows) > limit else rows


def _title(title: str) -> _Block:
    rows = _wrapped(wording.line(title, 300), WIDTH - 16, 14, 3)
    svg = "".join(_text(0, 16 + 19 * n, row, "t") for n, row in enumerate(rows))
    return _Block(svg, 19 * len(rows) + 10)


def _notes(notes: Sequence[str]) -> _Block:
    rows = [row for note in notes for row in _wrapped(note, WIDTH, 11, 3)]
    svg = "".join(_text(0, 16 + 15 * n, row, "n") for n, row in enumerate(rows))
    return _Block(svg, 15 * len(rows) + 8 if rows else 0)


def _legend(content: _Content) -> _Block:
    """Names beside a piece of their line or marker; nothing for a single series."""
    if len(content.names) < 2:
        return _Block("", 0)
    parts, x, y = [], 0.0, 12.0
    for n, (name, kind) in enumerate(zip(content.names, content.keys, strict=True)):
        label = wording.shorten(wording.line(name, 200), 44)
        wide = 34 + _width(label) + 18
        if x and x + wide > WIDTH:
            x, y = 0.0, y + 20
        key = _LEGEND_KEYS[kind](n, x, y - 4)
        parts.append(f'<g class="c{n % 8}">{key}</g>' + _text(x + 34, y, label, "k"))
        x += wide
    return _Block("".join(parts), y + 10)


def _key(n: int, x: float, y: float) -> str:
    return f'<path class="l"{_dash(n)} d="M{_n(x)} {_n(y)}h26"/>'


def _area(n: int, x: float, y: float) -> str:
    return f'<rect class="f" x="{_n(x + 8)}" y="{_n(y - 6)}" width="18" height="12" rx="1"/>'


def _dash(n: int) -> str:
    dash = _DASHES[n % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _marker(n: int, x: float, y: float, size: float = 3.5) -> str:
    """A point, with a shape of its own per series."""
    a, b = _n(x), _n(y)
    shapes = (
        f'<circle class="p" cx="{a}" cy="{b}" r="{size}"/>',
        f'<path class="p" d="M{a} {_n(y - size - 1)}l{size + 1} {2 * size}h-{2 * size + 2}z"/>',
        f'<path class="p" d="M{_n(x - size)} {_n(y - size)}h{2 * size}v{2 * size}h-{2 * size}z"/>',
        f'<path class="p" d="M{a} {_n(y - size - 1)}l{size + 1} {size + 1}l-{size + 1} '
        f'{size + 1}l-{size + 1} -{size + 1}z"/>',
    )
    return shapes[n % len(shapes)]


_LEGEND_KEYS: dict[str, Callable[[int, float, float], str]] = {
    "line": _key,
    "point": lambda n, x, y: _marker(n, x + 18, y),
    "area": _area,
}


@dataclass(frozen=True)
class _Frame:
    """The plot's area with its two axes; y runs upwards."""

    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        return self.x.place(x), self.y.place(y)


def _frame(
    x: tuple[float, float],
    y: tuple[float, float],
    figure: Figure,
    *,
    height: float = _PLOT,
) -> _Frame:
    """Axes whose left margin holds the widest label of y."""
    top = 24.0
    y_axis = Axis(*y, start=top + height, stop=top, log=figure.log_y)
    left = 14 + max((_width(label) for _, label in y_axis.ticks(5)), default=20)
    return _Frame(Axis(*x, start=left, stop=WIDTH - 14.0, log=figure.log_x), y_axis)


def _axes(frame: _Frame, figure: Figure, labels: Sequence[tuple[float, str]] | None = None) -> str:
    """Grid lines, ticks and the two names; y's name stands level, above its axis."""
    left, right, bottom = frame.x.start, frame.x.stop, frame.y.start
    parts = []
    for value, label in frame.y.ticks(5):
        y = _n(frame.y.place(value))
        zero = "a" if value == 0 and not figure.log_y else "g"
        parts.append(f'<path class="{zero}" d="M{_n(left)} {y}H{_n(right)}"/>')
        parts.append(_text(left - 7, float(y) + 4, label, "e"))
    for value, label in labels if labels is not None else frame.x.ticks(8):
        x = frame.x.place(value)
        parts.append(f'<path class="a" d="M{_n(x)} {_n(bottom)}v4"/>')
        parts.append(_text(x, bottom + 18, label, "m"))
    parts.append(f'<path class="a" d="M{_n(left)} {_n(bottom)}H{_n(right)}"/>')
    scales = [" (log scale)" if log else "" for log in (figure.log_x, figure.log_y)]
    x_name = _fit(wording.line(figure.x_label, 200), right - left - 80) + scales[0]
    y_name = _fit(wording.line(figure.y_label, 200), right - 80) + scales[1]
    parts.append(_text((left + right) / 2, bottom + 37, x_name if figure.x_label else "", "m"))
    parts.append(_text(0, 12, y_name if figure.y_label else ""))
    return "".join(parts)


_BELOW = 46  # pixels for ticks and name under the plot


def _with_axes(frame: _Frame, marks: Iterable[str], axes: str) -> _Block:
    return _Block(axes + "".join(marks), frame.y.start + _BELOW)


# --- curves and scatter ---------------------------------------------------------------------------


def _plotted(figure: Figure, points: int) -> _Content:
    """Lines with bands, and points with error bars."""
    read = series.lines(figure)
    kept = read[: series.MOST_SERIES]
    placed = [_drawable(item, figure) for item in kept]
    thinned = [series.thin(item, points) for item in placed]
    frame = _frame(
        span(_every(thinned, "x"), log=figure.log_x),
        span(
            np.concatenate([_every(thinned, key) for key in ("y", "low", "high")]), log=figure.log_y
        ),
        figure,
    )
    marks = [_bands(frame, n, item) for n, item in enumerate(thinned)]
    marks += [_mark(frame, n, item) for n, item in enumerate(thinned)]
    notes = _left_out(len(read), len(kept), "series")
    notes += _unplaced(kept, placed, figure)
    notes += _thinned(placed, thinned)
    return _Content(
        _with_axes(frame, marks, _axes(frame, figure, _named_places(frame, thinned))),
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


def _named_places(frame: _Frame, items: Sequence[Line]) -> list[tuple[float, str]] | None:
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


def _bands(frame: _Frame, n: int, item: Line) -> str:
    if item.low is None or item.high is None or not item.join:
        return ""
    parts = []
    for run in _runs(np.isfinite(item.x) & np.isfinite(item.low) & np.isfinite(item.high)):
        there = [frame.at(item.x[k], item.high[k]) for k in run]
        back = [frame.at(item.x[k], item.low[k]) for k in run[::-1]]
        parts.append(f'<path class="b" d="{_path([*there, *back])}z"/>')
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'


def _mark(frame: _Frame, n: int, item: Line) -> str:
    good = np.isfinite(item.x) & np.isfinite(item.y)
    parts = []
    if item.join:
        for run in _runs(good):
            path = _path([frame.at(item.x[k], item.y[k]) for k in run])
            parts.append(f'<path class="l"{_dash(n)} d="{path}{"h0" if len(run) == 1 else ""}"/>')
    else:
        for k in np.flatnonzero(good):
            parts.append(_error_bar(frame, item, int(k)))
            parts.append(_marker(n, *frame.at(item.x[k], item.y[k]), size=2.5))
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'


def _error_bar(frame: _Frame, item: Line, k: int) -> str:
    if item.low is None or item.high is None or not np.isfinite(item.low[k] + item.high[k]):
        return ""
    (x, low), (_, high) = frame.at(item.x[k], item.low[k]), frame.at(item.x[k], item.high[k])
    return f'<path class="l" style="stroke-width:1" d="M{_n(x)} {_n(low)}V{_n(high)}"/>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in places)


def _left_out(count: int, kept: int, what: str) -> list[str]:
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


def _bars(figure: Figure, points: int) -> _Content:
    """Sideways with names, upright with numbers."""
    read = series.lines(figure)
    if all(item.labels is None for item in read):
        return _columns(figure, [_as_bins(item) for item in read], "bars")
    kept = read[: series.MOST_SERIES]
    count = max((len(item.y) for item in kept), default=0)
    shown = min(count, series.MOST_BARS)
    labels = next(item.labels for item in kept if item.labels is not None)
    notes = _left_out(len(read), len(kept), "series") + _left_out(count, shown, "bars")
    return _Content(
        _sideways(figure, kept, labels[:shown]),
        [item.name for item in kept],
        notes,
        " ".join(map(_in_words, kept)),
        ["area"] * len(kept),
    )


def _sideways(figure: Figure, kept: Sequence[Line], labels: Sequence[str]) -> _Block:
    """Groups of level bars, the name to their left, the number at their end."""
    thick = 16.0 if len(kept) == 1 else 11.0
    group = thick * len(kept) + 10
    names = [wording.shorten(label, 34) for label in labels]
    values = np.concatenate([_every(kept, key) for key in ("y", "low", "high")])
    low, high = span(values, log=figure.log_y, zero=True)
    left = 10 + max((_width(name) for name in names), default=40)
    room = 14 + max(
        (_width(_value(item, k)) for item in kept for k in range(len(item.y))), default=0
    )
    axis = Axis(low, high, start=left, stop=WIDTH - room, log=figure.log_y)
    bottom = 4 + group * len(names)
    parts = _rulers(axis, bottom, figure)
    for k, name in enumerate(names):
        top = 4 + group * k + 5
        parts.append(_text(left - 7, top + thick * len(kept) / 2 + 4, name, "k e"))
        for n, item in enumerate(kept):
            if k < len(item.y):
                parts.append(_bar(axis, n, item, k, top + thick * n, thick - 1.5))
    return _Block("".join(parts), bottom + _BELOW)


def _rulers(axis: Axis, bottom: float, figure: Figure) -> list[str]:
    parts = []
    for value, label in axis.ticks(6):
        x = axis.place(value)
        kind = "a" if value == 0 and not figure.log_y else "g"
        parts.append(f'<path class="{kind}" d="M{_n(x)} 4V{_n(bottom)}"/>')
        parts.append(_text(x, bottom + 18, label, "m"))
    name = _fit(wording.line(figure.y_label, 200), axis.stop - axis.start)
    parts.append(
        _text(
            (axis.start + axis.stop) / 2,
            bottom + 37,
            name + (" (log scale)" if figure.log_y else ""),
            "m",
        )
    )
    parts.append(
        _text(axis.start - 7, bottom + 37, _fit(wording.line(figure.x_label, 200), axis.start), "e")
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
        return _text(base + 5, middle + 4, wording.show(value), "v")
    end = axis.place(value)
    reach = [base, end]
    whisker = ""
    if item.low is not None and item.high is not None and np.isfinite(item.low[k] + item.high[k]):
        low = axis.place(max(float(item.low[k]), axis.low))
        high = axis.place(max(float(item.high[k]), axis.low))
        reach += [low, high]
        whisker = (
            f'<path class="w" d="M{_n(low)} {_n(middle)}H{_n(high)}M{_n(low)} {_n(middle - 3)}v6'
            f'M{_n(high)} {_n(middle - 3)}v6"/>'
        )
    rectangle = (
        f'<rect class="f c{n % 8}" x="{_n(min(base, end))}" y="{_n(top)}" '
        f'width="{_n(max(abs(end - base), 0.5))}" height="{_n(thick)}"/>'
    )
    return rectangle + whisker + _text(max(reach) + 6, middle + 4, _value(item, k), "v")


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


def _histogram(figure: Figure, points: int) -> _Content:
    return _columns(figure, series.bins(figure), "bins")


def _columns(figure: Figure, read: Sequence[Bins], what: str) -> _Content:
    """Upright bars side by side; several series lie over one another, outlined."""
    kept = [_few(item, 200) for item in read[: series.MOST_SERIES]]
    edges = np.concatenate([np.zeros(0), *(item.edges for item in kept)])
    counts = np.concatenate([np.zeros(0), *(item.counts for item in kept)])
    frame = _frame(
        span(edges, log=figure.log_x, air=0.0),
        span(counts, log=figure.log_y, zero=True),
        figure,
    )
    notes = _left_out(len(read), len(kept), "series")
    if any(len(a.counts) < len(b.counts) for a, b in zip(kept, read, strict=False)):
        notes.append(f"Neighbouring {what} are drawn together: sums.")
    marks = [_steps(frame, n, item) for n, item in enumerate(kept)]
    return _Content(
        _with_axes(frame, marks, _axes(frame, figure)),
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


def _steps(frame: _Frame, n: int, item: Bins) -> str:
    base = frame.y.place(frame.y.low if frame.y.log else max(frame.y.low, min(0.0, frame.y.high)))
    parts = []
    for left, right, count in zip(item.edges[:-1], item.edges[1:], item.counts, strict=True):
        if not np.isfinite(count) or (frame.y.log and count <= 0) or (frame.x.log and left <= 0):
            continue
        x, y = frame.at(float(left), float(count))
        wide = max(frame.x.place(float(right)) - x - 1, 0.6)
        parts.append(
            f'<rect class="h" x="{_n(x)}" y="{_n(min(y, base))}" width="{_n(wide)}" '
            f'height="{_n(abs(base - y))}"/><path class="l" d="M{_n(x)} {_n(y)}h{_n(wide)}"/>'
        )
    return f'<g class="c{n % 8}">{"".join(parts)}</g>'


# --- heat map and confusion matrix ----------------------------------------------------------------


_CELLS = (80, 200)  # rows and columns of a heat map at most


def _heatmap(figure: Figure, points: int) -> _Content:
    panels = series.grids(figure)
    kept = panels[: series.MOST_SERIES]
    across = 1 if len(kept) == 1 else 2
    small = [series.blocks(panel, *_CELLS) for panel in kept]
    notes = _left_out(len(panels), len(kept), "panels")
    if any(a is not b for a, b in zip(small, kept, strict=True)):
        full = " x ".join(map(str, kept[0].values.shape))
        notes.append(f"Means over blocks of the {full} values (rows x columns).")
    missing = sum(int(np.sum(~np.isfinite(panel.values))) for panel in kept)
    if missing:
        notes.append(f"{missing:,} values are not finite: left blank.")
    wide = (WIDTH - 24 * (across - 1)) / across
    drawn = [_panel(figure, *pair, wide) for pair in zip(kept, small, strict=True)]
    rows = [drawn[n : n + across] for n in range(0, len(drawn), across)]
    body = _stack(_beside(row, wide + 24) for row in rows)
    return _Content(body, (), notes, " ".join(map(_grid_in_words, kept)))


def _beside(blocks: Sequence[_Block], step: float) -> _Block:
    svg = "".join(
        f'<g transform="translate({_n(step * n)} 0)">{block.svg}</g>'
        for n, block in enumerate(blocks)
    )
    return _Block(svg, max(block.height for block in blocks))


def _grid_in_words(panel: Grid) -> str:
    values = panel.values[np.isfinite(panel.values)]
    rows, columns = panel.values.shape
    name = wording.line(panel.name, 60)
    if not len(values):
        return f"{name}: {rows} rows by {columns} columns, no finite value."
    low, high = wording.show(float(values.min())), wording.show(float(values.max()))
    return f"{name}: {rows} rows by {columns} columns, from {low} to {high}."


def _panel(figure: Figure, panel: Grid, small: Grid, wide: float) -> _Block:
    """One grid as an image, with the names of the full grid and its scale of colours."""
    values = small.values[np.isfinite(small.values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    colours, low, high = image.colours_for(low, high)
    left = 12 + max((_width(name) for name in _shown(panel.rows, 8)), default=10)
    left = min(left, wide / 3)
    top, height = 46.0, 190.0 if wide < 400 else 230.0
    area = wide - left - 8
    parts = [_text(0, 14, _fit(wording.line(panel.name, 200), wide - 190), "t")]
    parts.append(_scale(colours, low, high, wide - 8))
    parts.append(_text(0, 38, _fit(wording.line(figure.y_label, 200), wide - 190)))
    if small.values.size:
        uri = image.data_uri(image.levels_of(small.values, low, high), colours)
        parts.append(
            f'<image x="{_n(left)}" y="{_n(top)}" width="{_n(area)}" height="{_n(height)}" '
            f'preserveAspectRatio="none" style="image-rendering:pixelated" href="{uri}"/>'
        )
    parts.append(
        f'<rect class="g" x="{_n(left)}" y="{_n(top)}" width="{_n(area)}" height="{_n(height)}"/>'
    )
    for share, name in _spread(panel.rows, 8):
        parts.append(_text(left - 6, top + share * height + 4, _fit(name, left - 6), "e"))
    for share, name in _spread(panel.columns, 6):
        parts.append(_text(left + share * area, top + height + 16, wording.shorten(name, 14), "m"))
    label = _fit(wording.line(figure.x_label, 200), area)
    parts.append(_text(left + area / 2, top + height + 34, label, "m"))
    return _Block("".join(parts), top + height + 46)


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
    x = right - _width(ends[1]) - 5 - 70
    return (
        _text(x - 6, 14, ends[0], "e")
        + f'<image x="{_n(x)}" y="5" width="70" height="10" preserveAspectRatio="none" '
        f'href="{strip}"/>' + _text(right, 14, ends[1], "e")
    )


def _confusion(figure: Figure, points: int) -> _Content:
    """Counts in cells coloured by their share of the row; without numbers above twelve classes."""
    panels = series.grids(figure)
    kept = panels[:4]
    if any(max(panel.values.shape, default=0) > 12 for panel in kept):
        return _large_confusion(figure, kept)
    across = 1 if len(kept) == 1 else 2
    wide = (WIDTH - 24 * (across - 1)) / across
    rows = [kept[n : n + across] for n in range(0, len(kept), across)]
    body = _stack(_beside([_cells(figure, p, wide) for p in row], wide + 24) for row in rows)
    notes = [*_left_out(len(panels), len(kept), "panels"), "Colour: share of the row."]
    return _Content(body, (), notes, " ".join(map(_grid_in_words, kept)))


def _large_confusion(figure: Figure, kept: Sequence[Grid]) -> _Content:
    small = [series.blocks(panel, *_CELLS, total=True) for panel in kept]
    blocks = [_panel(figure, *pair, WIDTH) for pair in zip(kept, small, strict=True)]
    summed = any(a is not b for a, b in zip(small, kept, strict=True))
    notes = ["Sums over blocks of neighbouring classes."] if summed else []
    return _Content(_stack(blocks), (), notes, " ".join(map(_grid_in_words, kept)))


def _cells(figure: Figure, panel: Grid, wide: float) -> _Block:
    rows, columns = panel.values.shape
    left = min(10 + max((_width(name) for name in panel.rows), default=10), wide / 3)
    size = min((wide - left - 6) / max(columns, 1), 64.0)
    high, top = min(size, 40.0), 60.0
    totals = np.nansum(panel.values, axis=1, keepdims=True)
    shares = np.divide(panel.values, totals, out=np.zeros_like(panel.values), where=totals > 0)
    shades = image.ramp(image.SEQUENTIAL, 101)
    parts = [_text(0, 14, _fit(wording.line(panel.name, 200), wide), "t")]
    parts.append(_text(0, 34, _fit(wording.line(figure.y_label, 200), wide / 2)))
    parts.append(_text(left, 52, _fit(wording.line(figure.x_label, 200), wide - left)))
    for r in range(rows):
        y = top + high * r
        parts.append(_text(left - 6, y + high / 2 + 4, _fit(panel.rows[r], left - 6), "e k"))
        for c in range(columns):
            share = float(np.nan_to_num(shares[r, c]))
            shade = shades[round(100 * min(max(share, 0.0), 1.0))]
            parts.append(_cell(left + size * c, y, size, high, shade, panel.values[r, c]))
    for c, name in enumerate(panel.columns):
        x = left + size * (c + 0.5)
        parts.append(_text(x, top + high * rows + 17, _fit(name, size), "m k"))
    return _Block("".join(parts), top + high * rows + 30)


def _cell(x: float, y: float, wide: float, high: float, shade: np.ndarray, value: float) -> str:
    red, green, blue = map(int, shade)
    light = (
        0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2
    )
    ink = "#000" if light > 0.18 else "#fff"
    label = _fit(wording.show(float(value)), wide)
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(wide - 1)}" height="{_n(high - 1)}" '
        f'fill="#{red:02x}{green:02x}{blue:02x}"/>'
        f'<text class="m" x="{_n(x + wide / 2)}" y="{_n(y + high / 2 + 4)}" style="fill:{ink}">'
        f"{escape(label)}</text>"
    )


_KINDS: dict[str, Callable[[Figure, int], _Content]] = {
    "curves": _plotted,
    "bars": _bars,
    "heatmap": _heatmap,
    "histogram": _histogram,
    "confusion": _confusion,
    "scatter": _plotted,
}
