"""Integer numba kernels (SPEC 1, 3, 4), file for file with the C runtime: no float, allocation, I/O or exception."""
