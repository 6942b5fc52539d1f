"""Every finding that a diagnosis can make: its stable id, its cause, a page that explains it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Entry:
    """One kind of finding. `page` is Markdown: meaning, measurement, remedy, limits, sources."""

    id: str
    name: str
    cause: str
    title: str

    @property
    def page(self) -> str:
        """The page that `lstm-oracle explain` prints."""
        room = resources.files("lstm_oracle.diagnosis")
        return (room / "pages" / f"{self.id}.md").read_text(encoding="utf-8")


# fmt: off
_TABLE = (
    ("001", "not-finite", "data-quality", "NaN or infinity in what is fed"),
    ("002", "degenerate-rows", "data-quality", "Constant columns, repeated or leaked rows"),
    ("003", "misaligned", "data-quality", "x and y do not belong together, or lost digits"),
    ("010", "inputs-unscaled", "data-scale", "The inputs are far from the scale of gates"),
    ("011", "targets-unscaled", "data-scale", "The targets are far from the scale of the head"),
    ("020", "input-encoding", "input-encoding", "The layer reads the input as something else"),
    ("030", "split-not-representative", "data-split", "The held-out part is unlike the rest"),
    ("031", "recordings-shared", "data-split", "Windows of one recording on both sides of a split"),
    ("040", "padding-drowns-signal", "masking", "Padding is read until the content is forgotten"),
    ("041", "mask-wrong", "masking", "A mask is lost on its way, or deletes real steps"),
    ("050", "window-too-short", "window", "What decides the target lies before the window"),
    ("060", "no-signal", "no-signal", "Nothing in x predicts y better than a constant does"),
    ("061", "naive-forecast", "naive-forecast", "The forecast repeats the last value"),
    ("070", "head-cannot-reach", "output-loss-mismatch", "The head cannot produce the targets"),
    ("071", "loss-label-mismatch", "output-loss-mismatch", "The loss reads the labels wrongly"),
    ("072", "silent-broadcast", "output-loss-mismatch", "Predictions and targets broadcast"),
    ("080", "wiring", "wiring", "The layers are joined so that the signal is lost between them"),
    ("081", "frozen", "wiring", "Layers that should learn do not"),
    ("090", "too-small", "too-small", "The network cannot hold the task"),
    ("091", "too-large", "too-large", "The network memorises what it should generalise"),
    ("100", "activation", "activation", "An activation inside the layer holds the training back"),
    ("110", "learning-rate-high", "learning-rate-high", "The steps are too long"),
    ("111", "learning-rate-low", "learning-rate-low", "The steps are too short to arrive"),
    ("112", "optimizer", "optimizer", "The optimizer in effect cannot train this network"),
    ("113", "batch-size", "batch-size", "Too much noise per step, or too few steps"),
    ("120", "vanishing-gradient", "vanishing-gradient", "The gradient dies on its way back"),
    ("121", "exploding-gradient", "exploding-gradient", "The gradient explodes on its way back"),
    ("130", "initialization", "initialization", "Training begins where it cannot leave"),
    ("140", "over-regularized", "over-regularized", "Dropout or a penalty removes more than noise"),
    ("141", "under-trained", "under-trained", "Training ends before learning does"),
    ("150", "insufficient-data", "insufficient-data", "More data would help, little else would"),
    ("151", "class-imbalance", "class-imbalance", "The rare classes are not learnt for being rare"),
)
# fmt: on
ENTRIES = {f"LSTM{n}": Entry(f"LSTM{n}", name, cause, title) for n, name, cause, title in _TABLE}
_ALL = ", ".join(ENTRIES)


def entry(id: str) -> Entry:
    """The entry of a finding's id, as printed, or of its name.

    Raises
    ------
    ValueError
        Where there is no such finding; the message names the nearest ones.

    Examples
    --------
    >>> entry("LSTM010").cause
    'data-scale'
    >>> entry("lstm10").id, entry("mask-wrong").id
    ('LSTM010', 'LSTM041')
    """
    wanted = str(id).strip()
    by_name = {item.name: key for key, item in ENTRIES.items()}
    key = by_name.get(wanted.lower(), _as_id(wanted))
    if key in ENTRIES:
        return ENTRIES[key]
    near = difflib.get_close_matches(key, ENTRIES, n=3, cutoff=0.6)
    near += [
        by_name[name]
        for name in difflib.get_close_matches(wanted.lower(), by_name, n=3, cutoff=0.5)
    ]
    named = [f"{key} ({ENTRIES[key].name})" for key in dict.fromkeys(near)]
    fix = f"Did you mean {' or '.join(named[:3])}?" if named else f"It is none of {_ALL}."
    raise ValueError(f"finding: got {wanted[:40]!r}, expected an id such as 'LSTM010'. {fix}")


def _as_id(text: str) -> str:
    """`LSTM010` for `lstm10`, `10` and the like."""
    digits = text.upper().removeprefix("LSTM").lstrip("-_ ")
    return f"LSTM{digits.zfill(3)}" if digits.isascii() and digits.isdigit() else text.upper()
