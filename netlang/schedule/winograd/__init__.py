"""Convolutions and their gradients by fewer products, with the algorithms of Winograd, Toom and Cook."""
