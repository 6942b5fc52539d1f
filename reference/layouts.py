r"""Weights to and from every framework's arrays, as one table.

A row says how a framework stores one direction of one layer: the order of its gates, which of our
parameters stand in which array, and whether matrices are transposed. The map from our parameters
to a framework's arrays is linear (and a constant, where a framework adds one at run time), so that
the same row carries the framework's gradients back.

A second bias, as PyTorch, cuDNN and ONNX have it, is written as zeros and added when read; its
gradient is equal to that of the first and is left out.

References
----------
Keras 3 `keras.layers.LSTM.get_weights`; PyTorch `torch.nn.LSTM`, section Variables; cuDNN
`cudnnGetRNNWeightParams` and `jax.experimental.rnn`; Flax `nn.LSTMCell`, `nnx.LSTMCell`; Equinox
`eqx.nn.LSTMCell`; Haiku `hk.LSTM`; ONNX operator LSTM-22; TensorFlow 1
`tf.nn.rnn_cell.LSTMCell`. Each of these rows is tested by running that framework where it is
installed. haste (`haste_pytorch.LSTM`) and FlashRNN (`flashrnn.vanilla_fwbw`; Pöppel et al. 2024)
need a GPU to be installed: their rows are tested against their documented equations in NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lstm_oracle.reference.spec import Spec

Array = np.ndarray


@dataclass(frozen=True)
class Block:
    """One array of a framework, or one per gate where its name holds `{k}`.

    `parts` are our parameters without the letters of the gates ("W", "U", "b", "p", "V",
    "gain_W", …), stacked in this order along the first axis; "b2" is a second bias. The gates
    stand side by side along the last axis. A part may also be the full name of one parameter
    ("W_f", "gain_c").
    """

    name: str
    parts: tuple[str, ...]
    padded: bool = False  # where a Spec has some of its parameters, zeros stand for the others

    @property
    def per_gate(self) -> bool:
        """Whether every gate has an array of its own."""
        return "{k}" in self.name


@dataclass(frozen=True)
class Layout:
    """One row: how a framework stores the weights of one direction of one layer."""

    gates: str  # their order, in our letters
    blocks: tuple[Block, ...]
    transposed: bool = False  # matrices are (out, in)
    forget_bias: float = 0.0  # added to z_f at run time, so missing in the stored bias
    heads: int = 0  # arrays are (gates, heads, out, in), U block-diagonal over the heads
    vector: str = ""  # name of the one vector that holds all matrices, then all biases


_NNX = ("ii", "if_", "ig", "io")  # `if` is a word of Python
_W = ("W_i", "W_f", "W_g", "W_o")

LAYOUTS: dict[str, Layout] = {
    "keras": Layout(
        "ifgo",
        (
            Block("kernel", ("W",)),
            Block("recurrent_kernel", ("U",)),
            Block("bias", ("b",)),
            Block("peephole_{k}", ("p",)),
            Block("projection_kernel", ("V",)),
            Block("kernel_gain", ("gain_W",)),
            Block("recurrent_gain", ("gain_U",)),
            Block("cell_gain", ("gain_c",)),
            Block("cell_shift", ("shift_c",)),
        ),
    ),
    "torch": Layout(
        "ifgo",
        (
            Block("weight_ih", ("W",)),
            Block("weight_hh", ("U",)),
            Block("bias_ih", ("b",)),
            Block("bias_hh", ("b2",)),
            Block("weight_hr", ("V",)),
        ),
        transposed=True,
    ),
    # Of one direction of one layer; `to_vector` joins several.
    "cudnn": Layout(
        "ifgo",
        (
            Block("weight_ih", ("W",)),
            Block("weight_hh", ("U",)),
            Block("bias_ih", ("b",)),
            Block("bias_hh", ("b2",)),
        ),
        transposed=True,
        vector="weights",
    ),
    "flax": Layout(
        "ifgo",
        (
            Block("i{k}/kernel", ("W",)),
            Block("h{k}/kernel", ("U",)),
            Block("h{k}/bias", ("b",)),
        ),
    ),
    "flax_nnx": Layout(
        "ifgo",
        (
            *(Block(f"{n}/kernel", (p,)) for n, p in zip(_NNX, _W, strict=True)),
            Block("h{k}/kernel", ("U",)),
            Block("h{k}/bias", ("b",)),
        ),
    ),
    "flax_nnx_optimized": Layout(
        "ifgo",
        (
            Block("dense_i/kernel", ("W",)),
            Block("dense_h/kernel", ("U",)),
            Block("dense_h/bias", ("b",)),
        ),
    ),
    "equinox": Layout(
        "ifgo",
        (Block("weight_ih", ("W",)), Block("weight_hh", ("U",)), Block("bias", ("b",))),
        transposed=True,
    ),
    "haiku": Layout("igfo", (Block("w", ("W", "U")), Block("b", ("b",))), forget_bias=1.0),
    # Without the first axis, that of directions.
    "onnx": Layout(
        "iofg",
        (
            Block("W", ("W",)),
            Block("R", ("U",)),
            Block("B", ("b", "b2")),
            Block("P", ("p",), padded=True),
        ),
        transposed=True,
    ),
    "tf1": Layout(
        "igfo",
        (
            Block("kernel", ("W", "U")),
            Block("bias", ("b",)),
            Block("w_{k}_diag", ("p",), padded=True),
            Block("projection/kernel", ("V",)),
        ),
        forget_bias=1.0,
    ),
    "haste": Layout(
        "igfo",
        (Block("kernel", ("W",)), Block("recurrent_kernel", ("U",)), Block("bias", ("b",))),
    ),
    # x @ W is computed outside of FlashRNN, in any way; here W stands as R does.
    "flashrnn": Layout(
        "ifgo", (Block("W", ("W",)), Block("R", ("U",)), Block("b", ("b",))), heads=1
    ),
}


def to_layout(layout: str | Layout, spec: Spec, params: dict[str, Array]) -> dict[str, Array]:
    """The framework's arrays by name, in its own order.

    Parameters
    ----------
    layout : name of a row of `LAYOUTS`, or a row.
    params : {"W_i": (I, H), …}, exactly those of `spec.param_shapes`.

    Raises
    ------
    ValueError
        Where the framework has no place for a parameter of the Spec, or params do not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = {name: np.zeros(shape) for name, shape in spec.param_shapes.items()}
    >>> {name: a.shape for name, a in to_layout("torch", spec, params).items()}
    {'weight_ih': (16, 3), 'weight_hh': (16, 4), 'bias_ih': (16,), 'bias_hh': (16,)}
    """
    row = _row(layout)
    _check_params(row, layout, spec, params)
    arrays = _named(row, spec, params)
    return {row.vector: _joined([arrays])} if row.vector else arrays


def from_layout(layout: str | Layout, spec: Spec, arrays: dict[str, Array]) -> dict[str, Array]:
    """Our parameters {"W_i": (I, H), …} from the framework's arrays by name.

    Raises
    ------
    ValueError
        Where an array is missing, unknown, or of the wrong shape.
    """
    row = _row(layout)
    params = _read(row, layout, spec, arrays)
    for k in spec.gates:
        second, name = params.pop(f"b2_{k}", None), f"b_{k}"
        if second is not None:
            params[name] = params[name] + second
        if k == "f" and row.forget_bias and name in params:
            params[name] = params[name] + row.forget_bias
    return {name: params[name] for name in spec.param_shapes}


def gradients_from_layout(
    layout: str | Layout, spec: Spec, arrays: dict[str, Array]
) -> dict[str, Array]:
    """Gradients of our parameters from the framework's gradients of its arrays."""
    gradients = _read(_row(layout), layout, spec, arrays)
    return {name: gradients[name] for name in spec.param_shapes}


def to_vector(
    layout: str | Layout, specs: Sequence[Spec], params: Sequence[dict[str, Array]]
) -> Array:
    """The one vector in which cuDNN keeps all layers and directions.

    Parameters
    ----------
    specs, params : of the first layer forwards, the first backwards, the second forwards, …

    Raises
    ------
    ValueError
        As `to_layout`.

    Examples
    --------
    >>> spec = Spec(input_size=3, hidden_size=4)
    >>> params = {name: np.zeros(shape) for name, shape in spec.param_shapes.items()}
    >>> to_vector("cudnn", [spec, spec], [params, params]).shape
    (288,)
    """
    row = _row(layout)
    for spec, own in zip(specs, params, strict=True):
        _check_params(row, layout, spec, own)
    pairs = zip(specs, params, strict=True)
    return _joined([_named(row, spec, own) for spec, own in pairs])


def from_vector(
    layout: str | Layout, specs: Sequence[Spec], vector: Array
) -> list[dict[str, Array]]:
    """Our parameters, one dict per Spec, from a vector of several layers and directions.

    Raises
    ------
    ValueError
        For a vector of the wrong length.
    """
    plain = _unjoined_row(layout)
    pieces = zip(specs, _cut(plain, layout, specs, vector), strict=True)
    return [from_layout(plain, spec, arrays) for spec, arrays in pieces]


def gradients_from_vector(
    layout: str | Layout, specs: Sequence[Spec], vector: Array
) -> list[dict[str, Array]]:
    """Gradients of our parameters, one dict per Spec, from the gradient of the vector."""
    plain = _unjoined_row(layout)
    pieces = zip(specs, _cut(plain, layout, specs, vector), strict=True)
    return [gradients_from_layout(plain, spec, arrays) for spec, arrays in pieces]


def _row(layout: str | Layout) -> Layout:
    if isinstance(layout, Layout):
        return layout
    if layout not in LAYOUTS:
        raise ValueError(
            f"layout is {layout!r}, expected one of {', '.join(LAYOUTS)}. "
            "Choose a name from the list, or pass a Layout of your own."
        )
    return LAYOUTS[layout]


Parts = tuple[tuple[str, ...], ...]  # of an array: its parts, each the names it holds side by side


def _arrays(row: Layout, spec: Spec) -> Iterator[tuple[str, Parts]]:
    """Every array that this Spec needs, and the names of the parameters in it."""
    for block in row.blocks:
        gates = [k for k in row.gates if k in spec.gates]
        for group in [[k] for k in gates] if block.per_gate else [gates]:
            parts = tuple(_names(spec, part, group, block.padded) for part in block.parts)
            if all(parts):
                yield block.name.replace("{k}", group[0]), parts


def _names(spec: Spec, part: str, gates: list[str], padded: bool) -> tuple[str, ...]:
    if part in spec.param_shapes:
        return (part,)
    if padded and spec.peepholes:  # g has none anywhere
        return tuple(f"{part}_{k}" for k in gates if k != "g")
    names = (f"{part}_{k}" for k in gates)
    return tuple(name for name in names if name.replace("b2", "b") in spec.param_shapes)


def _named(row: Layout, spec: Spec, params: dict[str, Array]) -> dict[str, Array]:
    """The arrays by name, before they are joined to a vector."""
    found = {}
    for name, parts in _arrays(row, spec):
        ours = np.concatenate([_write(row, spec, params, part) for part in parts])
        found[name] = _oriented(row, ours, parts[0][0][0])
    return found


def _write(row: Layout, spec: Spec, params: dict[str, Array], names: tuple[str, ...]) -> Array:
    return np.concatenate([_stored(row, spec, params, name) for name in names], axis=-1)


def _stored(row: Layout, spec: Spec, params: dict[str, Array], name: str) -> Array:
    if name.startswith("b2"):
        return np.zeros_like(params[name.replace("b2", "b")])
    if name not in params:  # a padded block
        return np.zeros(spec.hidden_size, next(iter(params.values())).dtype)
    return params[name] - row.forget_bias if name == "b_f" and row.forget_bias else params[name]


def _oriented(row: Layout, array: Array, letter: str) -> Array:
    """From gates side by side along the last axis to what the framework has."""
    if row.heads:
        return _into_heads(row, array, diagonal=letter == "U")
    return array.T if row.transposed else array


def _disoriented(row: Layout, array: Array, letter: str) -> Array:
    if row.heads:
        return _out_of_heads(array, diagonal=letter == "U")
    return array.T if row.transposed else array


def _read(
    row: Layout, layout: str | Layout, spec: Spec, arrays: dict[str, Array]
) -> dict[str, Array]:
    """Every parameter and second bias, cut out of the framework's arrays."""
    shapes = spec.param_shapes
    _check_shapes(f"{layout} arrays", arrays, _shapes(to_layout(row, spec, _templates(spec))))
    if row.vector:
        row, arrays = replace(row, vector=""), _cut(row, layout, [spec], arrays[row.vector])[0]
    params: dict[str, Array] = {}
    for array_name, parts in _arrays(row, spec):
        rest = _disoriented(row, np.asarray(arrays[array_name]), parts[0][0][0])
        for names in parts:
            shape = shapes.get(names[0], (spec.hidden_size,))
            rows = shape[0] if len(shape) == 2 else shape[0] * len(names)
            block, rest = rest[:rows], rest[rows:]
            params |= zip(names, np.split(block, len(names), axis=-1), strict=True)
    return params


def _templates(spec: Spec) -> dict[str, Array]:
    """Zeros that take no memory, where only shapes matter."""
    return {name: np.broadcast_to(0.0, shape) for name, shape in spec.param_shapes.items()}


# --- one vector for all ---------------------------------------------------------------------------


def _joined(layers: list[dict[str, Array]]) -> Array:
    """All matrices of all layers, then all biases, each row by row."""
    arrays = [array for named in layers for array in named.values()]
    ordered = sorted(arrays, key=lambda array: array.ndim == 1)  # a stable sort
    return np.concatenate([array.ravel() for array in ordered])


def _cut(
    row: Layout, layout: str | Layout, specs: Sequence[Spec], vector: Array
) -> list[dict[str, Array]]:
    """The arrays by name of every layer of a vector."""
    shapes = [_shapes(_named(row, spec, _templates(spec))) for spec in specs]
    slots = [(n, name, shape) for n, named in enumerate(shapes) for name, shape in named.items()]
    slots.sort(key=lambda slot: len(slot[2]) == 1)
    ends = np.cumsum([math.prod(shape) for *_, shape in slots])
    if np.shape(vector) != (ends[-1],):
        raise ValueError(
            f"{layout} vector has shape {np.shape(vector)}, expected ({ends[-1]},) for "
            f"{len(specs)} layers and directions. Pass the Spec of each, in the vector's order."
        )
    pieces = np.split(np.asarray(vector), ends[:-1])
    found = {
        (n, name): piece.reshape(shape)
        for (n, name, shape), piece in zip(slots, pieces, strict=True)
    }
    return [{name: found[n, name] for name in named} for n, named in enumerate(shapes)]


def _unjoined_row(layout: str | Layout) -> Layout:
    return replace(_row(layout), vector="")


# --- heads ----------------------------------------------------------------------------------------


def _into_heads(row: Layout, array: Array, *, diagonal: bool) -> Array:
    """(rows, G*H) to (G, N, D, rows), (G*H,) to (G, N, D); of U the blocks on the diagonal."""
    gates, N = len(row.gates), row.heads
    split = array.reshape(*array.shape[:-1], gates, N, -1)
    if array.ndim == 1:
        return split
    outwards = np.moveaxis(split, 0, -1)
    if not diagonal:
        return outwards
    D = outwards.shape[2]
    return np.einsum("gnoni->gnoi", outwards.reshape(gates, N, D, N, D))


def _out_of_heads(array: Array, *, diagonal: bool) -> Array:
    """The way back; zeros outside the blocks."""
    if array.ndim == 3:
        return array.reshape(-1)
    gates, N, D, _ = array.shape
    if diagonal:
        whole = np.zeros((gates, N, D, N, D), array.dtype)
        heads = np.arange(N)
        whole[:, heads, :, heads, :] = np.moveaxis(array, 1, 0)
        array = whole.reshape(gates, N, D, N * D)
    return np.moveaxis(array, -1, 0).reshape(array.shape[-1], -1)


def _check_heads(row: Layout, layout: str | Layout, spec: Spec, params: dict[str, Array]) -> None:
    """Only a U that is block-diagonal over the heads can be stored in them."""
    H, N = spec.hidden_size, row.heads
    if H % N:
        raise ValueError(
            f"LSTM {spec.name!r}: layout {layout!r} has {N} heads, expected a divisor of the "
            f"hidden_size {H}. Choose another number of heads."
        )
    head = np.arange(H) // (H // N)
    outside = head[:, None] != head
    wrong = [f"U_{k}" for k in spec.gates if np.any(params[f"U_{k}"][outside])]
    if wrong:
        raise ValueError(
            f"LSTM {spec.name!r}: {', '.join(wrong)} connect different heads, expected zeros "
            f"outside the {N} blocks of size {H // N}. Set them to zero, or use heads=1."
        )


# --- what fits ------------------------------------------------------------------------------------


def _shapes(arrays: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: np.shape(array) for name, array in arrays.items()}


def _check_params(row: Layout, layout: str | Layout, spec: Spec, params: dict[str, Array]) -> None:
    _check_holds(row, layout, spec)
    _check_shapes("params", params, spec.param_shapes)
    if row.heads:
        _check_heads(row, layout, spec, params)


def _check_holds(row: Layout, layout: str | Layout, spec: Spec) -> None:
    held = {name for _, parts in _arrays(row, spec) for names in parts for name in names}
    homeless = [name for name in spec.param_shapes if name not in held]
    if homeless:
        raise ValueError(
            f"LSTM {spec.name!r}: layout {layout!r} has no place for {', '.join(homeless)}, "
            f"expected only parameters that it stores. Drop the variant, or use another layout."
        )
    if row.forget_bias and not spec.use_bias:
        raise ValueError(
            f"LSTM {spec.name!r}: layout {layout!r} adds {row.forget_bias} to z_f at run time, "
            "expected a layer with bias. Use use_bias=True, with biases of zero."
        )


def _check_shapes(what: str, got: dict[str, Any], expected: dict[str, tuple[int, ...]]) -> None:
    if _shapes(got) != expected:
        raise ValueError(
            f"{what} have shapes {_shapes(got)}, expected {expected}. "
            "Pass every array under its name, and no others."
        )
