"""Losses for registration as MONAI components."""

from .consistency import CycleConsistencyLoss
from .landmark import TransformationLoss
from .objective import Objective, Term
from .overlap import PairSegmentationLoss

__all__ = ["CycleConsistencyLoss", "Objective", "PairSegmentationLoss", "Term", "TransformationLoss"]
