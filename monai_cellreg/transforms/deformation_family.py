"""Families of random maps: what is drawn at control points, as the parameters of a geometry head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..geometry import (
    AffineField,
    BSplineField,
    SamplingGrid,
    ThinPlateSplineField,
    VelocityField,
    voxel_jacobian_determinant,
)
from ..utils import check_choice

FAMILIES = ("thin_plate_spline", "affine", "bspline", "velocity")
CHECK_SIZE = 33  # voxels along each axis of the lattice on which folding is looked for


@dataclass(frozen=True)
class DeformationFamily:
    """How displacements drawn at control points become a map that a network can give exactly.

    Args:
        field: geometry head, parameters to a voxel field; also answers ``transform(parameters)``.
        check: the head on the lattice on which folding is looked for; takes the same parameters.
        control_points: (K, D) on the cube [-1, 1]^D, where displacements are drawn.
        to_parameters: displacements of the control points (B, K, D) on the cube to the parameters of the head.
    """

    field: nn.Module
    check: nn.Module
    control_points: Tensor
    to_parameters: Callable[[Tensor], Tensor]

    def least_determinant(self, parameters: Tensor) -> Tensor:
        """The smallest Jacobian determinant (B,) of the maps of these parameters, which lie on the CPU."""
        return voxel_jacobian_determinant(self.check(parameters)).flatten(1).min(1).values


def deformation_family(name: str, spatial_size: Sequence[int], control_shape: Sequence[int]) -> DeformationFamily:
    """A family on images of one size.

    The displacements drawn at the control points are, by name,

    - ``"thin_plate_spline"``: passed through;
    - ``"affine"``: fitted in the sense of least squares;
    - ``"bspline"``: the coefficients of a cubic B-spline, whose outer control points lie outside of the image;
    - ``"velocity"``: the same coefficients of a velocity, given at every voxel of the image.

    Args:
        name: one of the above.
        spatial_size: size of the images.
        control_shape: control points along each axis; at least 4 for the last two families, else 2.

    Raises:
        ValueError: for an unknown name or too few control points.
    """
    check_choice("family", name, FAMILIES)
    check_size = [CHECK_SIZE] * len(tuple(spatial_size))
    if name in ("bspline", "velocity"):
        spline = BSplineField(spatial_size, control_shape=control_shape)
        control, coefficients = _points(spline.lattice), partial(_as_coefficients, control_shape=tuple(control_shape))
        if name == "bspline":
            check: nn.Module = BSplineField(check_size, control_shape=control_shape)
            return DeformationFamily(spline, check, control, coefficients)
        velocities = partial(_as_velocities, coefficients=coefficients, spline=spline)
        return DeformationFamily(VelocityField(spatial_size), VelocityField(spatial_size), control, velocities)
    spline_field = ThinPlateSplineField(spatial_size, control_shape)
    control = spline_field.get_buffer("control_points").float()
    if name == "affine":
        fit = torch.linalg.pinv(torch.nn.functional.pad(control.double(), (0, 1), value=1.0))  # (D+1, K)
        return DeformationFamily(
            AffineField(spatial_size), AffineField(check_size), control, partial(_as_affine, fit=fit)
        )
    return DeformationFamily(spline_field, ThinPlateSplineField(check_size, control_shape), control, _unchanged)


def _points(lattice: SamplingGrid) -> Tensor:
    return lattice.world().flatten(0, -2).float()


def _unchanged(displacements: Tensor) -> Tensor:
    return displacements


def _as_affine(displacements: Tensor, *, fit: Tensor) -> Tensor:
    return (fit @ displacements.double()).transpose(1, 2).float()


def _as_coefficients(displacements: Tensor, *, control_shape: Sequence[int]) -> Tensor:
    return displacements.transpose(1, 2).unflatten(2, control_shape)


def _as_velocities(displacements: Tensor, *, coefficients: Callable[[Tensor], Tensor], spline: nn.Module) -> Tensor:
    return spline(coefficients(displacements))
