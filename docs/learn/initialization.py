# %% [markdown]
# # What initialization does
#
# Before the first update an LSTM already remembers for so long, and lets so much gradient through.
# Both are chosen by its initializer and its forget bias. This page draws what the initialization
# study measured: many small trainings, every number over seeds.

# %%
from lstm_oracle.benchmarks.study import analysis, meanfield
from lstm_oracle.benchmarks.study.report import Table

data = analysis.kept()
report = analysis.report(data)
machine, recipe = data["machine"], data["recipe"]
print(f"{data['trainings']:,} trainings of {recipe['steps']} steps, {data['seeds']} seeds each,")
print(f"{data['seconds'] / 60:.0f} min on {machine['cores']} cores, {machine['processor']}")
print("made by:", data["script"])

# %% [markdown]
# ## What the literature says, and what held here
#
# Differences are paired: the two sides share data, head and order of batches, seed by seed.

# %%
report.tables[0]

# %% [markdown]
# ## How fast training goes
#
# Mean held-out skill over the training: 0 is the best constant answer, 1 is perfect.

# %%
report.figures[0]

# %% [markdown]
# ## The gradient before the first update

# %%
report.figures[1]

# %%
report.figures[-1]

# %% [markdown]
# ## Learning curves

# %%
list(report.figures[2:-1])

# %% [markdown]
# ## What theory predicts of the variance
#
# Glorot and He ask that the variance of a layer's sums stays what it is from layer to layer. In an
# LSTM the same reasoning runs through time:
#
# ```
# q_z = I Var(W) q_x + H Var(U) q_h
# q_c = E[f^2] q_c(before) + E[i^2] E[g^2]
# q_h = E[o^2] E[tanh^2(c)]
# ```

# %%
print(meanfield.second_moments.__doc__.splitlines()[0])
report.tables[2]

# %% [markdown]
# ## Which start to take

# %%
best = report.tables[1]
Table("The ten fastest starts", best.columns, best.rows[:10])
