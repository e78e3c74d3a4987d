"""Grids, maps of world points and their exchange with other libraries."""

from .affine import AffineField, AffineTransform
from .bspline import BSplineField, BSplineTransform, fit_bspline
from .bspline_lattice import control_lattice
from .bspline_patches import PatchBSplineField
from .dense import DenseField, DenseTransform
from .derivatives import voxel_jacobian, voxel_jacobian_determinant
from .elastix import from_elastix
from .fitting import corresponding_points, fit_affine
from .fitting_robust import RobustFit, fit_robust
from .fitting_splines import fit_radial_basis, fit_thin_plate_spline
from .grid import SamplingGrid
from .interop import to_voxel_ddf, voxel_ddf_to_world, voxel_to_cube_ddf
from .inversion import InversionReport
from .itk import from_itk, to_itk
from .pair import Pair
from .rbf import RadialBasisField, RadialBasisTransform
from .registered import RegisteredTransform
from .resampling import resample, resample_image
from .sampling import sample, warp
from .shapes import map_polygon
from .tps import ThinPlateSplineField, ThinPlateSplineTransform
from .transform import CompositeTransform, InverseTransform, SpatialTransform, compose
from .transform_files import read_transform, write_transform
from .velocity import VelocityField, VelocityTransform, exponentiate

__all__ = [
    "AffineField",
    "AffineTransform",
    "BSplineField",
    "BSplineTransform",
    "CompositeTransform",
    "DenseField",
    "DenseTransform",
    "InverseTransform",
    "InversionReport",
    "Pair",
    "PatchBSplineField",
    "RadialBasisField",
    "RadialBasisTransform",
    "RobustFit",
    "RegisteredTransform",
    "SamplingGrid",
    "SpatialTransform",
    "ThinPlateSplineField",
    "ThinPlateSplineTransform",
    "VelocityField",
    "VelocityTransform",
    "compose",
    "control_lattice",
    "corresponding_points",
    "exponentiate",
    "fit_affine",
    "fit_bspline",
    "fit_radial_basis",
    "fit_robust",
    "fit_thin_plate_spline",
    "from_elastix",
    "from_itk",
    "map_polygon",
    "read_transform",
    "resample",
    "resample_image",
    "sample",
    "to_itk",
    "to_voxel_ddf",
    "voxel_ddf_to_world",
    "voxel_jacobian",
    "voxel_jacobian_determinant",
    "voxel_to_cube_ddf",
    "warp",
    "write_transform",
]
