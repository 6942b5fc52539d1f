"""The LSTMs that a study looks into: of a built-in task's network, or of a user's Keras model.

Either way a layer is what `reference.internals` takes: its parameters, the x that really reaches
it, and the gradient of the loss that really reaches its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lstm_oracle.benchmarks.study.settings import Setting, draw, specs
from lstm_oracle.reference import Reverse, Spec, Stack, State, backward, forward

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Layer:
    """One scan, in its own order of processing, as one seed gave it; float64."""

    name: str
    spec: Spec
    params: dict[str, Array]
    x: Array
    state: State
    mask: Array | None
    d_y: Array
    d_state: State

    @property
    def real(self) -> Array:
        """(B, T), False at masked steps."""
        return np.ones(self.x.shape[:2], bool) if self.mask is None else self.mask


@dataclass(frozen=True)
class Choice:
    """A built-in network: what it learns, how it starts, how long it has been trained."""

    task: str
    length: int
    setting: Setting
    depth: int = 1
    hidden_size: int = 16
    steps: int = 0
    sequences: int = 64


def of_task(choice: Choice, seed: int) -> list[Layer]:
    """The layers of a built-in network after `steps` training steps, on held-out sequences."""
    return trained(choice, seed)[0]


def trained(choice: Choice, seed: int) -> tuple[list[Layer], float]:
    """The layers of a built-in network, and its held-out skill (NaN without a training step)."""
    import jax

    from lstm_oracle.benchmarks.study.tasks import TASKS
    from lstm_oracle.benchmarks.study.training import Recipe, fit

    task = TASKS[choice.task][0](choice.length)
    stack = specs(task.input_size, choice.hidden_size, choice.depth)
    params = draw(choice.setting, stack, task.output_size, task.length, seed)
    skill = float("nan")
    if choice.steps:
        recipe = Recipe(steps=choice.steps, evaluations=1)
        params, losses = jax.jit(lambda p: fit(p, seed, task, stack, recipe))(params)
        skill = float(task.skill(losses[-1]))
    return _with_gradients(params, task, stack, choice.sequences), skill


def _with_gradients(params: Any, task: Any, stack: tuple[Spec, ...], sequences: int) -> list[Layer]:
    x, target, lengths = (np.asarray(a)[:sequences] for a in task.held_out[:3])
    counted = (
        None if task.held_out.counted is None else np.asarray(task.held_out.counted)[:sequences]
    )
    mask = np.arange(x.shape[1]) < lengths[:, None]
    double = [{name: np.asarray(a, float) for name, a in p.items()} for p in params["layers"]]
    head = {name: np.asarray(a, float) for name, a in params["head"].items()}
    inputs, tapes = [x.astype(float)], []
    for spec, p in zip(stack, double, strict=True):
        (y, state), tape = forward(spec, p, inputs[-1], None, mask)
        inputs.append(y)
        tapes.append(tape)
    d_y, d_h = _of_head(head, inputs[-1], state.h, target, counted, task.classes)
    found = []
    for n in reversed(range(len(stack))):
        spec, B = stack[n], len(x)
        zero = np.zeros((B, spec.hidden_size))
        d_state = State(zero if d_h is None else d_h, zero)
        found.append(
            Layer(
                f"layer {n + 1}", spec, double[n], inputs[n], State(zero, zero), mask, d_y, d_state
            )
        )
        d_y, d_h = backward(tapes[n], d_y, d_state).x, None
    return found[::-1]


def _of_head(
    head: dict[str, Array], y: Array, h: Array, target: Array, counted: Array | None, classes: bool
) -> tuple[Array, Array | None]:
    """Gradient of the mean loss by every y, and by the last h: one of the two is zero."""
    read = h if counted is None else y
    answer = read @ head["W"] + head["b"]
    if classes:
        p = np.exp(answer - answer.max(axis=-1, keepdims=True))
        d = p / p.sum(axis=-1, keepdims=True) - np.eye(answer.shape[-1])[target]
        weight = np.ones(len(d)) if counted is None else counted.astype(float)
        d = d * (weight / weight.sum())[..., None]
    else:
        d = 2 * (answer - target) / answer.size
    d_read = d @ head["W"].T
    return (np.zeros_like(y), d_read) if counted is None else (d_read, None)


# --- a user's model -------------------------------------------------------------------------------


def of_model(
    model: Any, x: Any, y: Any, sample_weight: Any, seed: int, sequences: int
) -> list[Layer]:
    """Every LSTM of a Keras model on sequences drawn with a seed; ones it cannot see are left out.

    Raises
    ------
    ValueError
        Where no layer of the model is an LSTM that can be looked into; the message says why.
    """
    import keras

    from lstm_oracle.keras_impl.probe import Unsupported, capture

    rows = len(keras.tree.flatten(x)[0])
    chosen = np.random.default_rng(seed).permutation(rows)[:sequences]

    def take(data: Any) -> Any:
        return None if data is None else keras.tree.map_structure(lambda a: a[chosen], data)

    captured = capture(model, take(x), take(y), take(sample_weight), seed=seed)
    seen = [call for call in captured if not isinstance(call, Unsupported)]
    if not seen:
        blind = [call for call in captured if isinstance(call, Unsupported)]
        reasons = "; ".join(f"{c.layer_path}: {c.reason}" for c in blind) or "it has none"
        raise ValueError(
            f"model {model.name!r} has no LSTM that can be looked into ({reasons}), expected one. "
            "Pass a model with a keras.layers.LSTM."
        )
    return [layer for call in seen for layer in _of_call(call)]


def _of_call(call: Any) -> list[Layer]:
    """The scans of one captured call: one, or one per cell of a stack."""
    flip = isinstance(call.architecture, Reverse)
    inner = call.architecture.layer if flip else call.architecture
    order = slice(None, None, -1) if flip else slice(None)
    x, mask = call.x[:, order].astype(float), None if call.mask is None else call.mask[:, order]
    several = isinstance(inner, Stack)
    stack = inner.layers if several else (inner,)
    params, states = (part if several else (part,) for part in (call.params, call.state))
    finals: Any = (None,) * len(stack)
    if call.d_final_state is not None:
        finals = call.d_final_state if several else (call.d_final_state,)
    inputs, tapes = [x], []
    for spec, p, state in zip(stack, params, states, strict=True):
        (y, _), tape = forward(spec, _double(p), inputs[-1], State(*map(_float, state)), mask)
        inputs.append(y)
        tapes.append(tape)
    d_y, found = call.d_y.astype(float), []
    for n in reversed(range(len(stack))):
        zero = State(*(np.zeros_like(_float(a)) for a in states[n]))
        d_state = zero if finals[n] is None else State(*map(_float, finals[n]))
        name = call.layer_path + (f"[{n}]" if several else "")
        state = State(*map(_float, states[n]))
        found.append(
            Layer(name, stack[n], _double(params[n]), inputs[n], state, mask, d_y, d_state)
        )
        d_y = backward(tapes[n], d_y, d_state).x
    return found[::-1]


def _double(params: dict[str, Array]) -> dict[str, Array]:
    return {name: _float(a) for name, a in params.items()}


def _float(a: Any) -> Array:
    return np.asarray(a, float)
