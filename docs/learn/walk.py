# %% [markdown]
# # A walk through one sequence, every gate drawn
#
# A small LSTM has learnt to add the two marked numbers of a sequence. What do its gates do while
# it reads one? The network is trained here, on the spot; the numbers below are of this run.

# %%
import numpy as np

from lstm_oracle.benchmarks.study import inside
from lstm_oracle.benchmarks.study.layers import Choice, trained
from lstm_oracle.benchmarks.study.report import Table
from lstm_oracle.benchmarks.study.settings import Setting
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.reference import forward

choice = Choice("adding", 16, Setting("orthogonal", "1"), hidden_size=8, steps=600)
[layer], skill = trained(choice, seed=0)
if skill < 0.9:
    raise RuntimeError(f"the network has not learnt to add: its skill is {skill:.2f}")
_, tape = forward(layer.spec, layer.params, layer.x, layer.state, layer.mask)
trace = tape.trace()
x = layer.x[0]
marked = np.flatnonzero(x[:, 1])
print(f"held-out skill: {skill:.3f} (1 is perfect)")
print("marked steps:", [int(t) + 1 for t in marked], " numbers:", x[marked, 0].round(3))
print("their sum:", x[marked, 0].sum().round(3))

# %% [markdown]
# ## What it reads
#
# The solid line is a number per step; the marks say which two are to be added.

# %%
steps = np.arange(1, 17)
Figure(
    "curves",
    "The sequence",
    "step",
    "value",
    {"number": {"x": steps, "y": x[:, 0]}, "mark": {"x": steps, "y": x[:, 1]}},
)

# %% [markdown]
# ## Every gate of every unit
#
# Look down the columns at the marked steps. Units that store the sum open their input gate there,
# and keep their forget gate near 1 everywhere else.

# %%
inside.gate_map(layer)

# %% [markdown]
# ## What is written, and what is kept
#
# `i * g` is what a step writes into the cell. Averaged over all held-out sequences: how much more
# is written at marked steps than at the others, by unit?

# %%
written = np.abs(trace.i * trace.g)
at_marks = layer.x[..., 1] > 0
rows = tuple(
    (
        f"unit {j + 1}",
        f"{written[at_marks][:, j].mean():.3f}",
        f"{written[~at_marks][:, j].mean():.3f}",
        f"{trace.f[..., j].mean():.3f}",
    )
    for j in range(8)
)
Table("What each unit does", ("unit", "|i g| at marks", "|i g| elsewhere", "mean f"), rows)

# %% [markdown]
# ## The cell state over time
#
# A unit that adds is a staircase: flat where nothing is marked, a step where something is.

# %%
contrast = written[at_marks].mean(axis=0) / written[~at_marks].mean(axis=0)
best = np.argsort(-contrast)[:3]
Figure(
    "curves",
    "Cell state of the three units that heed the marks most",
    "step",
    "c",
    {f"unit {j + 1}": {"x": steps, "y": trace.c[0, :, j]} for j in best},
)

# %% [markdown]
# ## Saturated or not?
#
# The outermost bins are the saturated ones: there a gate's slope is a fifth of its largest, and it
# learns five times more slowly.

# %%
inside.gate_histogram(layer)
