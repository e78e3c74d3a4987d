"""Networks, one a file."""

from .cascade import Cascade, CascadeMaps, Stage, cascade_of
from .control_point_regressor import ControlPointRegressor
from .dirnet import DIRNET_VARIANTS, DIRNet
from .flownet import FlowNet
from .joint import JointSegmentationRegistration
from .segmentation_unet import SegmentationUNet

__all__ = [
    "Cascade",
    "CascadeMaps",
    "ControlPointRegressor",
    "DIRNET_VARIANTS",
    "DIRNet",
    "FlowNet",
    "JointSegmentationRegistration",
    "SegmentationUNet",
    "Stage",
    "cascade_of",
]
