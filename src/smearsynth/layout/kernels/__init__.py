"""Compiled kernels of cell placement (Numba)."""
