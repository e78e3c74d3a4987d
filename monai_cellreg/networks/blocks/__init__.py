"""Parts that networks are built of."""

from .warp import DVF2DDF, Warp

__all__ = ["DVF2DDF", "Warp"]
