"""Networks for registration."""

from .nets import ControlPointRegressor, JointSegmentationRegistration, SegmentationUNet

__all__ = ["ControlPointRegressor", "JointSegmentationRegistration", "SegmentationUNet"]
