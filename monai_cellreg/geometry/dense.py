"""Dense displacement fields: as maps of world points, and as a head for networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from .grid import SamplingGrid
from .interop import cube_to_voxel_ddf, voxel_ddf_to_world
from .sampling import sample
from .transform import SpatialTransform


class DenseTransform(SpatialTransform):
    """A displacement at every voxel of a grid, linear in between, continued from the border outside.

    Args:
        displacement: (B, D, *grid.shape) in world units.
        grid: where the displacements lie.

    Raises:
        ValueError: when the displacement does not fit the grid.
    """

    def __init__(self, displacement: Tensor, grid: SamplingGrid) -> None:
        grid.check_fits("displacement", displacement, "B", grid.spatial_dims)
        self.field, self.grid = displacement, grid

    @classmethod
    def from_voxel_ddf(
        cls, displacement_vox: Tensor, fixed_grid: SamplingGrid, moving_grid: SamplingGrid | None = None
    ) -> DenseTransform:
        """From a MONAI voxel DDF (B, D, *fixed_grid.shape): moving index = fixed index + ddf."""
        return cls(voxel_ddf_to_world(displacement_vox, fixed_grid, moving_grid or fixed_grid), fixed_grid)

    @property
    def spatial_dims(self) -> int:
        return self.grid.spatial_dims

    def _map(self, points: Tensor) -> Tensor:
        index = self.grid.world_to_index(points.to(torch.promote_types(points.dtype, torch.float32)))
        moved = sample(self.field.to(index), index, mode="linear", padding="border")  # (B, D, N)
        return points + moved.transpose(1, 2)


class DenseField(nn.Module):
    """A displacement of every voxel, as networks of optical flow predict it, to a voxel displacement field.

    Convention: displacements on the cube [-1, 1]^D of the image, components in tensor-axis order; zeros are the
    identity.

    Args:
        spatial_size: image size, D axes.

    Example:
        >>> DenseField((3, 5))(torch.full((1, 2, 3, 5), 0.5))[0, :, 0, 0]
        tensor([0.5000, 1.0000])
    """

    def __init__(self, spatial_size: Sequence[int]) -> None:
        super().__init__()
        grid = SamplingGrid(tuple(spatial_size))
        self.spatial_size = grid.shape
        self.parameter_shape = (grid.spatial_dims, *grid.shape)
        self.cube_grid = SamplingGrid(grid.shape, np.linalg.inv(grid.cube_to_world) @ grid.affine)

    def forward(self, parameters: Tensor) -> Tensor:
        """(B, D, *spatial_size) displacements on the cube to a voxel field of that shape, float32."""
        return cube_to_voxel_ddf(parameters.float().flatten(2), self.spatial_size)

    def transform(self, parameters: Tensor) -> DenseTransform:
        """The map of the cube [-1, 1]^D that the displacements (B, D, *spatial_size) mean."""
        return DenseTransform(parameters.double(), self.cube_grid)
