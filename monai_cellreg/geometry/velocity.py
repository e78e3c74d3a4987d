"""Stationary velocity fields: as a map of world points, and as a head for networks.

References:
    Arsigny et al., A log-Euclidean framework for statistics on diffeomorphisms, MICCAI 2006 (scaling and squaring).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..utils import check_finite
from .bspline_kernel import spline_matrix
from .grid import SamplingGrid
from .sampling import sample, warp
from .separable import apply_separable
from .transform import SpatialTransform

FIRST_STEP = 1 / 32  # largest displacement before the first squaring, in voxels, where the number is not given


class VelocityTransform(SpatialTransform):
    """The flow of a velocity field over unit time: ``T = exp(v)``, smooth and invertible.

    Convention: as every :class:`SpatialTransform`; ``dx/dt = v(x)`` in world coordinates, from the fixed point at 0 to
    the moving point at 1. The field is exponentiated on its grid once, when the map is first used; between voxels its
    displacement is linear, outside it is continued from the border, as by :class:`DenseTransform`.

    Args:
        velocity: (B, D, *grid.shape) in world units, not changed afterwards.
        grid: where the velocities lie.
        steps: number of squarings; chosen for each map when omitted, see :func:`squarings`.

    Raises:
        ValueError: when the velocity does not fit the grid or is not finite, or ``steps`` is negative.

    Example:
        >>> shift = torch.tensor([1.0, -2.0]).reshape(1, 2, 1, 1).expand(1, 2, 8, 8)
        >>> VelocityTransform(shift, SamplingGrid((8, 8))).points(np.array([[3.0, 5.0]])).round(6)
        array([[4., 3.]])
    """

    def __init__(self, velocity: Tensor, grid: SamplingGrid, *, steps: int | None = None) -> None:
        grid.check_fits("velocity", velocity, "B", grid.spatial_dims)
        check_finite("velocity", velocity)
        if steps is not None:
            check_steps(steps)
        self.velocity, self.grid, self.steps = velocity, grid, steps
        self._flow: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_flow": None}  # a copy computes its own: torch copies no tensor that has a history

    @property
    def spatial_dims(self) -> int:
        return self.grid.spatial_dims

    def inverse(self) -> VelocityTransform:
        """``exp(-v)``; exact up to the interpolation of the two fields."""
        return VelocityTransform(-self.velocity, self.grid, steps=self.steps)

    def _map(self, points: Tensor) -> Tensor:
        index = self.grid.world_to_index(points.to(torch.promote_types(points.dtype, torch.float32)))
        moved = sample(self.flow().to(index), index, mode="linear", padding="border")  # (B, D, N)
        return points + moved.transpose(1, 2)

    def flow(self) -> Tensor:
        """Displacement (B, D, *grid.shape) at the voxels of the grid, in world units."""
        wanted = torch.is_grad_enabled() and self.velocity.requires_grad
        if self._flow is None or (wanted and not self._flow.requires_grad):
            linear = self.grid.affine[:-1, :-1]
            velocity_vox = _turned(np.linalg.inv(linear), self.velocity)
            steps = [squarings(v) if self.steps is None else self.steps for v in velocity_vox]
            flows = [exponentiate(v[None], steps=n) for v, n in zip(velocity_vox, steps, strict=True)]
            self._flow = _turned(linear, torch.cat(flows))
        return self._flow


class VelocityField(nn.Module):
    """Velocities to a voxel displacement field, by scaling and squaring.

    Convention: velocities in voxels of the image, components in tensor-axis order; zeros are the identity.

    Args:
        spatial_size: image size, D axes.
        velocity_shape: shape of a coarser velocity over the same extent, where it is exponentiated before the
            displacement is resized (linearly); the image's when omitted.
        steps: number of squarings.

    Raises:
        ValueError: for a velocity shape of other dimensions, or negative ``steps``.

    Example:
        >>> VelocityField((64, 64), velocity_shape=(32, 32)).parameter_shape
        (2, 32, 32)
    """

    def __init__(
        self, spatial_size: Sequence[int], *, velocity_shape: Sequence[int] | None = None, steps: int = 7
    ) -> None:
        super().__init__()
        check_steps(steps)
        grid = SamplingGrid(tuple(spatial_size))
        coarse = grid.resized(grid.shape if velocity_shape is None else velocity_shape)
        self.spatial_size, self.velocity_shape, self.steps = grid.shape, coarse.shape, steps
        self.parameter_shape = (grid.spatial_dims, *coarse.shape)
        self.to_cube = np.linalg.inv(grid.cube_to_world)
        self.cube_grid = SamplingGrid(coarse.shape, self.to_cube @ coarse.affine)
        spacing = torch.tensor(coarse.spacing).reshape(-1, *[1] * grid.spatial_dims)
        self.register_buffer("spacing", spacing, persistent=False)  # of the velocity's voxels, in voxels of the image
        for axis, (size, known, step) in enumerate(zip(grid.shape, coarse.shape, coarse.spacing, strict=True)):
            place = (torch.arange(size, dtype=torch.float64) + 0.5) / step - 0.5
            matrix = spline_matrix(place, known, 1) if known > 1 else torch.ones(size, 1)
            self.register_buffer(f"matrix_{axis}", matrix.float(), persistent=False)

    def forward(self, velocity: Tensor) -> Tensor:
        """(B, D, *velocity_shape) velocities to a voxel field (B, D, *spatial_size)."""
        spacing = self.get_buffer("spacing")
        flow = spacing * exponentiate(velocity.float() / spacing, steps=self.steps)
        if self.velocity_shape == self.spatial_size:
            return flow
        return apply_separable(flow, [self.get_buffer(f"matrix_{axis}") for axis in range(len(self.spatial_size))])

    def transform(self, velocity: Tensor) -> VelocityTransform:
        """The map of the cube [-1, 1]^D that the velocities (B, D, *velocity_shape) mean."""
        return VelocityTransform(_turned(self.to_cube[:-1, :-1], velocity.double()), self.cube_grid, steps=self.steps)


def exponentiate(velocity_vox: Tensor, *, steps: int, mode: str = "linear", padding: str = "border") -> Tensor:
    """The flow of a velocity field over unit time, by scaling and squaring.

    Args:
        velocity_vox: (B, D, *spatial) in voxels, components in tensor-axis order.
        steps: number of squarings: the flow over a time of ``2 ** -steps`` is taken to be straight.
        mode: see :func:`~monai_cellreg.geometry.sampling.sample`.
        padding: likewise; what a flow that leaves the grid reads there.

    Returns:
        Displacement (B, D, *spatial) in voxels, float32 or better.

    Raises:
        ValueError: for negative ``steps``.

    Example:
        >>> round(float(exponentiate(torch.full((1, 2, 3, 3), 0.5), steps=4)[0, 0, 1, 1]), 6)
        0.5
    """
    check_steps(steps)
    flow = velocity_vox.to(torch.promote_types(velocity_vox.dtype, torch.float32)) / 2**steps
    for _ in range(steps):
        flow = flow + warp(flow, flow, mode=mode, padding=padding)
    return flow


def squarings(velocity_vox: Tensor) -> int:
    """Number of squarings that leaves no voxel more than 1/32 voxel to go before the first of them.

    Args:
        velocity_vox: (D, *spatial) in voxels.
    """
    fastest = float(velocity_vox.detach().norm(dim=0).max())
    return max(ceil(log2(fastest / FIRST_STEP)), 0) if fastest > 0 else 0


def check_steps(steps: int) -> None:
    """Check that a number of squarings is not negative."""
    if steps < 0:
        raise ValueError(f"steps is {steps}; expected the number of squarings, 0 or more (7 serves most images)")


def _turned(matrix: np.ndarray, vectors: Tensor) -> Tensor:
    """Vectors (B, D, *spatial), float32 at least, mapped by a matrix (D, D); safe from autocast."""
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    with torch.autocast(vectors.device.type, enabled=False):
        turned = torch.tensor(matrix).to(wide) @ wide.flatten(2)
    return turned.reshape(wide.shape)
