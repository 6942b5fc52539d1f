"""What a study says: tables and figures with their spread, as text, JSON or one HTML page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

import numpy as np

from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.diagnosis.report import figures, series
from lstm_oracle.diagnosis.report.style import PAGE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_TABLE_ROWS = 60  # of a figure's numbers
RESAMPLES = 2000


@dataclass(frozen=True)
class Number:
    """A mean over seeds, its 95 % bootstrap interval over them, and what they gave."""

    mean: float
    low: float
    high: float
    seeds: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Number:
        """From one value per seed; one that is not finite leaves no mean."""
        each = np.asarray(values, float)
        low, high = interval(each)
        return cls(float(each.mean()), low, high, tuple(float(f"{v:.4g}") for v in each))

    def __str__(self) -> str:
        """Mean and interval."""
        if not math.isfinite(self.mean):
            finite = sum(map(math.isfinite, self.seeds))
            return f"no mean: {finite} of {len(self.seeds)} finite"
        if len(self.seeds) == 1:
            return f"{self.mean:.3g}"
        return f"{self.mean:.3g} [{self.low:.3g}, {self.high:.3g}]"


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of one value per seed (Efron 1979)."""
    if not np.isfinite(values).all():
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


@dataclass(frozen=True)
class Table:
    """Rows of cells: text, or a `Number`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """A study's answer."""

    title: str
    summary: tuple[str, ...]  # sentences
    facts: Mapping[str, Any]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema": 1, **asdict(self)}

    def to_json(self) -> str:
        """JSON text; numbers that JSON has no word for become null."""
        return json.dumps(_plain(self.to_dict()), indent=2, ensure_ascii=False) + "\n"

    def to_text(self) -> str:
        """Tables for a terminal."""
        parts = [self.title, *self.summary, _facts(self.facts)]
        parts += [_text_table(table) for table in self.tables]
        return "\n\n".join(part for part in parts if part) + "\n"

    def to_html(self) -> str:
        """One page that loads nothing and runs nothing; the numbers of a figure stand below it."""
        body = [f"<h1>{escape(self.title)}</h1>"]
        body += [f"<p>{escape(sentence)}</p>" for sentence in self.summary]
        body.append(f"<p class=muted>{escape(_facts(self.facts))}</p>")
        body += [html_table(table) for table in self.tables]
        body += [html_figure(figure) for figure in self.figures]
        made = " · ".join(f"{name} {version}" for name, version in self.versions.items())
        body.append(f"<footer>Made by lstm-oracle study with {escape(made)}</footer>")
        return page(self.title, "".join(body))


def page(title: str, body: str) -> str:
    """One self-contained HTML page."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{PAGE}{figures.STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def html_figure(figure: Figure, points: int = 200) -> str:
    """A drawing over its numbers, which are folded."""
    tables = "".join(_series_table(table) for table in series.tabulate(figure, rows=_TABLE_ROWS))
    return (
        f"<figure><div class=scroll tabindex=0>{figures.draw(figure, points=points)}</div>"
        f"<details><summary>The numbers of this figure</summary>{tables}</details></figure>"
    )


def html_table(table: Table) -> str:
    """A table under its title."""
    rows = [[str(cell) for cell in row] for row in table.rows]
    note = f"<p class=muted>{escape(table.note)}</p>" if table.note else ""
    return f"<h2>{escape(table.title)}</h2>{_grid(table.columns, rows)}{note}"


def _series_table(table: series.Table) -> str:
    note = f"<p class=muted>{escape(table.note)}</p>" if table.note else ""
    return note + _grid(table.titles, table.rows)


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th scope=col>{escape(str(title))}</th>" for title in titles)
    body = "".join(
        f"<tr><th scope=row>{escape(str(first))}</th>"
        + "".join(f"<td>{escape(str(cell))}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f"<div class=scroll tabindex=0><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _text_table(table: Table) -> str:
    cells = [list(table.columns), *([str(cell) for cell in row] for row in table.rows)]
    wide = [max(len(row[n]) for row in cells) for n in range(len(table.columns))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)) for row in cells]
    lines.insert(1, "  ".join("-" * w for w in wide))
    note = f"\n{table.note}" if table.note else ""
    return table.title + "\n" + "\n".join(line.rstrip() for line in lines) + note


def _facts(facts: Mapping[str, Any]) -> str:
    return " · ".join(f"{name}: {value}" for name, value in facts.items())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def versions() -> dict[str, str]:
    """Python, NumPy, this package, and JAX and Keras where they are loaded."""
    import platform
    import sys
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    names = ("lstm-oracle", "numpy", *(n for n in ("jax", "keras") if n in sys.modules))
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout
            continue
    return found
