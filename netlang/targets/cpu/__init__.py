"""The CPU target: readable generated kernels, lowered by Numba, optimized by LLVM, run as cached object code."""
