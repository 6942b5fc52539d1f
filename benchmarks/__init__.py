"""Measurements: how fast the implementations are, and what initialization and gates do."""
