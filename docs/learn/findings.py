# %% [markdown]
# # What the findings mean
#
# `lstm-oracle diagnose` gives findings with stable ids. This page says, by two runs of the oracle,
# what the findings about gradients see, and lists all of them.

# %%
import numpy as np

from lstm_oracle.benchmarks.study.report import Table
from lstm_oracle.diagnosis.catalog import ENTRIES
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.reference import Spec, State, backward, forward, initializers, internals

B, T, I, H = 32, 50, 2, 16
spec = Spec(input_size=I, hidden_size=H)


def look(x, params):
    """Sizes by lag of an error at the last step, and the gates' saturated shares."""
    (y, _), tape = forward(spec, params, x)
    d_y = np.zeros_like(y)
    d_y[:, -1] = np.random.default_rng(1).standard_normal((B, H)) / B
    nothing = State(np.zeros((B, H)), np.zeros((B, H)))
    back = backward(tape, d_y, nothing, trace=True).trace
    real = np.ones((B, T), bool)
    trace = tape.trace()
    return (internals.by_lag(trace, back, nothing.h, real), internals.saturated(spec, trace, real))


params = initializers.init(spec, np.random.default_rng(0))
scaled = np.random.default_rng(2).standard_normal((B, T, I))
cases = {
    "healthy": (scaled, params | {"b_f": np.full(H, 3.0)}),
    "LSTM010, inputs x 100": (100 * scaled, params | {"b_f": np.full(H, 3.0)}),
    "LSTM120, forget bias -2": (scaled, params | {"b_f": np.full(H, -2.0)}),
}
found = {name: look(*case) for name, case in cases.items()}

# %% [markdown]
# ## A gradient that dies on its way back (LSTM120)
#
# The error of the last step, by lag. What lies below the limit is smaller than what float32 can
# add to the largest part: those steps teach nothing.

# %%
series = {
    name: {"x": np.arange(T), "y": lags.contribution / lags.contribution.max()}
    for name, (lags, _) in found.items()
}
series["float32 epsilon"] = {"x": [0, T - 1], "y": [internals.EPSILON] * 2}
Figure(
    "curves", "What each lag adds to the weights' gradient", "lag", "relative", series, log_y=True
)

# %% [markdown]
# ## Inputs far from the scale of gates (LSTM010)
#
# Inputs a hundred times too large push every gate to 0 or 1, where its slope is nothing.

# %%
Table(
    "The same in numbers",
    ("case", "saturated i", "saturated f", "growth of log gradient per step", "reach (steps)"),
    tuple(
        (name, f"{share['i']:.2f}", f"{share['f']:.2f}", f"{lags.exponent:.3f}", str(lags.reach))
        for name, (lags, share) in found.items()
    ),
)

# %% [markdown]
# ## All findings
#
# `lstm-oracle explain ID` prints the page of each: what it means, how it is measured, where its
# limit comes from, what to do, and what it cannot tell.

# %%
Table(
    "Findings of diagnose",
    ("id", "name", "what it says"),
    tuple((key, entry.name, entry.title) for key, entry in ENTRIES.items()),
)
