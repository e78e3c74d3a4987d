"""Inference on pairs."""

from .pair import PairInferer

__all__ = ["PairInferer"]
