"""The reference target: a graph evaluated by NumPy in float64, obviously right: the oracle of every test."""

from netlang.targets.reference.evaluate import evaluate

__all__ = ["evaluate"]
