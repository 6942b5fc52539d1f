"""The native CPU kernel of the recurrence: its C++ source, its build, its calls through jax.ffi."""
