"""Transforms on pairs: known deformation and appearance."""

from .appearance import AppearanceRange, RandomAppearance, normalise
from .known_pairs import DeformationRange, KnownPairs

__all__ = ["AppearanceRange", "DeformationRange", "KnownPairs", "RandomAppearance", "normalise"]
