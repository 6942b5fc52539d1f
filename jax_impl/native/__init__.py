"""The native CPU kernel of the recurrence: its C++ source, its build, its calls through jax.ffi.

`available` says whether it is there, and why not; `threads` how many threads it uses. The cache and
the compiler: see `build`.
"""

from lstm_oracle.jax_impl.native.implementation import IMPLEMENTATION, available, threads

__all__ = ["IMPLEMENTATION", "available", "threads"]
