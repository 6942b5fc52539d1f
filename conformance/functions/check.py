"""`check`: any function that computes an LSTM, held against the oracle."""

from __future__ import annotations

import dataclasses
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from lstm_oracle.conformance import tolerances
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.functions.explaining import explain
from lstm_oracle.conformance.functions.regimes import left_out, regimes
from lstm_oracle.conformance.functions.resemblance import Evidence, nearest
from lstm_oracle.conformance.functions.subject import (
    Abilities,
    BadSignature,
    BrokenContract,
    Died,
    NotImported,
    Raised,
    Refused,
    Subject,
)
from lstm_oracle.conformance.functions.subjects import subject_of
from lstm_oracle.conformance.functions.verdict import BlockVerdict, Verdict
from lstm_oracle.conformance.report import CaseReport
from lstm_oracle.conformance.sampled_yardstick import (
    longer_sampled_yardsticks,
    sampled_yardstick,
)
from lstm_oracle.conformance.yardstick import (
    BRIEF,
    Yardstick,
    brief_yardstick,
    longer_yardsticks,
    truth,
    yardstick,
)
from lstm_oracle.reference.layouts import Layout
from lstm_oracle.reference.spec import Architecture
from lstm_oracle.reference.tree import flatten

Array = np.ndarray
T = TypeVar("T")

# Multiplications of a case above which its yardstick is estimated from some of its sequences.
_MEASURED_WHOLE = 1e7


def check(
    fn: Any,
    spec: Architecture | None = None,
    *,
    layout: str | Layout | None = None,
    time_major: bool = False,
    gradients: str | Callable[..., Any] = "auto",
    dtype: str | None = None,
    framework: str | None = None,
    arguments: Sequence[str] | None = None,
    returns: Sequence[str] | None = None,
    cases: str | Sequence[str] = "full",
    isolate: bool = False,
    time_limit: float = 60.0,
    memory_limit: int = 4 << 30,
) -> Verdict:
    """Whether a function computes the LSTM that it should, and if not, what is wrong with it.

    Parameters
    ----------
    fn
        A function that takes what its parameters are called: x (batch, time, feature), h0, c0,
        mask or lengths, the weights under the names of the layout (W, U, b; kernel,
        recurrent_kernel, bias; …), or all of them as `weights` or `**weights`; and that returns y,
        or (y, h_T, c_T), or a dict. Also a `torch.nn.LSTM`, a Keras LSTM layer, an adapter of
        `conformance.adapters`, or "module:callable" and "file.py:callable".
    spec : Spec, Reverse, Bidirectional, Stack or Chunks, optional
        The layer that fn should be, and its sizes. By default a plain LSTM, at several sizes;
        layers like `torch.nn.LSTM` say themselves what they are.
    layout : str or Layout, optional
        How fn wants its weights: a name of `reference.layouts` ("keras", "torch", "onnx", …),
        "fused" (the default: W (I, 4H), U, b with the gates i, f, g, o), "gates" (W_i, W_f, …), or
        a row of your own.
    time_major : bool
        Whether x, y, mask and their gradients are (time, batch, …).
    gradients : "auto", "none", "returned", or a function
        "auto": by torch.autograd, jax.vjp or GradientTape where fn takes their arrays;
        "returned" where fn asks for the cotangents d_y, d_h, d_c, and returns a dict of d_x, d_h0,
        d_c0 and d_<weight>; else none. A function is the backward pass: it takes the same and the
        cotangents, or `tape`, which is then what fn returned last.
    dtype : str, optional
        "float64", "float32", "float16" or "bfloat16"; by default the layer's own, or float64.
    framework : "numpy", "torch", "jax", "tensorflow" or "keras", optional
        Whose arrays fn takes; by default the one that its code mentions.
    arguments : sequence of str, optional
        What to pass, in order, where the signature does not say it.
    returns : sequence of str, optional
        What fn returns, in order, where it is not y, h, c: ("y", "c", "h"), "_" for the rest.
    cases : "full", "quick", or names of cases
    isolate : bool
        Whether to run fn in a process of its own, so that a crash is a result.
    time_limit, memory_limit : seconds without an answer, bytes
        Of that process.

    Returns
    -------
    Verdict
        `verdict.agrees`, `verdict.blocks`, `verdict.explanation`; it prints itself.

    Raises
    ------
    TypeError, ValueError
        For a function that cannot be called as described: what was got, expected, and the fix.
        Whatever fn itself raises is a result.

    Examples
    --------
    >>> def sigmoid(z):
    ...     return 1 / (1 + np.exp(-z))
    >>> def lstm(x, h0, c0, W, U, b):
    ...     h, c, ys = h0, c0, []
    ...     for t in range(x.shape[1]):
    ...         i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
    ...         c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    ...         h = sigmoid(o) * np.tanh(c)
    ...         ys.append(h)
    ...     return np.stack(ys, axis=1), h, c
    >>> check(lstm).agrees
    True
    >>> wrong = check(lambda x, h0, c0, W, U, b: lstm(x, h0, 0 * c0, W, U, b), cases="quick")
    >>> wrong.agrees, wrong.nearest[0].sentence
    (False, 'c_0 is taken for zero.')
    """
    start = time.perf_counter()
    subject = subject_of(
        fn, spec, layout=layout, time_major=time_major, gradients=gradients, dtype=dtype,
        framework=framework, arguments=arguments, returns=returns, isolate=isolate,
        time_limit=time_limit, memory_limit=memory_limit,
    )  # fmt: skip
    try:
        with _no_warnings():
            abilities = subject.abilities()
    except (BadSignature, KeyboardInterrupt):
        raise
    except Exception as error:
        subject.close()
        return _never_started(subject, error, time.perf_counter() - start)
    asked = regimes(
        subject.architecture, abilities, subject.dtype, cases, other_sizes=subject.free_sizes
    )
    evidence: list[Evidence] = []
    with _measuring_ahead(asked.cases) as measured:
        for case, brief in zip(asked.cases, measured, strict=True):
            settled = any(one.report.status == "disagree" for one in evidence)
            evidence.append(_examined(subject, case, abilities, brief, settled))
    subject.close()
    return _verdict(subject, abilities, evidence, asked.dropped, time.perf_counter() - start)


def _examined(
    subject: Subject, case: Case, abilities: Abilities, brief: Future[Yardstick], settled: bool
) -> Evidence:
    """One case, whatever comes of it."""
    try:
        with _no_warnings():
            result = subject.run(case)
    except (BadSignature, KeyboardInterrupt):
        raise
    except (Refused, NotImplementedError) as error:
        return _without_answer(case, "unsupported", f"refused: {error}")
    except Exception as error:
        if case.mask is not None and not case.mask.any(axis=1).all():
            return _without_answer(case, "unsupported", f"refuses a length of zero: {error}")
        return _without_answer(case, "error", _said(error))
    return Evidence(case, result, _judged(case, result, abilities, brief.result(), settled))


@contextmanager
def _measuring_ahead(cases: Sequence[Case]) -> Iterator[list[Future[Yardstick]]]:
    """The brief yardsticks, measured beside the function, which often waits for a compiler."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield [pool.submit(_yardsticks(case).brief) for case in cases]
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Saturated cases overflow here and there, which is no disagreement."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _judged(
    case: Case, result: Result, abilities: Abilities, brief: Yardstick, settled: bool
) -> CaseReport:
    """The blocks that the function gives, against the oracle's.

    Measuring yardsticks is what a check takes its time for, so a brief one comes first; only what
    is a little worse than that allows is judged again. Where the verdict is settled by another
    case, the very longest are not worth their time.
    """
    true, got = dict(truth(case).blocks()), result.blocks()
    second = [name for name in got if name.startswith("d_b2_")]

    def with_second(blocks: Mapping[str, T]) -> dict[str, T]:
        """A second bias has the gradient of the first."""
        return {**blocks, **{name: blocks[name.replace("b2", "b")] for name in second}}

    due = {n: block for n, block in with_second(true).items() if _due(n, got, abilities)}
    report = compare(case, result, with_second(brief), true=due)
    if any(1 < block.ratio <= tolerances.DOUBT for block in report.blocks):
        yardsticks = _yardsticks(case)
        measured = yardsticks.usual()
        more = itertools.islice(yardsticks.longer(measured), 1 if settled else None)
        report = compare(
            case, result, with_second(measured), longer=map(with_second, more), true=due
        )
    return dataclasses.replace(report, message=report.message + _hint(report, due, got))


def _due(name: str, got: dict[str, Array], abilities: Abilities) -> bool:
    """Gradients where they were given; outputs where the function has them at all."""
    if name.startswith("d_"):
        return name in got
    letter = name.rpartition(".")[2] if name.startswith("state") else "y"
    return letter in abilities.outputs or "state" in abilities.outputs


class _Yardsticks(NamedTuple):
    """The yardsticks of a case, none of them measured before it is called for."""

    brief: Callable[[], Yardstick]
    usual: Callable[[], Yardstick]
    longer: Callable[[Yardstick], Iterator[Yardstick]]


def _yardsticks(case: Case) -> _Yardsticks:
    weights = sum(leaf.size for leaf in flatten(case.params).values())
    if 3.0 * weights * case.x.shape[0] * case.x.shape[1] <= _MEASURED_WHOLE:
        return _Yardsticks(
            partial(brief_yardstick, case),
            partial(yardstick, case),
            partial(longer_yardsticks, case),
        )
    sampled = partial(sampled_yardstick, case, products=_MEASURED_WHOLE)
    return _Yardsticks(
        lambda: sampled(samples=BRIEF).yardstick,
        lambda: sampled().yardstick,
        partial(longer_sampled_yardsticks, case, products=_MEASURED_WHOLE),
    )


def _hint(report: CaseReport, due: dict[str, Array], got: dict[str, Array]) -> str:
    """What a wrong shape most often is."""
    if report.blocks or "y" not in due or "y" not in got:
        return ""
    B, T, R = due["y"].shape
    if B != T and np.shape(got["y"]) == (T, B, R):
        return ". Is time its first axis? Pass time_major=True"
    return ""


def _without_answer(case: Case, status: Any, message: str) -> Evidence:
    empty = Result(None, None)
    return Evidence(case, empty, CaseReport(case.name, status, case.dtype, message=message))


def _said(error: Exception) -> str:
    if isinstance(error, (BrokenContract, Died, NotImported)):
        return str(error)
    if isinstance(error, Raised):
        return f"raised {error}"
    text = " ".join(str(error).split())[:300]
    return f"raised {type(error).__name__}: {text}"


# --- the verdict ----------------------------------------------------------------------------------


def _never_started(subject: Subject, error: Exception, seconds: float) -> Verdict:
    where = f"in the first call (I {subject.architecture.input_size}): "
    return Verdict(
        name=subject.name,
        agrees=False,
        dtype=subject.dtype,
        manner="nothing could be compared",
        blocks={},
        cases=(CaseReport("first call", "error", subject.dtype, message=_said(error)),),
        explanation=("" if isinstance(error, NotImported) else where) + _said(error),
        seconds=seconds,
    )


def _verdict(
    subject: Subject,
    abilities: Abilities,
    evidence: Sequence[Evidence],
    dropped: tuple[str, ...],
    seconds: float,
) -> Verdict:
    reports = tuple(one.report for one in evidence)
    wrong = any(report.status in ("disagree", "error") for report in reports)
    agrees = not wrong and any(report.status == "agree" for report in reports)
    start = time.perf_counter()
    found = nearest(evidence) if wrong else ()
    return Verdict(
        name=subject.name,
        agrees=agrees,
        dtype=subject.dtype,
        manner=abilities.manner,
        blocks=_blocks(reports),
        cases=reports,
        explanation=explain([(one.case, one.report) for one in evidence], found),
        nearest=found,
        left_out=left_out(abilities),
        seconds=seconds + time.perf_counter() - start,
        notes=(*_refusals(reports), *dropped),
    )


def _refusals(reports: Iterable[CaseReport]) -> Iterable[str]:
    for report in reports:
        if report.status == "unsupported":
            yield f"{report.name}: {report.message}"


def _blocks(reports: Sequence[CaseReport]) -> dict[str, BlockVerdict]:
    """Every block by the case in which it is worst, in the order of the first case."""
    found: dict[str, list[tuple[float, BlockVerdict]]] = {}
    for report in reports:
        for b in report.blocks:
            ratio = b.ratio if b.ratio == b.ratio else float("inf")
            row = BlockVerdict(b.block, ratio, b.error, b.yardstick, b.tolerance, report.name, 0, 0)
            found.setdefault(b.block, []).append((ratio, row))
    return {
        name: dataclasses.replace(
            max(rows, key=lambda pair: pair[0])[1],
            wrong_in=sum(not ratio <= 1 for ratio, _ in rows),
            of=len(rows),
        )
        for name, rows in found.items()
    }
