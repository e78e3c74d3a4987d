"""What the deformable stage can move: a dense field, a velocity field or a B-spline lattice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from ...geometry import (
    BSplineField,
    BSplineTransform,
    DenseTransform,
    SamplingGrid,
    SpatialTransform,
    VelocityTransform,
    control_lattice,
    exponentiate,
    voxel_ddf_to_world,
    warp,
)
from ...geometry.separable import apply_separable
from .pyramid import resize_field
from .smoothing import smooth


class Deformation(ABC):
    """A displacement of the voxels of one level, and how a step changes it.

    Attributes:
        shape: of the fixed image at the level.
        parameters: what the optimisation moves.
    """

    shape: tuple[int, ...]
    parameters: Tensor

    @abstractmethod
    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        """The identity."""

    @abstractmethod
    def field(self, parameters: Tensor) -> Tensor:
        """The displacement (1, D, *shape) in voxels that parameters mean, with gradient."""

    @abstractmethod
    def move(self, step: Tensor, stiffness: float) -> None:
        """Changes the parameters by a step of their shape and smooths them by ``stiffness`` voxels."""

    @abstractmethod
    def transform(self, grid: SamplingGrid) -> SpatialTransform:
        """The map of world points, given the fixed grid at this level."""

    @abstractmethod
    def refined(self, shape: Sequence[int]) -> Deformation:
        """The same deformation on the voxels of another level."""


class DenseDeformation(Deformation):
    """A displacement of every voxel, changed by composition with small smooth steps, so that it hardly folds.

    References:
        Christensen et al., Deformable templates using large deformation kinematics, IEEE Transactions on Image
        Processing 5, 1996, for the composition; Vercauteren et al., Diffeomorphic demons, NeuroImage 45, 2009, for the
        smoothing of step and field.
    """

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self.shape, self.parameters = tuple(shape), torch.zeros(1, len(shape), *shape, device=device)

    def field(self, parameters: Tensor) -> Tensor:
        return parameters

    def move(self, step: Tensor, stiffness: float) -> None:
        self.parameters = smooth(step + warp(self.parameters, step), stiffness)

    def transform(self, grid: SamplingGrid) -> SpatialTransform:
        return DenseTransform(voxel_ddf_to_world(self.parameters, grid, grid), grid)

    def refined(self, shape: Sequence[int]) -> DenseDeformation:
        finer = DenseDeformation(shape, self.parameters.device)
        finer.parameters = resize_field(self.parameters, shape)
        return finer


class VelocityDeformation(Deformation):
    """A stationary velocity of every voxel, whose flow is smooth and has its inverse in closed form.

    References:
        Ashburner, A fast diffeomorphic image registration algorithm, NeuroImage 38, 2007.
    """

    SQUARINGS = 6

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self.shape, self.parameters = tuple(shape), torch.zeros(1, len(shape), *shape, device=device)

    def field(self, parameters: Tensor) -> Tensor:
        return exponentiate(parameters, steps=self.SQUARINGS)

    def move(self, step: Tensor, stiffness: float) -> None:
        self.parameters = smooth(self.parameters + step, stiffness)

    def transform(self, grid: SamplingGrid) -> SpatialTransform:
        return VelocityTransform(voxel_ddf_to_world(self.parameters, grid, grid), grid)

    def refined(self, shape: Sequence[int]) -> VelocityDeformation:
        finer = VelocityDeformation(shape, self.parameters.device)
        finer.parameters = resize_field(self.parameters, shape)
        return finer


class BSplineDeformation(Deformation):
    """A cubic B-spline lattice, a control point every few voxels of the level.

    References:
        Rueckert et al., Nonrigid registration using free-form deformations, IEEE Transactions on Medical Imaging 18,
        1999.
    """

    SPACING = 5  # voxels between control points

    def __init__(self, shape: Sequence[int], device: torch.device) -> None:
        self.shape = tuple(shape)
        self._spline = BSplineField(self.shape, self.SPACING).to(device)
        self.parameters = torch.zeros(1, *self._spline.parameter_shape, device=device)

    def field(self, parameters: Tensor) -> Tensor:
        return self._spline(parameters / self._spline.get_buffer("voxels_per_unit"))

    def move(self, step: Tensor, stiffness: float) -> None:
        self.parameters = smooth(self.parameters + step, stiffness / self.SPACING)

    def transform(self, grid: SamplingGrid) -> SpatialTransform:
        linear = torch.tensor(grid.affine[:-1, :-1], device=self.parameters.device)
        world = torch.einsum("ij,bj...->bi...", linear, self.parameters.double())
        return BSplineTransform(world, control_lattice(grid, control_spacing=self.SPACING))

    def refined(self, shape: Sequence[int]) -> BSplineDeformation:
        finer = BSplineDeformation(shape, self.parameters.device)
        field = resize_field(self.field(self.parameters), shape).double()
        matrices = (finer._spline.get_buffer(f"matrix_{axis}").double() for axis in range(len(finer.shape)))
        finer.parameters = apply_separable(field, [torch.linalg.pinv(m) for m in matrices]).float()  # least squares
        return finer
