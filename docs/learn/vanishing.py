# %% [markdown]
# # Why gradients vanish and explode: the cell path and the gate paths
#
# The gradient that reaches the cell state at step t came back on two kinds of ways. Along the cell
# it was multiplied by forget gates and by nothing else. Through the gates it was multiplied by
# recurrent weights and slopes at every step.

# %%
import numpy as np

from lstm_oracle.benchmarks.study.report import Table
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.reference import Spec, State, backward, forward, initializers, internals

B, T, I, H = 8, 60, 4, 16
spec = Spec(input_size=I, hidden_size=H)
x = np.random.default_rng(1).standard_normal((B, T, I))


def layer(bias, scale=1.0, seed=0):
    params = initializers.init(spec, np.random.default_rng(seed))
    params |= {f"U_{k}": scale * params[f"U_{k}"] for k in "ifgo"}
    params["b_f"] = np.full(H, float(bias))
    return params


def flow(params):
    """|dL/dc_t| by path, of an error at the last step."""
    (y, _), tape = forward(spec, params, x)
    d_y = np.zeros_like(y)
    d_y[:, -1] = np.random.default_rng(2).standard_normal((B, H))
    nothing = State(np.zeros((B, H)), np.zeros((B, H)))
    [scan] = internals.scans(tape)
    whole = backward(tape, d_y, nothing, trace=True).trace.d_c
    cell = internals.paths(scan, d_y, nothing).cell
    return {
        name: np.sqrt((d**2).sum(axis=(0, 2)) / B)
        for name, d in (
            ("in all", whole),
            ("along the cell", cell),
            ("through gates", whole - cell),
        )
    }


# %% [markdown]
# ## Along the cell: the product of forget gates
#
# ```
# d_c_t = d_c_T * f_T * f_{T-1} * ... * f_{t+1}
# ```
#
# With b_f = 0 a gate is about 1/2, and after 60 steps hardly more than 2^-60 is left; with b_f = 1
# it is about 0.73, with b_f = 4 about 0.98. In the figures the cell path is a straight line on a
# log scale: its slope is the mean of log f, and the weights have no part in it.
#
# What comes through the gates is the rest of the picture. It dies more slowly than the cell path
# where the forget gate is small, and where it is large it grows: every step that remembers hands
# the error to the gates again, and their sums add up.

# %%
steps = np.arange(1, T + 1)


def by_path(title, params):
    sizes = flow(params)
    return Figure(
        "curves",
        title,
        "step",
        "|dL/dc|",
        {name: {"x": steps, "y": y} for name, y in sizes.items()},
        log_y=True,
    )


[by_path(f"Error at the last step, forget bias {bias}", layer(bias)) for bias in (0, 1, 4)]

# %% [markdown]
# ## Through the gates: weights and slopes
#
# Each step back through a gate multiplies by a recurrent matrix and by slopes of at most 1/4 (a
# sigmoid's) or 1 (tanh's). Four gates add up. With matrices six times larger the error grows by
# orders of magnitude: an exploding gradient. The cell path hardly notices.

# %%
by_path("Recurrent weights six times orthogonal, forget bias 1", layer(1, scale=6.0))

# %% [markdown]
# ## The spectrum of the temporal Jacobian
#
# ```
# J_t = d(h_t, c_t) / d(h_{t-1}, c_{t-1})        ds_T/ds_t = J_T @ ... @ J_{t+1}
# ```
#
# Its singular values say for every direction of state how much of it survives. A plain recurrent
# network has none that stays; an LSTM keeps one per remembering unit.


# %%
def spectrum(title, params):
    _, tape = forward(spec, params, x[:2])
    [scan] = internals.scans(tape)
    jacobians, _ = internals.step_jacobians(scan)
    values = internals.singular_values(jacobians).mean(axis=0)[::-1]
    chosen = {"largest": 0, "8th": 7, "16th": 15, "17th": 16, "smallest": 31}
    return Figure(
        "curves",
        title,
        "lag",
        "singular value",
        {name: {"x": steps, "y": values[:, n]} for name, n in chosen.items()},
        log_y=True,
    )


[spectrum(f"Jacobian of forget bias {bias}", layer(bias)) for bias in (1, 4)]

# %% [markdown]
# ## One number for it: the largest Lyapunov exponent
#
# Growth of a small change of state, in logarithms per step: below 0 it dies out and the gradient
# vanishes, above 0 it explodes. The time constant is -1 / mean log f. Mean, smallest and largest
# over 5 seeds.


# %%
def exponents(bias, scale):
    found = []
    for seed in range(5):
        params = layer(bias, scale, seed)
        _, tape = forward(spec, params, x[:2])
        [scan] = internals.scans(tape)
        jacobians, _ = internals.step_jacobians(scan)
        real = np.ones((2, T), bool)
        largest = internals.lyapunov_exponents(jacobians, real).max(axis=-1).mean()
        tau = np.median(internals.time_constants(tape.trace().f, real))
        found.append((largest, tau))
    return np.array(found)


rows = []
for bias, scale in ((0, 1), (1, 1), (4, 1), (1, 6), (4, 6)):
    e = exponents(bias, scale)
    rows.append(
        (
            f"bias {bias}, U x {scale}",
            *(
                f"{m:.3g} [{a:.3g}, {b:.3g}]"
                for m, a, b in zip(e.mean(0), e.min(0), e.max(0), strict=True)
            ),
        )
    )
Table(
    "Largest exponent and median time constant",
    ("layer", "exponent per step", "time constant (steps)"),
    tuple(rows),
)
