"""Registration of one pair by optimisation, without training."""

from .auto import AutoRegistration, AutoSettings, Registered
from .deformable import DeformableSettings, Landmarks, optimise_deformation
from .deformations import BSplineDeformation, DenseDeformation, VelocityDeformation
from .linear import LinearSettings, optimise_affine
from .pyramid import Images

__all__ = [
    "AutoRegistration",
    "AutoSettings",
    "BSplineDeformation",
    "DeformableSettings",
    "DenseDeformation",
    "Images",
    "Landmarks",
    "LinearSettings",
    "Registered",
    "VelocityDeformation",
    "optimise_affine",
    "optimise_deformation",
]
