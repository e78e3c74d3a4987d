"""Transforms on pairs: same pose, known deformation, appearance, stains, and sizes with landmarks."""

from .appearance import AppearanceRange, RandomAppearance, normalise
from .grey import to_grey
from .intensity import NormalizePercentiles, NormalizePercentilesd, RandAppearance, RandAppearanced
from .known_deformation import KnownPairKeys, RandKnownDeformationd
from .known_pairs import DeformationRange, KnownPairs
from .nuclei import CropSettings, crop_nuclei
from .pair_augmentation import AugmentationRange, PairAugmentation
from .pose import PoseRange, RandPairPosed
from .pseudo_label import pseudo_label
from .resizing import PadToMultipled, ResizeWithLandmarksd
from .stains import RandStain, RandStaind, SeparateStains, SeparateStainsd

__all__ = [
    "AppearanceRange",
    "AugmentationRange",
    "CropSettings",
    "DeformationRange",
    "KnownPairKeys",
    "KnownPairs",
    "NormalizePercentiles",
    "NormalizePercentilesd",
    "PadToMultipled",
    "PairAugmentation",
    "PoseRange",
    "RandAppearance",
    "RandAppearanced",
    "RandKnownDeformationd",
    "RandPairPosed",
    "RandStain",
    "RandStaind",
    "RandomAppearance",
    "ResizeWithLandmarksd",
    "SeparateStains",
    "SeparateStainsd",
    "crop_nuclei",
    "normalise",
    "pseudo_label",
    "to_grey",
]
