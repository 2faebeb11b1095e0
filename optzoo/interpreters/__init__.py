"""Interpreters: each gives programs one meaning and knows nothing of the others."""
