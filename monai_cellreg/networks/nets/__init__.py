"""Networks, one a file."""

from .control_point_regressor import ControlPointRegressor
from .joint import JointSegmentationRegistration
from .segmentation_unet import SegmentationUNet

__all__ = ["ControlPointRegressor", "JointSegmentationRegistration", "SegmentationUNet"]
