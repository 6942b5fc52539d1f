"""The first example in the docstring of keras.layers.LSTMCell raises.

Expected: the example runs.
"""
# library: keras; backends: tensorflow, jax, torch

import re
import textwrap

import keras
import numpy as np

text = keras.layers.LSTMCell.__doc__
lines = re.findall(r"^ *>>> (.*)$", text, re.M)
print(textwrap.indent("\n".join(lines), "    "))
try:
    exec("\n".join(lines), {"np": np, "keras": keras})
except Exception as error:
    print(f"raised {type(error).__name__}: {str(error).splitlines()[0][:150]}")
    raise SystemExit(0) from None
raise SystemExit(1)
