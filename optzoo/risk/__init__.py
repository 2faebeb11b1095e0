"""The exact expected risk of recipes on noisy linear regression: docs/quadratic.md."""
