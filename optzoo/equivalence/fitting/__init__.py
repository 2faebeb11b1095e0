"""Guessing hyperparameters: many trajectories at once, least squares, exact numbers."""
