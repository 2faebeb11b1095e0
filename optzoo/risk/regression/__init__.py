"""Noisy linear regression: spectra and targets, streams of inputs, and the problem they make."""
