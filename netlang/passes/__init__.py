"""Passes: from graph to graph, and what is read off a graph; one module each."""
