"""Networks for registration."""

from .nets import (
    Cascade,
    CascadeMaps,
    ControlPointRegressor,
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
    "FlowNet",
    "JointSegmentationRegistration",
    "SegmentationUNet",
    "Stage",
    "cascade_of",
    "cube_to_world",
]
