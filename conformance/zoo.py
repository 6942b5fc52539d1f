"""A zoo of seeded bugs: what a check that lets them through is worth.

Every bug is a small, described change of the textbook, most of them one line, each of a kind that
was seen in the wild; `zoo_sources` has public threads. `hunt` runs them over the case matrix; every
one has to be caught, and the unchanged textbook must not be. `nearest_bug` turns the zoo round:
which of the bugs does a wrong result look like?
"""

from __future__ import annotations
import __future__

import dataclasses
import inspect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import CodeType
from typing import Any

import numpy as np

from lstm_oracle.conformance import matrix, textbook, tolerances
from lstm_oracle.conformance.case import Case, Result, run_oracle
from lstm_oracle.conformance.compare import compare
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.conformance.yardstick import truth
from lstm_oracle.conformance.zoo_sources import SOURCES, Source
from lstm_oracle.reference.tree import flatten, map_leaves, replace

Array = np.ndarray
Run = Callable[[Case], Result]
Patch = tuple[str, str]  # a piece of the textbook's source that occurs once, and what replaces it


@dataclass(frozen=True)
class Bug:
    """A bug: what it is, and how to make it."""

    id: str
    sentence: str
    patches: tuple[Patch, ...] = ()
    around: Callable[[Run, Case], Result] | None = None  # what is wrong around a run
    seen: str = ""  # whose convention it is, where it is one

    @property
    def sources(self) -> tuple[Source, ...]:
        """Public threads in which it was met."""
        return SOURCES.get(self.id, ())

    def run(self, case: Case) -> Result:
        """The buggy textbook's answer."""
        inner = _patched(self.patches)
        with np.errstate(all="ignore"):
            return inner(case) if self.around is None else self.around(inner, case)


@dataclass(frozen=True)
class Hunted:
    """How a bug fared."""

    bug: Bug
    case: str  # the first case that caught it; "" if none did
    what: str  # the message of the comparison, or what was raised


def hunt(bugs: Sequence[Bug] | None = None, dtypes: Sequence[str] = ("float64",)) -> list[Hunted]:
    """Every bug against the matrix, up to the first case that catches it.

    Examples
    --------
    >>> [hunted.case for hunted in hunt([bug("carry-dropped")])]
    ['plain, float64']
    """
    # Short sequences first: most bugs show there, in a millisecond.
    cases = sorted(matrix.cases("full", dtypes), key=lambda case: case.x.size > 200)
    return [_hunt(one, cases) for one in (BUGS if bugs is None else bugs)]


def bug(identifier: str) -> Bug:
    """The bug of that id.

    Raises
    ------
    ValueError
        Where there is none.
    """
    found = next((one for one in (*BUGS, *gate_orders()) if one.id == identifier), None)
    if found is None:
        raise ValueError(
            f"bug is {identifier!r}, expected one of {', '.join(one.id for one in BUGS)}. "
            "Choose an id from the list."
        )
    return found


def nearest_bug(case: Case, result: Result) -> str:
    """The bug whose answer to this case is closest to a wrong one, "id: sentence"; "" if none is.

    A bug is named only where it explains most of the difference (`tolerances.RESEMBLANCE`).
    """
    true = truth(case).blocks()
    got = result.blocks()
    if set(got) != set(true) or any(np.shape(got[n]) != true[n].shape for n in true):
        return ""
    found = _signature(got, true)
    whole = float(np.linalg.norm(found))
    best, nearest = tolerances.RESEMBLANCE * whole, None
    for one in (*BUGS, *gate_orders()):
        try:
            suspect = _signature(one.run(case).blocks(), true)
        except (ValueError, IndexError, KeyError):
            continue  # this bug does not survive this architecture
        distance = float(np.linalg.norm(found - suspect))
        if distance < best:
            best, nearest = distance, one
    return "" if nearest is None else f"{nearest.id}: {nearest.sentence}"


def _hunt(one: Bug, cases: Sequence[Case]) -> Hunted:
    for case in cases:
        try:
            report = compare(case, one.run(case))
        except (ValueError, IndexError, KeyError) as error:
            return Hunted(one, case.name, f"raised {type(error).__name__}: {error}")
        if report.status == "disagree":
            return Hunted(one, case.name, report.message)
    return Hunted(one, "", "")


def _signature(blocks: dict[str, Array], true: dict[str, Array]) -> Array:
    """The difference to the truth as one vector, every block of a comparable size."""
    parts = []
    for name, block in true.items():
        scale = float(np.abs(block).max()) or 1.0
        got = np.asarray(blocks[name], np.float64)
        difference = (got - block.astype(np.float64)) / scale
        parts.append(np.nan_to_num(difference, nan=1e3, posinf=1e3, neginf=-1e3).ravel())
    return np.concatenate(parts)


@cache
def _patched(patches: tuple[Patch, ...]) -> Run:
    """The textbook's `run`, with its source changed."""
    if not patches:
        return textbook.run
    pieces = list(_pieces())
    for old, new in patches:
        places = [n for n, piece in enumerate(pieces) for _ in range(piece.count(old))]
        if len(places) != 1:
            raise RuntimeError(f"the textbook has {len(places)} times {old!r}, expected once")
        pieces[places[0]] = pieces[places[0]].replace(old, new)
    namespace: dict[str, Any] = {"__name__": "textbook_with_a_bug"}
    for piece in pieces:
        exec(_compiled(piece), namespace)
    run: Run = namespace["run"]
    return run


@cache
def _pieces() -> tuple[str, ...]:
    """The textbook's source, function by function."""
    return tuple(inspect.getsource(textbook).split("\n\n\n"))


@cache
def _compiled(piece: str) -> CodeType:
    """So that of a hundred buggy textbooks each compiles its own line, and the rest is shared."""
    postponed = __future__.annotations.compiler_flag
    return compile(piece, "<textbook with a bug>", "exec", flags=postponed)


# --- bugs around a run ----------------------------------------------------------------------------


def _exchange(params: Any, letters: str, order: str) -> Any:
    """Parameters with gate k's W, U, b and p (those of `letters`) taken from gate order[k]."""
    if isinstance(params, tuple):
        parts = [_exchange(part, letters, order) for part in params]
        return type(params)(*parts) if hasattr(params, "_fields") else tuple(parts)
    source = dict(zip("ifgo", order, strict=True))

    def taken_from(name: str) -> str:
        letter, _, k = name.partition("_")
        other = f"{letter}_{source[k]}" if letter in letters and k else name
        return other if other in params else name

    return {name: params[taken_from(name)] for name in params}


def _gate_order(letters: str, order: str) -> Callable[[Run, Case], Result]:
    """The gates' blocks read, and their gradients written, in another order."""
    inverse = "".join("ifgo"[order.index(k)] for k in "ifgo")

    def around(run: Run, case: Case) -> Result:
        params = _exchange(case.params, letters, order)
        result = run(dataclasses.replace(case, params=params))
        return dataclasses.replace(result, d_params=_exchange(result.d_params, letters, inverse))

    return around


@cache
def gate_orders() -> tuple[Bug, ...]:
    """Every wrong order of the gates, of all blocks and of W, U and b alone."""
    wrong = ["".join(order) for order in itertools.permutations("ifgo")][1:]
    kinds = {"WUbp": "all blocks", "W": "W", "U": "U", "b": "b"}
    return tuple(
        Bug(
            f"gate-order-{letters}-{order}",
            f"The gates of {words} stand in the order {', '.join(order)}.",
            around=_gate_order(letters, order),
        )
        for letters, words in kinds.items()
        for order in wrong
    )


def _with(change: Callable[[Case], Case]) -> Callable[[Run, Case], Result]:
    return lambda run, case: run(change(case))


def _gradients(result: Result, change: Callable[[Array], Array]) -> Result:
    d_params, d_x, d_state = map_leaves(change, (result.d_params, result.d_x, result.d_state))
    return dataclasses.replace(result, d_params=d_params, d_x=d_x, d_state=d_state)


def _inputs(case: Case, change: Callable[[Array], Array]) -> Case:
    params, x, state = map_leaves(change, (case.params, case.x, case.state))
    return dataclasses.replace(case, params=params, x=x, state=state)


def _silently_float32(run: Run, case: Case) -> Result:
    return run_oracle(case, np.float32)


def _clipped_by_norm(run: Run, case: Case) -> Result:
    result = run(case)
    norm = np.sqrt(sum(float(np.square(a).sum()) for a in flatten(result.d_params).values()))
    return _gradients(result, lambda a: a * min(1.0, 1e3 / norm) if norm else a)


def _one_step_forgets(case: Case) -> Case:
    return dataclasses.replace(case, state=None) if case.x.shape[1] == 1 else case


def _one_sequence_squeezed(run: Run, case: Case) -> Result:
    result = run(case)
    if case.x.shape[0] > 1:
        return result
    return dataclasses.replace(result, d_params=map_leaves(_squeezed_bias, result.d_params))


def _squeezed_bias(a: Array) -> Array:
    return np.full_like(a, a.sum()) if a.ndim == 1 else a


def _one_unit_broadcast(run: Run, case: Case) -> Result:
    result = run(case)
    names = {name: a for name, a in flatten(result.d_params).items() if "U_" in name}
    if not all(a.shape == (1, 1) for a in names.values()):
        return result
    mean = sum(names.values()) / len(names)
    changed = replace(result.d_params, dict.fromkeys(names, mean))
    return dataclasses.replace(result, d_params=changed)


def _reshaped(a: Array) -> Array:
    """A matrix written row by row, and read as if it had been written column by column."""
    return np.ascontiguousarray(a).reshape(a.shape[::-1]).T if a.ndim == 2 else a


def _misread(run: Run, case: Case) -> Result:
    return run(dataclasses.replace(case, params=map_leaves(_reshaped, case.params)))


# --- the bugs -------------------------------------------------------------------------------------

_BPTT = (
    Bug("sigmoid-derivative-of-z", "sigma' is z (1 - z) in place of a (1 - a).",
        (("return a * (1 - a)", "return z * (1 - z)"),)),
    Bug("tanh-derivative-of-z", "tanh' is 1 - z^2 in place of 1 - a^2.",
        (("return 1 - a * a", "return 1 - z * z"),)),
    Bug("tanh-derivative-not-squared", "tanh' is 1 - a in place of 1 - a^2.",
        (("return 1 - a * a", "return 1 - a"),)),
    Bug("tanh-derivative-of-the-value", "tanh' is 1 - tanh(a)^2 in place of 1 - a^2.",
        (("return 1 - a * a", "return 1 - np.tanh(a) ** 2"),)),
    *(
        Bug(f"derivative-missing-{k}", f"The derivative of gate {k}'s activation is left out.",
            ((f'd_z_{k} = d_{k} * derivative(spec.{k}_activation, m["a_{k}"], m["{k}"])',
              f"d_z_{k} = d_{k}"),))
        for k in "ifgo"
    ),
    Bug("derivative-missing-c", "The derivative of the squashed cell is left out.",
        (('d_s * derivative(spec.c_activation, m["a_c"], m["s"])', "d_s"),)),
    Bug("derivative-of-the-wrong-gate", "Gate i is differentiated at gate f's value.",
        (('m["a_i"], m["i"])', 'm["a_f"], m["f"])'),)),
    Bug("derivative-at-the-squashed-cell", "tanh' of the cell takes c for tanh(c).",
        (('m["a_c"], m["s"])', 'm["s"], m["a_c"])'),)),
    Bug("c-for-previous-c", "d_f is d_c * c_t in place of d_c * c_{t-1}.",
        (('d_f = d_c * m["c_prev"]', 'd_f = d_c * m["c"]'),)),
    Bug("h-for-previous-h", "d_U takes h_t in place of h_{t-1}.",
        (('m["rs"][k].T @ d_u[k]', 'm["r"].T @ d_u[k]'),)),
    Bug("i-and-g-exchanged", "d_i is d_c * i in place of d_c * g.",
        (('d_i = d_c * m["g"]', 'd_i = d_c * m["i"]'),)),
    Bug("output-gate-sees-raw-cell", "d_o is d_h * c in place of d_h * tanh(c).",
        (('d_o = d_h * m["s"]', 'd_o = d_h * m["c"]'),)),
    Bug("cell-not-squashed", "h = o * c in place of o * tanh(c).",
        (("h = o * s", "h = o * c"),)),
    Bug("cell-squashed-is-the-previous", "h = o * tanh(c_{t-1}) in place of o * tanh(c_t).",
        (("s = activate(spec.c_activation, a_c)", "s = activate(spec.c_activation, c_prev)"),)),
    Bug("i-added-to-g", "c = f * c + (i + g) in place of f * c + i * g.",
        (("c_free = f * c_prev + i * g", "c_free = f * c_prev + i + g"),)),
    Bug("output-gate-squashed-twice", "o = sigma(tanh(z_o)) in place of sigma(z_o).",
        (("o = activate(spec.o_activation, a_o)",
          "o = activate(spec.o_activation, np.tanh(a_o))"),)),
    Bug("carry-dropped", "The gradient does not flow through the forget gate to c_{t-1}.",
        (('d_c_prev = d_c * m["f"]', "d_c_prev = d_c * 0"),)),
    Bug("carry-not-scaled", "The gradient flows to c_{t-1} without the factor f.",
        (('d_c_prev = d_c * m["f"]', "d_c_prev = d_c * 1"),)),
    Bug("cut-through-h", "The gradient through h_{t-1} is cut.",
        (("d_r = gather(by_r, d_rs) + np.where(real, 0, d_r)", "d_r = np.where(real, 0, d_r)"),)),
    Bug("cut-through-c", "The gradient through c_{t-1} is cut.",
        (("d_c = d_c_prev + np.where(real, 0, d_c)", "d_c = np.where(real, 0, d_c)"),)),
    Bug("truncated-after-20-steps", "Backpropagation stops every 20 steps.",
        (("d_r = gather(by_r, d_rs) +", "d_r = gather(by_r, d_rs) * (t % 20 != 19) +"),
         ("d_c = d_c_prev +", "d_c = d_c_prev * (t % 20 != 19) +"))),
    Bug("final-h-cotangent-ignored", "dL/dh_T is ignored.",
        (("    d_r, d_c = d_state\n", "    d_r, d_c = np.zeros_like(d_state[0]), d_state[1]\n"),)),
    Bug("final-c-cotangent-ignored", "dL/dc_T is ignored.",
        (("    d_r, d_c = d_state\n", "    d_r, d_c = d_state[0], np.zeros_like(d_state[1])\n"),)),
    Bug("last-cotangent-twice", "dL/dy_T is counted twice.",
        (("    d_r, d_c = d_state\n",
          "    d_r, d_c = d_state[0] + d_y[:, -1], d_state[1]\n"),)),
    Bug("last-cotangent-ignored", "dL/dy of the last step is ignored.",
        (("d_y_t = d_y[:, t]", "d_y_t = d_y[:, t] * (t < len(steps) - 1)"),)),
    Bug("cotangents-shifted", "dL/dy is off by one step.",
        (("d_y_t = d_y[:, t]", "d_y_t = d_y[:, max(t - 1, 0)]"),)),
    Bug("initial-h-ignored", "h_0 is taken for zero.",
        (("    r, c = state\n", "    r, c = np.zeros_like(state[0]), state[1]\n"),)),
    Bug("initial-c-ignored", "c_0 is taken for zero.",
        (("    r, c = state\n", "    r, c = state[0], np.zeros_like(state[1])\n"),)),
    Bug("initial-h-gradient-zero", "dL/dh_0 is zero.",
        (("np.stack(d_x, axis=1), State(d_r, d_c)",
          "np.stack(d_x, axis=1), State(0 * d_r, d_c)"),)),
    Bug("initial-c-gradient-zero", "dL/dc_0 is zero.",
        (("np.stack(d_x, axis=1), State(d_r, d_c)",
          "np.stack(d_x, axis=1), State(d_r, 0 * d_c)"),)),
    Bug("first-step-not-counted", "Weight gradients leave out the first step.",
        (("step_backward(spec, P, m, d, step_r",
          "step_backward(spec, P, m, d if t else dict(d), step_r"),)),
    Bug("last-step-not-counted", "Weight gradients leave out the last step.",
        (("step_backward(spec, P, m, d, step_r",
          "step_backward(spec, P, m, d if t < len(steps) - 1 else dict(d), step_r"),)),
    Bug("output-one-step-late", "y_t is h_{t-1}.",
        (("ys.append(y_t[spec.masked_output])",
          'ys.append(steps[-1][0]["r"] if steps else y_t[spec.masked_output])'),)),
)  # fmt: skip

_WEIGHTS = (
    Bug("bias-dropped", "Gate g has no bias.", ((' + P["b_g"]\n', "\n"),)),
    Bug("bias-doubled", "The bias of gate f is added twice.",
        (('u["f"] + P["b_f"]', 'u["f"] + 2 * P["b_f"]'),),
        seen="PyTorch's b_ih and b_hh, each set to Keras' one bias"),
    Bug("forget-bias-added", "1 is added to the forget gate at run time.",
        (('u["f"] + P["b_f"]', 'u["f"] + P["b_f"] + 1'),),
        seen="weights of Haiku or TensorFlow 1 read without their convention"),
    Bug("bias-gradient-halved", "The gradient of the bias is split between two biases.",
        (("d_z[k].sum(axis=0)", "d_z[k].sum(axis=0) / 2"),)),
    Bug("bias-gradient-of-another-gate", "d_b of gates i and o is that of gate f.",
        (('d["b_" + k] + d_z[k].sum(axis=0)',
          'd["b_" + k] + d_z["f" if k in "io" else k].sum(axis=0)'),)),
    Bug("bias-of-another-gate", "Gate f has the bias of gate o.",
        (('+ P["b_f"]', '+ P["b_o"]'),)),
    Bug("bias-gradient-mean", "The gradient of the bias is averaged over the batch.",
        (("d_z[k].sum(axis=0)", "d_z[k].mean(axis=0)"),)),
    Bug("weight-gradient-mean", "The gradient of W is averaged over the batch.",
        (('m["xs"][k].T @ d_w[k]', 'm["xs"][k].T @ d_w[k] / len(d_w[k])'),)),
    Bug("weight-gradient-last-step-only", "d_W counts the last step alone.",
        (('d["W_" + k] = d["W_" + k] + m["xs"]',
          'd["W_" + k] = d["W_" + k] if d["W_" + k].any() else m["xs"]'),)),
    Bug("u-transposed", "U_f is used transposed.",
        (('rs[k] @ P["U_" + k]', 'rs[k] @ (P["U_" + k].T if k == "f" else P["U_" + k])'),)),
    Bug("u-not-transposed-backward", "The backward pass uses U in place of its transpose.",
        (('d_u[k] @ P["U_" + k].T', 'd_u[k] @ P["U_" + k]'),)),
    Bug("gate-missing-in-d-x", "d_x and d_h leave out the output gate.",
        (('return sum(d[k] * multiplier[k] for k in "ifgo")',
          'return sum(d[k] * multiplier[k] for k in "ifg")'),)),
    Bug("gate-order-igfo", "All blocks are in the order i, g, f, o.",
        around=_gate_order("WUbp", "igfo"), seen="Haiku's, haste's and TensorFlow 1's order"),
    Bug("gate-order-iofg", "All blocks are in the order i, o, f, g.",
        around=_gate_order("WUbp", "iofg"), seen="ONNX's order"),
    Bug("gate-order-ifog", "All blocks are in the order i, f, o, g.",
        around=_gate_order("WUbp", "ifog"), seen="cuDNN's on ROCm"),
    Bug("gate-order-figo", "All blocks are in the order f, i, g, o.",
        around=_gate_order("WUbp", "figo")),
    Bug("gate-order-w-only", "W alone is in the order i, f, o, g.",
        around=_gate_order("W", "ifog")),
    Bug("gate-order-u-only", "U alone is in the order i, f, o, g.",
        around=_gate_order("U", "ifog")),
    Bug("gate-order-b-only", "b alone is in the order f, i, g, o.",
        around=_gate_order("b", "figo")),
    Bug("matrices-reshaped", "Matrices are reshaped where they should be transposed.",
        around=_misread),
)  # fmt: skip

_MASKS = (
    Bug("mask-ignored", "Masked steps are run like real ones.",
        (("real = mask.real[:, t, None]", "real = np.ones_like(mask.real[:, t, None])"),)),
    Bug("mask-inverted", "True is taken for padding.",
        (("real = mask.real[:, t, None]", "real = ~mask.real[:, t, None]"),)),
    Bug("mask-of-the-first-sequence", "The first sequence's mask is used for all.",
        (("real = mask.real[:, t, None]", "real = mask.real[:1, t, None]"),)),
    Bug("state-not-held", "A masked step replaces the state.",
        (('r, c = np.where(real, m["r"], r), np.where(real, m["c"], c)',
          'r, c = m["r"], m["c"]'),)),
    Bug("cell-not-held", "A masked step replaces c, and holds only h.",
        (('np.where(real, m["r"], r), np.where(real, m["c"], c)',
          'np.where(real, m["r"], r), m["c"]'),)),
    Bug("state-zeroed", "A masked step sets the state to zero.",
        (('r, c = np.where(real, m["r"], r), np.where(real, m["c"], c)',
          'r, c = np.where(real, m["r"], 0), np.where(real, m["c"], 0)'),)),
    Bug("masked-output-raw", "Masked steps emit what they computed in place of zeros.",
        (('"zero": np.where(real, m["r"], 0)', '"zero": m["r"]'),)),
    Bug("masked-output-initial", "Before the first real step h_0 is emitted in place of zeros.",
        (("emitted = np.where(mask.started[:, None], r, 0)", "emitted = r"),),
        seen="Keras 3.15.1 on JAX"),
    Bug("masked-output-zero", "Masked steps emit zeros in place of the previous output.",
        (('emitted = np.where(real, m["r"], emitted)', 'emitted = np.where(real, m["r"], 0)'),)),
    Bug("masked-output-previous", "Masked steps emit the previous output in place of zeros.",
        (('"zero": np.where(real, m["r"], 0)', '"zero": emitted'),),
        seen="Keras 3.15.1 with unroll=True on JAX"),
    Bug("masked-output-not-the-state", "Masked steps emit zeros in place of the state.",
        (('"state": r}', '"state": np.where(real, r, 0)}'),)),
    Bug("gradient-into-masked-step", "The gradient enters the gates of masked steps.",
        (("new_r, new_c = np.where(real, d_r, 0), np.where(real, d_c, 0)",
          "new_r, new_c = d_r, d_c"),)),
    Bug("gradient-lost-at-masked-step", "The gradient of h does not pass a masked step.",
        (("d_r = gather(by_r, d_rs) + np.where(real, 0, d_r)", "d_r = gather(by_r, d_rs)"),)),
    Bug("cell-gradient-lost-at-masked-step", "The gradient of c does not pass a masked step.",
        (("d_c = d_c_prev + np.where(real, 0, d_c)", "d_c = d_c_prev"),)),
    Bug("repeated-output-without-gradient", "Repeated outputs of masked steps get no gradient.",
        (("d_emitted = d_emitted + d_y_t", "d_emitted = np.where(real, d_y_t, 0)"),)),
    Bug("nan-leaks", "NaN in masked input reaches the weight gradients.",
        (("x_t = np.where(real, x[:, t], 0)", "x_t = x[:, t]"),), seen="Keras 3.15.1"),
    Bug("length-zero-runs", "A sequence of length zero ends in the state of all its steps.",
        (("State(r, c), (spec",
          'State(*(np.where(mask.real.any(1)[:, None], a, b) for a, b in '
          '((r, m["r"]), (c, m["c"])))), (spec'),), seen="jax.experimental.rnn.lstm_ref"),
    Bug("length-zero-gives-zero", "A sequence of length zero ends in zeros.",
        (("State(r, c), (spec",
          "State(*(a * mask.real.any(1)[:, None] for a in (r, c))), (spec"),), seen="onnxruntime"),
)  # fmt: skip

_VARIANTS = (
    Bug("peepholes-exchanged", "p_i and p_f are exchanged.",
        (('P["b_i"] + P["p_i"] * c_prev', 'P["b_i"] + P["p_f"] * c_prev'),
         ('P["b_f"] + P["p_f"] * c_prev', 'P["b_f"] + P["p_i"] * c_prev'))),
    Bug("peepholes-in-onnx-order", "p_f and p_o are exchanged: i, o, f in place of i, f, o.",
        around=_gate_order("p", "iogf"), seen="ONNX's P = [p_i, p_o, p_f]"),
    Bug("output-peephole-sees-previous-cell", "p_o sees c_{t-1} in place of c_t.",
        (('P["p_o"] * c\n', 'P["p_o"] * c_prev\n'),)),
    Bug("output-peephole-gradient-of-previous-cell", "d_p_o takes c_{t-1} in place of c_t.",
        (('(d_z_o * m["c"])', '(d_z_o * m["c_prev"])'),)),
    Bug("input-peephole-gradient-of-new-cell", "d_p_i takes c_t in place of c_{t-1}.",
        (('(d_z_i * m["c_prev"])', '(d_z_i * m["c"])'),)),
    Bug("output-peephole-not-in-d-c", "The gradient through p_o does not reach c_t.",
        (('    d_c = d_c + d_z_o * P["p_o"]\n', ""),)),
    Bug("input-peephole-not-in-d-c", "The gradient through p_i does not reach c_{t-1}.",
        (('    d_c_prev = d_c_prev + d_z_i * P["p_i"]\n', ""),)),
    Bug("forget-peephole-not-in-d-c", "The gradient through p_f does not reach c_{t-1}.",
        (('    d_c_prev = d_c_prev + d_z_f * P["p_f"]\n', ""),)),
    Bug("output-peephole-after-activation", "p_o * c is added to o, not to z_o.",
        (('P["b_o"] + P["p_o"] * c\n', 'P["b_o"]\n'),
         ("o = activate(spec.o_activation, a_o)",
          'o = activate(spec.o_activation, a_o) + P["p_o"] * c'))),
    Bug("cell-not-clipped", "The cell is not clipped.",
        (("c = clip(c_free, spec.cell_clip)", "c = c_free"),)),
    Bug("cell-clipped-for-output-only", "The clipped cell is emitted, the other one carried.",
        (("c = clip(c_free, spec.cell_clip)", "c = c_free"),
         ("s = activate(spec.c_activation, a_c)",
          "s = activate(spec.c_activation, clip(a_c, spec.cell_clip))")), seen="ONNX's clip"),
    Bug("cell-clip-straight-through", "The gradient passes a clipped cell.",
        (('    d_c = d_c * inside(m["c_free"], spec.cell_clip)\n', ""),)),
    Bug("activation-clip-straight-through", "The gradient passes a clipped input of gate o.",
        (('    d_z_o = d_z_o * inside(m["z_o"], spec.activation_clip)\n', ""),)),
    Bug("clip-before-peephole", "Gate i's input is clipped before the peephole is added.",
        (("a_i = clip(z_i, spec.activation_clip)",
          'a_i = clip(z_i - P["p_i"] * c_prev, spec.activation_clip) + P["p_i"] * c_prev'),)),
    Bug("coupled-the-other-way", "The coupled input gate is f in place of 1 - f.",
        (("i = 1 - f if spec.coupled", "i = f if spec.coupled"),)),
    Bug("coupling-without-gradient", "The coupled input gate gives the forget gate no gradient.",
        (("        d_f = d_f - d_i\n", "        d_f = d_f * 1\n"),)),
    Bug("projection-gradient-before-output-gate", "d_V takes tanh(c) in place of h.",
        (('d["V"] + m["h"].T @ d_r', 'd["V"] + m["s"].T @ d_r'),)),
    Bug("projection-gradient-last-step-only", "d_V counts the last step alone.",
        (('d["V"] = d["V"] + m["h"].T @ d_r',
          'd["V"] = d["V"] if d["V"].any() else m["h"].T @ d_r'),)),
    Bug("projection-not-in-gradient-of-h", "d_h gets the sum of d_r in place of d_r @ V^T.",
        (('d_h = d_r @ P["V"].T', 'd_h = d_r.sum(axis=1, keepdims=True) + 0 * m["h"]'),)),
    Bug("hard-sigmoid-slope", "The hard sigmoid has slope 1/5 in place of 1/6.",
        (("z / 6 + 0.5", "z / 5 + 0.5"),), seen="Keras 2 against Keras 3 and PyTorch"),
    Bug("hard-sigmoid-slope-sixth", "The hard sigmoid has slope 1/6 in place of 1/5.",
        (("z / 5 + 0.5", "z / 6 + 0.5"),), seen="Keras 3 against ONNX"),
    Bug("hard-sigmoid-gradient-in-saturation", "The saturated hard sigmoid has a gradient.",
        (("np.where((a > 0) & (a < 1), one(z), 0) / 6", "one(z) / 6"),)),
    Bug("relu-gradient-everywhere", "relu passes the gradient below zero.",
        (("np.where(z > 0, 1.0, 0.0)", "np.ones_like(z)"),)),
    Bug("leaky-slope", "The leaky relu has slope 0.3 in place of 0.2.",
        (("np.where(z > 0, z, 0.2 * z)", "np.where(z > 0, z, 0.3 * z)"),
         ("np.where(z > 0, 1.0, 0.2)", "np.where(z > 0, 1.0, 0.3)")), seen="Keras 2"),
    Bug("softsign-gradient-not-squared", "softsign' is 1 / (1 + |z|).",
        ((" - abs(z) / (1 + abs(z)) ** 2", ""),)),
    Bug("silu-gradient", "silu' leaves out the factor 1 - sigma.",
        (("(1 + z * (1 - logistic(z)))", "(1 + z)"),)),
    Bug("saturation-clamped", "sigmoid clamps its argument to [-5, 5].",
        (("    return np.where(z > 0, logistic(",
          "    z = np.clip(z, -5, 5)\n    return np.where(z > 0, logistic("),)),
)  # fmt: skip

_DROPOUT = (
    Bug("dropout-not-in-backward", "Dropped inputs get a gradient.",
        (('sum(d[k] * multiplier[k] for k in "ifgo")', 'sum(d[k] for k in "ifgo")'),)),
    Bug("dropout-not-scaled", "Kept inputs are not scaled by 1 / (1 - rate).",
        (("{k: a * multiplier[k] for", "{k: a * np.minimum(multiplier[k], 1) for"),)),
    Bug("dropout-of-the-first-step", "The first step's dropout mask is used at every step.",
        (("0 if dropout.shape[1] == 1 else t", "0"),), seen="a zoneout mask drawn once"),
    Bug("dropout-of-the-first-gate", "The first gate's dropout mask is used for every gate.",
        (("{k: now[:, n] for", "{k: now[:, 0 * n] for"),)),
    Bug("dropout-on-x-for-h", "The recurrent state is not dropped.",
        (("multipliers(spec, dropout.h, t)", "multipliers(spec, None, t)"),)),
)  # fmt: skip

_LAYER_NORM = (
    Bug("layer-norm-unbiased-variance", "The variance is divided by N - 1.",
        (("((a - mean) ** 2).sum(axis=-1, keepdims=True) / n",
          "((a - mean) ** 2).sum(axis=-1, keepdims=True) / (n - 1)"),)),
    Bug("layer-norm-epsilon-outside", "epsilon is added to the deviation, not to the variance.",
        (("s = np.sqrt(variance + epsilon)", "s = np.sqrt(variance) + epsilon"),)),
    Bug("layer-norm-mean-without-gradient", "No gradient passes through the mean.",
        (("return d_centered - d_mean", "return d_centered"),)),
    Bug("layer-norm-variance-without-gradient", "No gradient passes through the variance.",
        (("d_centered = d / s - ", "d_centered = d / s - 0 * "),)),
    Bug("layer-norm-gain-not-in-gradient", "The gradient of a product leaves out the gain.",
        (("d_each.append(d_z[k] * P[name])", "d_each.append(d_z[k])"),)),
    Bug("layer-norm-cell-carried", "The normalized cell is carried.",
        (("    s = activate(spec.c_activation, a_c)\n",
          "    s = activate(spec.c_activation, a_c)\n    c = a_c\n"),),
        seen="TensorFlow Addons' LayerNormLSTMCell, against Ba et al. 2016"),
    Bug("layer-norm-shift-dropped", "The cell has a gain and no shift.",
        (('P["gain_c"] * normal + P["shift_c"]', 'P["gain_c"] * normal'),)),
)  # fmt: skip

_ZONEOUT = (
    Bug("zoneout-the-other-way", "A mask of 1 updates and one of 0 keeps the output.",
        (('keep_r * r + (1 - keep_r) * step["r"]', '(1 - keep_r) * r + keep_r * step["r"]'),)),
    Bug("zoneout-of-the-first-step", "The first step's zoneout mask is used at every step.",
        (("mask[:, 0 if mask.shape[1] == 1 else t]", "mask[:, 0]"),)),
    Bug("zoneout-one-mask-for-both", "The cell is kept where the output is.",
        (("kept(spec.zoneout_c, dropout.zoneout_c, t)",
          "kept(spec.zoneout_h, dropout.zoneout_h, t)"),)),
    Bug("zoneout-without-gradient-of-the-old", "What is kept gives the old state no gradient.",
        (("return d_r + keep[0] * kept_r, d_c + keep[1] * kept_c", "return d_r, d_c"),)),
    Bug("zoneout-full-gradient-of-the-new", "The new state has a gradient where it is not used.",
        (("return (1 - keep[0]) * d_r, (1 - keep[1]) * d_c", "return d_r, d_c"),)),
)  # fmt: skip

_COMBINATIONS = (
    Bug("reverse-mask-not-flipped", "The mask is not reversed with the direction.",
        (("mask = Mask(flip(mask.real), mask.started)", "mask = Mask(mask.real, mask.started)"),)),
    Bug("reverse-input-not-flipped", "The backward layer reads forwards.",
        (("    x = flip(x)\n", "    x = x * 1\n"),)),
    Bug("reverse-over-the-batch", "The batch is reversed in place of time.",
        (("return a[:, ::-1]", "return a[::-1]"),)),
    Bug("reverse-output-not-flipped", "Outputs of the backward layer stay in processing order.",
        (('    if architecture.output_order == "original":\n        y = flip(y)\n', ""),),
        seen="halves of a bidirectional layer merged unaligned"),
    Bug("reverse-output-flipped-twice", "Outputs in processing order are flipped all the same.",
        (('    if architecture.output_order == "original":\n        y = flip(y)\n',
          "    y = flip(y)\n"),),
        seen="Keras 3.15.1 on JAX with cuDNN, the wrong way round"),
    Bug("reverse-cotangent-not-flipped", "dL/dy is not flipped on its way into a backward layer.",
        (("        d_y = flip(d_y)\n", "        d_y = d_y * 1\n"),)),
    Bug("reverse-d-x-not-flipped", "d_x of a backward layer stays in processing order.",
        (("    d_x = flip(d_x)\n", ""),)),
    Bug("halves-exchanged", "The backward half comes first.",
        (("np.concatenate([a, b], axis=-1)", "np.concatenate([b, a], axis=-1)"),)),
    Bug("final-states-exchanged", "The final states of both directions are exchanged.",
        (("Directions(state_a, state_b)", "Directions(state_b, state_a)"),)),
    Bug("final-state-of-one-direction", "Both final states are those of the forward direction.",
        (("Directions(state_a, state_b)", "Directions(state_a, state_a)"),)),
    Bug("average-gradient-not-halved", "The gradient of an average is not halved.",
        (("(d_y / 2, d_y / 2)", "(d_y, d_y)"),)),
    Bug("product-gradient-of-itself", "The gradient of a product takes the half itself.",
        (("(d_y * b, d_y * a)", "(d_y * a, d_y * b)"),)),
    Bug("d-x-of-one-direction", "d_x leaves out the backward direction.",
        (("d_x = d_x_a + d_x_b", "d_x = d_x_a"),)),
    Bug("mask-of-the-first-layer-only", "Upper layers of a stack are not masked.",
        (("run_forward(layer, params[n], x, state[n], mask, dropout[n])",
          "run_forward(layer, params[n], x, state[n], mask if n == 0 else "
          "Mask(np.ones_like(mask.real), mask.started), dropout[n])"),)),
    Bug("stack-cotangent-of-the-top-only", "Only the top layer's final state has a gradient.",
        (("tape[n], d_y, d_state[n])",
          "tape[n], d_y, d_state[n] if n else nothing(d_state[n]))"),)),
    Bug("chunks-not-truncated", "Truncated backpropagation is not truncated.",
        (("        if architecture.truncate:\n", "        if False:\n"),)),
    Bug("chunks-start-anew", "Every chunk starts from a zero state.",
        (("x[:, piece], state, now, cut)", "x[:, piece], nothing(state), now, cut)"),)),
)  # fmt: skip

_NUMBERS = (
    Bug("silently-float32", "float64 is computed in float32.", around=_silently_float32,
        seen="Keras 3.15.1 on JAX and PyTorch: keras#23223, keras#23704"),
    Bug("tensor-float-32", "Matrix products see 11 binary digits of their factors (TF32).",
        around=_with(lambda case: _inputs(case, lambda a: to_format(a, "float16")))),
    Bug("bfloat16-weights", "Weights are rounded to bfloat16.",
        around=_with(lambda case: dataclasses.replace(
            case, params=map_leaves(lambda a: to_format(a, "bfloat16"), case.params)))),
    Bug("gradients-clipped", "Gradients are clipped to a norm of 1000.", around=_clipped_by_norm),
    Bug("small-gradients-flushed", "Gradients below 1e-7 are set to zero.",
        around=lambda run, case: _gradients(
            run(case), lambda a: np.where(np.abs(a) < 1e-7, 0, a))),
    Bug("one-step-forgets-the-state", "With one step the initial state is ignored.",
        around=_with(_one_step_forgets)),
    Bug("one-sequence-squeezed", "With one sequence the bias gradient is summed over units.",
        around=_one_sequence_squeezed),
    Bug("one-unit-broadcast", "With one hidden unit all gates share one gradient of U.",
        around=_one_unit_broadcast),
)  # fmt: skip

BUGS: tuple[Bug, ...] = (
    *_BPTT, *_WEIGHTS, *_MASKS, *_VARIANTS, *_DROPOUT, *_LAYER_NORM, *_ZONEOUT, *_COMBINATIONS,
    *_NUMBERS,
)  # fmt: skip


def check_patches() -> Iterator[str]:
    """The ids of bugs whose patches do not fit the textbook as it stands."""
    source = inspect.getsource(textbook)
    for one in BUGS:
        if any(source.count(old) != 1 for old, _ in one.patches):
            yield one.id
