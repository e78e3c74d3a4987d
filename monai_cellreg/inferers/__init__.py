"""Inference on pairs."""

from .pair import PairInferer
from .refining import RefiningInferer

__all__ = ["PairInferer", "RefiningInferer"]
