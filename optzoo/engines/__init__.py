"""Engines: programs on torch tensors."""
