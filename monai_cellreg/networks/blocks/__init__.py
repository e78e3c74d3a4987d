"""Parts that networks are built of."""

from .correlation import LocalCorrelation
from .warp import DVF2DDF, Warp

__all__ = ["DVF2DDF", "LocalCorrelation", "Warp"]
