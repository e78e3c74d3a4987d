"""Networks, one a file."""

from .cascade import Cascade, CascadeMaps, Stage, cascade_of
from .control_point_regressor import ControlPointRegressor
from .flownet import FlowNet
from .joint import JointSegmentationRegistration
from .segmentation_unet import SegmentationUNet

__all__ = [
    "Cascade",
    "CascadeMaps",
    "ControlPointRegressor",
    "FlowNet",
    "JointSegmentationRegistration",
    "SegmentationUNet",
    "Stage",
    "cascade_of",
]
