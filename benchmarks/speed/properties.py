"""Whether gradient flow, gates and the effects of initialization agree, at benchmark sizes.

No time is taken. Each of our implementations computes the same layer under several
initializations, with a cotangent on the last output alone, so that d_x of step t is what reaches it
through all steps between. From each one's own y and d_x follow the gradient flow, norm(d_x_t) over
the steps, and what its gates did. Both are held against the oracle's, on every device: the flow by
its logarithm, so that the smallest gradients count as much as the largest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lstm_oracle.benchmarks.speed import machine
from lstm_oracle.benchmarks.speed.process import Worker
from lstm_oracle.benchmarks.speed.truth import Truth, make_case
from lstm_oracle.benchmarks.speed.workload import Workload
from lstm_oracle.conformance.case import Case
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.sampled_yardstick import select
from lstm_oracle.reference import initializers
from lstm_oracle.reference.spec import Spec
from lstm_oracle.reference.tree import map_leaves

if TYPE_CHECKING:
    from lstm_oracle.benchmarks.speed.bench import Plan

Array = np.ndarray

SATURATED = 0.9  # of the range of a gate: beyond it the slope is below a fifth of the largest
# How far a property may lie from the oracle's. In float32 an honest flow has an error of 1e-5 or
# so, whatever its size; a gate that is counted as saturated stands within rounding of the limit in
# about one of 1e5 cases.
FLOW_TOLERANCE = 0.01  # of the natural logarithm: 1 %
SHARE_TOLERANCE = 0.001
_VANISHED = 1e-30  # of the largest: below that float32 itself runs out


class Regime(NamedTuple):
    """An initialization: matrices by name, forget bias, a factor on all matrices."""

    recurrent: str
    forget_bias: float
    scale: float


REGIMES = {
    "orthogonal, forget bias 1": Regime("orthogonal", 1.0, 1.0),
    "glorot, forget bias 0": Regime("glorot_uniform", 0.0, 1.0),
    "ten times too small": Regime("orthogonal", 1.0, 0.1),
    "twice too large": Regime("orthogonal", 1.0, 2.0),
}


class Look(NamedTuple):
    """What an initialization does to a layer, by one implementation."""

    flow: Array  # (T,) norm of d_x of each step
    saturated: dict[str, float]  # share of the gates i, f, o beyond SATURATED
    forget: float  # mean of f


class Property(NamedTuple):
    """One implementation under one initialization, held against the oracle."""

    contender: str
    device: str
    workload: Workload
    regime: str
    agrees: bool
    message: str  # why not
    flow_ratio: float | None  # of the first step's gradient to the last one's
    flow_error: float | None  # largest difference of logarithms
    saturated: dict[str, float]
    share_error: float | None


def regime_case(workload: Workload, name: str) -> Case:
    """The case of one layer under an initialization; the last output alone has a cotangent."""
    case, regime = make_case(workload), REGIMES[name]
    params = initializers.init(
        case.architecture,
        np.random.default_rng(0),
        recurrent_weights=regime.recurrent,
        biases=lambda spec: initializers.forget_bias(spec, regime.forget_bias),
    )
    matrices = map_leaves(lambda a: a * (regime.scale if a.ndim == 2 else 1.0), params)
    d_y = np.zeros_like(case.d_y)
    d_y[:, -1] = case.d_y[:, -1]
    return dataclasses.replace(
        case,
        params=map_leaves(lambda a: to_format(a, workload.dtype), matrices),
        d_y=d_y,
        d_state=map_leaves(np.zeros_like, case.d_state),
    )


def look(case: Case, y: Array, d_x: Array) -> Look:
    """Flow and gates from the outputs and the gradient that an implementation computed itself.

    The gates follow from the equations with h_{t-1} as the implementation emitted it.
    """
    spec, params = case.architecture, case.params
    if not isinstance(spec, Spec):
        raise TypeError(
            f"the case has a {type(spec).__name__}, expected one layer that reads forwards. "
            "Use a workload of one layer and one direction."
        )
    h = np.concatenate([case.state.h[:, None], y[:, :-1]], axis=1)
    gates = {
        k: 1 / (1 + np.exp(-(case.x @ params[f"W_{k}"] + h @ params[f"U_{k}"] + params[f"b_{k}"])))
        for k in "ifo"
    }
    beyond = {k: float((np.abs(2 * a - 1) > SATURATED).mean()) for k, a in gates.items()}
    flow = np.sqrt(np.square(d_x.astype(np.float64)).sum(axis=(0, 2)))
    return Look(flow, beyond, float(gates["f"].mean()))


def check(
    plan: Plan, *, progress: Callable[[str], None] | None = None, regimes: tuple[str, ...] = ()
) -> list[Property]:
    """Every contender of ours, on every device, at every workload, under every initialization."""
    say, found = progress or (lambda line: None), []
    rows = [row for row in plan.contenders if row.side == "ours" and not row.missing()]
    with (
        machine.pinned(plan.threads),
        tempfile.TemporaryDirectory() as folder,
        contextlib.ExitStack() as stack,
    ):
        workers = []
        for device in plan.devices:
            for row in (row for row in rows if device in row.devices):
                worker = Worker(row, device, plan.threads, plan.limit_seconds)
                stack.callback(worker.end)
                if worker.hello["status"] == "ok":
                    workers.append(worker)
        for workload in plan.workloads:
            for regime in regimes or tuple(REGIMES):
                say(f"{workload.name}: {regime}")
                path = Path(folder) / "truth.npz"
                truth = Truth.measured(workload, regime_case(workload, regime))
                truth.save(path)
                found += [_held(worker, workload, regime, truth, path) for worker in workers]
    return found


def _held(worker: Worker, workload: Workload, regime: str, truth: Truth, path: Path) -> Property:
    answer = worker.ask(do="look", workload=workload.as_json(), regime=regime, truth=str(path))
    head = (worker.row.name, worker.device, workload, regime)
    if "flow" not in answer:
        agrees = answer["status"] == "unsupported"
        return Property(*head, agrees, answer["message"], None, None, {}, None)
    case = select(regime_case(workload, regime), truth.rows)
    true = look(case, truth.blocks["y"], truth.blocks["d_x"])
    flow = np.array(answer["flow"])
    visible = true.flow > _VANISHED * true.flow.max()
    flow_error = float(np.abs(np.log(flow[visible] / true.flow[visible])).max())
    share_error = max(abs(answer["saturated"][k] - share) for k, share in true.saturated.items())
    problems = [answer["message"]] if answer["status"] != "ok" else []
    if not flow_error <= FLOW_TOLERANCE:
        problems.append(f"gradient flow is off by {flow_error:.2g} (natural logarithm)")
    if not share_error <= SHARE_TOLERANCE:
        problems.append(f"the share of saturated gates is off by {share_error:.2g}")
    ratio = float(flow[0] / flow[-1]) if flow[-1] else None
    return Property(*head, not problems, "; ".join(problems), ratio, flow_error,
                    answer["saturated"], share_error)  # fmt: skip
