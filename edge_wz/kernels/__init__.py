"""Integer numba kernels, file for file with the C runtime. No float, no allocation, no I/O, no exceptions (SPEC 1, 3, 4)."""
