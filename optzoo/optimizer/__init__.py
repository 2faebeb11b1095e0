"""The torch optimizer that runs a recipe."""

from optzoo.optimizer.optimizer import RecipeOptimizer

__all__ = ["RecipeOptimizer"]
