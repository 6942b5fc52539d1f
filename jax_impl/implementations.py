"""Which implementations of a layer there are, and which one is taken.

Asked for by name, an implementation is taken or the reason why it cannot be is raised. "auto"
takes the first one of `IMPLEMENTATIONS` that can do the case and has an advantage in it; what each
can do, and where it has its advantage, stands in its own module, by measurement. `choose` tells
the choice and its reason before anything runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from lstm_oracle.jax_impl import cudnn, fused, gpu, native, scan
from lstm_oracle.jax_impl.interface import (
    Implementation,
    Inputs,
    Options,
    Pieces,
    Setting,
)
from lstm_oracle.reference.spec import Spec

# In the order in which "auto" asks them.
IMPLEMENTATIONS: dict[str, Implementation] = {
    implementation.name: implementation
    for implementation in (
        native.IMPLEMENTATION,
        gpu.IMPLEMENTATION,
        cudnn.IMPLEMENTATION,
        fused.IMPLEMENTATION,
        scan.IMPLEMENTATION,
    )
}
NAMES = ("auto", *IMPLEMENTATIONS)


class Choice(NamedTuple):
    """The name of an implementation, and why it is the one."""

    name: str
    reason: str


def choose(
    spec: Spec,
    T: int,
    B: int,
    dtype: Any = "float32",
    platform: str | None = None,
    *,
    implementation: str = "auto",
    **setting: Any,
) -> Choice:
    """Which implementation `lstm` takes for one layer, and why.

    Parameters
    ----------
    spec : Spec
        One layer; of a combination each layer is chosen for on its own.
    T, B : int
        Steps and batch size.
    dtype
        The common dtype of x and params.
    platform : str, optional
        "cpu", "gpu" or "tpu"; None: JAX's default one.
    implementation : str
        "auto", or the name of one.
    **setting
        `masked`, `dropout`, `dropout_per_gate`, `cut` (inside truncated chunks), `remat`: see
        `Setting`.

    Raises
    ------
    ValueError
        For an implementation that cannot do the case, with the reason.

    Examples
    --------
    >>> from lstm_oracle.reference.spec import Spec
    >>> choose(Spec(input_size=3, hidden_size=4), T=10, B=2, implementation="scan").name
    'scan'
    """
    platform = jax.default_backend() if platform is None else platform
    return _choose(spec, Setting(T, B, str(dtype), platform, **setting), implementation)


def chosen_for(spec: Spec, inputs: Inputs, pieces: Pieces, options: Options) -> Implementation:
    """The implementation for a layer and its inputs."""
    T, B, _ = inputs.x.shape
    masks = [] if inputs.dropout is None else jax.tree.leaves(inputs.dropout)
    setting = Setting(
        T,
        B,
        str(inputs.x.dtype),
        options.platform,
        masked=inputs.mask is not None,
        dropout=bool(masks),
        dropout_per_gate=any(mask.ndim == 4 for mask in masks),
        cut=bool(pieces.cut.any()),
        remat=options.remat,
    )
    return IMPLEMENTATIONS[_choose(spec, setting, options.implementation).name]


def _choose(spec: Spec, setting: Setting, name: str) -> Choice:
    if name != "auto":
        return _asked_for(spec, setting, IMPLEMENTATIONS[name])
    for implementation in IMPLEMENTATIONS.values():
        # In this order: asked what it can do, the native kernel is built.
        advantage = implementation.advantage(spec, setting)
        if advantage is not None and implementation.unsupported(spec, setting) is None:
            return Choice(implementation.name, advantage)
    raise ValueError(
        f"lstm {spec.name!r}: no implementation can do this case: "
        f"{'; '.join(_reasons(spec, setting))}. Leave out what all of them lack."
    )


def _asked_for(spec: Spec, setting: Setting, implementation: Implementation) -> Choice:
    reason = implementation.unsupported(spec, setting)
    if reason is not None:
        raise ValueError(
            f"lstm {spec.name!r}: implementation={implementation.name!r} cannot do this case: "
            f"{reason}. Pass implementation='auto' or 'scan'."
        )
    return Choice(implementation.name, "it was asked for")


def _reasons(spec: Spec, setting: Setting) -> list[str]:
    return [
        f"{implementation.name}: {implementation.unsupported(spec, setting)}"
        for implementation in IMPLEMENTATIONS.values()
    ]
