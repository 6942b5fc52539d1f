"""The zoo against the checks that others use: which bugs do those let through?

    python benchmarks/survivors.py zoo torch jax-x64 jax-float32 onnx keras     run these checks
    python benchmarks/survivors.py table                                        write the table

Every bug is asked on a case that shows it: a small one (B 2, T 3, I 2, H 3) of the option that the
bug is in, or the smallest that shows it where that one does not. Gradient checkers get the buggy
forward pass with the buggy backward pass; test suites get the buggy forward pass under their own
inputs and expected values. The unchanged textbook goes through every check as a control: where it
is rejected too, the check cannot be asked.

`onnx` and `keras` need those packages installed. Results are kept in
benchmarks/results/zoo_survivors.json, the table in docs/survivors.md.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lstm_oracle.conformance import matrix
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.conformance.matrix import Recipe
from lstm_oracle.conformance.zoo import BUGS, Bug, gate_orders, hunt
from lstm_oracle.reference.spec import Bidirectional, Chunks, Reverse, Spec, Stack, State
from lstm_oracle.reference.tree import flatten, map_leaves, replace

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "results" / "zoo_survivors.json"
TABLE = ROOT / "docs" / "survivors.md"
NO_BUG = Bug("none", "Nothing is changed.")
SHOWS = 1e-7  # of the largest entry of a block; of bugs of precision 1e-10
PRECISION = ("silently-float32", "tensor-float-32", "bfloat16-weights", "small-gradients-flushed")

Sizes = tuple[int, int, int, int]  # B, T, I, H


# --- the case that shows a bug --------------------------------------------------------------------


def resized(architecture: Any, I: int, H: int) -> Any:
    """The same architecture with other widths."""
    if isinstance(architecture, Spec):
        R = architecture.projection_size
        R = None if R is None else max(1, min(R, H))
        return dataclasses.replace(architecture, input_size=I, hidden_size=H, projection_size=R)
    if isinstance(architecture, (Reverse, Chunks)):
        return dataclasses.replace(architecture, layer=resized(architecture.layer, I, H))
    if isinstance(architecture, Bidirectional):
        first, second = architecture.forward, architecture.backward
        return Bidirectional(resized(first, I, H), resized(second, I, H), architecture.merge)
    layers: list[Any] = []
    for layer in architecture.layers:
        layers.append(resized(layer, layers[-1].output_size if layers else I, H))
    return Stack(tuple(layers))


def small_case(recipe: Recipe, sizes: Sizes, draw: int = 0) -> Case:
    """A case of a recipe in other sizes, wherever its numbers lie."""
    B, T, I, H = sizes
    changes = {"architecture": resized(recipe.architecture, I, H), "B": B, "T": T}
    name = f"{recipe.name}, draw {draw}"
    return matrix.draw(dataclasses.replace(recipe, name=name, **changes), "float64")


def shows(one: Bug, case: Case) -> bool:
    """Whether the bug changes any block of the textbook's answer."""
    limit = 1e-10 if one.id in PRECISION else SHOWS
    try:
        got, true = one.run(case).blocks(), NO_BUG.run(case).blocks()
    except (ValueError, IndexError, KeyError):
        return True
    return any(not _close(got[name], block, limit) for name, block in true.items())


def _close(got: np.ndarray, true: np.ndarray, limit: float) -> bool:
    off = np.abs(np.asarray(got) - true)
    return bool((off <= limit * (np.abs(true).max(initial=0) or 1)).all())


def grid() -> Iterator[Sizes]:
    """Sizes, the smallest amount of numbers first."""
    every = itertools.product((1, 2, 3), (1, 2, 3, 4, 5, 21), (1, 2, 3), (1, 2, 3))
    return iter(sorted(every, key=lambda s: (s[0] * s[1] * (s[2] + s[3]), s)))


def smallest(one: Bug, recipe: Recipe) -> tuple[Sizes, int]:
    """The sizes and the draw of the smallest case of a recipe that shows the bug."""
    for sizes in grid():
        for draw in range(4):
            if shows(one, small_case(recipe, sizes, draw)):
                return sizes, draw
    raise RuntimeError(f"{one.id} does not show in any small case of {recipe.name!r}")


def usual(one: Bug, recipe: Recipe) -> tuple[Sizes, int] | None:
    """The usual sizes, where they show it."""
    sizes = (2, 3, 2, 3)
    draws = (draw for draw in range(4) if shows(one, small_case(recipe, sizes, draw)))
    return next(((sizes, draw) for draw in draws), None)


def recipe_of(name: str) -> Recipe:
    """The recipe behind a case's name."""
    return next(r for r in matrix.recipes() if f"{r.name}, float64" == name)


def run_zoo(kept: dict[str, Any]) -> None:
    """Our own check, and each bug's smallest input."""
    start = time.perf_counter()
    hunted = hunt()
    kept["zoo_seconds"] = round(time.perf_counter() - start, 1)
    for found in hunted:
        recipe = recipe_of(found.case)
        sizes, draw = smallest(found.bug, recipe)
        asked = usual(found.bug, recipe) or (sizes, draw)
        correct = NO_BUG.run(small_case(recipe, *asked))
        wrong = _forward_differs(found.bug, small_case(recipe, *asked), correct)
        kept["bugs"][found.bug.id] = {
            "recipe": recipe.name, "smallest": [sizes, draw], "asked": list(asked),
            "wrong": "forward" if wrong else "backward", "oracle": "caught",
        }  # fmt: skip


def _forward_differs(one: Bug, case: Case, correct: Result) -> bool:
    try:
        got = one.run(case).blocks()
    except (ValueError, IndexError, KeyError):
        return True
    limit = 1e-10 if one.id in PRECISION else SHOWS
    true = {n: block for n, block in correct.blocks().items() if not n.startswith("d_")}
    return any(not _close(got[name], block, limit) for name, block in true.items())


# --- gradient checkers ----------------------------------------------------------------------------


class Function:
    """A bug on a case as a function of all arrays that have a gradient, with its backward pass."""

    def __init__(self, one: Bug, case: Case) -> None:
        x = np.nan_to_num(case.x)  # no gradient checker can be asked with NaN
        self.bug, self.case = one, dataclasses.replace(case, x=x)
        self.arrays = list(flatten(self._inputs()).values())
        self.shapes = [a.shape for a in self._leaves(NO_BUG.run(self.case))]

    def _inputs(self) -> Any:
        return (self.case.params, self.case.x, self.case.state)

    def _filled(self, arrays: Any) -> Case:
        paths = list(flatten(self._inputs()))
        wide = [np.asarray(a, np.float64) for a in arrays]
        params, x, state = replace(self._inputs(), dict(zip(paths, wide, strict=True)))
        return dataclasses.replace(self.case, params=params, x=x, state=state)

    def _leaves(self, result: Result) -> list[np.ndarray]:
        return list(flatten((result.y, result.state)).values())

    def forward(self, *arrays: Any) -> list[np.ndarray]:
        return [np.asarray(a) for a in self._leaves(self.bug.run(self._filled(arrays)))]

    def backward(self, arrays: Any, cotangents: Any) -> list[np.ndarray]:
        case = self._filled(arrays)
        outputs = (case.d_y, case.d_state)
        given = dict(zip(flatten(outputs), map(np.asarray, cotangents), strict=True))
        d_y, d_state = replace(outputs, given)
        result = self.bug.run(dataclasses.replace(case, d_y=d_y, d_state=d_state))
        state = None if case.state is None else result.d_state
        return list(flatten((result.d_params, result.d_x, state)).values())


class UsualFunction(Function):
    """The same as it is usually asked: the mean of y alone, from a state of zeros."""

    def __init__(self, one: Bug, case: Case) -> None:
        super().__init__(one, dataclasses.replace(case, state=None))
        self.shapes = [()]

    def forward(self, *arrays: Any) -> list[np.ndarray]:
        y = flatten(self.bug.run(self._filled(arrays)).y).values()
        return [np.concatenate([a.ravel() for a in y]).mean()]

    def backward(self, arrays: Any, cotangents: Any) -> list[np.ndarray]:
        size = sum(a.size for a in flatten(self.case.d_y).values())
        d_y = map_leaves(lambda a: np.full(a.shape, float(cotangents[0]) / size), self.case.d_y)
        zeros = map_leaves(np.zeros_like, self.case.d_state)
        return super().backward(arrays, [*flatten((d_y, zeros)).values()])


def torch_gradcheck(function: Function) -> bool:
    """Whether torch.autograd.gradcheck accepts it, with its defaults, in float64."""
    import torch

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *tensors: Any) -> Any:
            ctx.save_for_backward(*tensors)
            return tuple(torch.from_numpy(np.array(a)) for a in function.forward(*_arrays(tensors)))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            gradients = function.backward(_arrays(ctx.saved_tensors), _arrays(cotangents))
            return tuple(torch.from_numpy(np.array(a)) for a in gradients)

    inputs = tuple(torch.from_numpy(np.array(a)).requires_grad_() for a in function.arrays)
    return bool(torch.autograd.gradcheck(Wrapped.apply, inputs, raise_exception=False))


def _arrays(tensors: Any) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def jax_check_grads(function: Function) -> bool:
    """Whether jax.test_util.check_grads accepts it, with its defaults, in JAX's own precision."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    dtype = jnp.zeros(()).dtype
    out = [jax.ShapeDtypeStruct(shape, dtype) for shape in function.shapes]
    back = [jax.ShapeDtypeStruct(a.shape, dtype) for a in function.arrays]

    def cast(arrays: Any) -> list[np.ndarray]:
        return [np.asarray(a, dtype) for a in arrays]

    @jax.custom_vjp
    def wrapped(*arrays: Any) -> Any:
        return jax.pure_callback(lambda *a: cast(function.forward(*a)), out, *arrays)

    def forward(*arrays: Any) -> Any:
        return wrapped(*arrays), arrays

    def backward(arrays: Any, cotangents: Any) -> Any:
        n = len(arrays)
        return tuple(
            jax.pure_callback(
                lambda *a: cast(function.backward(a[:n], a[n:])), back, *arrays, *cotangents
            )
        )

    wrapped.defvjp(forward, backward)
    try:
        check_grads(wrapped, tuple(cast(function.arrays)), order=1, modes=("rev",))
    except AssertionError:
        return False
    return True


def run_checker(name: str, check: Callable[[Function], bool], kept: dict[str, Any]) -> None:
    """A gradient checker on every bug, and on the textbook under the same question."""
    asked = UsualFunction if name.endswith("-usual") else Function
    controls: dict[str, bool] = {}
    for one in BUGS:
        row = kept["bugs"][one.id]
        recipe, (sizes, draw) = recipe_of(f"{row['recipe']}, float64"), row["asked"]
        case = small_case(recipe, tuple(sizes), draw)
        key = json.dumps([row["recipe"], row["asked"]])
        if key not in controls:
            controls[key] = check(asked(NO_BUG, case))
        row[name] = _fate(partial(_accepted, check, asked, one, case), controls[key])


def _accepted(
    check: Callable[[Function], bool], asked: type[Function], one: Bug, case: Case
) -> bool:
    return check(asked(one, case))


def _fate(accepted: Callable[[], bool], control: bool) -> str:
    if not control:
        return "cannot be asked"
    try:
        return "survives" if accepted() else "caught"
    except (ValueError, IndexError, KeyError, RuntimeError, TypeError):
        return "caught"


# --- test suites ----------------------------------------------------------------------------------


def onnx_cases() -> list[tuple[Case, dict[str, np.ndarray]]]:
    """The LSTM node tests of the installed onnx, as cases and expected outputs."""
    from onnx.backend.test.case.node import lstm as suite

    found: list[Any] = []

    def expect(node: Any, inputs: Any, outputs: Any, name: str) -> None:
        given = dict(zip([n for n in node.input if n], inputs, strict=True))
        wanted = dict(zip([n for n in node.output if n], outputs, strict=True))
        attributes = {a.name: a for a in node.attribute}
        found.append((given, wanted, attributes))

    suite.expect = expect
    for name in dir(suite.LSTM):
        if name.startswith("export"):
            getattr(suite.LSTM, name)()
    return [_onnx_case(*row) for row in found]


def _onnx_case(given: Any, wanted: Any, attributes: Any) -> tuple[Case, dict[str, np.ndarray]]:
    batch_first = "layout" in attributes and attributes["layout"].i == 1
    direction = attributes["direction"].s.decode() if "direction" in attributes else "forward"
    x = given["X"] if batch_first else np.swapaxes(given["X"], 0, 1)
    D, H = given["W"].shape[0], given["R"].shape[-1]
    spec = Spec(input_size=x.shape[-1], hidden_size=H, peepholes="ifo" if "P" in given else "")

    def params(d: int) -> dict[str, np.ndarray]:
        B = given.get("B", np.zeros((D, 8 * H)))[d]
        W, R = (np.split(given[name][d], 4) for name in "WR")
        b = np.split(B[: 4 * H] + B[4 * H :], 4)
        out = {f"W_{k}": W[n].T for n, k in enumerate("iofg")}
        out |= {f"U_{k}": R[n].T for n, k in enumerate("iofg")}
        out |= {f"b_{k}": b[n] for n, k in enumerate("iofg")}
        if "P" in given:
            out |= {
                f"p_{k}": part for k, part in zip("iof", np.split(given["P"][d], 3), strict=True)
            }
        return {name: out[name].astype(np.float64) for name in spec.param_shapes}

    def state(d: int) -> State:
        zero = np.zeros((D, x.shape[0], H))
        h, c = (given.get(name, zero) for name in ("initial_h", "initial_c"))
        at = (slice(None), d) if batch_first and "initial_h" in given else d
        return State(h[at].astype(np.float64), c[at].astype(np.float64))

    architecture: Any = {"forward": spec, "reverse": Reverse(spec)}.get(direction)
    if architecture is None:
        architecture = Bidirectional(spec, spec)
        both: Any = (params(0), params(1)), (state(0), state(1))
    else:
        both = params(0), state(0)
    case = Case(
        "onnx", architecture, both[0], x.astype(np.float64), both[1], None, None, None, None
    )
    expected = {}
    if "Y_h" in wanted:
        Y_h = wanted["Y_h"]
        expected["h"] = np.moveaxis(Y_h, 1, 0) if batch_first else Y_h
    if "Y" in wanted:  # (T, D, B, H), or (B, T, D, H)
        Y = wanted["Y"] if batch_first else np.transpose(wanted["Y"], (2, 0, 1, 3))
        expected["y"] = Y.reshape(*Y.shape[:2], -1)
    return case, expected


def onnx_accepts(one: Bug) -> bool:
    """Whether every ONNX node test accepts the bug, with ONNX' own tolerance."""
    for case, expected in onnx_cases():
        result = one.run(case)
        final = [result.state] if isinstance(result.state, State) else list(result.state)
        got = {"y": result.y, "h": np.stack([state.h for state in final])}
        for name, want in expected.items():
            if not np.allclose(got[name], want, rtol=1e-3, atol=1e-7):
                return False
    return True


class FakeLSTM:
    """The part of keras.layers.LSTM that Keras' numerical tests use, computed by a bug."""

    bug = NO_BUG

    def __init__(self, units: int, **options: Any) -> None:
        self.units, self.options, self.state = units, options, None

    def reset_state(self) -> None:
        self.state = None

    def _constant(self, name: str) -> float:
        return float(self.options[f"{name}_initializer"].value)

    def __call__(self, sequence: Any, initial_state: Any = None, mask: Any = None) -> np.ndarray:
        x = np.asarray(sequence, np.float64)
        zero = self.options.get("zero_output_for_mask", False)
        use_bias = self.options.get("use_bias", True)
        spec = Spec(input_size=x.shape[-1], hidden_size=self.units, use_bias=use_bias,
                    masked_output="zero" if zero else "previous")  # fmt: skip
        names = {"W": "kernel", "U": "recurrent", "b": "bias"}
        params = {
            name: np.full(shape, self._constant(names[name[0]]))
            for name, shape in spec.param_shapes.items()
        }
        if use_bias and self.options.get("unit_forget_bias", True):
            params["b_f"] = np.ones(self.units)
        layer: Any = spec
        if self.options.get("go_backwards", False):
            layer = Reverse(spec, "processing")
        state = self.state if initial_state is None else State(*map(np.asarray, initial_state))
        state = map_leaves(lambda a: a.astype(np.float64), state)
        result = self.bug.run(Case("keras", layer, params, x, state, mask, None, None, None))
        if self.options.get("stateful", False):
            self.state = result.state
        if self.options.get("return_sequences", False):
            return result.y
        return result.state.h


def keras_accepts(one: Bug) -> bool:
    """Whether every numerical test of Keras' own lstm_test.py accepts the bug."""
    from keras.src.layers.rnn import lstm_test

    suite = lstm_test.LSTMTest
    names = [n for n in dir(suite) if n.startswith("test_") and "basics" not in n]
    FakeLSTM.bug = one
    kept, lstm_test.layers.LSTM = lstm_test.layers.LSTM, FakeLSTM
    try:
        for name in names:
            test = suite(name)
            test.setUp()
            try:
                getattr(test, name)()
            except AssertionError:
                return False
        return True
    finally:
        lstm_test.layers.LSTM = kept


def run_suite(name: str, accepts: Callable[[Bug], bool], kept: dict[str, Any]) -> None:
    """A test suite on every bug and every order of the gates."""
    if not accepts(NO_BUG):
        raise SystemExit(f"{name}: its tests reject the correct textbook")
    for one in BUGS:
        kept["bugs"][one.id][name] = _fate(partial(accepts, one), control=True)
    orders = [one for one in gate_orders() if one.id.startswith("gate-order-WUbp-")]
    survive = [one.id for one in orders if _fate(partial(accepts, one), True) == "survives"]
    kept.setdefault("gate_orders", {})[name] = {"of": len(orders), "survive": len(survive)}


# --- the table ------------------------------------------------------------------------------------

CHECKS = {
    "oracle": "this oracle",
    "torch": "`torch.autograd.gradcheck`",
    "jax-x64": "`jax.test_util.check_grads`, x64",
    "jax-float32": "`check_grads`, float32 (default)",
    "torch-usual": "`gradcheck` of y's mean, zero state",
    "jax-usual": "`check_grads`, float32, of y's mean, zero state",
    "onnx": "ONNX node tests",
    "keras": "Keras' LSTM tests",
}
_SIGN = {"caught": "caught", "survives": "**survives**", "cannot be asked": "·"}


_INTRODUCTION = """\
# What lets which bug through

Made by `benchmarks/survivors.py` from `benchmarks/results/zoo_survivors.json`. Every bug of the zoo
(`conformance/zoo.py`), held against the checks that others use. Gradient checkers get the buggy
forward pass with the buggy backward pass, in the option that the bug is in, with a non-zero state
and cotangents on every output: as well as they can be asked. They cannot see a wrong
forward pass whose gradient fits it. Test suites get the buggy forward pass. · : cannot be asked, as
the correct layer is rejected too (a truncated gradient is no derivative; a finite difference across
a kink is none either).

""".splitlines()
_LEGEND = """\
*wrong*: whether the outputs are wrong, or the gradients alone. *smallest*: B, T, I, H of the
smallest input that shows the bug.
""".splitlines()


def checks_run(kept: dict[str, Any]) -> dict[str, str]:
    """Those of CHECKS that every bug has a fate under."""
    rows = kept["bugs"].values()
    return {name: title for name, title in CHECKS.items() if all(name in row for row in rows)}


def write_table(kept: dict[str, Any]) -> None:
    """docs/survivors.md, of the checks that have been run on every bug."""
    rows = kept["bugs"]
    checks = checks_run(kept)
    lines = [*_INTRODUCTION, "| check | caught | survive | cannot be asked |", "|---|---|---|---|"]
    for name, title in checks.items():
        fates = [row.get(name, "not run") for row in rows.values()]
        counts = [str(fates.count(fate)) for fate in ("caught", "survives", "cannot be asked")]
        lines.append(f"| {title} | {' | '.join(counts)} |")
    for name, orders in kept.get("gate_orders", {}).items():
        lines += ["", f"Of {orders['of']} wrong orders of the gates, {orders['survive']} pass "
                  f"{CHECKS[name]}; none passes the oracle."]  # fmt: skip
    lines += ["", f"The oracle's own hunt took {kept['zoo_seconds']} s. "
              f"Versions: {', '.join(f'{k} {v}' for k, v in kept['versions'].items())}.", "",
              *_LEGEND, "",
              f"| bug | wrong | option | smallest | {' | '.join(checks.values())} | seen in |",
              f"|---|---|---|---|{'---|' * len(checks)}---|"]  # fmt: skip
    for one in BUGS:
        row = rows[one.id]
        signs = " | ".join(_SIGN.get(row.get(name, ""), "not run") for name in checks)
        sizes = ", ".join(map(str, row["smallest"][0]))
        seen = ", ".join(f"[{s.thread}]({s.url})" for s in one.sources)
        sentence = one.sentence.replace("|", "\\|")
        lines.append(
            f"| {sentence} | {row['wrong']} | {row['recipe']} | {sizes} | {signs} | {seen} |"
        )
    TABLE.write_text("\n".join(lines) + "\n")


def _versions(kept: dict[str, Any], *modules: str) -> None:
    import importlib

    for module in ("numpy", *modules):
        kept["versions"][module] = importlib.import_module(module).__version__
    kept["versions"]["python"] = platform.python_version()


def _run_jax(word: str, kept: dict[str, Any]) -> None:
    import jax

    jax.config.update("jax_enable_x64", word == "jax-x64")
    run_checker(word, jax_check_grads, kept)
    _versions(kept, "jax")


def _run_word(word: str, kept: dict[str, Any]) -> None:
    if word == "zoo":
        run_zoo(kept)
    elif word.startswith("jax-"):
        _run_jax(word, kept)
    elif word.startswith("torch"):
        run_checker(word, torch_gradcheck, kept)
        _versions(kept, "torch")
    else:
        run_suite(word, {"onnx": onnx_accepts, "keras": keras_accepts}[word], kept)
        _versions(kept, word)


def _load() -> dict[str, Any]:
    return json.loads(KEPT.read_text()) if KEPT.exists() else {"bugs": {}, "versions": {}}


def _merged(latest: dict[str, Any], new: dict[str, Any], word: str) -> dict[str, Any]:
    """What one check found, put into what others may have written meanwhile."""
    if word == "zoo":
        rows = {one: latest["bugs"].get(one, {}) | row for one, row in new["bugs"].items()}
        return latest | {"bugs": rows, "zoo_seconds": new["zoo_seconds"]}
    for one, row in new["bugs"].items():
        latest["bugs"].setdefault(one, {})[word] = row[word]
    for name in ("versions", "gate_orders"):
        latest[name] = latest.get(name, {}) | new.get(name, {})
    return latest


def main(words: list[str]) -> int:
    """Run the checks named, keep what they say, and write the table."""
    known = ("zoo", *CHECKS, "table")
    for word in words:
        if word not in known:
            raise SystemExit(f"got {word!r}, expected one of {', '.join(known)}")
        kept = _load()
        if word not in ("table", "oracle"):
            _run_word(word, kept)
            kept = _merged(_load(), kept, word)
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
        write_table(kept)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
