"""Programs as a shared library with a plain C interface: no Python, no allocation, no global state, weights inside."""
