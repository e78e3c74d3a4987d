"""Networks for registration."""

from .nets import ControlPointRegressor, JointSegmentationRegistration, SegmentationUNet
from .registration import cube_to_world

__all__ = ["ControlPointRegressor", "JointSegmentationRegistration", "SegmentationUNet", "cube_to_world"]
