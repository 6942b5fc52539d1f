"""Studies of gates, gradient flow and initialization across the three implementations."""
