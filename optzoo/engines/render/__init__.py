"""Renderers: the step of a program as source text, in one language a file."""
