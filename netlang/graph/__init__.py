"""The graph of tensor equations: integers, expressions, nodes, their text, and the verifier."""
