"""Grids of numbers as small PNG images, which SVG and HTML hold inside themselves."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

# Cividis (Nuñez, Anderton & Renslow 2018), which looks the same to colour-blind readers; for
# grids with both signs, blue to vermilion (Okabe & Ito 2008) over a grey that says zero.
SEQUENTIAL = (
    "#00224e", "#123570", "#3b496c", "#575d6d", "#707173",
    "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838",
)  # fmt: skip
DIVERGING = ("#00456e", "#0072b2", "#7fb8d9", "#e6e6e6", "#eeae80", "#d55e00", "#7d3700")
_LEVELS = 255  # palette entries with a colour; the last one is transparent


def ramp(colours: tuple[str, ...], levels: int = _LEVELS) -> np.ndarray:
    """Colours between the given ones, evenly: (levels, 3) bytes."""
    anchors = np.array([[int(c[n : n + 2], 16) for n in (1, 3, 5)] for c in colours], float)
    place = np.linspace(0, len(colours) - 1, levels)
    channels = [np.interp(place, np.arange(len(colours)), anchors[:, n]) for n in range(3)]
    return np.round(np.stack(channels, axis=1)).astype(np.uint8)


def colours_for(low: float, high: float) -> tuple[tuple[str, ...], float, float]:
    """Colours and limits of a scale: with both signs, zero stands in the middle."""
    if low < 0 < high:
        edge = max(-low, high)
        return DIVERGING, -edge, edge
    return SEQUENTIAL, low, high if high > low else low + (abs(low) or 1.0)


def levels_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers as indices into a palette; what is not finite as the transparent last one."""
    finite = np.isfinite(values)
    place = (np.where(finite, values, low) - low) / (high - low)
    levels = np.round(np.clip(place, 0, 1) * (_LEVELS - 1)).astype(np.uint8)
    return np.where(finite, levels, np.uint8(_LEVELS))


def data_uri(levels: np.ndarray, colours: tuple[str, ...]) -> str:
    """A palette PNG as a `data:` address."""
    png = _png(levels.astype(np.uint8), ramp(colours))
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _png(levels: np.ndarray, palette: np.ndarray) -> bytes:
    """PNG (ISO/IEC 15948) of (rows, columns) indices: header, palette, transparency, data, end."""
    rows, columns = levels.shape
    scanlines = np.zeros((rows, columns + 1), np.uint8)  # each begins with its filter, none
    scanlines[:, 1:] = levels
    transparency = bytes([255] * len(palette) + [0])
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)),
        (b"PLTE", palette.tobytes() + b"\0\0\0"),
        (b"tRNS", transparency),
        (b"IDAT", zlib.compress(scanlines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
