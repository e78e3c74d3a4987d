"""Metrics of registrations as MONAI cumulative metrics."""

from .consistency import InverseConsistencyError
from .folding import FoldingFraction, LogJacobianSpread
from .landmark import (
    GridError,
    LandmarkRobustness,
    TargetRegistrationError,
    average_rank,
    image_diagonal,
    landmark_errors,
)
from .overlap import LabelDice, LabelIoU, MaskIoU, registration_iou
from .similarity import Correlation
from .surface import HausdorffDistance, MeanSurfaceDistance

__all__ = [
    "Correlation",
    "FoldingFraction",
    "GridError",
    "HausdorffDistance",
    "InverseConsistencyError",
    "LabelDice",
    "LabelIoU",
    "LandmarkRobustness",
    "LogJacobianSpread",
    "MaskIoU",
    "MeanSurfaceDistance",
    "TargetRegistrationError",
    "average_rank",
    "image_diagonal",
    "landmark_errors",
    "registration_iou",
]
