"""The scans of a tape: what every quantity is measured on."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from lstm_oracle.reference.combinators import (
    BidirectionalTape,
    ChunksTape,
    ReverseTape,
    StackTape,
)
from lstm_oracle.reference.scan import ScanTape
from lstm_oracle.reference.sequence import Tape


@singledispatch
def scans(tape: Any) -> list[ScanTape]:
    """Every scan of a tape, in the order of the architecture: lower layers, and forwards, first.

    Raises
    ------
    TypeError
        For what is no tape.
    ValueError
        For a tape of `Chunks`: a scan that was cut has no whole Jacobian.
    """
    raise TypeError(
        f"tape is of type {type(tape).__name__}, expected what forward returned. "
        "Call (y, state), tape = forward(…) first."
    )


@scans.register
def _of_whole(tape: Tape) -> list[ScanTape]:
    return scans(tape.inner)


@scans.register
def _of_scan(tape: ScanTape) -> list[ScanTape]:
    return [tape]


@scans.register
def _of_reverse(tape: ReverseTape) -> list[ScanTape]:
    return scans(tape.inner)


@scans.register(BidirectionalTape)
@scans.register(StackTape)
def _of_several(tape: Any) -> list[ScanTape]:
    return [scan for inner in tape.inner for scan in scans(inner)]


@scans.register
def _of_chunks(tape: ChunksTape) -> list[ScanTape]:
    raise ValueError(
        f"tape is of Chunks of {tape.architecture.length} steps, expected one of a whole "
        "sequence. Run forward on the layer inside."
    )
