"""The hyperparameters with the least expected risk, and the searches that find them."""
