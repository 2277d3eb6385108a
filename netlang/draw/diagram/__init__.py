"""Diagrams: a network as layers, as equations, with its backward pass, or as a circuit with values."""
