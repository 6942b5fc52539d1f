"""The ONNX operator LSTM, forward only: in onnxruntime, and in ONNX's own reference evaluator.

Every layer is one node, its weights inputs of the graph. Attributes are written as the case needs
them: direction, activations with their alpha and beta, clip, input_forget; P and sequence_lens
are inputs. Tensors are time-major (layout 0), or batch-major with {"layout": 1} among the options.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from lstm_oracle.conformance.adapters.support import (
    Row,
    dictionaries,
    first,
    not_lengths,
    parts,
    rows,
    specs,
    unknown_options,
)
from lstm_oracle.conformance.case import Case, Result
from lstm_oracle.reference.layouts import to_layout
from lstm_oracle.reference.spec import (
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Reverse,
    Spec,
    Stack,
)
from lstm_oracle.reference.tree import flatten, replace

Array = np.ndarray
Run = Callable[[dict[str, Array]], list[Array]]  # inputs by name to Y, Y_h, Y_c

_ACTIVATIONS: dict[str, tuple[str, tuple[float, ...], tuple[float, ...]]] = {  # alpha, beta
    "sigmoid": ("Sigmoid", (), ()),
    "tanh": ("Tanh", (), ()),
    "hard_sigmoid_fifth": ("HardSigmoid", (0.2,), (0.5,)),
    "hard_sigmoid_sixth": ("HardSigmoid", (1 / 6,), (0.5,)),
    "relu": ("Relu", (), ()),
    "leaky_relu": ("LeakyRelu", (0.2,), ()),
    "elu": ("Elu", (1.0,), ()),
    "softplus": ("Softplus", (), ()),
    "softsign": ("Softsign", (), ()),
    "linear": ("Affine", (1.0,), (0.0,)),
}
_ELEMENTS = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


class OnnxLSTM:
    """The operator in one of its two implementations."""

    def __init__(self, distribution: str, start: Callable[[bytes], Run], dtypes: str) -> None:
        """Take how a model is started, and the dtypes that it can have."""
        self._distribution, self._start, self._dtypes = distribution, start, dtypes
        self._started: dict[bytes, Run] = {}

    def unsupported(self, case: Case) -> str:
        """What the operator does not have."""
        return first(
            [
                *(_lacks(spec, case.mask is not None) for spec in specs(case.architecture)),
                unknown_options(case, frozenset(("layout",))),
                "" if case.dtype in self._dtypes.split() else f"no {case.dtype}",
                "no masks on inputs and states" if case.dropout is not None else "",
                not_lengths(case.mask),
                _nesting_lacks(case.architecture),
            ]
        )

    def run(self, case: Case) -> Result:
        """The operator's answer: values, no gradients."""
        kind: Any = np.dtype(case.dtype)
        y: Any = case.x.astype(kind)
        params = dictionaries(case.params)
        state = [a.astype(kind) for a in flatten(case.state).values()]
        lengths = None if case.mask is None else case.mask.sum(axis=1).astype(np.int32)
        finals: list[Array] = []
        for row, reverse in _directed(case.architecture):
            count = len(row.directions)
            own, params = params[:count], params[count:]
            initial, state = state[: 2 * count], state[2 * count :]
            inputs = _inputs(row, own, y, initial, lengths)
            y, h, c = self._call(row, reverse, inputs, int(case.options.get("layout", 0)))
            finals += [a for pair in zip(h, c, strict=True) for a in pair]
            y = MERGE[row.merge](*y) if count == 2 else y[0]
        if isinstance(case.architecture, Reverse) and (
            case.architecture.output_order == "processing"
        ):
            y = y[:, ::-1]
        final = replace(case.d_state, dict(zip(flatten(case.d_state), finals, strict=True)))
        return Result(y, final)

    def _call(
        self, row: Row, reverse: bool, inputs: dict[str, Array], layout: int
    ) -> tuple[Array, Array, Array]:
        """Output (directions, B, T, H), and states (directions, B, H)."""
        batch_axis = {"X": 1, "initial_h": 1, "initial_c": 1}
        arranged = {
            name: np.swapaxes(a, 0, batch_axis[name]) if _moves(name, layout) else a
            for name, a in inputs.items()
        }
        model = _model(row, reverse, arranged, layout)
        if model not in self._started:
            self._started[model] = self._start(model)
        y, h, c = self._started[model](arranged)
        if layout:
            return np.moveaxis(y, 2, 0), np.swapaxes(h, 0, 1), np.swapaxes(c, 0, 1)
        return np.moveaxis(y, 0, 2), h, c

    def versions(self) -> dict[str, str]:
        """ONNX's, and those of what computed."""
        names = dict.fromkeys(("onnx", self._distribution))
        return {name: importlib.metadata.version(name) for name in names}


def _moves(name: str, layout: int) -> bool:
    """Whether an input that is (batch or directions, …) here has its first axes the other way."""
    return name == "X" if not layout else name.startswith("initial")


def _inputs(
    row: Row, params: list[dict[str, Array]], x: Array, state: list[Array], lengths: Any
) -> dict[str, Array]:
    """The node's inputs by name, X as (B, T, I), states as (directions, B, H)."""
    pairs = zip(row.directions, params, strict=True)
    stored = [to_layout("onnx", *_uncoupled(spec, own)) for spec, own in pairs]
    inputs = {name: np.stack([a[name] for a in stored]).astype(x.dtype) for name in stored[0]}
    inputs["X"] = x
    if lengths is not None:
        inputs["sequence_lens"] = lengths
    if state:
        inputs |= {"initial_h": np.stack(state[::2]), "initial_c": np.stack(state[1::2])}
    return {name: np.ascontiguousarray(a) for name, a in inputs.items()}


def _uncoupled(spec: Spec, params: dict[str, Array]) -> tuple[Spec, dict[str, Array]]:
    """With input_forget, onnxruntime computes f = 1 - i; here i = 1 - f, so z_i = -z_f.

    True of sigmoids that are symmetric about 1/2. The weights of f are then not read.
    """
    if not spec.coupled:
        return spec, params
    letters = [letter for letter in "WUbp" if f"{letter}_f" in params]
    other = {f"{letter}_i": -params[f"{letter}_f"] for letter in letters}
    other |= {f"{letter}_f": np.zeros_like(params[f"{letter}_f"]) for letter in letters}
    peepholes = "if" * ("f" in spec.peepholes) + "o" * ("o" in spec.peepholes)
    whole = Spec(
        input_size=spec.input_size,
        hidden_size=spec.hidden_size,
        use_bias=spec.use_bias,
        peepholes=peepholes,
    )
    return whole, {name: (params | other)[name] for name in whole.param_shapes}


# --- models ---------------------------------------------------------------------------------------

_ORDER = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def _model(row: Row, reverse: bool, inputs: dict[str, Array], layout: int) -> bytes:
    """A model of one node, serialized."""
    spec = row.directions[0]
    direction = "bidirectional" if len(row.directions) == 2 else "reverse" if reverse else "forward"
    names = [name if name in inputs else "" for name in _ORDER]
    outputs = ["Y", "Y_h", "Y_c"]
    attributes: dict[str, Any] = {
        "hidden_size": spec.hidden_size,
        "direction": direction,
        "layout": layout,
        "input_forget": int(spec.coupled),
        **_activations(row),
    }
    if spec.activation_clip is not None:
        attributes["clip"] = float(spec.activation_clip)
    node = helper.make_node("LSTM", names, outputs, **attributes)
    element = _ELEMENTS[inputs["X"].dtype.name]
    graph = helper.make_graph(
        [node],
        "lstm",
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if a.dtype == np.int32 else element, a.shape
            )
            for name, a in inputs.items()
        ],
        [helper.make_tensor_value_info(name, element, None) for name in outputs],
    )
    opset = helper.make_opsetid("", 22)
    model: bytes = helper.make_model(
        graph, opset_imports=[opset], ir_version=10
    ).SerializeToString()
    return model


def _activations(row: Row) -> dict[str, Any]:
    """f, g and h of every direction, with their parameters; nothing where they are the default."""
    names = [
        name
        for spec in row.directions
        for name in (spec.f_activation, spec.g_activation, spec.c_activation)
    ]
    if set(names) == {"sigmoid", "tanh"} and names[0] == "sigmoid":
        return {}
    chosen = [_ACTIVATIONS[name] for name in names]
    found: dict[str, Any] = {"activations": [name for name, _, _ in chosen]}
    # Only those functions that have an alpha or a beta consume one.
    alphas = [alpha for _, own, _ in chosen for alpha in own]
    betas = [beta for *_, own in chosen for beta in own]
    found |= {"activation_alpha": alphas} if alphas else {}
    return found | ({"activation_beta": betas} if betas else {})


def _start_onnxruntime(model: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def _start_reference(model: bytes) -> Run:
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(model)
    return lambda inputs: session.run(None, inputs)


def runtime() -> OnnxLSTM:
    """The adapter of onnxruntime, on the CPU."""
    return OnnxLSTM("onnxruntime", _start_onnxruntime, "float32")


def reference() -> OnnxLSTM:
    """The adapter of ONNX's reference evaluator."""
    return OnnxLSTM("onnx", _start_reference, "float64 float32")


# --- what it lacks --------------------------------------------------------------------------------

MERGE: dict[Any, Any] = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
    None: Directions,
}


def _lacks(spec: Spec, masked: bool) -> str:
    reasons = {
        "no projection": spec.projection_size is not None,
        "no cell clip": spec.cell_clip is not None,
        "no layer normalization": spec.layer_norm,
        "no zoneout": spec.zoneout,
        "emits zeros at masked steps": masked and spec.masked_output != "zero",
        "one activation for all gates": _gate_activations(spec) > 1,
        "no such activation": not _used(spec) <= _ACTIVATIONS.keys(),
        "input_forget with sigmoids alone": spec.coupled and "sigmoid" not in spec.f_activation,
    }
    return next((reason for reason, lacks in reasons.items() if lacks), "")


def _gate_activations(spec: Spec) -> int:
    return len({getattr(spec, f"{k}_activation") for k in spec.gates if k != "g"})


def _used(spec: Spec) -> set[str]:
    return {spec.f_activation, spec.g_activation, spec.c_activation}


def _directed(architecture: Architecture) -> list[tuple[Row, bool]]:
    """Every layer, and whether it reads backwards alone."""
    if isinstance(architecture, Stack):
        return [pair for layer in architecture.layers for pair in _directed(layer)]
    return [(row, isinstance(architecture, Reverse)) for row in rows(architecture)]


def _nesting_lacks(architecture: Architecture) -> str:
    if isinstance(architecture, Chunks):
        return "no Chunks"
    inner = parts(architecture)
    if isinstance(architecture, Stack):
        return first(_nesting_lacks(part) for part in inner)
    if not all(isinstance(part, Spec) for part in inner):
        return f"no {type(architecture).__name__} of combined layers"
    if isinstance(architecture, Bidirectional):
        halves = set(specs(architecture))
        return "" if len(halves) == 1 else "halves are alike"
    return ""
