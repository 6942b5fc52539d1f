"""Anybody's function held against the oracle: `check` judges it, `identify` reads its conventions.

`calling` says how a function is called and what it may give back, `frameworks` in whose arrays and
with whose differentiation; `objects` knows a few ready-made layers; `isolated` runs a function in a
process of its own. Whatever the function is, it becomes a `Subject`, which `check` and `identify`
look at.
"""
