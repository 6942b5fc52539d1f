"""Results that were computed elsewhere, held against the test vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.report import CaseReport, ImplementationReport
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.vectors import names
from lstm_oracle.conformance.vectors.files import Kept, read_file, read_vectors
from lstm_oracle.conformance.yardstick import longer_yardsticks
from lstm_oracle.conformance.zoo import nearest_bug

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_MOST_RESEMBLANCES = 8  # each costs a run of every bug
_SUFFIX = ".safetensors"


def judge(
    vectors: Path,
    outputs: Path,
    *,
    dtype: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImplementationReport:
    """Every result in a folder against the test vector of its name.

    Parameters
    ----------
    vectors : folder that `write_vectors` wrote
    outputs : folder of `<id>.safetensors`, with the arrays that the vector expects
        Forward only, or with all gradients. A case without a file is "unsupported".
    dtype : optional
        What was computed in; by default the dtype that the outputs are written in.

    Raises
    ------
    ValueError
        Where there is nothing to judge, or a file cannot be read or fits no case.
    """
    found = _outputs(outputs)
    kept = list(read_vectors(vectors))
    strange = sorted(set(found) - {one.id for one in kept})
    if strange:
        raise ValueError(
            f"{outputs}: got {strange[0]}{_SUFFIX}, which is the name of no case in {vectors}"
            f"{f' ({len(strange)} such files)' if len(strange) > 1 else ''}, expected names such "
            f"as {kept[0].id}{_SUFFIX}. Rename or remove it."
        )
    reports: list[CaseReport] = []
    resemblances = 0
    for done, one in enumerate(kept):
        progress(done, len(kept))
        if one.id not in found:
            reports.append(CaseReport(one.id, "unsupported", "", message="no outputs"))
            continue
        resemblances += bool(reports and reports[-1].status == "disagree")
        reports.append(_judged(one, found[one.id], dtype, resemblances < _MOST_RESEMBLANCES))
    progress(len(kept), len(kept))
    return ImplementationReport(f"outputs in {outputs}", tuple(reports))


def _outputs(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder}: got no folder, expected one of <id>{_SUFFIX} files.")
    found = {path.stem: path for path in sorted(folder.glob(f"*{_SUFFIX}"))}
    if not found:
        raise ValueError(
            f"{folder}: got no {_SUFFIX} file, expected one per case that was computed. "
            "The README of the vectors says what belongs into it."
        )
    return found


def _judged(kept: Kept, path: Path, dtype: str | None, resemblance: bool) -> CaseReport:
    arrays, dtypes, _ = read_file(path)
    chosen = dtype or _common_dtype(path, dtypes)
    case = replace(kept.case, dtype=chosen)
    expected = set(names.answer(kept.answer))
    unknown = sorted(set(arrays) - expected)
    if unknown:
        message = f"unknown array {unknown[0]!r}, expected some of {', '.join(sorted(expected))}"
        return CaseReport(kept.id, "error", chosen, message=message)
    if not _fits(kept, chosen):
        return CaseReport(kept.id, "unsupported", chosen, message=f"not exact in {chosen}")
    try:
        result = names.read_result(case, arrays)
    except ValueError as error:
        return CaseReport(kept.id, "disagree", chosen, message=str(error))
    measured = kept.yardstick(chosen)
    longer = longer_yardsticks(case, measured)
    report = compare(case, result, measured, longer=longer, true=kept.answer.blocks())
    if report.status == "agree" or not resemblance:
        return report
    return replace(report, nearest_bug=nearest_bug(case, result))


def _common_dtype(path: Path, dtypes: dict[str, str]) -> str:
    """The narrowest that any array is written in."""
    floating = [_DTYPES[name] for name in dtypes.values() if name in _DTYPES]
    if not floating or len(floating) < len(dtypes):
        raise ValueError(
            f"{path}: got arrays of {', '.join(sorted(set(dtypes.values()))) or 'no kind'}, "
            f"expected one of {', '.join(_DTYPES)}."
        )
    return min(floating, key=lambda name: tolerances.format_of(name).digits)


def _fits(kept: Kept, dtype: str) -> bool:
    """Whether what is given can be written in this dtype without loss."""
    given = names.question(kept.case).values()
    with np.errstate(over="ignore"):
        return all(np.array_equal(to_format(a, dtype), a, equal_nan=True) for a in given)
