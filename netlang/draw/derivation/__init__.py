"""Derivations: how the gradients of a network come about, step by step, as text, LaTeX and HTML."""
