"""Transforms on pairs: known deformation and appearance."""

from .appearance import AppearanceRange, RandomAppearance, normalise
from .known_pairs import DeformationRange, KnownPairs
from .nuclei import CropSettings, crop_nuclei
from .pseudo_label import pseudo_label

__all__ = [
    "AppearanceRange",
    "CropSettings",
    "DeformationRange",
    "KnownPairs",
    "RandomAppearance",
    "crop_nuclei",
    "normalise",
    "pseudo_label",
]
