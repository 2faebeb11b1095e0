"""Training runs: data, model, loop, checkpoints and the run directory.

Everything here works on an optimizer that a recipe has built; nothing here knows how it updates
the parameters. A run is a pure function of (recipe, setup, corpus fingerprint, thread count): no
global random state is read or written.
"""
