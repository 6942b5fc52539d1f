"""The oracle: an LSTM in NumPy with explicit gates and hand-derived backpropagation through time.

Describe a layer with `Spec`, combine layers with `Reverse`, `Bidirectional`, `Stack` and `Chunks`,
run it with `forward`, differentiate it with `backward`. `cell` has the equations.
"""

from lstm_oracle.reference._inputs import mask_from_lengths
from lstm_oracle.reference.passes import Gradients, GradientTrace, Output, Trace
from lstm_oracle.reference.sequence import Tape, backward, forward
from lstm_oracle.reference.spec import (
    ACTIVATIONS,
    Architecture,
    Bidirectional,
    Chunks,
    Directions,
    Dropout,
    Reverse,
    Spec,
    Stack,
    State,
    output_shapes,
    param_shapes,
    state_shapes,
)

__all__ = [
    "ACTIVATIONS",
    "Architecture",
    "Bidirectional",
    "Chunks",
    "Directions",
    "Dropout",
    "GradientTrace",
    "Gradients",
    "Output",
    "Reverse",
    "Spec",
    "Stack",
    "State",
    "Tape",
    "Trace",
    "backward",
    "forward",
    "mask_from_lengths",
    "output_shapes",
    "param_shapes",
    "state_shapes",
]
