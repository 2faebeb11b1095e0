"""The recipe language: schema, names, and lowering to programs."""
