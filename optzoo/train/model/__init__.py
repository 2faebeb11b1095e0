"""The transformer that is trained, its loss, and text drawn from it."""

from optzoo.train.model.transformer import Transformer

__all__ = ["Transformer"]
