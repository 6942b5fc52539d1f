# %% [markdown]
# # How the oracle is verified
#
# An oracle that shares code with what it judges proves nothing. So it is held against means that
# need no derivation, and the checks are held against bugs that were put in on purpose.

# %%
import numpy as np

from lstm_oracle.benchmarks.study.report import Table
from lstm_oracle.diagnosis.findings import Figure
from lstm_oracle.reference import Spec, State, backward, forward, gradcheck
from lstm_oracle.reference.tree import map_leaves

B, T, I, H = 2, 8, 3, 4
spec = Spec(input_size=I, hidden_size=H, peepholes="ifo")
rng = np.random.default_rng(0)
params = {name: rng.standard_normal(shape) for name, shape in spec.param_shapes.items()}
x, d_y = rng.standard_normal((B, T, I)), rng.standard_normal((B, T, H))
state = State(*rng.standard_normal((2, B, H)))
d_state = State(*rng.standard_normal((2, B, H)))


def loss(p):
    (y, final), _ = forward(spec, p, x, state)
    return (d_y * y).sum() + (d_state.h * final.h).sum() + (d_state.c * final.c).sum()


_, tape = forward(spec, params, x, state)
gradient = backward(tape, d_y, d_state).params

# %% [markdown]
# ## Finite differences cannot prove much
#
# A central difference with step h is wrong by h^2 (truncation) and by 1e-16 / h (rounding). No
# step is good for both: its best is about 1e-9 here. The complex step subtracts nothing, and is
# right to the last digits for every h below 1e-8.

# %%
entry = (0, 0)
value = gradient["U_f"][entry]


def at(step):
    changed = dict(params)
    changed["U_f"] = params["U_f"].astype(np.result_type(type(step), float)).copy()
    changed["U_f"][entry] += step
    return loss(changed)


steps = 10.0 ** np.arange(-12, 0)
central = [abs((at(h) - at(-h)) / (2 * h) - value) / abs(value) for h in steps]
complex_ = [abs(at(1j * h).imag / h - value) / abs(value) for h in steps]
Figure(
    "curves",
    "Error of two numerical derivatives against the oracle",
    "step h",
    "relative",
    {
        "central difference": {"x": steps, "y": central},
        "complex step": {"x": steps, "y": np.maximum(complex_, 1e-17)},
    },
    log_x=True,
    log_y=True,
)

# %% [markdown]
# ## The Taylor test needs no other gradient at all
#
# If g is the gradient, `|L(a + e v) - L(a) - e <g, v>|` falls with e^2; if it is not, with e.

# %%
direction = map_leaves(lambda a: 0.03 * rng.standard_normal(a.shape), params)
wrong = gradient | {"U_f": gradient["U_f"].T}
start = loss(params)


def remainder(g, e):
    moved = {name: a + e * direction[name] for name, a in params.items()}
    slope = sum((g[name] * direction[name]).sum() for name in params)
    return abs(loss(moved) - start - e * slope)


sizes = 10.0 ** np.linspace(-5, -1, 9)
Figure(
    "curves",
    "Taylor remainder",
    "e",
    "remainder",
    {
        "the oracle's gradient": {"x": sizes, "y": [remainder(gradient, e) for e in sizes]},
        "dU_f transposed": {"x": sizes, "y": [remainder(wrong, e) for e in sizes]},
    },
    log_x=True,
    log_y=True,
)

# %%
rates = {
    name: gradcheck.taylor_rate(loss, params, g, direction)
    for name, g in (("oracle", gradient), ("dU_f transposed", wrong))
}
if not rates["dU_f transposed"] < 1.5 < rates["oracle"]:
    raise RuntimeError(f"the Taylor test does not tell right from wrong: {rates}")
print({name: round(rate, 2) for name, rate in rates.items()})

# %% [markdown]
# ## Bugs put in on purpose
#
# A check that cannot fail is none. Each line below breaks one thing; the error that the complex
# step sees is 13 orders of magnitude above rounding.

# %%
exact = gradcheck.complex_step(loss, params)


def worst(found):
    return max(np.abs(found[n] - exact[n]).max() / np.abs(exact[n]).max() for n in params)


def bug(d_y=d_y, d_state=d_state, change=None):
    g = dict(backward(tape, d_y, d_state).params)
    return g if change is None else g | change(g)


bugs = {
    "none": bug(),
    "dL/dh_T ignored": bug(d_state=State(None, d_state.c)),
    "dL/dc_T ignored": bug(d_state=State(d_state.h, None)),
    "gradient of y but for the last step lost": bug(
        d_y=np.where(np.arange(T)[:, None] < T - 1, 0, d_y)
    ),
    "gates f and i swapped": bug(change=lambda g: {"U_f": g["U_i"], "U_i": g["U_f"]}),
    "U transposed": bug(change=lambda g: {"U_g": g["U_g"].T}),
    "bias counted twice": bug(change=lambda g: {"b_o": 2 * g["b_o"]}),
    "mean over the batch for a sum": bug(change=lambda g: {n: a / B for n, a in g.items()}),
}
Table(
    "What the complex step sees",
    ("bug", "largest error, relative"),
    tuple((name, f"{worst(g):.1e}") for name, g in bugs.items()),
)

# %% [markdown]
# ## And further
#
# - Fifty digits: the tests run the same equations in mpmath, with 50 decimal digits.
# - A zoo of seeded bugs, all of which must be seen; the zoo is in `conformance/zoo.py`.
# - Properties under Hypothesis: whatever the architecture, shapes, masks and values.
# - Three implementations that share no computing code: NumPy, Keras, JAX.
