"""Guessing hyperparameters: many trajectories at once, least squares, the exact number behind a float."""
