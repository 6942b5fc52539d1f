# %% [markdown]
# # Backpropagation through time, step by step
#
# An LSTM is a chain of small equations. Its gradient is the same chain, read backwards. Every
# equation here stands beside the code that computes it, and every gradient is held against the
# complex step, which needs no derivation at all.

# %%
import numpy as np

from lstm_oracle.benchmarks.study.report import Table
from lstm_oracle.reference import Spec, State, backward, cell, forward, gradcheck

B, T, I, H = 2, 6, 3, 4
spec = Spec(input_size=I, hidden_size=H)
rng = np.random.default_rng(0)
params = {name: rng.standard_normal(shape) for name, shape in spec.param_shapes.items()}
x, d_y = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
state = State(*rng.standard_normal((2, B, H)))
d_state = State(*rng.standard_normal((2, B, H)))

# %% [markdown]
# ## 1. One step forwards
#
# ```
# z_k = x_t @ W_k + h_{t-1} @ U_k + b_k            k in i, f, g, o
# i = sigma(z_i)   f = sigma(z_f)   g = tanh(z_g)   o = sigma(z_o)
# c_t = f * c_{t-1} + i * g
# h_t = o * tanh(c_t)
# ```
#
# The cell state `c` is the memory. `f` says how much of it stays, `i` how much of the candidate
# `g` is written, `o` how much of it is shown.


# %%
def sigma(z):
    return 1 / (1 + np.exp(-z))


def step(p, x_t, h, c):
    z = {k: x_t @ p[f"W_{k}"] + h @ p[f"U_{k}"] + p[f"b_{k}"] for k in "ifgo"}
    i, f, g, o = sigma(z["i"]), sigma(z["f"]), np.tanh(z["g"]), sigma(z["o"])
    c_new = f * c + i * g
    return o * np.tanh(c_new), c_new, (i, f, g, o)


h, c = state
kept = []
for t in range(T):
    kept.append((h, c))
    h, c, gates = step(params, x[:, t], h, c)
    kept[-1] += (h, c, *gates)

(y, final), tape = forward(spec, params, x, state)
print("largest difference from the oracle:", f"{np.abs(final.h - h).max():.1e}")

# %% [markdown]
# ## 2. From h_t to the output gate and the cell
#
# Let `d_h` be dL/dh_t in all: what the loss asks of y_t, and what step t + 1 sends back. The
# product rule on `h_t = o * tanh(c_t)` gives
#
# ```
# d_o  = d_h * tanh(c_t)
# d_c += d_h * o * sech^2(c_t)
# ```
#
# `sech^2` is written as it is, not as `1 - tanh^2`, which loses all its digits in saturation.
#
# ## 3. From the cell to what made it
#
# `c_t = f * c_{t-1} + i * g` is two products and a sum:
#
# ```
# d_i = d_c * g      d_f = d_c * c_{t-1}      d_g = d_c * i      d_c_prev = d_c * f
# ```
#
# The last of these is the whole idea of an LSTM: along the cell, a gradient is multiplied by `f`
# and by nothing else.
#
# ## 4. Through the activations
#
# ```
# d_z_k = d_k * sigma(z_k) * sigma(-z_k)     k in i, f, o
# d_z_g = d_g * sech^2(z_g)
# ```
#
# ## 5. To the weights, and to the step before
#
# ```
# d_x_t = sum_k d_z_k @ W_k^T           d_h_prev = sum_k d_z_k @ U_k^T
# d_W_k = sum_t x_t^T @ d_z_k           d_U_k = sum_t h_{t-1}^T @ d_z_k       d_b_k = sum d_z_k
# ```


# %%
def step_backward(p, saved, d_h, d_c):
    _, c_prev, _, c_t, i, f, g, o = saved
    d_o = d_h * np.tanh(c_t)
    d_c = d_c + d_h * o / np.cosh(c_t) ** 2
    d_z = {
        "i": d_c * g * i * (1 - i),
        "f": d_c * c_prev * f * (1 - f),
        "g": d_c * i * (1 - g**2),
        "o": d_o * o * (1 - o),
    }
    d_h_prev = sum(d_z[k] @ p[f"U_{k}"].T for k in "ifgo")
    return d_z, d_h_prev, d_c * f


d_h, d_c = d_state
ours = {name: np.zeros_like(a) for name, a in params.items()}
for t in reversed(range(T)):
    d_z, d_h, d_c = step_backward(params, kept[t], d_h + d_y[:, t], d_c)
    for k in "ifgo":
        ours[f"W_{k}"] += x[:, t].T @ d_z[k]
        ours[f"U_{k}"] += kept[t][0].T @ d_z[k]
        ours[f"b_{k}"] += d_z[k].sum(axis=0)

# %% [markdown]
# ## 6. Is it right?
#
# The complex step: `L(a + i h)` has `h * dL/da` as its imaginary part, and with h = 1e-100 there
# is nothing to round. It knows none of the rules above. The oracle is the same derivation with
# every variant (peepholes, coupled gates, projection, masks) and the exact forms of the slopes.


# %%
def loss(p):
    (y, final), _ = forward(spec, p, x, state)
    return (d_y * y).sum() + (d_state.h * final.h).sum() + (d_state.c * final.c).sum()


exact = gradcheck.complex_step(loss, params)
oracle = backward(tape, d_y, d_state).params


def error(found, name):
    return np.abs(found[name] - exact[name]).max() / np.abs(exact[name]).max()


worst = max(error(oracle, name) for name in params)
if worst > 1e-13:
    raise RuntimeError(f"the oracle is off by {worst:.1e}")
Table(
    "Largest difference from the complex step, relative",
    ("gradient", "this page", "the oracle"),
    tuple((f"d_{n}", f"{error(ours, n):.1e}", f"{error(oracle, n):.1e}") for n in params),
)

# %% [markdown]
# ## 7. The oracle's own step
#
# `cell.backward` is these equations once for all variants. Its docstring holds them in the order
# in which the code has them.

# %%
print(cell.__doc__.split("The products")[0].strip())
