"""The commands that look at recipes without training: describe, equiv, convert, quadratic."""
