"""Dense displacement fields as maps of world points."""

from __future__ import annotations

import torch
from torch import Tensor

from .grid import SamplingGrid
from .interop import voxel_ddf_to_world
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
