"""Benchmarks: netlang next to the frameworks, on the same networks with the same weights and data."""
