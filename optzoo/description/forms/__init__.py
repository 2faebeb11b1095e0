"""Closed forms: momenta as formulas, found, verified, spelled."""
