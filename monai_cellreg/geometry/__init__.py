"""Grids, maps of world points and their exchange with other libraries."""

from .affine import AffineField, AffineTransform
from .dense import DenseTransform
from .derivatives import voxel_jacobian, voxel_jacobian_determinant
from .grid import SamplingGrid
from .interop import to_voxel_ddf, voxel_ddf_to_world, voxel_to_cube_ddf
from .itk import read_transform, write_transform
from .pair import Pair
from .resampling import resample
from .sampling import sample, warp
from .tps import ThinPlateSplineField, ThinPlateSplineTransform
from .transform import CompositeTransform, InverseTransform, SpatialTransform, compose

__all__ = [
    "AffineField",
    "AffineTransform",
    "CompositeTransform",
    "DenseTransform",
    "InverseTransform",
    "Pair",
    "SamplingGrid",
    "SpatialTransform",
    "ThinPlateSplineField",
    "ThinPlateSplineTransform",
    "compose",
    "read_transform",
    "resample",
    "sample",
    "to_voxel_ddf",
    "voxel_ddf_to_world",
    "voxel_jacobian",
    "voxel_jacobian_determinant",
    "voxel_to_cube_ddf",
    "warp",
    "write_transform",
]
