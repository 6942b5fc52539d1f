"""Pieces of a figure that every kind shares: text, legend, axes, stacking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import wording
from lstm_oracle.diagnosis.report.axes import Axis

WIDTH = 720
_PLOT = 230  # height of a plot's area
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2", "1 2", "6 2 2 2 2 2")


@dataclass(frozen=True)
class Block:
    """A piece of SVG that begins at its own top left, and how high it is."""

    svg: str
    height: float


@dataclass(frozen=True)
class Content:
    """What a kind of figure draws: names for the legend, the drawing, remarks, and a summary."""

    body: Block
    names: Sequence[str] = ()
    notes: Sequence[str] = ()
    summary: str = ""
    keys: Sequence[str] = ()  # what the legend shows beside each name: line, point or area


def stack(blocks: Iterable[Block]) -> Block:
    """Blocks one under the other."""
    parts, top = [], 0.0
    for block in blocks:
        if block.svg:
            parts.append(f'<g transform="translate(0 {px(top)})">{block.svg}</g>')
        top += block.height
    return Block("".join(parts), top)


def svg_text(x: float, y: float, string: str, classes: str = "") -> str:
    """A line of text, escaped."""
    attribute = f' class="{classes}"' if classes else ""
    return f'<text x="{px(x)}" y="{px(y)}"{attribute}>{escape(string)}</text>'


def px(value: float) -> str:
    """A pixel with at most one decimal, as short as it goes."""
    return f"{value:.1f}".removesuffix(".0")


def text_width(string: str, size: float = 12) -> float:
    """About how wide the text will be drawn; real fonts are a little narrower."""
    return 0.56 * size * wording.columns(string)


def fit(string: str, pixels: float, size: float = 12) -> str:
    """The text, shortened to about so many pixels."""
    return wording.shorten(string, max(4, int(pixels / (0.56 * size))))


def _wrapped(string: str, pixels: float, size: float, limit: int) -> list[str]:
    """At most `limit` lines of text that fit the width."""
    rows: list[str] = [""]
    for word in string.split():
        joined = f"{rows[-1]} {word}".strip()
        if text_width(joined, size) <= pixels:
            rows[-1] = joined
        else:
            rows.append(fit(word, pixels, size))
    rows = [row for row in rows if row]
    return [*rows[: limit - 1], f"{rows[limit - 1]} …"] if len(rows) > limit else rows


def title_block(title: str) -> Block:
    """The title, on up to three lines."""
    rows = _wrapped(wording.line(title, 300), WIDTH - 16, 14, 3)
    svg = "".join(svg_text(0, 16 + 19 * n, row, "t") for n, row in enumerate(rows))
    return Block(svg, 19 * len(rows) + 10)


def notes_block(notes: Sequence[str]) -> Block:
    """What the figure has to say of itself, in small print."""
    rows = [row for note in notes for row in _wrapped(note, WIDTH, 11, 3)]
    svg = "".join(svg_text(0, 16 + 15 * n, row, "n") for n, row in enumerate(rows))
    return Block(svg, 15 * len(rows) + 8 if rows else 0)


def legend_block(content: Content) -> Block:
    """Names beside a piece of their line or marker; nothing for a single series."""
    if len(content.names) < 2:
        return Block("", 0)
    parts, x, y = [], 0.0, 12.0
    for n, (name, kind) in enumerate(zip(content.names, content.keys, strict=True)):
        label = wording.shorten(wording.line(name, 200), 44)
        wide = 34 + text_width(label) + 18
        if x and x + wide > WIDTH:
            x, y = 0.0, y + 20
        key = _LEGEND_KEYS[kind](n, x, y - 4)
        parts.append(f'<g class="c{n % 8}">{key}</g>' + svg_text(x + 34, y, label, "k"))
        x += wide
    return Block("".join(parts), y + 10)


def _key(n: int, x: float, y: float) -> str:
    return f'<path class="l"{dashes(n)} d="M{px(x)} {px(y)}h26"/>'


def _area(n: int, x: float, y: float) -> str:
    return f'<rect class="f" x="{px(x + 8)}" y="{px(y - 6)}" width="18" height="12" rx="1"/>'


def dashes(n: int) -> str:
    """The dashes of series n, as an attribute."""
    dash = _DASHES[n % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def marker(n: int, x: float, y: float, size: float = 3.5) -> str:
    """A point, with a shape of its own per series."""
    a, b = px(x), px(y)
    shapes = (
        f'<circle class="p" cx="{a}" cy="{b}" r="{size}"/>',
        f'<path class="p" d="M{a} {px(y - size - 1)}l{size + 1} {2 * size}h-{2 * size + 2}z"/>',
        f'<path class="p" d="M{px(x - size)} {px(y - size)}h{2 * size}v{2 * size}h-{2 * size}z"/>',
        f'<path class="p" d="M{a} {px(y - size - 1)}l{size + 1} {size + 1}l-{size + 1} '
        f'{size + 1}l-{size + 1} -{size + 1}z"/>',
    )
    return shapes[n % len(shapes)]


_LEGEND_KEYS: dict[str, Callable[[int, float, float], str]] = {
    "line": _key,
    "point": lambda n, x, y: marker(n, x + 18, y),
    "area": _area,
}


@dataclass(frozen=True)
class Frame:
    """The plot's area with its two axes; y runs upwards."""

    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point."""
        return self.x.place(x), self.y.place(y)


def make_frame(
    x: tuple[float, float],
    y: tuple[float, float],
    figure: Figure,
    *,
    height: float = _PLOT,
) -> Frame:
    """Axes whose left margin holds the widest label of y."""
    top = 24.0
    y_axis = Axis(*y, start=top + height, stop=top, log=figure.log_y)
    left = 14 + max((text_width(label) for _, label in y_axis.ticks(5)), default=20)
    return Frame(Axis(*x, start=left, stop=WIDTH - 14.0, log=figure.log_x), y_axis)


def draw_axes(
    frame: Frame, figure: Figure, labels: Sequence[tuple[float, str]] | None = None
) -> str:
    """Grid lines, ticks and the two names; y's name stands level, above its axis."""
    left, right, bottom = frame.x.start, frame.x.stop, frame.y.start
    parts = []
    for value, label in frame.y.ticks(5):
        y = px(frame.y.place(value))
        zero = "a" if value == 0 and not figure.log_y else "g"
        parts.append(f'<path class="{zero}" d="M{px(left)} {y}H{px(right)}"/>')
        parts.append(svg_text(left - 7, float(y) + 4, label, "e"))
    for value, label in labels if labels is not None else frame.x.ticks(8):
        x = frame.x.place(value)
        parts.append(f'<path class="a" d="M{px(x)} {px(bottom)}v4"/>')
        parts.append(svg_text(x, bottom + 18, label, "m"))
    parts.append(f'<path class="a" d="M{px(left)} {px(bottom)}H{px(right)}"/>')
    scales = [" (log scale)" if log else "" for log in (figure.log_x, figure.log_y)]
    x_name = fit(wording.line(figure.x_label, 200), right - left - 80) + scales[0]
    y_name = fit(wording.line(figure.y_label, 200), right - 80) + scales[1]
    parts.append(svg_text((left + right) / 2, bottom + 37, x_name if figure.x_label else "", "m"))
    parts.append(svg_text(0, 12, y_name if figure.y_label else ""))
    return "".join(parts)


BELOW = 46  # pixels for ticks and name under the plot


def with_axes(frame: Frame, marks: Iterable[str], axes: str) -> Block:
    """Marks over their axes."""
    return Block(axes + "".join(marks), frame.y.start + BELOW)
