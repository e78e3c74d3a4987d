"""Metrics of registrations as MONAI cumulative metrics."""

from .folding import FoldingFraction
from .landmark import GridError
from .overlap import MaskIoU, registration_iou

__all__ = ["FoldingFraction", "GridError", "MaskIoU", "registration_iou"]
