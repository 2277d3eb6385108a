"""netlang: a declarative language for neural networks, and its compiler."""
