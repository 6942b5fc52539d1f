"""Numbers and strings of strangers, made fit for a page: short, clean, and never dangerous."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lstm_oracle.diagnosis.findings import Diagnosis, Finding

LONGEST = 1_500  # characters of one string that a report shows
LISTED = 8  # numbers of one list that a report shows

# Control characters (terminals obey them, XML forbids them), surrogates that no encoding holds,
# and the marks that reorder text, which can make code read as something other than what it is.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
_ESCAPE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")


def clean(value: Any, limit: int = LONGEST) -> str:
    r"""The text of a value without control characters, shortened to `limit` characters.

    Examples
    --------
    >>> clean("lstm\x00_1\x1b[31m")
    'lstm_1'
    >>> clean("x" * 50, limit=10)
    'xxxxxxxxxx … (40 characters more)'
    """
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    text = _UNFIT.sub("", _ESCAPE.sub("", text))
    if len(text) <= limit:
        return text
    return f"{text[:limit]} … ({len(text) - limit:,} characters more)"


def line(value: Any, limit: int = LONGEST) -> str:
    """`clean`, on one line."""
    return " ".join(clean(value, limit).split())


def shorten(text: str, limit: int) -> str:
    """The text, cut in its middle where it is longer than `limit`: names differ at their ends."""
    if len(text) <= limit:
        return text
    keep = limit - 1
    return f"{text[: keep - keep // 2]}…{text[len(text) - keep // 2 :]}"


def show(value: Any) -> str:
    """A value as a reader wants it: four digits that count, thousands set apart, lists cut short.

    Examples
    --------
    >>> show(65535), show(0.000123456), show(float("nan")), show(None)
    ('65,535', '0.0001235', 'NaN', '-')
    >>> show([0.1, 0.25]), show("tanh"), show((0.5,) * 20)
    ('0.1, 0.25', 'tanh', '0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, … (20 values)')
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None:
        return "-"
    if isinstance(value, (bool, str)):
        return line(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**15 else f"{float(min(value, 10**300)):.3e}"
    if isinstance(value, float):
        return _float(value)
    return _collection(value)


def _collection(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = [f"{line(key)}: {show(item)}" for key, item in list(value.items())[:LISTED]]
    elif isinstance(value, (Sequence, set, frozenset)):
        parts = [show(item) for item in list(value)[:LISTED]]
    else:
        return line(value)
    rest = [f"… ({len(value):,} values)"] if len(value) > LISTED else []
    return ", ".join(parts + rest)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if value != value else ("inf" if value > 0 else "-inf")
    size = abs(value)
    if size != 0 and not 1e-4 <= size < 1e7:
        return f"{value:.3g}"
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.4g}'):g}"


def signed(value: float) -> str:
    """A difference with its sign: `+0.43`."""
    return ("+" if value >= 0 else "") + show(value)


def with_unit(value: Any, unit: str) -> str:
    """A value and its unit, where it has one."""
    return f"{show(value)} {line(unit)}".strip()


def interval(pair: Any, *, sign: bool = False) -> str:
    """A 95 % interval in brackets, or nothing."""
    if pair is None:
        return ""
    low, high = pair
    form = signed if sign else show
    return f"[{form(low)}, {form(high)}]"


def percent(value: Any) -> str:
    """A share of one in per cent; what is no number is said to be none."""
    number = as_float(value)
    return "-" if number is None else f"{100 * number:.0f} %"


def seconds(value: Any) -> str:
    """A duration: `0.4 s`, `3 min 20 s`."""
    number = as_float(value)
    if number is None:
        return "-"
    if number < 9.95:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def as_float(value: Any) -> float | None:
    """The value as a finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


# --- what every report says of a diagnosis ------------------------------------------------------


def headline(diagnosis: Diagnosis) -> tuple[str, str] | None:
    """What the number stands for, and the number: held-out skill as it is and as it becomes.

    `facts["skill"]` and `facts["skill_remedied"]` hold the skill of the user's set-up and of all
    remedies together; where they are missing, the first remedy that was tried speaks.
    """
    before, after = (as_float(diagnosis.facts.get(key)) for key in ("skill", "skill_remedied"))
    remedies = [finding.remedy for finding in diagnosis.findings if finding.remedy]
    tried = [remedy for remedy in remedies if remedy.tried]
    if tried and (before is None or after is None):
        before, after = as_float(tried[0].before), as_float(tried[0].after)
    if before is None:
        return None
    if after is None:
        return "Held-out skill", show(before)
    return "Held-out skill, with the remedy", f"{show(before)} -> {show(after)}"


SKILL = "1 is perfect, 0 no better than a constant"


def counts(diagnosis: Diagnosis) -> str:
    """How many errors, warnings and notes: `2 errors, 1 note`."""
    words = {"error": "error", "warning": "warning", "info": "note"}
    parts = []
    for severity, word in words.items():
        n = sum(finding.severity == severity for finding in diagnosis.findings)
        if n:
            parts.append(f"{n} {word}{'s' if n > 1 else ''}")
    return ", ".join(parts) or "no findings"


def total_seconds(costs: Mapping[str, float]) -> float:
    """What the diagnosis cost: its own total, or the sum over the stages."""
    if "total" in costs:
        return as_float(costs["total"]) or 0.0
    return float(np.sum([as_float(cost) or 0.0 for cost in costs.values()]))


def stages(costs: Mapping[str, float]) -> dict[str, float]:
    """The costs without their total."""
    return {name: cost for name, cost in costs.items() if name != "total"}


def flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Facts as one table, names of nested ones joined by a dot."""
    table: dict[str, str] = {}
    for name, value in facts.items():
        name = line(f"{prefix}{name}", 120)
        if isinstance(value, Mapping):
            table |= flat(value, f"{name}.")
        else:
            table[name] = show(value)
    return table


def effect(finding: Finding) -> str:
    """What the remedy did: `skill 0.02 -> 0.91, gain +0.89, over seeds [+0.84, +0.94]`."""
    remedy = finding.remedy
    if remedy is None or not remedy.tried:
        return ""
    before, after = as_float(remedy.before), as_float(remedy.after)
    text = f"skill {show(remedy.before)} -> {show(remedy.after)}"
    if before is not None and after is not None:
        text += f", gain {signed(after - before)}"
    over_seeds = interval(remedy.gain_interval, sign=True)
    return f"{text}, over seeds {over_seeds}" if over_seeds else text
