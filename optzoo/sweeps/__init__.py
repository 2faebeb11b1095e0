"""Sweeps: many runs of methods over grids and seeds, kept as folders."""
