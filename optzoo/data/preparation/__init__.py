"""How token files are made: sources, readers, passes; training imports none of it."""
