"""Graph to Program: fusion, loop order, memory."""
