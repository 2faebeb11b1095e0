"""`identify`: which shipped recipe is this, at which hyperparameters, and what is near if none is."""
