"""Tensors as matrices: the names of their sides, their arithmetic in any kind of number."""
