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

from collections.abc import Callable
from html import escape

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import wording
from lstm_oracle.diagnosis.report.grids import draw_confusion, draw_heatmap
from lstm_oracle.diagnosis.report.pieces import (
    WIDTH,
    Content,
    legend_block,
    notes_block,
    stack,
    title_block,
)
from lstm_oracle.diagnosis.report.plots import draw_bars, draw_histogram, draw_points

POINTS = 400
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
    drawing = stack(
        [
            title_block(figure.title),
            legend_block(content),
            content.body,
            notes_block(content.notes),
        ]
    )
    label = f"{figure.kind}: {wording.line(figure.title, 200)}. {content.summary}"
    extra = f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}"' if standalone else ""
    style = f"<style>{STYLE}.fig{{background:var(--page)}}</style>" if standalone else ""
    return (
        f'<svg class="fig" viewBox="0 0 {WIDTH} {drawing.height:.0f}" role="img" '
        f'aria-label="{escape(label)}"{extra}>{style}{drawing.svg}</svg>'
    )


_KINDS: dict[str, Callable[[Figure, int], Content]] = {
    "curves": draw_points,
    "bars": draw_bars,
    "heatmap": draw_heatmap,
    "histogram": draw_histogram,
    "confusion": draw_confusion,
    "scatter": draw_points,
}
