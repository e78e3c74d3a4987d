"""Losses for registration as MONAI components."""

from .consistency import CycleConsistencyLoss, InverseConsistencyLoss
from .control_points import BSplineBendingLoss, BSplineDiffusionLoss, ThinPlateSplineBendingLoss
from .flow import MultiScaleFlowLoss
from .folding import FoldingLoss, VolumeChangeLoss
from .landmark import LandmarkDistanceLoss, TransformationLoss
from .lncc import LocalNormalizedCrossCorrelationLoss
from .mind import MINDSSCLoss
from .mse import MSELoss
from .multi_scale import MultiScaleLoss
from .mutual_information import GlobalMutualInformationLoss, NormalizedMutualInformationLoss
from .ncc import NCCLoss
from .ngf import NormalizedGradientFieldsLoss
from .objective import Objective, Term
from .overlap import LabelCrossEntropyLoss, PairSegmentationLoss, SegmentationFeatureLoss
from .smoothness import BendingEnergyLoss, CurvatureLoss, DiffusionLoss, ElasticLoss

__all__ = [
    "BSplineBendingLoss",
    "BSplineDiffusionLoss",
    "BendingEnergyLoss",
    "CurvatureLoss",
    "CycleConsistencyLoss",
    "DiffusionLoss",
    "ElasticLoss",
    "FoldingLoss",
    "GlobalMutualInformationLoss",
    "InverseConsistencyLoss",
    "LabelCrossEntropyLoss",
    "LandmarkDistanceLoss",
    "LocalNormalizedCrossCorrelationLoss",
    "MINDSSCLoss",
    "MSELoss",
    "MultiScaleFlowLoss",
    "MultiScaleLoss",
    "NCCLoss",
    "NormalizedGradientFieldsLoss",
    "NormalizedMutualInformationLoss",
    "Objective",
    "PairSegmentationLoss",
    "SegmentationFeatureLoss",
    "Term",
    "ThinPlateSplineBendingLoss",
    "TransformationLoss",
    "VolumeChangeLoss",
]
