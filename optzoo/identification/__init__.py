"""`identify`: which shipped recipe is this, at which hyperparameters; else what is near."""
