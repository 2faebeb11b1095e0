"""What numbers may be, and the scalars of a step held to it."""
