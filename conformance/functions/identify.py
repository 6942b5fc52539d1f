"""`identify`: the conventions of a black box, from a few calls.

Every question is a call with numbers on which its answers differ, and the answers are predictions
of the oracle: the one that the box gives is the finding, and the runner-up, which has to be far
off, is the evidence. Later questions build on earlier findings, and none on a name in a layout: of
the layout only the shapes of the arrays are used, its gates are just four places.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lstm_oracle import reference
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.functions import weights
from lstm_oracle.conformance.functions.identity import Identity, Item
from lstm_oracle.conformance.functions.objects import AdapterSubject
from lstm_oracle.conformance.functions.subject import BadSignature, Subject
from lstm_oracle.conformance.functions.subjects import subject_of
from lstm_oracle.conformance.rounding import to_format
from lstm_oracle.reference.layouts import Layout, from_layout, to_layout
from lstm_oracle.reference.spec import Architecture, Chunks, Reverse, Spec, State

Array = np.ndarray
Params = dict[str, Array]

MOST_CALLS = 64
_FITS = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 6e-2}  # of the signal
_APART = 5.0  # the runner-up has to be off by so many times more
_PLACES = "ifgo"
_STARTS = (0.0, 1.0, 3.0, -2.0)  # from which a forget bias is fitted
_SMALL = 0.1  # of weights and states, where usual ones seem to reach a bound
_REFINED = 40  # of the most likely answers, so many are fitted
_DIRECTIONS = {
    "forward": lambda spec: spec,
    "backward, original order": lambda spec: Reverse(spec),
    "backward, processing order": lambda spec: Reverse(spec, "processing"),
}
_SLOPES = {"sigmoid": None, "hard_sigmoid_sixth": 1 / 6, "hard_sigmoid_fifth": 0.2}
_ORDERS = tuple("".join(order) for order in itertools.permutations(_PLACES))


class _Refuses(Exception):
    """The box raised."""


@dataclass(frozen=True)
class _Known:
    """What has been found so far."""

    spec: Spec
    orders: dict[str, str]  # letter: the gate in every place
    forget_bias: float = 0.0
    direction: str = "forward"
    biases: float = 1.0  # what the sum of both is multiplied with

    def params(self, placed: Params) -> Params:
        """The oracle's parameters, of arrays named by their places."""
        found = {}
        for name, array in placed.items():
            letter, _, place = name.partition("_")
            order = self.orders.get(letter, _PLACES)
            found[f"{letter}_{order[_PLACES.index(place)]}" if place else letter] = array
        shift = np.zeros(self.spec.hidden_size)
        found["b_f"] = found.get("b_f", shift) + self.forget_bias
        return {name: found.get(name, shift) for name in self.spec.param_shapes}

    def answer(self, placed: Params, case: Case) -> Result:
        """What the box gives if all of this is so."""
        spec = dataclasses.replace(self.spec, use_bias=True)
        known = dataclasses.replace(self, spec=spec)
        architecture = _DIRECTIONS[self.direction](spec)
        output, _ = reference.forward(
            architecture, known.params(placed), case.x, case.state, case.mask
        )
        return Result(output.y, output.state)


class _Ranked(NamedTuple):
    value: Any
    error: float
    runner_up: Any
    runner_error: float


def identify(
    fn: Any,
    layout: str | Layout | None = None,
    spec: Spec | None = None,
    **options: Any,
) -> Identity:
    """The conventions of a black box that computes an LSTM, from at most 64 forward calls.

    Parameters
    ----------
    fn
        As for `check`: a function, a `torch.nn.LSTM`, a Keras layer, an adapter.
    layout : str or Layout, optional
        Names and shapes of the weights' arrays; its order of gates and its forget bias are not
        used. By default "fused", or the layer's own.
    spec : Spec, optional
        Which parameters there are (bias, peepholes). By default a plain layer.
    **options
        `time_major`, `dtype`, `framework`, `arguments`, `returns` of `check`.

    Returns
    -------
    Identity
        A value with its evidence per question; `identity.layout` is the row for `check`.

    Raises
    ------
    TypeError, ValueError
        For what cannot be called, as `check`, and for architectures of several layers.

    Examples
    --------
    >>> def box(x, h0, c0, W, U, b):
    ...     sigmoid = lambda z: 1 / (1 + np.exp(-z))
    ...     h, c, ys = h0, c0, []
    ...     for t in range(x.shape[1]):
    ...         i, g, f, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
    ...         c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    ...         h = sigmoid(o) * np.tanh(c)
    ...         ys.append(h)
    ...     return np.stack(ys, axis=1), h, c
    >>> found = identify(box)
    >>> found.gate_order.value, found.forget_bias.value, found.bias.value
    ('igfo', 1.0, 'one')
    """
    defaults = {"time_major": False, "gradients": "none", "dtype": None, "framework": None,
                "arguments": None, "returns": None}  # fmt: skip
    unknown = set(options) - set(defaults)
    if unknown:
        raise TypeError(
            f"identify got {', '.join(sorted(unknown))}, expected options out of "
            f"{', '.join(defaults)}. See `check`."
        )
    row = weights.row_of(layout or "fused")
    places = dataclasses.replace(row, gates=_PLACES, forget_bias=0.0)
    subject = subject_of(
        fn, spec, layout=places, isolate=False, time_limit=60.0, memory_limit=4 << 30,
        **{**defaults, **options},
    )  # fmt: skip
    try:
        return _Examination(subject, row).identity()
    except _Refuses as error:
        raise ValueError(
            f"{subject.name} {error}, expected something that can be called on a small batch of "
            "its layer. Check the spec, the layout and the arguments."
        ) from error


class _Examination:
    """The questions, one after the other."""

    def __init__(self, subject: Subject, row: Layout) -> None:
        single = weights.single(subject.architecture)
        if single is None:
            raise ValueError(
                f"{subject.name} consists of several layers, expected one. Identify them one by "
                "one."
            )
        self.subject, self.row, self.spec = subject, row, single
        self.adapter = isinstance(subject, AdapterSubject)
        self.calls = 1  # the one that shows what is returned
        self.abilities = subject.abilities()
        self.rng = np.random.default_rng(0)
        self.size = 1.0  # factor on all weights and states

    def identity(self) -> Identity:
        """All findings."""
        known, first = self._input_weights()
        if first["order"].value is None:
            self.size = _SMALL  # a bound on some values may have been in the way
            known, first = self._input_weights()
        known, recurrent = self._recurrent_weights(known)
        known, bias, bias_order = self._bias(known)
        known, peepholes = self._peepholes(known)
        masked, before = self._masked_output(known)
        zero_length = self._zero_length(known)
        clip, bound = self._clip(known)
        slope = _SLOPES[known.spec.i_activation] or "none"
        return Identity(
            name=self.subject.name,
            gate_order=first["order"],
            recurrent_gate_order=recurrent,
            bias_gate_order=bias_order,
            bias=bias,
            forget_bias=first["forget_bias"],
            direction=first["direction"],
            gate_activation=first["activation"],
            hard_sigmoid_slope=dataclasses.replace(first["activation"], value=slope),
            masked_output=masked,
            before_first=before,
            zero_length=zero_length,
            clip=clip,
            clip_bound=bound,
            peephole_order=peepholes,
            calls=self.calls,
            base=self.row,
        )

    # --- one call ---------------------------------------------------------------------------------

    def _case(self, placed: Params, x: Array, state: State, mask: Array | None = None) -> Case:
        taken = state if self.abilities.state else None
        zero = np.zeros((*x.shape[:2], self.spec.recurrent_size))
        d_state = State(np.zeros_like(state.h), np.zeros_like(state.c))
        return Case(
            "question", self.subject.architecture, placed, x, taken, mask, None, zero, d_state,
            self.subject.dtype, {"forward": True},
        )  # fmt: skip

    def _ask(self, case: Case) -> Array:
        """What the box gives, as one vector."""
        return self._vector(self._answer(case))

    def _answer(self, case: Case) -> Result:
        if self.calls >= MOST_CALLS:
            raise _Refuses(f"more than {MOST_CALLS} calls")
        self.calls += 1
        case = self._through_adapter(case) if self.adapter else case
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return self.subject.run(case, gradients=False)
        except (BadSignature, KeyboardInterrupt):
            raise
        except Exception as error:
            raise _Refuses(f"raised {type(error).__name__}: {str(error)[:100]}") from error

    def _through_adapter(self, case: Case) -> Case:
        """The case with which an adapter hands exactly these arrays to its library.

        An adapter takes canonical parameters and stores them in the library's layout; what is read
        from these arrays by the same row is stored as these arrays again. Where it knows what its
        library emits at masked steps, and refuses all else, that is what the library is asked.
        """
        spec = self.spec
        places = dataclasses.replace(self.row, gates=_PLACES, forget_bias=0.0)
        raw = to_layout(places, spec, case.params)
        case = dataclasses.replace(case, params=from_layout(self.row, spec, raw))
        adapter: Any = getattr(self.subject, "adapter", None)
        for rule in ("previous", "zero", "state"):
            own = dataclasses.replace(spec, masked_output=rule)
            asked = dataclasses.replace(case, architecture=_like(case.architecture, own))
            if not adapter.unsupported(dataclasses.replace(asked, options={})):
                return asked
        return case

    def _vector(self, result: Result) -> Array:
        """Those outputs that the box gives."""
        outputs = self.abilities.outputs
        state = "state" in outputs
        parts = [result.y] if "y" in outputs else []
        parts += [result.state.h] if state or "h" in outputs else []
        parts += [result.state.c] if state or "c" in outputs else []
        return np.concatenate([np.asarray(part, np.float64).ravel() for part in parts])

    def _normal(self, scale: float, *shape: int) -> Array:
        return to_format(self.rng.normal(0, scale, shape), self.subject.dtype)

    def _placed(self, letters: str) -> Params:
        """Random parameters of these letters, zeros elsewhere.

        So small that no clip of 1 or more is reached, where the digits allow that.
        """
        scale = self.size * (0.12 if self.subject.dtype in ("float64", "float32") else 0.7)
        return {
            name: self._normal(scale if name[0] in letters else 0.0, *shape)
            for name, shape in self.spec.param_shapes.items()
        }

    def _inputs(self, B: int = 4, T: int = 3) -> tuple[Array, State]:
        x = self._normal(1.0, B, T, self.spec.input_size)
        R, H = self.spec.recurrent_size, self.spec.hidden_size
        size = 0.3 * self.size
        return x, State(self._normal(size, B, R), self._normal(size, B, H))

    def _best(self, got: Array, answers: Iterable[tuple[Any, Callable[[], Array]]]) -> _Ranked:
        """The answer nearest to the box's, and the runner-up."""
        rows = [(value, _error(got, predict())) for value, predict in answers]
        rows.sort(key=lambda row: row[1])
        second = rows[1] if len(rows) > 1 else (None, np.inf)
        return _Ranked(*rows[0], *second)

    def _item(self, ranked: _Ranked, value: Any = None, calls: int = 1) -> Item:
        """A finding where one answer fits and no other does."""
        other = ranked.runner_up
        named = ", ".join(map(str, other)) if isinstance(other, tuple) else str(other)
        shown = f"off by {ranked.error:.1e}; {named}: off by {ranked.runner_error:.1e}"
        value = ranked.value if value is None else value
        return Item(value if self._clear(ranked) else None, shown, calls)

    def _clear(self, ranked: _Ranked) -> bool:
        fits = ranked.error < _FITS[self.subject.dtype]
        return fits and ranked.runner_error > _APART * ranked.error

    # --- the questions ----------------------------------------------------------------------------

    def _input_weights(self) -> tuple[_Known, dict[str, Item]]:
        """Order of the gates in W, activation, forget bias and direction, with U and b zero."""
        placed = self._placed("WV")
        x, state = self._inputs()
        case = self._case(placed, x, state)
        got = self._ask(case)
        rows = []
        for direction, activation in itertools.product(_DIRECTIONS, _SLOPES):
            gates = {f"{k}_activation": activation for k in self.spec.gates if k != "g"}
            spec = dataclasses.replace(self.spec, **gates)  # type: ignore[arg-type]
            guesses = [
                _Known(spec, {"W": order}, bias, direction)
                for order, bias in itertools.product(_ORDERS, _STARTS)
            ]
            answers = _together(guesses, placed, case)
            rows += [
                (_error(got, self._vector(answer)), guess, guess.forget_bias)
                for guess, answer in zip(guesses, answers, strict=True)
            ]
        rows.sort(key=lambda row: row[0])
        error, known = self._first_fit(got, rows, placed, case)
        # Several starts lead to the same answer: the runner-up is the next other one.
        others = [row for row in rows if _signature(row[1]) != _signature(known)][:3]
        other = min(
            (self._refined(got, guess, placed, case, bias) for _, guess, bias in others),
            key=lambda row: row[0],
        )
        ranked = _Ranked(known, error, _signature(other[1]), other[0])
        return known, {
            "order": self._item(ranked, known.orders["W"]),
            "forget_bias": self._item(ranked, _tidy(known.forget_bias, self.subject.dtype)),
            "direction": self._item(ranked, known.direction),
            "activation": self._item(ranked, known.spec.i_activation),
        }

    def _first_fit(
        self, got: Array, rows: list[tuple[float, _Known, float]], placed: Params, case: Case
    ) -> tuple[float, _Known]:
        """The first answer that fits, the most likely ones tried first; else the best."""
        best: tuple[float, _Known] = (np.inf, rows[0][1])
        for _, guess, bias in rows[:_REFINED]:
            found = self._refined(got, guess, placed, case, bias)
            best = min(best, found, key=lambda row: row[0])
            if best[0] < _FITS[self.subject.dtype] / _APART:
                break
        return best

    def _predict(self, known: _Known, placed: Params, case: Case, bias: float) -> Array:
        return self._vector(dataclasses.replace(known, forget_bias=bias).answer(placed, case))

    def _refined(
        self, got: Array, known: _Known, placed: Params, case: Case, bias: float
    ) -> tuple[float, _Known]:
        """The forget bias that fits best, by Gauss-Newton steps from where it starts."""
        best = (_error(got, self._predict(known, placed, case, bias)), bias)
        for _ in range(8):
            if best[0] < 1e-12:
                break
            step = 1e-5
            here = self._predict(known, placed, case, bias)
            slope = (self._predict(known, placed, case, bias + step) - here) / step
            size = float(slope @ slope)
            if not size:
                break
            bias += float(np.clip(slope @ (got - here) / size, -2, 2))
            best = min(best, (_error(got, self._predict(known, placed, case, bias)), bias))
        found = _tidy(best[1], self.subject.dtype)
        return best[0], dataclasses.replace(known, forget_bias=found)

    def _recurrent_weights(self, known: _Known) -> tuple[_Known, Item]:
        placed = self._placed("WUV")
        x, state = self._inputs()
        case = self._case(placed, x, state)
        return self._ordered(known, "U", placed, case)

    def _ordered(
        self, known: _Known, letter: str, placed: Params, case: Case
    ) -> tuple[_Known, Item]:
        """The order of the gates in the blocks of a letter."""
        got = self._ask(case)

        def with_order(order: str) -> _Known:
            return dataclasses.replace(known, orders={**known.orders, letter: order})

        def answered(order: str) -> Array:
            return self._vector(with_order(order).answer(placed, case))

        ranked = self._best(got, [(order, partial(answered, order)) for order in _ORDERS])
        return with_order(ranked.value), self._item(ranked)

    def _bias(self, known: _Known) -> tuple[_Known, Item, Item]:
        """How many biases there are and which count, and the order of their gates.

        Where there are two, every other unit's bias stands in the second one.
        """
        if not self.spec.use_bias:
            none = Item("none", "the layer has no bias")
            return known, none, Item("", "the layer has no bias")
        placed = self._placed("WUVb")
        x, state = self._inputs()
        case = self._case(placed, x, state)
        got = self._ask(case)
        two = any("b2" in block.parts for block in self.row.blocks)
        odd = np.arange(self.spec.hidden_size) % 2
        counts: dict[str, Any] = {"two" if two else "one": 1.0, "ignored": 0.0, "twice": 2.0}
        if two:
            counts |= {"first only": 1.0 - odd, "second only": odd}
        answers = []
        for (word, factor), order in itertools.product(counts.items(), _ORDERS):
            with_order = dataclasses.replace(known, orders={**known.orders, "b": order})
            scaled = {n: a * factor if n[0] == "b" else a for n, a in placed.items()}
            answers.append(
                (
                    (word, order),
                    lambda w=with_order, s=scaled: self._vector(w.answer(s, case)),
                )
            )
        ranked = self._best(got, answers)
        word, order = ranked.value
        if word == "ignored":  # every order is the same
            item = Item("ignored", f"off by {ranked.error:.1e} without it")
            return known, item, Item(None, "the bias is ignored")
        found = dataclasses.replace(known, orders={**known.orders, "b": order})
        return found, self._item(ranked, word), self._item(ranked, order, 0)

    def _peepholes(self, known: _Known) -> tuple[_Known, Item]:
        places = self.spec.peepholes
        if not places:
            return known, Item("", "the layer has no peepholes")
        placed = self._placed("WUVp")
        x, state = self._inputs()
        case = self._case(placed, x, state)
        got = self._ask(case)

        def moved(order: Sequence[str]) -> Params:
            renamed = {f"p_{k}": placed[f"p_{p}"] for p, k in zip(places, order, strict=True)}
            return placed | renamed

        answers = [
            (
                "".join(order),
                lambda order=order: self._vector(known.answer(moved(order), case)),
            )
            for order in itertools.permutations(places)
        ]
        ranked = self._best(got, answers)
        return known, self._item(ranked)

    def _masked_output(self, known: _Known) -> tuple[Item, Item]:
        """What is emitted at masked steps, and before the first real one."""
        masks = self.abilities.masks
        if masks == "none" or "y" not in self.abilities.outputs:
            missing = Item(None, "the function takes no mask, or gives no y")
            return missing, missing
        placed = self._placed("WUVb")
        x, state = self._inputs(3, 5)
        lengths = np.arange(5) < np.array([5, 3, 2])[:, None]
        mask = lengths if known.direction == "forward" else lengths[:, ::-1]
        if masks == "lengths":
            mask = lengths
        case = self._case(placed, x, state, np.ascontiguousarray(mask))
        after = self._rules(known, placed, case)
        if masks == "lengths" or after.value is None:
            return after, Item(None, "the function takes lengths only")
        leading = np.ones((3, 5), bool)
        leading[1, :2] = leading[2, 0] = False
        if known.direction != "forward":
            leading = leading[:, ::-1]
        case = self._case(placed, x, state, np.ascontiguousarray(leading))
        before = self._rules(known, placed, case)
        words = {"previous": "zero", "zero": "zero", "state": "initial", "raw": "raw"}
        return (
            dataclasses.replace(after, value="previous" if after.value == "state" else after.value),
            dataclasses.replace(before, value=words.get(before.value)),
        )

    def _rules(self, known: _Known, placed: Params, case: Case) -> Item:
        """The rule of masked outputs that explains y."""
        try:
            y = np.asarray(self._answer(case).y, np.float64).ravel()
        except _Refuses as error:
            return Item(None, str(error))

        def emitted(rule: str) -> Array:
            spec = dataclasses.replace(known.spec, masked_output=rule)  # type: ignore[arg-type]
            result = dataclasses.replace(known, spec=spec).answer(placed, case)
            return np.asarray(result.y).ravel()

        def raw() -> Array:
            unmasked = dataclasses.replace(case, mask=None)
            return np.asarray(known.answer(placed, unmasked).y).ravel()

        rules: list[tuple[Any, Callable[[], Array]]] = [("raw", raw)]
        rules += [(r, partial(emitted, r)) for r in ("zero", "previous", "state")]
        rows = sorted(((_error(y, predict()), name) for name, predict in rules))
        # Without leading masked steps, "previous" and "state" are one rule.
        other = next((row for row in rows[1:] if row[0] > _APART * rows[0][0]), rows[-1])
        return self._item(_Ranked(rows[0][1], rows[0][0], other[1], other[0]))

    def _zero_length(self, known: _Known) -> Item:
        """The final state of a sequence without a real step."""
        if self.abilities.masks == "none":
            return Item(None, "the function takes no mask")
        placed = self._placed("WUVb")
        x, state = self._inputs(3, 3)
        state = state if self.abilities.state else State(0 * state.h, 0 * state.c)
        mask = np.ones((3, 3), bool)
        mask[1] = False
        case = self._case(placed, x, state, mask)
        if not {"h", "c", "state"} & self.abilities.outputs:
            return Item(None, "the function gives no final state")
        try:
            final = self._answer(case).state
        except _Refuses as error:
            return Item("refused", str(error), 1)
        unmasked = dataclasses.replace(case, mask=None)
        candidates = {
            "initial": state,
            "zero": State(0 * state.h, 0 * state.c),
            "run": known.answer(placed, unmasked).state,
        }
        letter = "c" if final.c is not None else "h"
        got = np.asarray(getattr(final, letter), np.float64)[1]
        rows = sorted((_error(got, getattr(s, letter)[1]), n) for n, s in candidates.items())
        return self._item(_Ranked(rows[0][1], rows[0][0], rows[1][1], rows[1][0]))

    def _clip(self, known: _Known) -> tuple[Item, Item]:
        """Cells that grow to 30 and are halved again: a bound shows on the way back."""
        T, spec = 50, known.spec
        placed = {n: np.zeros(shape) for n, shape in spec.param_shapes.items()}
        place = {gate: _PLACES[known.orders["W"].index(gate)] for gate in _PLACES}
        if spec.input_size < 2 or spec.projection_size is not None:
            missing = Item(None, "needs two inputs and no projection")
            return missing, missing
        # x_0 = 1: all gates open; x_1 = 1: i closed, f at a half, o open.
        shift = known.forget_bias
        placed[f"W_{place['i']}"][:2] = [[30.0], [-30.0]]
        placed[f"W_{place['f']}"][:2] = [[30.0], [-shift]]
        placed[f"W_{place['g']}"][:2] = [[30.0], [0.0]]
        placed[f"W_{place['o']}"][:2] = [[30.0], [30.0]]
        x = np.zeros((2, T, spec.input_size))
        steps = np.arange(T) if known.direction == "forward" else np.arange(T)[::-1]
        x[0, :, 0], x[0, :, 1] = steps < 30, steps >= 30
        x[1, :, 0], x[1, :, 1] = steps < 5, steps >= 5
        zero = State(np.zeros((2, spec.recurrent_size)), np.zeros((2, spec.hidden_size)))
        case = self._case(placed, x, zero)
        try:
            got = self._ask(case)
        except _Refuses as refusal:
            return Item(None, str(refusal)), Item(None, str(refusal))
        free = _error(got, self._clipped(known, placed, case, "none", 1.0))
        if free < _FITS[self.subject.dtype]:
            item = Item("none", f"off by {free:.1e} without a bound; one above 20 does not show", 1)
            return item, dataclasses.replace(item, calls=0)

        def error(kind: str, bound: float) -> float:
            return _error(got, self._clipped(known, placed, case, kind, bound))

        fits = {
            kind: _fitted(partial(error, kind))
            for kind in ("cell", "activation", "activation and output")
        }
        rows = sorted((fit, kind) for kind, (fit, _) in fits.items())
        ranked = _Ranked(rows[0][1], rows[0][0], rows[1][1], rows[1][0])
        item = self._item(ranked)
        bound = item.value if item.value is None else round(fits[item.value][1], 3)
        return item, Item(bound, item.evidence, 0)

    def _clipped(self, known: _Known, placed: Params, case: Case, kind: str, bound: float) -> Array:
        changes = {
            "none": {},
            "cell": {"cell_clip": bound},
            "activation": {"activation_clip": bound},
            "activation and output": {"activation_clip": bound},
        }[kind]
        spec = dataclasses.replace(known.spec, **changes)  # type: ignore[arg-type]
        result = dataclasses.replace(known, spec=spec).answer(placed, case)
        if kind != "activation and output":
            return self._vector(result)
        return self._vector(self._output_clipped(known, spec, placed, case, bound))

    def _output_clipped(
        self, known: _Known, spec: Spec, placed: Params, case: Case, bound: float
    ) -> Result:
        """h = o * tanh(clip(c)), which no Spec has; U is zero, so that h feeds back nowhere."""
        biased = dataclasses.replace(known, spec=dataclasses.replace(spec, use_bias=True))
        architecture = _DIRECTIONS[known.direction](biased.spec)
        output, tape = reference.forward(architecture, biased.params(placed), case.x, case.state)
        trace = tape.trace()
        y = trace.o * np.tanh(np.clip(trace.c, -bound, bound))
        final = State(y[:, -1], output.state.c)
        return Result(y[:, ::-1] if known.direction == "backward, original order" else y, final)


def _like(architecture: Architecture, spec: Spec) -> Architecture:
    """The architecture of one layer with another Spec."""
    if isinstance(architecture, (Reverse, Chunks)):
        return dataclasses.replace(architecture, layer=_like(architecture.layer, spec))
    return spec


def _together(guesses: Sequence[_Known], placed: Params, case: Case) -> list[Result]:
    """The answers of several guesses in one pass: with U zero, units know nothing of each other."""
    spec, n = guesses[0].spec, len(guesses)
    if spec.projection_size is not None:
        return [guess.answer(placed, case) for guess in guesses]
    biased = dataclasses.replace(spec, use_bias=True)
    each = [dataclasses.replace(guess, spec=biased).params(placed) for guess in guesses]
    wide = dataclasses.replace(biased, hidden_size=n * spec.hidden_size)
    params = {
        name: np.zeros(shape) if name[0] == "U" else np.concatenate([p[name] for p in each], -1)
        for name, shape in wide.param_shapes.items()
    }
    state = None if case.state is None else State(*(np.tile(a, (1, n)) for a in case.state))
    architecture = _DIRECTIONS[guesses[0].direction](wide)
    output, _ = reference.forward(architecture, params, case.x, state)
    parts = (np.split(a, n, axis=-1) for a in (output.y, *output.state))
    return [Result(y, State(h, c)) for y, h, c in zip(*parts, strict=True)]


def _fitted(error: Callable[[float], float]) -> tuple[float, float]:
    """The smallest error over bounds between 0.02 and 20, and where it is."""
    grid = np.geomspace(0.02, 20, 60)
    errors = [error(float(bound)) for bound in grid]
    n = int(np.argmin(errors))
    low, high = grid[max(0, n - 1)], grid[min(len(grid) - 1, n + 1)]
    for _ in range(40):
        third = (high - low) / 3
        if error(float(low + third)) < error(float(high - third)):
            high -= third
        else:
            low += third
    middle = float((low + high) / 2)
    return error(middle), middle


def _error(got: Array, predicted: Array) -> float:
    """Relative to the prediction; what is not finite is far off."""
    size = float(np.linalg.norm(predicted)) or 1.0
    error = float(np.linalg.norm(got - predicted)) / size
    return error if np.isfinite(error) else np.inf


def _signature(known: _Known) -> tuple[str, str, str]:
    return known.orders["W"], known.spec.i_activation, known.direction


def _tidy(value: float, dtype: str) -> float:
    """A number that was fitted, without the digits that rounding made."""
    return round(value, 4 if dtype in ("float64", "float32") else 1) + 0.0
