"""Formulas: equations of the graph in mathematical notation, and their printers for text, LaTeX and MathML."""
