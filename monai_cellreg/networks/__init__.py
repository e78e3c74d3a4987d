"""Networks for registration."""

from .exported import PairAsChannels
from .nets import (
    DIRNET_VARIANTS,
    Cascade,
    CascadeMaps,
    ControlPointRegressor,
    DIRNet,
    FlowNet,
    JointSegmentationRegistration,
    SegmentationUNet,
    Stage,
    cascade_of,
)
from .registration import cube_to_world

__all__ = [
    "Cascade",
    "CascadeMaps",
    "ControlPointRegressor",
    "DIRNET_VARIANTS",
    "DIRNet",
    "FlowNet",
    "JointSegmentationRegistration",
    "PairAsChannels",
    "SegmentationUNet",
    "Stage",
    "cascade_of",
    "cube_to_world",
]
