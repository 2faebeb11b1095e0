"""Are two recipes the same method? Comparing, finding the change of hyperparameters, converting."""
