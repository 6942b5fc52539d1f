"""The data of a figure, read into arrays, thinned for drawing, and laid out as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import wording
from lstm_oracle.diagnosis.report.axes import span

MOST_SERIES = 12  # more lines than this cannot be told apart
MOST_BARS = 40
_MOST_COLUMNS = 24  # of a table of a grid


@dataclass(frozen=True)
class Line:
    """Points in order; `low` and `high` bound them. `labels` stand in for x where x is names."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    labels: tuple[str, ...] | None = None
    join: bool = True  # a line, or single points


@dataclass(frozen=True)
class Bins:
    """A histogram: counts between edges."""

    name: str
    edges: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Grid:
    """Numbers by row and column, with the names of both."""

    name: str
    values: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Titles, rows of text, and what was left out."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


# --- reading --------------------------------------------------------------------------------------


def lines(figure: Figure) -> list[Line]:
    """The series of curves, bars or a scatter."""
    series = figure.series
    if series and all(_is_number(value) for value in series.values()):
        series = {"": {"x": list(series), "y": list(series.values())}}
    return [_line(figure, str(name), value) for name, value in series.items()]


def _line(figure: Figure, name: str, value: Any) -> Line:
    data = value if isinstance(value, Mapping) else {"y": value}
    if "y" not in data:
        raise ValueError(
            f"figure {wording.line(figure.title, 60)!r}: series {wording.line(name, 60)!r} has "
            f"{', '.join(map(str, data)) or 'nothing'}, expected 'y' and perhaps 'x', 'low', "
            "'high'. Give the numbers to be drawn as 'y'."
        )
    y = _numbers(figure, name, data["y"])
    x, labels = _places(figure, name, data.get("x"), len(y))
    bounds = {key: _numbers(figure, name, data[key]) for key in ("low", "high") if _has(data, key)}
    for key, array in {"x": x, **bounds}.items():
        if len(array) != len(y):
            raise ValueError(
                f"figure {wording.line(figure.title, 60)!r}: series {wording.line(name, 60)!r} has "
                f"{len(array)} {key} and {len(y)} y, expected as many. Give one {key} per y."
            )
    join = bool(data.get("line", figure.kind == "curves"))
    pair = bounds if len(bounds) == 2 else {}
    return Line(name, x, y, pair.get("low"), pair.get("high"), labels, join)


def _places(
    figure: Figure, name: str, x: Any, count: int
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    if x is None:
        return np.arange(count, dtype=float), None
    if len(x) and isinstance(x[0], str):
        return np.arange(len(x), dtype=float), tuple(wording.line(value, 80) for value in x)
    return _numbers(figure, name, x), None


def bins(figure: Figure) -> list[Bins]:
    """The series of a histogram: given as edges and counts, or counted here over common edges."""
    series = {str(name): value for name, value in figure.series.items()}
    raw = {name: value for name, value in series.items() if not _counted(value)}
    values = {
        name: _numbers(figure, name, value["values"] if isinstance(value, Mapping) else value)
        for name, value in raw.items()
    }
    edges = _common_edges(figure, list(values.values()))
    result = []
    for name, value in series.items():
        if name in values:
            kept = values[name][np.isfinite(values[name])]
            counts = np.histogram(kept, edges)[0].astype(float)
            result.append(Bins(name, edges, counts))
        else:
            result.append(_given_bins(figure, name, value))
    return result


def _counted(value: Any) -> bool:
    return isinstance(value, Mapping) and "counts" in value


def _given_bins(figure: Figure, name: str, value: Mapping[str, Any]) -> Bins:
    edges = _numbers(figure, name, value.get("edges", ()))
    counts = _numbers(figure, name, value["counts"])
    if len(edges) != len(counts) + 1 or not np.all(np.diff(edges) > 0):
        raise ValueError(
            f"figure {wording.line(figure.title, 60)!r}: series {wording.line(name, 60)!r} has "
            f"{len(edges)} edges and {len(counts)} counts, expected one more edge than counts, "
            "rising. Give 'edges' and 'counts' as numpy.histogram does, or raw 'values'."
        )
    return Bins(name, edges, counts)


def _common_edges(figure: Figure, arrays: list[np.ndarray]) -> np.ndarray:
    values = np.concatenate(arrays) if arrays else np.zeros(0)
    values = values[np.isfinite(values) & ((values > 0) | (not figure.log_x))]
    if not len(values):
        return np.array([0.0, 1.0])
    count = int(np.clip(np.sqrt(len(values)), 5, 40))
    low, high = span(values, log=figure.log_x, air=0.0)
    return (np.geomspace if figure.log_x else np.linspace)(low, high, count + 1)


def grids(figure: Figure) -> list[Grid]:
    """The panels of a heat map or confusion matrix."""
    series: Mapping[str, Any] = figure.series
    if "values" in series:
        series = {"": series}
    panels = []
    for name, value in series.items():
        data = value if isinstance(value, Mapping) else {"values": value}
        panels.append(_grid(figure, str(name), data))
    return panels


def _grid(figure: Figure, name: str, data: Mapping[str, Any]) -> Grid:
    values = _array(figure, name, data.get("values"))
    if values.ndim != 2:
        raise ValueError(
            f"figure {wording.line(figure.title, 60)!r}: panel {wording.line(name, 60)!r} has "
            f"values of shape {values.shape}, expected two axes: rows (y), then columns (x). "
            "Reshape them."
        )
    labels = data.get("labels")
    rows, columns = values.shape
    return Grid(
        name,
        values,
        _names(data.get("y", labels), rows),
        _names(data.get("x", labels), columns),
    )


def _names(names: Any, count: int) -> tuple[str, ...]:
    if names is None or len(names) != count:
        return tuple(map(str, range(count)))
    return tuple(wording.shorten(wording.show(name), 40) for name in names)


def _numbers(figure: Figure, name: str, values: Any) -> np.ndarray:
    return _array(figure, name, values).reshape(-1)


def _array(figure: Figure, name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(_without_none(values), dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"figure {wording.line(figure.title, 60)!r}: series {wording.line(name, 60)!r} holds "
            f"what is no array of numbers ({wording.line(error, 80)}), expected numbers. "
            "Leave out what has no value as NaN or None."
        ) from error


def _without_none(values: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return [_without_none(value) for value in values]
    return np.nan if values is None else values


def _has(data: Mapping[str, Any], key: str) -> bool:
    return data.get(key) is not None


def _is_number(value: Any) -> bool:
    return value is None or (np.ndim(value) == 0 and wording.as_float(value) is not None)


# --- thinning -------------------------------------------------------------------------------------


def thin(series: Line, limit: int) -> Line:
    """At most about `limit` points that keep every extreme: the first, last, least and greatest
    of each of `limit / 4` runs; of points that are not joined, evenly spaced ones.
    """
    n = len(series.y)
    if n <= limit:
        return series
    if not series.join:
        return _take(series, np.unique(np.linspace(0, n - 1, limit).astype(int)))
    kept: list[int] = []
    for run in np.array_split(np.arange(n), max(1, limit // 4)):
        y = series.y[run]
        finite = np.isfinite(y)
        lowest = run[np.argmin(np.where(finite, y, np.inf))]
        highest = run[np.argmax(np.where(finite, y, -np.inf))]
        kept += [int(run[0]), int(run[-1]), int(lowest), int(highest)]
    return _take(series, np.unique(kept))


def _take(series: Line, index: np.ndarray) -> Line:
    return replace(
        series,
        x=series.x[index],
        y=series.y[index],
        low=None if series.low is None else series.low[index],
        high=None if series.high is None else series.high[index],
        labels=None if series.labels is None else tuple(series.labels[n] for n in index),
    )


def blocks(grid: Grid, rows: int, columns: int, *, total: bool = False) -> Grid:
    """The grid with at most `rows` x `columns` cells, each the mean (or sum) of a block."""
    if not grid.values.size:
        return grid
    row_groups = _groups(grid.values.shape[0], rows)
    column_groups = _groups(grid.values.shape[1], columns)
    if len(row_groups) == grid.values.shape[0] and len(column_groups) == grid.values.shape[1]:
        return grid
    finite = np.isfinite(grid.values)
    starts = [np.array([group[0] for group in groups]) for groups in (row_groups, column_groups)]
    values = _block_sums(np.where(finite, grid.values, 0.0), *starts)
    if not total:
        counts = _block_sums(finite.astype(float), *starts)
        values = np.where(counts > 0, values / np.maximum(counts, 1), np.nan)
    rows_named, columns_named = (
        _group_names(grid.rows, row_groups),
        _group_names(grid.columns, column_groups),
    )
    return Grid(grid.name, values, rows_named, columns_named)


def _block_sums(values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)


def _groups(count: int, limit: int) -> list[np.ndarray]:
    return np.array_split(np.arange(count), min(count, limit))


def _group_names(names: tuple[str, ...], groups: list[np.ndarray]) -> tuple[str, ...]:
    return tuple(
        names[g[0]] if len(g) == 1 else wording.shorten(f"{names[g[0]]} to {names[g[-1]]}", 40)
        for g in groups
    )


# --- tables ---------------------------------------------------------------------------------------


def tabulate(figure: Figure, rows: int = 100) -> list[Table]:
    """The numbers of a figure as tables of at most about `rows` rows; what is left out is said.

    Raises
    ------
    ValueError
        Where the series do not hold what the figure's kind needs.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _tables(figure, rows)


def _tables(figure: Figure, rows: int) -> list[Table]:
    if figure.kind in ("heatmap", "confusion"):
        return [_grid_table(figure, grid, rows) for grid in grids(figure)]
    if figure.kind == "histogram":
        return [_bins_table(figure, item, rows) for item in bins(figure)[:MOST_SERIES]]
    kept = lines(figure)[:MOST_SERIES]
    if len(kept) > 1 and _same_places(kept):
        return [_wide_table(figure, kept, rows)]
    return [_line_table(figure, item, rows) for item in kept]


def _same_places(kept: list[Line]) -> bool:
    first = kept[0]
    return all(
        item.labels == first.labels and np.array_equal(item.x, first.x, equal_nan=True)
        for item in kept
    )


def _rows_of(count: int, limit: int) -> tuple[np.ndarray, str]:
    """Evenly spaced row numbers with both ends, and the note that says so."""
    if count <= limit:
        return np.arange(count), ""
    index = np.unique(np.linspace(0, count - 1, limit).astype(int))
    return index, f"{len(index):,} of {count:,} rows, evenly spaced."


def _wide_table(figure: Figure, kept: list[Line], rows: int) -> Table:
    index, note = _rows_of(len(kept[0].y), rows)
    titles: list[str] = [figure.x_label or "x"]
    columns: list[list[str]] = [_place_texts(kept[0], index)]
    for item in kept:
        titles.append(item.name)
        columns.append(_texts(item, index))
    return Table(_cleaned(titles), tuple(zip(*columns, strict=True)), note)


def _line_table(figure: Figure, item: Line, rows: int) -> Table:
    index, note = _rows_of(len(item.y), rows)
    y = f"{figure.y_label or 'y'}, {item.name}" if item.name else figure.y_label or "y"
    columns = zip(_place_texts(item, index), _texts(item, index), strict=True)
    return Table(_cleaned([figure.x_label or "x", y]), tuple(columns), note)


def _place_texts(item: Line, index: np.ndarray) -> list[str]:
    if item.labels is not None:
        return [item.labels[n] for n in index]
    return [wording.show(float(item.x[n])) for n in index]


def _texts(item: Line, index: np.ndarray) -> list[str]:
    """Each number, with its interval where there is one."""
    if item.low is None or item.high is None:
        return [wording.show(float(item.y[n])) for n in index]
    return [
        f"{wording.show(float(item.y[n]))} "
        f"{wording.interval((float(item.low[n]), float(item.high[n])))}"
        for n in index
    ]


def _bins_table(figure: Figure, item: Bins, rows: int) -> Table:
    index, note = _rows_of(len(item.counts), rows)
    titles = [f"{figure.x_label or 'x'}, from", "to", item.name or figure.y_label or "count"]
    body = tuple(
        (
            wording.show(float(item.edges[n])),
            wording.show(float(item.edges[n + 1])),
            wording.show(float(item.counts[n])),
        )
        for n in index
    )
    return Table(_cleaned(titles), body, note)


def _grid_table(figure: Figure, grid: Grid, rows: int) -> Table:
    small = blocks(grid, rows, _MOST_COLUMNS, total=figure.kind == "confusion")
    corner = f"{figure.y_label or 'y'} \\ {figure.x_label or 'x'}"
    body = tuple(
        (name, *(wording.show(float(value)) for value in values))
        for name, values in zip(small.rows, small.values, strict=True)
    )
    note = grid.name
    if small is not grid:
        word = "sums" if figure.kind == "confusion" else "means"
        full = " x ".join(map(str, grid.values.shape))
        note += f"{': ' if note else ''}{word} over blocks of the {full} values."
    return Table(_cleaned([corner, *small.columns]), body, wording.line(note, 200))


def _cleaned(titles: Sequence[str]) -> tuple[str, ...]:
    return tuple(wording.line(title, 120) for title in titles)
