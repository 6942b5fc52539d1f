"""One adapter per implementation, and the registry that says how to start each.

An adapter says what it supports and runs a case with the framework's own automatic differentiation.
Each is loaded in a process of its own (see `worker`), because a process has one Keras backend.
"""

from lstm_oracle.conformance.adapters.registry import (
    REGISTRY,
    Adapter,
    Implementation,
    implementation,
    load,
)

__all__ = ["REGISTRY", "Adapter", "Implementation", "implementation", "load"]
